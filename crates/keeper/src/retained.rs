//! What a client has sent and no answer has settled yet, so that it can be told to another worker.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::arrivals::Arrivals;

/// Bytes kept for one client; then it is not read on. More than a worker takes from one client at a
/// time, and far more than its largest request, so that there is always one that can be answered.
pub const RETAINED_BYTES_MAX: u64 = 128 << 20;

/// Pieces kept for one client; then it is not read on. The largest request fits, in the smallest
/// packets that networks make.
pub const PIECES_MAX: usize = 1 << 16;

/// See the module. Offsets count from the beginning of the present worker's part of the stream.
#[derive(Debug)]
pub(crate) struct Retained<P = Bytes> {
    pieces: BTreeMap<u64, Piece<P>>,
    bytes: u64,
    /// Where the present worker was told everything up to.
    told: u64,
    /// Where any worker was: what is before may have been begun.
    begun: u64,
    /// Where the next byte of the client goes.
    end: u64,
}

/// Bytes that lie one behind another, or where they are.
pub(crate) trait Part {
    /// How many.
    fn length(&self) -> u64;

    /// Takes what lies behind the first `count` out; there are more.
    fn split_off(&mut self, count: u64) -> Self;
}

#[derive(Debug)]
struct Piece<P> {
    bytes: P,
    arrival: u64,
}

/// A part of the stream was settled that is not kept: settled before, or never told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{settled:?} was settled, of which a part was not asked or had its answer")]
pub struct NotKept {
    settled: Range<u64>,
}

impl Part for Bytes {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn split_off(&mut self, count: u64) -> Self {
        // What is in memory is far shorter than what a usize counts.
        Self::split_off(self, usize::try_from(count).unwrap_or(usize::MAX))
    }
}

impl<P> Default for Retained<P> {
    fn default() -> Self {
        Self { pieces: BTreeMap::new(), bytes: 0, told: 0, begun: 0, end: 0 }
    }
}

impl Retained {
    /// What another keeper has kept, of which a worker may have begun so many bytes.
    pub(crate) fn begun_until(begun: u64, pieces: Vec<(u64, Bytes)>) -> Self {
        let mut kept = Self::default();
        pieces.into_iter().for_each(|(arrival, bytes)| kept.push(bytes, arrival));
        kept.begun = begun.min(kept.end);
        kept
    }

    /// How much any worker may have begun.
    pub(crate) const fn begun(&self) -> u64 {
        self.begun
    }

    /// What is kept, with its arrivals.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, Bytes)> {
        self.pieces.values().map(|piece| (piece.arrival, piece.bytes.clone()))
    }

    /// The worker is gone: what is left becomes the beginning of its successor's stream, without the
    /// gaps that answers have made. Gives how much of it any former worker was told, and when that
    /// had arrived.
    pub(crate) fn rewind(&mut self) -> (u64, Arrivals) {
        let mut arrivals = Arrivals::default();
        let mut replay = 0;
        let mut end = 0;
        self.cut_at(self.begun);
        for (start, piece) in std::mem::take(&mut self.pieces) {
            if start < self.begun {
                arrivals.push(end, piece.arrival);
                replay += piece.bytes.length();
            }
            let length = piece.bytes.length();
            self.pieces.insert(end, piece);
            end += length;
        }
        (self.told, self.begun, self.end) = (0, replay, end);
        (replay, arrivals)
    }
}

impl<P: Part> Retained<P> {
    /// How many bytes are kept.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is kept from here on, with where it begins and its arrivals.
    pub(crate) fn from(&self, offset: u64) -> impl Iterator<Item = (u64, u64, &P)> {
        self.pieces.range(offset..).map(|(start, piece)| (*start, piece.arrival, &piece.bytes))
    }

    /// Keeps what the client sent next. `arrival` grows with every piece, over all clients.
    pub(crate) fn push(&mut self, bytes: P, arrival: u64) {
        let length = bytes.length();
        if length > 0 {
            self.pieces.insert(self.end, Piece { bytes, arrival });
            self.end += length;
            self.bytes += length;
        }
    }

