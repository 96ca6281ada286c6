//! Binary values as text: hexadecimal and base64 (RFC 7143 section 6.1, binary-value).

use crate::limits::BINARY_BYTES_MAX;

/// The 64 digits of base64, in their order (RFC 4648 section 4).
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The value of `0x` and hexadecimal digits, or of `0b` and base64. `None` when it is neither, or
/// longer than [`BINARY_BYTES_MAX`].
pub(crate) fn decode(value: &str) -> Option<Vec<u8>> {
    let (kind, digits) = value.split_at_checked(2)?;
    let bytes = match kind {
        "0x" | "0X" => decode_hex(digits.as_bytes()),
        "0b" | "0B" => decode_base64(digits.as_bytes()),
        _ => None,
    }?;
    (bytes.len() <= BINARY_BYTES_MAX).then_some(bytes)
}

/// The bytes as `0x` and hexadecimal digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 0xf)]));
    }
    text
}

fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    if digits.is_empty() || digits.len() > 2 * BINARY_BYTES_MAX {
        return None;
    }
    // An odd number of digits has a zero in front (RFC 7143 section 6.1).
    let (first, rest) = digits.split_at(digits.len() % 2);
    let mut bytes: Vec<u8> = first.iter().map(digit).collect::<Option<_>>()?;
    for pair in rest.chunks_exact(2) {
        bytes.push(digit(&pair[0])? << 4 | digit(&pair[1])?);
    }
    Some(bytes)
}

fn decode_base64(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.len().is_multiple_of(4) || digits.len() > 2 * BINARY_BYTES_MAX {
        return None;
    }
    let padding = digits.iter().rev().take_while(|digit| **digit == b'=').count();
    if padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in &digits[..digits.len() - padding] {
        let value = BASE64.iter().position(|known| known == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    let left_over = bits & ((1 << count) - 1);
    (left_over == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_alphabets_are_understood() {
        assert_eq!(decode("0x0aFf"), Some(vec![0x0a, 0xff]));
        assert_eq!(decode("0Xfff"), Some(vec![0x0f, 0xff]));
        // The examples of RFC 4648 section 10.
        assert_eq!(decode("0bZm9vYmFy"), Some(b"foobar".to_vec()));
        assert_eq!(decode("0bZm9vYmE="), Some(b"fooba".to_vec()));
        assert_eq!(decode("0BZm9vYg=="), Some(b"foob".to_vec()));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for value in
            ["", "0", "0x", "0xg0", "12", "0b", "0bZm9v=mFy", "0bZ===", "0bZm9", "0bZm9vYh==", "ä"]
        {
            assert_eq!(decode(value), None, "{value}");
        }
    }

    #[test]
    fn a_value_longer_than_the_limit_is_refused() {
        assert!(decode(&encode(&[7; BINARY_BYTES_MAX])).is_some());
        assert_eq!(decode(&encode(&[7; BINARY_BYTES_MAX + 1])), None);
        let long = format!("0b{}", "A".repeat(BINARY_BYTES_MAX / 3 * 4 + 8));
        assert_eq!(decode(&long), None);
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 1..100)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_a_value_or_refused(value in "0[xbXB][0-9A-Za-z+/=]{0,40}|.*") {
            decode(&value);
        }
    }
}
