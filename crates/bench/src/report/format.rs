//! Figures as text: the last word of a figure's name is its unit.

use crate::goals::Target;
use crate::statistics::Spread;

/// A figure with its unit.
pub(super) fn figure(name: &str, value: f64) -> String {
    match unit(name) {
        "mbps" => format!("{} MB/s", number(value)),
        "us" => format!("{} µs", number(value)),
        "ms" => format!("{} ms", number(value)),
        "seconds" => format!("{} s", number(value)),
        "mib" => format!("{} MiB", number(value)),
        "connection" => format!("{} KiB", number(value)),
        "share" => format!("{:.0} %", value * 100.0),
        _ => number(value),
    }
}

/// Median, and the range where there is one.
pub(super) fn spread(name: &str, spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if min == max {
        return figure(name, median);
    }
    let bound = |value| figure(name, value).split(' ').next().unwrap_or_default().to_owned();
    format!("{} ({} to {})", figure(name, median), bound(min), bound(max))
}

/// A ratio with its range.
pub(super) fn ratio(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if min == max { format!("{median:.2}") } else { format!("{median:.2} ({min:.2} to {max:.2})") }
}

/// What is asked for, of a ratio (`figure` is `None`) or of the figure itself.
pub(super) fn target(target: Target, name: Option<&str>) -> String {
    let bound = |value: f64| match name {
        Some(name) => figure(name, value),
        None => format!("{value}"),
    };
    match target {
        Target::AtLeast(least) => format!("≥ {}", bound(least)),
        Target::AtMost(most) => format!("≤ {}", bound(most)),
        Target::Untold => "–".to_owned(),
    }
}

/// What a figure is called in the head of a column.
pub(super) fn heading(name: &str) -> String {
    let (client, name) = match name.split_once('.') {
        Some((client, rest)) => (format!("{client}: "), rest),
        None => (String::new(), name),
    };
    let words = match name {
        "iops" => "IOPS".to_owned(),
        "mbps" => "rate".to_owned(),
        "cpu_us" => "CPU a request".to_owned(),
        "p99_us" => "p99".to_owned(),
        "kib_per_connection" => "memory a connection".to_owned(),
        _ => {
            let words =
                name.rsplit_once('_').filter(|_| !matches!(unit(name), "share" | "requests"));
            words.map_or(name, |(words, _)| words).replace('_', " ")
        }
    };
    let words =
        if unit(name) == "iops" && words != "IOPS" { format!("IOPS {words}") } else { words };
    format!("{client}{words}")
}

fn unit(name: &str) -> &str {
    name.rsplit(['.', '_']).next().unwrap_or(name)
}

/// Three digits that count, and commas between thousands.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_units_and_three_digits_that_count() {
        assert_eq!(figure("fio.iops", 96_353.4), "96,353");
        assert_eq!(figure("own.cpu_us", 9.4), "9.40 µs");
        assert_eq!(figure("seconds", 12.34), "12.3 s");
        assert_eq!(figure("client_share", 0.953), "95 %");
        assert_eq!(figure("kib_per_connection", 0.5), "0.500 KiB");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(100_000.0), "100,000");
    }

    #[test]
    fn a_range_is_told_where_there_is_one() {
        let of = |min, max| spread("seconds", Spread { median: 2.0, min, max });
        assert_eq!(of(1.0, 3.5), "2.00 s (1.00 to 3.50)");
        assert_eq!(of(2.0, 2.0), "2.00 s");
    }

    #[test]
    fn columns_are_named_after_what_they_hold() {
        for (name, expected) in [
            ("fio.iops", "fio: IOPS"),
            ("before_iops", "IOPS before"),
            ("seconds", "seconds"),
            ("copy_seconds", "copy"),
            ("client_share", "client share"),
            ("overlapping_requests", "overlapping requests"),
            ("before_p99_ms", "before p99"),
        ] {
            assert_eq!(heading(name), expected);
        }
    }
}
