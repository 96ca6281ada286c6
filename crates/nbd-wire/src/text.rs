//! The protocol's strings: UTF-8 without NUL, at most 4,096 bytes ("Conventions").

use crate::limits::STRING_BYTES_MAX;

/// Why bytes are not a string of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// More than [`STRING_BYTES_MAX`] bytes.
    #[error("a string is longer than {STRING_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// Holds a NUL.
    #[error("a string holds a NUL")]
    HoldsNul,
}

/// The bytes as a string of the protocol.
pub(crate) fn parse(bytes: &[u8]) -> Result<&str, BadText> {
    if bytes.len() > STRING_BYTES_MAX {
        return Err(BadText::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadText::NotUtf8)?;
    if text.contains('\0') { Err(BadText::HoldsNul) } else { Ok(text) }
}

/// A peer's text for a person: never refused, only made harmless. What is not UTF-8 or would steer
/// a terminal is replaced, and the end is cut.
pub(crate) fn display(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(STRING_BYTES_MAX)];
    let text = String::from_utf8_lossy(kept);
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The longest beginning of our own text that fits into `limit` bytes and holds no NUL.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    let text = text.split('\0').next().unwrap_or_default();
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_string_is_4096_bytes() {
        assert!(parse(&[b'a'; STRING_BYTES_MAX]).is_ok());
        assert_eq!(parse(&[b'a'; STRING_BYTES_MAX + 1]), Err(BadText::TooLong));
    }

    #[test]
    fn nul_and_broken_utf8_are_refused() {
        assert_eq!(parse(b"a\0b"), Err(BadText::HoldsNul));
        assert_eq!(parse(&[0xc3]), Err(BadText::NotUtf8));
    }

    #[test]
    fn our_own_text_is_cut_between_characters() {
        assert_eq!(clip("aä", 2), "a");
        assert_eq!(clip("ab\0c", 10), "ab");
    }

    #[test]
    fn a_peers_text_cannot_steer_a_terminal() {
        assert_eq!(display(b"a\x1b[2J\xff"), "a\u{fffd}[2J\u{fffd}");
    }
}
