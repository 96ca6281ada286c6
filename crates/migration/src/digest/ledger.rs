//! The source's side of the digest: what the copier was last given of every leaf.
//!
//! A copier that died may read a chunk again, and then the later answer counts. So beyond the last
//! checkpoint the digests of leaves are kept one by one, and folded into the stream's state when the
//! destination has confirmed them.

use std::collections::BTreeMap;

use blockferry_block::Extent;

use super::{Digest, Frontier, LEAF, Piece};

/// Digests of the leaves that were handed to the copier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    base: Frontier,
    runs: BTreeMap<u64, Run>,
    tail: Option<Tail>,
}

/// What stands from a leaf on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Run {
    Leaf(Digest),
    Zeroes(u64),
}

impl Run {
    const fn len(&self) -> u64 {
        match self {
            Self::Leaf(_) => LEAF,
            Self::Zeroes(length) => *length,
        }
    }
}

/// The bytes of a last leaf that is short: the stream's state wants them, not their digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Tail {
    start: u64,
    bytes: Vec<u8>,
}

/// The digests of one answer to the copier; made without the ledger, since hashing takes time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Noted {
    extent: Extent,
    runs: Vec<(u64, Run)>,
    tail: Option<Tail>,
}

impl Noted {
    /// The digests of `content` at `start` in a volume of `size` bytes. Leaves that it covers only in
    /// part become unknown, so that a comparison over them is not made rather than wrong.
    pub fn of(start: u64, content: &[Piece<'_>], size: u64) -> Self {
        let length: u64 = content.iter().map(|piece| piece_len(*piece)).sum();
        let extent = Extent::between(start, start + length);
        if !start.is_multiple_of(LEAF) {
            return Self { extent, runs: Vec::new(), tail: None };
        }
        let mut leaves = Leaves { at: start, partial: Vec::new(), size, runs: Vec::new() };
        content.iter().for_each(|piece| leaves.push(*piece));
        let at_end = extent.end() == size && !leaves.partial.is_empty();
        let tail = at_end.then_some(Tail { start: leaves.at, bytes: leaves.partial });
        Self { extent, runs: leaves.runs, tail }
    }
}

impl Ledger {
    /// A ledger that goes on from a checkpoint.
    pub fn resume(base: Frontier) -> Self {
        Self { base, ..Self::default() }
    }

    /// The address of the last checkpoint, in bytes.
    pub fn base(&self) -> u64 {
        self.base.len()
    }

    /// The stream's state at the last checkpoint.
    pub fn base_state(&self) -> &Frontier {
        &self.base
    }

    /// Notes what the copier was given; it replaces what it was given there before.
    pub fn note(&mut self, noted: Noted) {
        self.forget(noted.extent);
        self.runs.extend(noted.runs);
        self.tail = noted.tail.or_else(|| self.tail.take());
    }

    /// The digest of the first `address` bytes; `None` when some of it was not given to the copier
    /// leaf by leaf.
    pub fn digest(&self, address: u64) -> Option<Digest> {
        self.fold(address).map(|state| state.digest())
    }

    /// Makes a confirmed address the new base.
    pub fn confirm(&mut self, state: Frontier) {
        let address = state.len();
        self.base = state;
        let later = self.runs.split_off(&address);
        let last = std::mem::replace(&mut self.runs, later).pop_last();
        if let Some((start, Run::Zeroes(length))) = last
            && start + length > address
        {
            self.runs.insert(address, Run::Zeroes(start + length - address));
        }
    }

    /// The state of the stream at `address`.
    pub fn fold(&self, address: u64) -> Option<Frontier> {
        let mut state = self.base.clone();
        for (start, run) in self.runs.range(state.len()..) {
            if *start >= address || *start != state.len() {
                break;
            }
            match run {
                Run::Leaf(digest) => state.push_leaf(*digest),
                Run::Zeroes(length) => {
                    state.push(Piece::Zeroes((*length).min(address - *start)));
                }
            }
        }
        if let Some(tail) = &self.tail
            && tail.start == state.len()
            && state.len() < address
        {
            state.push(Piece::Data(&tail.bytes));
        }
        (state.len() == address).then_some(state)
    }

    fn forget(&mut self, extent: Extent) {
        self.tail.take_if(|tail| extent.end() > tail.start);
        let before = self.runs.range(..extent.start()).next_back().map(|(s, r)| (*s, *r));
        if let Some((start, run)) = before
            && start + run.len() > extent.start()
        {
            self.cut(start, run, extent);
        }
        let inside: Vec<_> =
            self.runs.range(extent.start()..extent.end()).map(|(s, r)| (*s, *r)).collect();
        for (start, run) in inside {
            self.cut(start, run, extent);
        }
    }

