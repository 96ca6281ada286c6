//! Thin stays thin: zeroes that lie in the data of the ordered copy.
//!
//! The source tells them apart where that costs no request more: at the edges of data, where they
//! join the hole beside it, and in long runs. The destination, which knows where nothing was ever
//! written, leaves out the rest. So a volume is as thin after the move as its file system can make
//! it, whatever the copy's chunks and the digest's leaves are.

use std::ops::Range;

use blockferry_device::{Device, Failure, ReadPart, Reply, Request, ZeroRun, zero_runs};
use bytes::Bytes;
use futures_util::future::try_join_all;

/// Shortest run of zeroes between data that is told as a hole, in bytes: each is a request of its own
/// in a copy that waits for every answer.
const HOLE_MIN: usize = 64 << 10;

/// What was read at `offset`, with its zeroes told as holes where that is worth it.
pub(super) fn with_holes(offset: u64, parts: Vec<ReadPart>) -> Vec<ReadPart> {
    let mut thin = Vec::with_capacity(parts.len());
    let mut at = offset;
    for part in parts {
        let next = at + part.len();
        match part {
            ReadPart::Hole(_) => thin.push(part),
            ReadPart::Data(data) => {
                let pieces = split(at, &data).into_iter();
                thin.extend(pieces.map(|run| match run.zero {
                    true => ReadPart::Hole(run.range.len() as u64),
                    false => ReadPart::Data(data.slice(run.range)),
                }));
            }
        }
        at = next;
    }
    thin
}

/// Runs of data, each with the short runs of zeroes inside it, and the zeroes around them.
fn split(offset: u64, data: &Bytes) -> Vec<ZeroRun> {
    let mut split: Vec<ZeroRun> = Vec::new();
    for run in zero_runs(offset, data) {
        let at_edge = run.range.start == 0 || run.range.end == data.len();
        let zero = run.zero && (at_edge || run.range.len() >= HOLE_MIN);
        match split.last_mut() {
            Some(last) if last.zero == zero => last.range.end = run.range.end,
            _ => split.push(ZeroRun { zero, ..run }),
        }
    }
    split
}

/// Executes a write, or a writing of zeroes, where the store reads as zeroes already.
pub(super) async fn write_where_nothing_is(
    store: &dyn Device,
    request: Request,
) -> Result<Reply, Failure> {
    let Request::Write { offset, data, fua } = request else { return Ok(Reply::Done) };
    let write = |range: Range<usize>| {
        let offset = offset + range.start as u64;
        store.call(Request::Write { offset, data: data.slice(range), fua })
    };
    let runs = zero_runs(offset, &data).into_iter().filter(|run| !run.zero);
    try_join_all(runs.map(|run| write(run.range))).await?;
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use blockferry_block::Extent;
    use blockferry_store::MemoryStore;

    use super::*;

    const BLOCK: usize = 4096;

    fn content(length: usize, nonzero: &[usize]) -> Bytes {
        let mut content = vec![0; length];
        nonzero.iter().for_each(|at| content[*at] = 0xAA);
        content.into()
    }

    fn lengths(parts: &[ReadPart]) -> Vec<(bool, u64)> {
        parts.iter().map(|part| (matches!(part, ReadPart::Hole(_)), part.len())).collect()
    }

    #[test]
    fn zeroes_around_data_are_holes_and_short_ones_inside_it_are_not() {
        let data = content(16 * BLOCK, &[3 * BLOCK, 5 * BLOCK]);
        let thin = with_holes(0, vec![ReadPart::Data(data.clone())]);
        let block = BLOCK as u64;
        assert_eq!(lengths(&thin), [(true, 3 * block), (false, 3 * block), (true, 10 * block)]);
        assert_eq!(thin[1], ReadPart::Data(data.slice(3 * BLOCK..6 * BLOCK)));
    }

    #[test]
    fn a_long_run_of_zeroes_inside_data_is_a_hole() {
        let data = content(HOLE_MIN + 2 * BLOCK, &[0, HOLE_MIN + BLOCK]);
        let thin = with_holes(0, vec![ReadPart::Data(data)]);
        let block = BLOCK as u64;
        assert_eq!(lengths(&thin), [(false, block), (true, HOLE_MIN as u64), (false, block)]);
    }

    #[test]
    fn dense_data_stays_one_part() {
        let data = Bytes::from(vec![1; 1 << 20]);
        let thin = with_holes(4096, vec![ReadPart::Hole(7), ReadPart::Data(data.clone())]);
        assert_eq!(thin, [ReadPart::Hole(7), ReadPart::Data(data)]);
    }

    #[tokio::test]
    async fn a_write_where_nothing_is_leaves_the_same_content_as_any_other() {
        let data = content(8 * BLOCK, &[0, 2 * BLOCK + 1, 7 * BLOCK]);
        let store = MemoryStore::new(9 * BLOCK as u64);
        let request = Request::Write { offset: 100, data: data.clone(), fua: false };
        write_where_nothing_is(&store, request).await.expect("inside the store");
        let extent = Extent::between(100, 100 + data.len() as u64);
        let read = store.call(Request::Read { extent, dont_fragment: true }).await;
        assert_eq!(read, Ok(Reply::Read(vec![ReadPart::Data(data)])));
    }
}
