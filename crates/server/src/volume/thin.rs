//! Thin stays thin: zeroes that lie in the data of the ordered copy.
//!
//! The source tells them apart where that costs no request more: at the edges of data, where they
//! join the hole beside it, and in long runs. The destination, which knows where nothing was ever
//! written, leaves out the rest. So a volume is as thin after the move as its file system can make
//! it, whatever the copy's chunks and the digest's leaves are.

use std::mem;
use std::ops::Range;

use blockferry_device::{Device, Failure, ReadPart, Reply, Request, zero_runs};
use bytes::Bytes;
use futures_util::future::try_join_all;

/// Shortest run of zeroes between data that is told as a hole, in bytes: each is a request of its own
/// in a copy that waits for every answer.
const HOLE_MIN: usize = 64 << 10;

/// What was read, with its zeroes told as holes where that is worth it. Where it was read in pieces, as
/// long as they are whole blocks, makes no difference.
pub(super) struct Thin {
    parts: Vec<ReadPart>,
    /// Data without a hole since `start`, in the pieces in which it was read, and where it is zeroes.
    start: u64,
    data: Vec<Bytes>,
    length: usize,
    zeroes: Vec<Range<usize>>,
}

impl Thin {
    /// Nothing yet, at `offset`.
    pub(super) fn at(offset: u64) -> Self {
        let (parts, data, zeroes) = (Vec::new(), Vec::new(), Vec::new());
        Self { parts, start: offset, data, length: 0, zeroes }
    }

    /// Takes what was read next.
    pub(super) fn push(&mut self, part: ReadPart) {
        match part {
            ReadPart::Hole(length) => {
                self.close();
                self.parts.push(part);
                self.start += length;
            }
            ReadPart::Data(data) => {
                self.note_zeroes(&data);
                self.length += data.len();
                self.data.push(data);
            }
        }
    }

    /// All of it.
    pub(super) fn into_parts(mut self) -> Vec<ReadPart> {
        self.close();
        self.parts
    }

    fn note_zeroes(&mut self, data: &[u8]) {
        let begun = self.length;
        let runs = zero_runs(self.start + begun as u64, data);
        for run in runs.into_iter().filter(|run| run.zero) {
            let run = begun + run.range.start..begun + run.range.end;
            match self.zeroes.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => self.zeroes.push(run),
            }
        }
    }

    /// The data ends here: long runs of zeroes inside it are holes, and all at its edges.
    fn close(&mut self) {
        let (data, zeroes) = (mem::take(&mut self.data), mem::take(&mut self.zeroes));
        let length = mem::take(&mut self.length);
        let is_hole =
            |run: &Range<usize>| run.start == 0 || run.end == length || run.len() >= HOLE_MIN;
        let mut at = 0;
        for hole in zeroes.into_iter().filter(is_hole) {
            self.parts.extend(between(&data, at..hole.start));
            self.parts.push(ReadPart::Hole(hole.len() as u64));
            at = hole.end;
        }
        self.parts.extend(between(&data, at..length));
        self.start += length as u64;
    }
}

/// What of the data lies in the range.
fn between(data: &[Bytes], range: Range<usize>) -> impl Iterator<Item = ReadPart> {
    let mut begun = 0;
    data.iter().filter_map(move |piece| {
        let end = begun + piece.len();
        let inside = range.start.clamp(begun, end)..range.end.clamp(begun, end);
        let part = piece.slice(inside.start - begun..inside.end - begun);
        begun = end;
        (!part.is_empty()).then_some(ReadPart::Data(part))
    })
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

    fn with_holes(offset: u64, parts: &[ReadPart]) -> Vec<ReadPart> {
        let mut thin = Thin::at(offset);
        parts.iter().for_each(|part| thin.push(part.clone()));
        thin.into_parts()
    }

    fn lengths(parts: &[ReadPart]) -> Vec<(bool, u64)> {
        parts.iter().map(|part| (matches!(part, ReadPart::Hole(_)), part.len())).collect()
    }

    #[test]
    fn zeroes_around_data_are_holes_and_short_ones_inside_it_are_not() {
        let data = content(16 * BLOCK, &[3 * BLOCK, 5 * BLOCK]);
        let thin = with_holes(0, &[ReadPart::Data(data.clone())]);
        let block = BLOCK as u64;
        assert_eq!(lengths(&thin), [(true, 3 * block), (false, 3 * block), (true, 10 * block)]);
        assert_eq!(thin[1], ReadPart::Data(data.slice(3 * BLOCK..6 * BLOCK)));
    }

    #[test]
    fn a_long_run_of_zeroes_inside_data_is_a_hole() {
        let data = content(HOLE_MIN + 2 * BLOCK, &[0, HOLE_MIN + BLOCK]);
        let thin = with_holes(0, &[ReadPart::Data(data)]);
        let block = BLOCK as u64;
        assert_eq!(lengths(&thin), [(false, block), (true, HOLE_MIN as u64), (false, block)]);
    }

    #[test]
    fn how_data_was_cut_when_it_was_read_makes_no_difference() {
        let data = content(4 * HOLE_MIN, &[BLOCK, 2 * BLOCK, HOLE_MIN, 3 * HOLE_MIN]);
        let whole = with_holes(BLOCK as u64, &[ReadPart::Data(data.clone())]);
        assert_eq!(whole.iter().filter(|part| !part.is_data()).count(), 3);
        for cut in [BLOCK, 3 * BLOCK, HOLE_MIN] {
            let pieces: Vec<_> = data.chunks(cut).map(Bytes::copy_from_slice).collect();
            let pieces: Vec<_> = pieces.into_iter().map(ReadPart::Data).collect();
            let thin = joined(&with_holes(BLOCK as u64, &pieces));
            assert_eq!(thin, whole, "cut after {cut} bytes each");
        }
    }

    /// Adjacent data as one part.
    fn joined(parts: &[ReadPart]) -> Vec<ReadPart> {
        let runs = parts.chunk_by(|one, next| one.is_data() && next.is_data());
        let join = |run: &[ReadPart]| {
            let data: Vec<&[u8]> = run.iter().filter_map(ReadPart::data).map(|d| &d[..]).collect();
            match data.is_empty() {
                true => run[0].clone(),
                false => ReadPart::Data(data.concat().into()),
            }
        };
        runs.map(join).collect()
    }

    #[test]
    fn dense_data_stays_one_part() {
        let data = Bytes::from(vec![1; 1 << 20]);
        let thin = with_holes(4096, &[ReadPart::Hole(7), ReadPart::Data(data.clone())]);
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
