//! The parameter list of UNMAP (SBC-3 5.28.2).

use blockferry_wire::Fields;

use crate::geometry::{Lba, Range};
use crate::limits::{UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX};
use crate::sense::Sense;

/// Length of a descriptor, in bytes.
const DESCRIPTOR_BYTES: usize = 16;
/// Where the length of the descriptors stands.
const LENGTH_AT: usize = 2;
/// Where the first descriptor stands.
const DESCRIPTORS_AT: usize = 8;

/// The blocks of each descriptor, in their order; a descriptor that is cut is ignored.
///
/// # Errors
/// The sense to answer with: a list shorter than it says, or one with more descriptors or blocks
/// than the Block Limits page allows.
pub(crate) fn ranges(list: &[u8]) -> Result<Vec<Range>, Sense> {
    let mut fields = Fields::new(list);
    // The list's own length says nothing that the descriptors' does not.
    fields.u16()?;
    let length = usize::from(fields.u16()?);
    fields.u32()?;
    let descriptors = fields.bytes(length)?.chunks_exact(DESCRIPTOR_BYTES);
    if descriptors.len() > usize::from(UNMAP_DESCRIPTORS_MAX) {
        return Err(Sense::parameter_field(LENGTH_AT));
    }
    let mut ranges = Vec::with_capacity(descriptors.len());
    let mut blocks_left = UNMAP_BLOCKS_MAX;
    for (index, descriptor) in descriptors.enumerate() {
        let mut fields = Fields::new(descriptor);
        let range = Range { lba: Lba(fields.u64()?), blocks: fields.u32()? };
        blocks_left = blocks_left
            .checked_sub(range.blocks)
            .ok_or(Sense::parameter_field(DESCRIPTORS_AT + index * DESCRIPTOR_BYTES + 8))?;
        ranges.push(range);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::SenseCode;

    fn list(ranges: &[(u64, u32)]) -> Vec<u8> {
        let length = u16::try_from(ranges.len() * DESCRIPTOR_BYTES).unwrap();
        let mut list = (length + 6).to_be_bytes().to_vec();
        list.extend(length.to_be_bytes());
        list.extend([0; 4]);
        for (lba, blocks) in ranges {
            list.extend(lba.to_be_bytes());
            list.extend(blocks.to_be_bytes());
            list.extend([0; 4]);
        }
        list
    }

    #[test]
    fn descriptors_are_read_in_order_and_empty_ones_are_kept() {
        let range = |lba, blocks| Range { lba: Lba(lba), blocks };
        let expected = vec![range(u64::MAX, 0), range(8, 16)];
        assert_eq!(ranges(&list(&[(u64::MAX, 0), (8, 16)])), Ok(expected));
        assert_eq!(ranges(&list(&[])), Ok(Vec::new()));
    }

    #[test]
    fn a_list_shorter_than_it_says_is_refused_wherever_it_is_cut() {
        let whole = list(&[(0, 1), (8, 1)]);
        for end in 0..whole.len() {
            let refused = ranges(&whole[..end]).unwrap_err();
            assert_eq!(refused.code, SenseCode::PARAMETER_LIST_LENGTH, "cut at {end}");
        }
    }

    #[test]
    fn the_last_descriptor_is_ignored_if_its_length_leaves_it_incomplete() {
        let mut cut = list(&[(0, 1), (8, 1)]);
        cut[3] -= 1;
        assert_eq!(ranges(&cut).map(|ranges| ranges.len()), Ok(1));
    }

    #[test]
    fn descriptors_and_blocks_beyond_the_limits_are_refused() {
        let most = vec![(0, 1); usize::from(UNMAP_DESCRIPTORS_MAX)];
        assert!(ranges(&list(&most)).is_ok());
        let more = vec![(0, 1); usize::from(UNMAP_DESCRIPTORS_MAX) + 1];
        assert_eq!(ranges(&list(&more)), Err(Sense::parameter_field(2)));
        assert!(ranges(&list(&[(0, UNMAP_BLOCKS_MAX), (0, 0)])).is_ok());
        let more = list(&[(0, UNMAP_BLOCKS_MAX), (0, 1)]);
        assert_eq!(ranges(&more), Err(Sense::parameter_field(32)));
    }
}
