//! Bytes and times as a person reads them.

/// Bytes with a unit: `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// Whole seconds: `2 m 5 s`.
pub(crate) fn seconds(count: u64) -> String {
    match (count / 3600, count / 60 % 60, count % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} m {s} s"),
        (h, m, _) => format!("{h} h {m} m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_coarse_as_they_are_long() {
        assert_eq!([seconds(5), seconds(125), seconds(7300)], ["5 s", "2 m 5 s", "2 h 1 m"]);
    }
}