    /// Keeps what the present worker has heard by itself.
    pub(crate) fn push_heard(&mut self, bytes: P, arrival: u64) {
        self.push(bytes, arrival);
        self.told = self.end;
        self.begun = self.begun.max(self.told);
    }

    /// The present worker has heard this by itself, or was told it, and has answered it.
    ///
    /// # Errors
    /// When a part of it is not kept, or something is missing before it; nothing has changed then.
    pub(crate) fn pass_over(&mut self, settled: Range<u64>) -> Result<(), NotKept> {
        if settled.end <= self.end {
            return self.settle(settled);
        }
        if settled.start != self.end || self.told != self.end {
            return Err(NotKept { settled });
        }
        self.end = settled.end;
        self.told = self.end;
        self.begun = self.begun.max(self.end);
        Ok(())
    }

    /// Forgets what lies behind the offset: the worker has heard it, and has left it to the next one.
    ///
    /// # Errors
    /// When it ends before that, or a part of what lies behind it was settled.
    pub(crate) fn forget_from(&mut self, offset: u64) -> Result<(), NotKept> {
        if offset > self.end || self.kept_in(&(offset..self.end)) != self.end - offset {
            return Err(NotKept { settled: offset..self.end });
        }
        self.cut_at(offset);
        for piece in self.pieces.split_off(&offset).into_values() {
            self.bytes -= piece.bytes.length();
        }
        self.end = offset;
        self.told = self.told.min(offset);
        self.begun = self.begun.min(offset);
        Ok(())
    }

    /// Where the next byte of the client goes.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Whether the client is to be read on.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < RETAINED_BYTES_MAX && self.pieces.len() < PIECES_MAX
    }

    /// Lets go of what has its answer.
    ///
    /// # Errors
    /// When a part of it is not kept; nothing is let go then.
    pub(crate) fn settle(&mut self, settled: Range<u64>) -> Result<(), NotKept> {
        if settled.is_empty() {
            return Ok(());
        }
        if settled.end > self.told || self.kept_in(&settled) != settled.end - settled.start {
            return Err(NotKept { settled });
        }
        self.cut_at(settled.start);
        self.cut_at(settled.end);
        while let Some((start, _)) = self.pieces.range(settled.clone()).next() {
            let start = *start;
            if let Some(piece) = self.pieces.remove(&start) {
                self.bytes -= piece.bytes.length();
            }
        }
        Ok(())
    }

    /// How many bytes of the range are kept.
    fn kept_in(&self, range: &Range<u64>) -> u64 {
        let before = self.pieces.range(..range.start).next_back();
        before
            .into_iter()
            .chain(self.pieces.range(range.clone()))
            .map(|(start, piece)| {
                let end = (start + piece.bytes.length()).min(range.end);
                end.saturating_sub((*start).max(range.start))
            })
            .sum()
    }

    /// Makes a piece begin here where one spans the offset.
    fn cut_at(&mut self, offset: u64) {
        let Some((start, piece)) = self.pieces.range_mut(..offset).next_back() else { return };
        let inside = offset - start;
        if inside < piece.bytes.length() {
            let bytes = piece.bytes.split_off(inside);
            let arrival = piece.arrival;
            self.pieces.insert(offset, Piece { bytes, arrival });
        }
    }

    /// Whether the worker was told everything.
    pub(crate) const fn is_told(&self) -> bool {
        self.told == self.end
    }
}

/// What the worker has to be told next.
impl Buf for Retained {
    fn remaining(&self) -> usize {
        usize::try_from(self.end - self.told).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        self.untold().next().unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(self.untold());
        filled.map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "told more than there is");
        self.told += count as u64;
        self.begun = self.begun.max(self.told);
    }
}

impl Retained {
    /// Nothing above `told` has been settled, so these pieces follow one another.
    fn untold(&self) -> impl Iterator<Item = &[u8]> {
        let before = self.pieces.range(..self.told).next_back();
        let pieces = before.into_iter().chain(self.pieces.range(self.told..));
        pieces.filter_map(|(start, piece)| {
            let skip = usize::try_from(self.told.saturating_sub(*start)).unwrap_or(usize::MAX);
            piece.bytes.get(skip..).filter(|rest| !rest.is_empty())
        })
    }
}

#[cfg(test)]
mod tests;
