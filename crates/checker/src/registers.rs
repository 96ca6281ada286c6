//! The registers of a volume: the pure core of the checker.
//!
//! Every block is a register of its own. A request that covers a block in part splits it there, down
//! to single bytes, and pieces grow together again once they are at rest with the same value. Only
//! what was touched takes memory, about 200 bytes a block.
//!
//! Events are told in their order: [`Registers::begin_write`] before a write is sent,
//! [`Registers::end_write`] after its answer has come, and the same for reads. It does no I/O, and
//! does not know how a value looks on a disk: [`Content`] tells that.

use std::collections::BTreeMap;

use blockferry_block::Extent;

use crate::event::{Content, Fault, Outcome, Tick, WriteId};
use crate::register::Register;

/// A write that has begun; to be given back to [`Registers::end_write`].
#[derive(Debug)]
#[must_use = "a write that never ends stays possible for ever"]
pub struct WriteUnderWay {
    id: WriteId,
    extent: Extent,
}

/// A read that has begun; to be given back to [`Registers::end_read`] or
/// [`Registers::abandon_read`].
#[derive(Debug)]
#[must_use = "while a read is under way nothing is forgotten"]
pub struct ReadUnderWay {
    begin: Tick,
    extent: Extent,
}

impl ReadUnderWay {
    /// What is read.
    pub const fn extent(&self) -> Extent {
        self.extent
    }
}

/// A piece of a read that no order of the operations explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<V> {
    /// The piece; it lies within one block.
    pub piece: Extent,
    /// What is wrong with it.
    pub fault: Fault,
    /// Whether everything that had certainly been there was seen by some read; if not, an
    /// acknowledged write may be lost.
    pub newer_was_seen: bool,
    /// What it may hold.
    pub legal: Vec<V>,
}

#[derive(Clone, Debug)]
struct Piece<V> {
    end: u64,
    register: Register<V>,
}

/// What every block of a volume may hold (I15).
#[derive(Clone, Debug)]
pub struct Registers<V> {
    block_size: u64,
    initial: V,
    pieces: BTreeMap<u64, Piece<V>>,
    last_id: WriteId,
    now: Tick,
}

impl<V: Copy + PartialEq> Registers<V> {
    /// Registers of `block_size` bytes each that hold `initial` until they are written.
    ///
    /// # Panics
    /// When `block_size` is zero.
    pub fn new(block_size: u32, initial: V) -> Self {
        assert!(block_size > 0, "a block has a size");
        Self {
            block_size: u64::from(block_size),
            initial,
            pieces: BTreeMap::new(),
            last_id: WriteId::INITIAL,
            now: Tick::START,
        }
    }

    /// A write of `value` to the extent is about to be sent. Trims and zeroings are writes too.
    ///
    /// # Panics
    /// When `at` is not later than every earlier event, as all methods that take a moment.
    pub fn begin_write(&mut self, at: Tick, extent: Extent, value: V) -> WriteUnderWay {
        self.advance(at);
        self.last_id = WriteId(self.last_id.0 + 1);
        let id = self.last_id;
        self.each(extent, |_, register| register.begin_write(at, id, value));
        WriteUnderWay { id, extent }
    }

    /// The write has been answered or given up. The findings are pieces whose write was refused although
    /// a read had returned it.
    pub fn end_write(
        &mut self,
        at: Tick,
        write: WriteUnderWay,
        outcome: Outcome,
    ) -> Vec<Finding<V>> {
        self.advance(at);
        let mut findings = Vec::new();
        self.each(write.extent, |piece, register| {
            if !register.end_write(at, write.id, outcome) {
                findings.push(Self::finding(piece, Fault::NoCandidate, at, register));
            }
        });
        self.merge(write.extent);
        findings
    }

    /// A read of the extent is about to be sent.
    pub fn begin_read(&mut self, at: Tick, extent: Extent) -> ReadUnderWay {
        self.advance(at);
        self.each(extent, |_, register| register.begin_read(at));
        ReadUnderWay { begin: at, extent }
    }

