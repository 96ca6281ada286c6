//! The answer to GET LBA STATUS (SBC-3 5.4.2): runs of bytes as runs of blocks.

use blockferry_block::Extent;

use crate::geometry::{Geometry, Lba};
use crate::work::Run;

/// Length of the answer's header, in bytes.
const HEADER_BYTES: usize = 8;
/// Length of a descriptor, in bytes.
const DESCRIPTOR_BYTES: usize = 16;
/// The blocks have space.
const MAPPED: u8 = 0;
/// The blocks have none.
const DEALLOCATED: u8 = 1;

/// How many descriptors fit into an answer of so many bytes.
pub(crate) const fn descriptors(room: usize) -> usize {
    room.saturating_sub(HEADER_BYTES) / DESCRIPTOR_BYTES
}

/// Consecutive blocks in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
    lba: u64,
    count: u64,
    mapped: bool,
}

/// Describes the blocks of the extent from its start on: at least one run, at most `runs_max`. A
/// block has space if any of its bytes has.
pub(crate) fn answer(
    geometry: &Geometry,
    extent: Extent,
    runs: &[Run],
    runs_max: usize,
) -> Vec<u8> {
    let mut list = Vec::new();
    for blocks in blocks(geometry, extent, runs).into_iter().take(runs_max) {
        let count = u32::try_from(blocks.count).unwrap_or(u32::MAX);
        list.extend(blocks.lba.to_be_bytes());
        list.extend(count.to_be_bytes());
        list.extend([if blocks.mapped { MAPPED } else { DEALLOCATED }, 0, 0, 0]);
        if blocks.count > u64::from(count) {
            // The next descriptor would have to begin where this one ends.
            break;
        }
    }
    // The length counts what follows it.
    let length = u32::try_from(list.len() + 4).unwrap_or(u32::MAX);
    let mut answer = length.to_be_bytes().to_vec();
    answer.extend([0; 4]);
    answer.extend(list);
    answer
}

fn blocks(geometry: &Geometry, extent: Extent, runs: &[Run]) -> Vec<Blocks> {
    let length = u64::from(geometry.block_bytes());
    let Lba(first) = geometry.block_of(extent.start());
    let end = extent.end() / length;
    let mut blocks: Vec<Blocks> = Vec::new();
    let (mut byte, mut next) = (extent.start(), first);
    for run in runs {
        byte = byte.saturating_add(run.length).min(extent.end());
        let until = if run.mapped { byte.div_ceil(length) } else { byte / length };
        let count = until.saturating_sub(next);
        match blocks.last_mut() {
            _ if count == 0 => {}
            Some(last) if last.mapped == run.mapped => last.count += count,
            _ => blocks.push(Blocks { lba: next, count, mapped: run.mapped }),
        }
        next = next.max(until);
    }
    if blocks.is_empty() {
        // Of what nobody tells, nothing may be promised.
        blocks.push(Blocks { lba: first, count: end.saturating_sub(first), mapped: true });
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{BlockLength, PhysicalBlock};

    fn told(start: u64, runs: &[(u64, bool)], runs_max: usize) -> Vec<(u64, u32, u8)> {
        let size = 1 << 45;
        let geometry = Geometry::new(size, BlockLength::B512, PhysicalBlock::B4096).unwrap();
        let runs: Vec<_> = runs.iter().map(|&(length, mapped)| Run { length, mapped }).collect();
        let answer = answer(&geometry, Extent::between(start, size), &runs, runs_max);
        let (header, list) = answer.split_at(HEADER_BYTES);
        assert_eq!(header[..4], u32::try_from(list.len() + 4).unwrap().to_be_bytes());
        let descriptor = |bytes: &[u8]| {
            let lba = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            let count = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
            (lba, count, bytes[12])
        };
        list.chunks_exact(DESCRIPTOR_BYTES).map(descriptor).collect()
    }

    #[test]
    fn runs_are_told_from_the_block_that_was_asked_for() {
        let told = told(8 * 512, &[(4096, false), (8192, true)], 10);
        assert_eq!(told, [(8, 8, DEALLOCATED), (16, 16, MAPPED)]);
    }

    #[test]
    fn a_block_has_space_if_any_of_its_bytes_has() {
        let told = told(0, &[(700, false), (100, true), (800, false), (448, true)], 10);
        assert_eq!(
            told,
            [(0, 1, DEALLOCATED), (1, 1, MAPPED), (2, 1, DEALLOCATED), (3, 1, MAPPED)]
        );
    }

    #[test]
    fn neighbours_of_one_state_are_one_run() {
        let told = told(0, &[(512, true), (512, true), (100, true), (412, false)], 10);
        assert_eq!(told, [(0, 3, MAPPED)]);
    }

    #[test]
    fn no_more_runs_are_told_than_were_asked_for() {
        assert_eq!(told(0, &[(512, true), (512, false), (512, true)], 2).len(), 2);
    }

    #[test]
    fn what_nobody_tells_of_has_space() {
        assert_eq!(told(0, &[], 10), [(0, u32::MAX, MAPPED)]);
        assert_eq!(told(0, &[(100, false)], 10), [(0, u32::MAX, MAPPED)]);
    }

    #[test]
    fn a_run_too_long_for_its_field_is_cut_and_ends_the_list() {
        let told = told(0, &[(1 << 44, false), (512, true)], 10);
        assert_eq!(told, [(0, u32::MAX, DEALLOCATED)]);
    }
}
