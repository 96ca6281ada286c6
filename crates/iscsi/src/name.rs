//! iSCSI names: who an initiator and what a target is, world-wide (RFC 7143 section 4.2.7).

use std::fmt;

use crate::limits::NAME_BYTES_MAX;

/// A valid name in its normal form.
///
/// The normal form of RFC 3722 folds case and refuses most of Unicode. Here only ASCII is taken, in
/// lower case; beside what that profile allows also `_`, which is common in initiators' names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IscsiName(String);

/// Why a text is no iSCSI name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("an iSCSI name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A character that no name has.
    #[error("an iSCSI name has a character other than letters, digits and .:-_")]
    Character,
    /// Not `iqn.`, `eui.` or `naa.`, or not what follows these.
    #[error("an iSCSI name is not of the form iqn.YYYY-MM.DOMAIN[:NAME], eui.HEX or naa.HEX")]
    Form,
}

impl IscsiName {
    /// The name in normal form.
    ///
    /// # Errors
    /// When the text is no name.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if text.len() > NAME_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte);
        if !text.bytes().all(allowed) {
            return Err(BadName::Character);
        }
        let name = text.to_ascii_lowercase();
        let (kind, rest) = name.split_once('.').ok_or(BadName::Form)?;
        let fits = match kind {
            "iqn" => is_qualified(rest),
            "eui" => is_hex(rest, &[16]),
            "naa" => is_hex(rest, &[16, 32]),
            _ => false,
        };
        if fits { Ok(Self(name)) } else { Err(BadName::Form) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `YYYY-MM.DOMAIN[:NAME]`
fn is_qualified(rest: &str) -> bool {
    let Some((date, authority)) = rest.split_once('.') else { return false };
    let bytes = date.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    bytes.len() == 7
        && bytes[4] == b'-'
        && digits(0..4)
        && digits(5..7)
        && authority.split(':').next().is_some_and(|domain| !domain.is_empty())
}

fn is_hex(digits: &str, lengths: &[usize]) -> bool {
    lengths.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_field_are_taken() {
        for name in [
            "iqn.1993-08.org.debian:01:5a1c1e8b2d",
            "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test",
            "iqn.1991-05.com.microsoft:host.example.com",
            "iqn.2026-01.io.blockferry:vol",
            "iqn.2001-04.com.example",
            "iqn.1994-05.com.redhat:my_host",
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
        ] {
            assert_eq!(IscsiName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn case_does_not_matter() {
        let name = IscsiName::parse("IQN.2026-01.IO.Blockferry:VOL").unwrap();
        assert_eq!(name, IscsiName::parse("iqn.2026-01.io.blockferry:vol").unwrap());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("iqn.2026-01.io.blockferry:{}", "a".repeat(NAME_BYTES_MAX));
        assert_eq!(IscsiName::parse(&long), Err(BadName::TooLong));
        for name in ["iqn.2026-01.a b", "iqn.2026-01.a:é", "iqn.2026-01.a\0", "iqn.2026-01.a/b"] {
            assert_eq!(IscsiName::parse(name), Err(BadName::Character), "{name}");
        }
        for name in [
            "",
            "vol",
            "iqn",
            "iqn.",
            "iqn.2026-01",
            "iqn.2026-01.",
            "iqn.2026-01.:x",
            "iqn.26-01.a",
            "iqn.2026-1.a",
            "eui.123",
            "eui.02004567a425678g",
            "naa.123",
            "all",
        ] {
            assert_eq!(IscsiName::parse(name), Err(BadName::Form), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_in_normal_form_or_refused(text in "(iqn\\.[0-9-]{7}\\.)?.{0,300}") {
            if let Ok(name) = IscsiName::parse(&text) {
                prop_assert_eq!(IscsiName::parse(name.as_str()), Ok(name));
            }
        }
    }
}
