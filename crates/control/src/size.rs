//! Sizes and rates as a person writes them: `64M`, with K, M, G and T as powers of 1,024.

use parse_size::Config;

/// A text that is no size or no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct SizeError {
    text: String,
    expected: &'static str,
}

/// A size in bytes: `4096`, `64K`, `1.5G`.
///
/// # Errors
/// When the text is no number with an optional unit, or does not fit into 64 bits.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let expected = "a size in bytes, like 4096, 64M or 10G (powers of 1,024)";
    parse(text).ok_or_else(|| SizeError { text: text.to_owned(), expected })
}

/// A rate in bytes a second, at least 1: `64M` is 64 MiB/s. A trailing `/s` is allowed.
///
/// # Errors
/// As [`parse_size()`], and for a rate of zero, at which nothing would ever end.
pub fn parse_rate(text: &str) -> Result<u64, SizeError> {
    let expected = "a rate in bytes a second above zero, like 64M (powers of 1,024)";
    parse(text.strip_suffix("/s").unwrap_or(text))
        .filter(|rate| *rate > 0)
        .ok_or_else(|| SizeError { text: text.to_owned(), expected })
}

fn parse(text: &str) -> Option<u64> {
    Config::new().with_binary().parse_size(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1K", 1 << 10),
            ("64M", 64 << 20),
            ("10G", 10 << 30),
            ("2T", 2 << 40),
            ("64MiB", 64 << 20),
            ("64MB", 64 << 20),
            ("1.5k", 1536),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_rate("64M"), Ok(64 << 20));
        assert_eq!(parse_rate("64M/s"), Ok(64 << 20));
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "M", "-1", "1X", "ten", "99999999T"] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains("64M"), "{error}");
        }
        assert!(parse_rate("0").is_err());
    }
}
