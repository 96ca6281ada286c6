//! Blocks of zeroes in content, so that what is empty can stay unwritten.

use std::ops::Range;

/// What is looked for: whole blocks of this many bytes of the volume, the unit in which file systems
/// allocate.
pub const ZERO_BLOCK: usize = 4096;

/// A part of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroRun {
    /// Where it lies in the content, never empty.
    pub range: Range<usize>,
    /// Whether all of it is zeroes.
    pub zero: bool,
}

/// Cuts content that belongs at `offset` of a volume into runs that are all zeroes and runs of blocks
/// that are not, one after the other. It is cut at multiples of [`ZERO_BLOCK`] of the volume only.
pub fn zero_runs(offset: u64, content: &[u8]) -> Vec<ZeroRun> {
    let mut runs: Vec<ZeroRun> = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let end = content.len().min(at + to_boundary(offset, at));
        let zero = is_zero(&content[at..end]);
        match runs.last_mut() {
            Some(last) if last.zero == zero => last.range.end = end,
            _ => runs.push(ZeroRun { range: at..end, zero }),
        }
        at = end;
    }
    runs
}

/// Bytes from `at` in content at `offset` to the volume's next block.
fn to_boundary(offset: u64, at: usize) -> usize {
    let block = ZERO_BLOCK as u64;
    let into = (offset % block + at as u64 % block) % block;
    usize::try_from(block - into).unwrap_or(ZERO_BLOCK)
}

fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(range: Range<usize>, zero: bool) -> ZeroRun {
        ZeroRun { range, zero }
    }

    #[test]
    fn content_is_cut_at_the_blocks_of_the_volume() {
        let mut content = vec![0; 4 * ZERO_BLOCK];
        content[ZERO_BLOCK + 5] = 1;
        let block = ZERO_BLOCK;
        assert_eq!(
            zero_runs(0, &content),
            [run(0..block, true), run(block..2 * block, false), run(2 * block..4 * block, true)]
        );
        assert_eq!(
            zero_runs(block as u64 - 10, &content),
            [run(0..10, true), run(10..block + 10, false), run(block + 10..4 * block, true)]
        );
    }

    #[test]
    fn one_bit_anywhere_in_a_block_keeps_it() {
        for at in [0, 63, 64, 100, ZERO_BLOCK - 1] {
            let mut content = vec![0; ZERO_BLOCK];
            content[at] = 0x80;
            assert_eq!(zero_runs(0, &content), [run(0..ZERO_BLOCK, false)], "byte {at}");
        }
    }

    #[test]
    fn short_content_and_no_content_are_cut_too() {
        assert_eq!(zero_runs(7, &[]), []);
        assert_eq!(zero_runs(7, &[0; 100]), [run(0..100, true)]);
        assert_eq!(zero_runs(u64::MAX - 100, &[1; 100]), [run(0..100, false)]);
    }
}