    /// The read has returned this content. The findings are the pieces that it may not have.
    pub fn end_read(
        &mut self,
        at: Tick,
        read: ReadUnderWay,
        content: &impl Content<V>,
    ) -> Vec<Finding<V>> {
        self.advance(at);
        let begin = read.begin;
        let mut findings = Vec::new();
        self.each(read.extent, |piece, register| {
            if let Err(fault) = register.end_read(at, begin, piece, content) {
                findings.push(Self::finding(piece, fault, begin, register));
            }
            register.drop_read(at, begin);
        });
        self.merge(read.extent);
        findings
    }

    /// The read has failed: it tells nothing.
    pub fn abandon_read(&mut self, at: Tick, read: ReadUnderWay) {
        self.advance(at);
        self.each(read.extent, |_, register| register.drop_read(at, read.begin));
        self.merge(read.extent);
    }

    /// Everything that was touched, in ascending order, and what it may hold now.
    pub fn legal(&self) -> impl Iterator<Item = (Extent, Vec<V>)> + '_ {
        self.pieces.iter().map(|(start, piece)| {
            (Extent::between(*start, piece.end), piece.register.legal().collect())
        })
    }

    fn finding(piece: Extent, fault: Fault, begin: Tick, register: &Register<V>) -> Finding<V> {
        let newer_was_seen = register.newer_was_seen(begin);
        Finding { piece, fault, newer_was_seen, legal: register.legal().collect() }
    }

    fn advance(&mut self, at: Tick) {
        assert!(at > self.now, "events are told in their order, each with a moment of its own");
        self.now = at;
    }

    /// Applies `act` to every register of the extent, after having split those that reach beyond it.
    fn each(&mut self, extent: Extent, mut act: impl FnMut(Extent, &mut Register<V>)) {
        self.split(extent.start());
        self.split(extent.end());
        self.fill_gaps(extent);
        for (start, piece) in self.pieces.range_mut(extent.start()..extent.end()) {
            act(Extent::between(*start, piece.end), &mut piece.register);
        }
    }

    fn split(&mut self, at: u64) {
        let Some((start, piece)) = self.pieces.range_mut(..at).next_back() else { return };
        if *start < at && at < piece.end {
            let upper = piece.clone();
            piece.end = at;
            self.pieces.insert(at, upper);
        }
    }

    /// Makes registers for what the extent touches first, none of them across a block's edge.
    fn fill_gaps(&mut self, extent: Extent) {
        let mut gaps = Vec::new();
        let mut at = extent.start();
        for (start, piece) in self.pieces.range(extent.start()..extent.end()) {
            if at < *start {
                gaps.push(Extent::between(at, *start));
            }
            at = piece.end;
        }
        gaps.push(Extent::between(at, extent.end()));
        for gap in gaps {
            let first = gap.start() / self.block_size * self.block_size;
            let blocks = Extent::between(first, gap.end()).pieces(self.block_size);
            for piece in blocks.filter_map(|block| block.intersection(gap)) {
                let register = Register::new(self.initial);
                self.pieces.insert(piece.start(), Piece { end: piece.end(), register });
            }
        }
    }

    /// Joins neighbours within a block that nothing tells apart.
    fn merge(&mut self, extent: Extent) {
        let block = |at: u64| at / self.block_size;
        let whole = block(extent.start()) * self.block_size;
        let end = (block(extent.end().saturating_sub(1)) + 1).saturating_mul(self.block_size);
        let mut merged = Vec::new();
        let mut left: Option<(u64, &mut Piece<V>)> = None;
        for (start, piece) in self.pieces.range_mut(whole..end) {
            if let Some((left_start, left)) = &mut left {
                let adjacent = left.end == *start && block(*left_start) == block(*start);
                if adjacent && left.register.is_like(&piece.register) {
                    left.register.merge(&piece.register);
                    left.end = piece.end;
                    merged.push(*start);
                    continue;
                }
            }
            left = Some((*start, piece));
        }
        for start in merged {
            self.pieces.remove(&start);
        }
    }
}
