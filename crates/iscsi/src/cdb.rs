//! Command descriptor blocks, and the additional header segments that hold the end of long ones (RFC
//! 7143 section 11.2.2).

use std::fmt;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};

/// The part of a CDB that the basic header holds, in bytes.
const SHORT_BYTES: usize = 16;
/// The longest CDB, in bytes (SPC-4 4.2.3).
const CDB_BYTES_MAX: usize = 260;
/// Length and type of an additional header segment, in bytes.
const AHS_HEAD_BYTES: usize = 3;
const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;
/// The bits of a segment's type that name it.
const TYPE_MASK: u8 = 0x3f;

/// A command descriptor block of 16 to 260 bytes. A shorter one is filled up with zeroes.
#[derive(Clone, PartialEq, Eq)]
pub struct Cdb {
    short: [u8; SHORT_BYTES],
    long: Option<Bytes>,
}

/// What is wrong with additional header segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadAhs {
    /// Lengths that contradict each other, or a type that does not exist.
    Malformed,
    /// A length of data to be read beside data to be written.
    Bidirectional,
}

impl Cdb {
    /// A block of at most 16 bytes.
    pub const fn short(bytes: [u8; SHORT_BYTES]) -> Self {
        Self { short: bytes, long: None }
    }

    /// The block whose end may stand in additional header segments.
    pub(crate) fn with_ahs(short: [u8; SHORT_BYTES], mut ahs: &[u8]) -> Result<Self, BadAhs> {
        let mut cdb = Self::short(short);
        while let Some((head, rest)) = ahs.split_at_checked(AHS_HEAD_BYTES) {
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let content = rest.get(..length).ok_or(BadAhs::Malformed)?;
            match head[2] & TYPE_MASK {
                EXTENDED_CDB if cdb.long.is_none() => cdb.extend(content)?,
                BIDIRECTIONAL_READ_LENGTH => return Err(BadAhs::Bidirectional),
                _ => return Err(BadAhs::Malformed),
            }
            let whole = (AHS_HEAD_BYTES + length).next_multiple_of(4);
            ahs = ahs.get(whole..).ok_or(BadAhs::Malformed)?;
        }
        if ahs.is_empty() { Ok(cdb) } else { Err(BadAhs::Malformed) }
    }

    /// Adds what a segment holds: a reserved byte and the end of the block.
    fn extend(&mut self, content: &[u8]) -> Result<(), BadAhs> {
        let (_, end) = content.split_first().ok_or(BadAhs::Malformed)?;
        let length = SHORT_BYTES + end.len();
        if length > CDB_BYTES_MAX {
            return Err(BadAhs::Malformed);
        }
        let mut whole = BytesMut::with_capacity(length);
        whole.extend_from_slice(&self.short);
        whole.extend_from_slice(end);
        self.long = Some(whole.freeze());
        Ok(())
    }
}

impl Deref for Cdb {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.long.as_deref().unwrap_or(&self.short)
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", &**self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_segment_a_block_has_16_bytes() {
        assert_eq!(*Cdb::with_ahs([7; 16], &[]).unwrap(), [7; 16]);
    }

    #[test]
    fn the_end_of_a_long_block_comes_from_its_segment() {
        let ahs = [&[0, 17, 1, 0][..], &[9; 16]].concat();
        let cdb = Cdb::with_ahs([7; 16], &ahs).unwrap();
        assert_eq!(*cdb, [[7; 16], [9; 16]].concat());
        let longest = [&[0, 245, 1, 0][..], &[9; 244]].concat();
        assert_eq!(Cdb::with_ahs([7; 16], &longest).unwrap().len(), 260);
    }

    #[test]
    fn a_read_length_beside_a_write_is_refused() {
        let refused = Cdb::with_ahs([0; 16], &[0, 5, 2, 0, 0, 0, 16, 0]);
        assert_eq!(refused, Err(BadAhs::Bidirectional));
    }

    #[test]
    fn malformed_segments_are_refused() {
        let too_long = [&[0, 249, 1, 0][..], &[9; 248]].concat();
        let twice = [0, 2, 1, 0, 9, 0, 0, 0].repeat(2);
        for ahs in [
            &[0, 0, 1, 0][..],
            &[0, 6, 1, 0, 1, 2, 3, 4],
            &[0, 5, 9, 0, 1, 2, 3, 4],
            &too_long,
            &twice,
        ] {
            assert_eq!(Cdb::with_ahs([0; 16], ahs), Err(BadAhs::Malformed), "{ahs:?}");
        }
    }

    proptest! {
        #[test]
        fn any_segments_are_a_block_or_refused(ahs: Vec<u8>) {
            if let Ok(cdb) = Cdb::with_ahs([0; 16], &ahs) {
                prop_assert!((SHORT_BYTES..=CDB_BYTES_MAX).contains(&cdb.len()));
            }
        }
    }
}