    /// Removes the part of a run that the extent touches, whole leaves at a time.
    fn cut(&mut self, start: u64, run: Run, extent: Extent) {
        self.runs.remove(&start);
        let Run::Zeroes(length) = run else { return };
        let left = extent.start() / LEAF * LEAF;
        let right = extent.end().next_multiple_of(LEAF);
        if left > start {
            self.runs.insert(start, Run::Zeroes(left - start));
        }
        if right < start + length {
            self.runs.insert(right, Run::Zeroes(start + length - right));
        }
    }
}

const fn piece_len(piece: Piece<'_>) -> u64 {
    match piece {
        Piece::Data(bytes) => bytes.len() as u64,
        Piece::Zeroes(length) => length,
    }
}

/// Cuts content into leaves.
struct Leaves {
    at: u64,
    partial: Vec<u8>,
    size: u64,
    runs: Vec<(u64, Run)>,
}

impl Leaves {
    fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Data(bytes) => self.push_bytes(bytes),
            Piece::Zeroes(length) => self.push_zeroes(length),
        }
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let mut partial = std::mem::take(&mut self.partial);
        super::cut(&mut partial, bytes, |leaf| self.run(Run::Leaf(leaf)));
        self.partial = partial;
    }

    fn push_zeroes(&mut self, mut length: u64) {
        if !self.partial.is_empty() {
            let fill = length.min(LEAF - self.partial.len() as u64);
            length -= fill;
            self.fill(fill);
        }
        let at_end = self.at + length == self.size;
        let whole = if at_end { length } else { length / LEAF * LEAF };
        if whole > 0 && self.partial.is_empty() {
            self.run(Run::Zeroes(whole));
            length -= whole;
        }
        self.fill(length);
    }

    fn fill(&mut self, zeroes: u64) {
        let leaf = super::fill(&mut self.partial, zeroes);
        leaf.into_iter().for_each(|leaf| self.run(Run::Leaf(leaf)));
    }

    fn run(&mut self, run: Run) {
        self.runs.push((self.at, run));
        self.at += run.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 9 * LEAF + 100;

    fn bytes(length: u64) -> Vec<u8> {
        (0..length).map(|n| (n % 249) as u8).collect()
    }

    fn stream(pieces: &[Piece<'_>]) -> Digest {
        let mut stream = Frontier::new();
        pieces.iter().for_each(|piece| stream.push(*piece));
        stream.digest()
    }

    #[test]
    fn what_the_copier_was_given_digests_like_the_stream_it_writes() {
        let data = bytes(3 * LEAF);
        let tail = bytes(100);
        let mut ledger = Ledger::default();
        ledger.note(Noted::of(0, &[Piece::Data(&data)], SIZE));
        ledger.note(Noted::of(3 * LEAF, &[Piece::Zeroes(6 * LEAF)], SIZE));
        ledger.note(Noted::of(9 * LEAF, &[Piece::Data(&tail)], SIZE));
        let pieces = [Piece::Data(&data), Piece::Zeroes(6 * LEAF), Piece::Data(&tail)];
        assert_eq!(ledger.digest(SIZE), Some(stream(&pieces)));
        assert_eq!(ledger.digest(4 * LEAF), {
            Some(stream(&[Piece::Data(&data), Piece::Zeroes(LEAF)]))
        });
    }

    #[test]
    fn a_chunk_that_is_read_again_counts_as_it_was_given_last() {
        let mut ledger = Ledger::default();
        let old = bytes(4 * LEAF);
        let new = vec![1; LEAF as usize];
        ledger.note(Noted::of(0, &[Piece::Zeroes(4 * LEAF)], SIZE));
        ledger.note(Noted::of(0, &[Piece::Data(&old)], SIZE));
        ledger.note(Noted::of(LEAF, &[Piece::Data(&new)], SIZE));
        let leaf = LEAF as usize;
        let pieces = [Piece::Data(&old[..leaf]), Piece::Data(&new), Piece::Data(&old[2 * leaf..])];
        assert_eq!(ledger.digest(4 * LEAF), Some(stream(&pieces)));
    }

    #[test]
    fn after_a_checkpoint_only_later_leaves_are_kept() {
        let mut ledger = Ledger::default();
        let data = bytes(2 * LEAF);
        ledger.note(Noted::of(0, &[Piece::Data(&data), Piece::Zeroes(6 * LEAF)], SIZE));
        let state = ledger.fold(5 * LEAF).expect("all of it is known");
        let at_end = ledger.digest(8 * LEAF);
        ledger.confirm(state);
        assert_eq!(ledger.base(), 5 * LEAF);
        assert_eq!(ledger.digest(8 * LEAF), at_end);
    }

    #[test]
    fn a_leaf_given_in_parts_is_unknown_and_not_guessed() {
        let mut ledger = Ledger::default();
        ledger.note(Noted::of(0, &[Piece::Data(&bytes(100))], SIZE));
        ledger.note(Noted::of(100, &[Piece::Data(&bytes(LEAF - 100))], SIZE));
        assert_eq!(ledger.digest(LEAF), None);
    }

    #[test]
    fn zeroes_inside_a_leaf_count_as_bytes() {
        let mut ledger = Ledger::default();
        let data = bytes(10);
        let content = [Piece::Data(&data), Piece::Zeroes(LEAF - 20), Piece::Data(&data)];
        ledger.note(Noted::of(0, &content, SIZE));
        assert_eq!(ledger.digest(LEAF), Some(stream(&content)));
    }
}
