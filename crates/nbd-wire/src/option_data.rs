//! The data of options as a client sends them, and why it can be refused.

use blockferry_wire::{Fields, TooShort};
use bytes::BufMut;

use crate::constants as c;
use crate::limits::{ARRANGEMENT_BYTES_MAX, META_QUERIES_MAX};
use crate::text;

/// The layout of the private options that this code speaks.
const PRIVATE_VERSION: u16 = 1;

/// Why an option's data was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadOption {
    #[error("the option's data ends early")]
    TooShort,
    #[error("the option's data is longer than its fields")]
    TooLong,
    #[error("more than {META_QUERIES_MAX} queries")]
    TooManyQueries,
    #[error("version {0} is not known here; this side speaks version {PRIVATE_VERSION}")]
    Version(u16),
    #[error("role {0} is not known here")]
    Role(u8),
    #[error("flags {0:#04x} are not known here")]
    Flags(u8),
    #[error("the arrangement address is longer than {ARRANGEMENT_BYTES_MAX} bytes")]
    Arrangement,
    #[error(transparent)]
    Text(#[from] text::BadText),
}

impl From<TooShort> for BadOption {
    fn from(_: TooShort) -> Self {
        Self::TooShort
    }
}

/// The length of something of ours, all of which is far below 4 GiB.
pub(crate) fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Reads the version that every private option begins with.
pub(crate) fn check_version(fields: &mut Fields<'_>) -> Result<(), BadOption> {
    match fields.u16()? {
        PRIVATE_VERSION => Ok(()),
        other => Err(BadOption::Version(other)),
    }
}

/// Writes the version that every private option begins with.
pub(crate) fn put_version(out: &mut impl BufMut) {
    out.put_u16(PRIVATE_VERSION);
}

/// The information that a client asks for in `INFO` and `GO`; what is unknown is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct InfoWishes {
    pub(crate) name: bool,
    pub(crate) description: bool,
    pub(crate) block_size: bool,
}

/// The data of `INFO` and `GO`: the export's name and what the client wants to know.
pub(crate) fn parse_go(data: &[u8]) -> Result<(&str, InfoWishes), BadOption> {
    let mut fields = Fields::new(data);
    let name = text::parse(fields.counted()?)?;
    let mut wishes = InfoWishes::default();
    for _ in 0..fields.u16()? {
        match fields.u16()? {
            c::INFO_NAME => wishes.name = true,
            c::INFO_DESCRIPTION => wishes.description = true,
            c::INFO_BLOCK_SIZE => wishes.block_size = true,
            _ => {}
        }
    }
    if fields.is_empty() { Ok((name, wishes)) } else { Err(BadOption::TooLong) }
}

/// What the queries of a metadata option name, as far as this project knows contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct MetaQueries {
    /// How many there are.
    pub(crate) count: u32,
    /// `base:` is among them: a wildcard in a list, nothing in a selection.
    pub(crate) base: bool,
    /// `base:allocation` is among them.
    pub(crate) allocation: bool,
}

/// The data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`: the export's name and the queries.
/// Unknown namespaces and unknown leaf names are ignored, as the specification asks.
pub(crate) fn parse_meta(data: &[u8]) -> Result<(&str, MetaQueries), BadOption> {
    let mut fields = Fields::new(data);
    let name = text::parse(fields.counted()?)?;
    let mut queries = MetaQueries { count: fields.u32()?, ..MetaQueries::default() };
    if queries.count > META_QUERIES_MAX {
        return Err(BadOption::TooManyQueries);
    }
    for _ in 0..queries.count {
        match text::parse(fields.counted()?)? {
            c::BASE_NAMESPACE => queries.base = true,
            c::BASE_ALLOCATION => queries.allocation = true,
            _ => {}
        }
    }
    if fields.is_empty() { Ok((name, queries)) } else { Err(BadOption::TooLong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_length_beyond_the_data_is_refused() {
        assert_eq!(parse_go(&[0, 0, 0, 9, b'a', 0, 0]), Err(BadOption::TooShort));
        assert_eq!(parse_go(&[0xff, 0xff, 0xff, 0xff, b'a', 0, 0]), Err(BadOption::TooShort));
    }

    #[test]
    fn information_that_is_unknown_is_ignored() {
        let (name, wishes) = parse_go(&[0, 0, 0, 1, b'a', 0, 2, 0, 3, 0x77, 0]).unwrap();
        assert_eq!(name, "a");
        assert_eq!(wishes, InfoWishes { block_size: true, ..InfoWishes::default() });
    }

    #[test]
    fn data_after_the_last_field_is_refused() {
        assert_eq!(parse_go(&[0, 0, 0, 0, 0, 0, 1]), Err(BadOption::TooLong));
        assert_eq!(parse_meta(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), Err(BadOption::TooLong));
    }

    #[test]
    fn a_query_length_beyond_the_data_is_refused() {
        assert_eq!(
            parse_meta(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, b'a']),
            Err(BadOption::TooShort)
        );
    }

    #[test]
    fn more_than_16_queries_are_refused_before_they_are_read() {
        assert_eq!(parse_meta(&[0, 0, 0, 0, 0, 0, 0, 17]), Err(BadOption::TooManyQueries));
    }
}
