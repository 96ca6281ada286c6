//! Key=value pairs: the text of logins and Text Requests (RFC 7143 section 6.1).

use crate::limits::{KEY_BYTES_MAX, TEXT_BYTES_MAX, TEXT_KEYS_MAX};

/// Why bytes are no text of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// More than [`TEXT_BYTES_MAX`] bytes over all PDUs.
    #[error("a text is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`TEXT_KEYS_MAX`] pairs.
    #[error("a text has more than {TEXT_KEYS_MAX} keys")]
    TooManyKeys,
    /// The last pair does not end with a NUL.
    #[error("a text does not end with a NUL")]
    NotEnded,
    /// Not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// A pair without `=`, or a key that is empty, too long or has a character that no key has.
    #[error("a text holds something that is no key=value pair")]
    NoPair,
    /// A key that was there already.
    #[error("a text has a key twice")]
    KeyTwice,
    /// A value that the key cannot have.
    #[error("a key has a value that it cannot have")]
    BadValue,
}

/// Text that comes in several PDUs.
#[derive(Debug, Default)]
pub(crate) struct Gathered(Vec<u8>);

impl Gathered {
    /// Adds what one PDU holds.
    pub(crate) fn add(&mut self, data: &[u8]) -> Result<(), BadText> {
        if self.0.len() + data.len() > TEXT_BYTES_MAX {
            return Err(BadText::TooLong);
        }
        self.0.extend_from_slice(data);
        Ok(())
    }

    /// Takes the whole text.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// The pairs of a text, in their order. Empty ones, as padding may make them, are left out.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<(&str, &str)>, BadText> {
    if text.last().is_some_and(|last| *last != 0) {
        return Err(BadText::NotEnded);
    }
    let text = std::str::from_utf8(text).map_err(|_| BadText::NotUtf8)?;
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for pair in text.split('\0').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(BadText::NoPair)?;
        if !is_key(key) {
            return Err(BadText::NoPair);
        }
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(BadText::KeyTwice);
        }
        if pairs.len() == TEXT_KEYS_MAX {
            return Err(BadText::TooManyKeys);
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// Appends a pair.
pub(crate) fn put(text: &mut Vec<u8>, key: &str, value: impl AsRef<str>) {
    debug_assert!(is_key(key) && !value.as_ref().contains('\0'));
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_ref().as_bytes());
    text.push(0);
}

/// A number, decimal or hexadecimal (RFC 7143 section 6.1, numerical-value).
pub(crate) fn number(value: &str) -> Option<u64> {
    let hex = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((value, 10), |digits| (digits, 16));
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// `Yes` or `No`.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// How a boolean is written.
pub(crate) const fn yes_or_no(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

fn is_key(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-+@_#".contains(&byte);
    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_come_in_their_order_and_padding_is_left_out() {
        let pairs = parse(b"A=1\0X#b.c=\0\0C=x=y\0\0\0").unwrap();
        assert_eq!(pairs, [("A", "1"), ("X#b.c", ""), ("C", "x=y")]);
        assert_eq!(parse(b""), Ok(vec![]));
    }

    #[test]
    fn a_text_without_a_nul_at_its_end_is_refused() {
        assert_eq!(parse(b"A=1"), Err(BadText::NotEnded));
        assert_eq!(parse(b"A=1\0B=2"), Err(BadText::NotEnded));
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for text in [&b"A\0"[..], b"=1\0", b"A B=1\0", b"a\n=1\0"] {
            assert_eq!(parse(text), Err(BadText::NoPair));
        }
        let long = [&[b'k'; KEY_BYTES_MAX + 1][..], b"=1\0"].concat();
        assert_eq!(parse(&long), Err(BadText::NoPair));
        assert_eq!(parse(b"A=\xff\0"), Err(BadText::NotUtf8));
        assert_eq!(parse(b"A=1\0A=1\0"), Err(BadText::KeyTwice));
    }

    #[test]
    fn more_keys_than_the_limit_are_refused() {
        let text = |count: usize| {
            (0..count).fold(Vec::new(), |mut text, number| {
                put(&mut text, &format!("k{number}"), "v");
                text
            })
        };
        assert_eq!(parse(&text(TEXT_KEYS_MAX)).unwrap().len(), TEXT_KEYS_MAX);
        assert_eq!(parse(&text(TEXT_KEYS_MAX + 1)), Err(BadText::TooManyKeys));
    }

    #[test]
    fn gathered_text_has_a_limit() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.add(&[0; TEXT_BYTES_MAX]), Ok(()));
        assert_eq!(gathered.add(&[0]), Err(BadText::TooLong));
        assert_eq!(gathered.take().len(), TEXT_BYTES_MAX);
        assert_eq!(gathered.add(&[0]), Ok(()));
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal_and_nothing_else() {
        assert_eq!(number("8192"), Some(8192));
        assert_eq!(number("0x2000"), Some(8192));
        assert_eq!(number("0XfF"), Some(255));
        for other in ["", "0x", "-1", "+1", "1 ", "12a", "0x-1", "99999999999999999999"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_pairs_or_refused(bytes: Vec<u8>) {
            if let Ok(pairs) = parse(&bytes) {
                let mut text = Vec::new();
                pairs.iter().for_each(|(key, value)| put(&mut text, key, value));
                prop_assert_eq!(parse(&text), Ok(pairs));
            }
        }
    }
}
