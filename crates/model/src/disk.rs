//! A disk with a volatile cache.

use crate::place::{BLOCKS, Content, Span, VOID, Value, Values};

/// What a disk holds, and what a loss of power may leave of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    now: Content,
    may: [Values; BLOCKS],
}

impl Disk {
    /// A disk that holds the value everywhere, durably.
    pub fn filled(value: Value) -> Self {
        Self { now: [value; BLOCKS], may: [Values::of(value); BLOCKS] }
    }

    /// What a read gives.
    pub fn now(&self) -> Content {
        self.now
    }

    /// What the extent may hold after a loss of power.
    pub fn may_hold(&self, block: usize) -> Values {
        self.may[block]
    }

    /// Writes into the cache.
    pub fn write(&mut self, span: Span, content: &Content) {
        for block in span.blocks() {
            self.now[block] = content[block];
            self.may[block] = self.may[block].or(Values::of(content[block]));
        }
    }

    /// Makes the extents durable as they are now.
    pub fn flush(&mut self, span: Span) {
        for block in span.blocks() {
            self.may[block] = Values::of(self.now[block]);
        }
    }

    /// What may be left by a loss of power: of every extent any value since its last flush.
    pub fn losses(&self) -> Vec<Content> {
        let [first, second] = self.may;
        first.iter().flat_map(|a| second.iter().map(move |b| [a, b])).collect()
    }

    /// The power fails, and this is left.
    pub fn lose_power(&mut self, left: Content) {
        self.now = left;
        self.flush(Span::AB);
    }

    /// Forgets what makes no difference at a destination: beyond `W` whatever is there will be
    /// written again, and beyond `W_durable` a loss of power leaves what will be.
    pub fn forget_above(&mut self, reserved: u64, durable: u64) {
        for block in 0..BLOCKS {
            let end = Span::block(block).extent().end();
            if end > reserved {
                self.now[block] = VOID;
            }
            if end > durable && self.may[block].has(VOID) {
                self.may[block] = Values::of(self.now[block]).or(Values::of(VOID));
            }
        }
    }
}
