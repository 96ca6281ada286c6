//! Reads fields of a command descriptor block that has been checked against its usage map.

use std::ops;

use bytes::Bytes;

use crate::geometry::{Lba, Range};
use crate::table::Form;

/// A command descriptor block. What would lie beyond its end reads as zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cdb<'a>(&'a [u8]);

/// How many bytes of an answer the initiator has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allocation(pub(crate) u32);

impl<'a> Cdb<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(self, index: usize) -> u8 {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// Whether any bit of the mask is set.
    pub(crate) fn has(self, index: usize, mask: u8) -> bool {
        self.byte(index) & mask != 0
    }

    /// A big-endian number of at most eight bytes.
    pub(crate) fn number(self, bytes: ops::Range<usize>) -> u64 {
        bytes.fold(0, |number, index| number << 8 | u64::from(self.byte(index)))
    }

    /// A big-endian number of at most four bytes.
    pub(crate) fn number_u32(self, bytes: ops::Range<usize>) -> u32 {
        bytes.fold(0, |number, index| number << 8 | u32::from(self.byte(index)))
    }

    pub(crate) fn allocation(self, bytes: ops::Range<usize>) -> Allocation {
        Allocation(self.number_u32(bytes))
    }

    /// Address and length. Zero blocks mean 256 in the oldest form (SBC-3 5.10).
    pub(crate) fn range(self, form: Form) -> Range {
        let (lba, blocks) = match form {
            Form::Six => {
                let length = self.number_u32(4..5);
                let blocks = if length == 0 { 256 } else { length };
                (self.number(1..4) & 0x1f_ffff, blocks)
            }
            Form::Ten => (self.number(2..6), self.number_u32(7..9)),
            Form::Twelve => (self.number(2..6), self.number_u32(6..10)),
            Form::Sixteen => (self.number(2..10), self.number_u32(10..14)),
        };
        Range { lba: Lba(lba), blocks }
    }
}

impl Allocation {
    /// The beginning of the answer for which there is room; a cut is no error (SPC-4 4.2.5.6).
    pub(crate) fn cut(self, mut answer: Vec<u8>) -> Bytes {
        answer.truncate(self.bytes());
        Bytes::from(answer)
    }

    pub(crate) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_length_stand_where_each_form_has_them() {
        let bytes: Vec<u8> = (0..16).map(|byte| 0xf0 | byte).collect();
        let cdb = Cdb::new(&bytes);
        let range = |lba, blocks| Range { lba: Lba(lba), blocks };
        assert_eq!(cdb.range(Form::Six), range(0x11_f2f3, 0xf4));
        assert_eq!(cdb.range(Form::Ten), range(0xf2f3_f4f5, 0xf7f8));
        assert_eq!(cdb.range(Form::Twelve), range(0xf2f3_f4f5, 0xf6f7_f8f9));
        assert_eq!(cdb.range(Form::Sixteen), range(0xf2f3_f4f5_f6f7_f8f9, 0xfafb_fcfd));
    }

    #[test]
    fn no_blocks_are_256_in_the_oldest_form_alone() {
        let cdb = Cdb::new(&[0; 16]);
        assert_eq!(cdb.range(Form::Six).blocks, 256);
        for form in [Form::Ten, Form::Twelve, Form::Sixteen] {
            assert_eq!(cdb.range(form).blocks, 0);
        }
    }

    #[test]
    fn an_answer_is_cut_to_the_room_there_is() {
        assert_eq!(Allocation(2).cut(vec![1, 2, 3]), &[1, 2][..]);
        assert_eq!(Allocation(u32::MAX).cut(vec![1, 2, 3]), &[1, 2, 3][..]);
        assert!(Allocation(0).cut(vec![1, 2, 3]).is_empty());
    }
}
