//! Every block is a register (I15), and what was promised durable stays (I8).
//!
//! Stamps are unique, so a history is one of a register exactly when no two of its values are each
//! proved to be before the other. A value was there when the first of its operations (the write and
//! the reads that returned it) ended, and not gone for good before the last of them began.

use crate::content::Stamp;

/// A moment in the order of events.
pub type Tick = u64;

const NEVER: Tick = Tick::MAX;

#[derive(Clone, Debug)]
struct Value {
    stamp: Stamp,
    first_end: Tick,
    last_begin: Tick,
    acknowledged: Tick,
    durable: bool,
    sent_twice: bool,
}

impl Value {
    fn is_before(&self, other: &Self) -> bool {
        self.first_end < other.last_begin
    }
}

/// The registers of a volume.
pub struct Registers {
    blocks: Vec<Vec<Value>>,
    now: Tick,
    restored: Tick,
}

impl Registers {
    /// Registers that hold what is given.
    pub fn new(initial: impl Iterator<Item = Stamp>) -> Self {
        let value = |stamp| {
            vec![Value {
                stamp,
                first_end: 0,
                last_begin: 0,
                acknowledged: 0,
                durable: true,
                sent_twice: false,
            }]
        };
        Self { blocks: initial.map(value).collect(), now: 1, restored: 0 }
    }

    /// The next moment.
    pub fn tick(&mut self) -> Tick {
        self.now += 1;
        self.now
    }

    /// When what was not durable was lost last.
    pub const fn restored(&self) -> Tick {
        self.restored
    }

    /// A write is about to be sent.
    pub fn begin_write(&mut self, blocks: std::ops::Range<usize>, stamp: Stamp) {
        let now = self.tick();
        let value = Value {
            stamp,
            first_end: NEVER,
            last_begin: now,
            acknowledged: NEVER,
            durable: false,
            sent_twice: false,
        };
        self.blocks[blocks].iter_mut().for_each(|values| values.push(value.clone()));
    }

    /// A write that was sent (last) at the given moment has been acknowledged.
    pub fn end_write(
        &mut self,
        blocks: std::ops::Range<usize>,
        stamp: Stamp,
        sent: Tick,
        fua: bool,
    ) -> Option<String> {
        let now = self.tick();
        let lost = sent < self.restored;
        for block in blocks {
            let values = &mut self.blocks[block];
            let Some(at) = values.iter().position(|value| value.stamp == stamp) else { continue };
            if lost {
                // Perhaps executed before the power failed, and gone: the answer tells nothing.
                continue;
            }
            values[at].first_end = values[at].first_end.min(now);
            values[at].acknowledged = now;
            values[at].durable |= fua;
            if let Some(fault) = self.check(block, at) {
                return Some(fault);
            }
        }
        None
    }

    /// A write is sent again although it may have been executed before: until it is answered, to have
    /// been seen does not mean to stay. Only for clients that overlap their own requests; the others
    /// must not see a difference.
    pub fn resend(&mut self, blocks: std::ops::Range<usize>, stamp: Stamp) {
        let values = self.blocks[blocks].iter_mut().flatten();
        for value in values.filter(|value| value.stamp == stamp) {
            value.first_end = NEVER;
            value.sent_twice = true;
        }
    }

    /// A read that was sent (first) at the given moment has returned this.
    pub fn end_read(&mut self, first: usize, content: &[Stamp], begun: Tick) -> Option<String> {
        let now = self.tick();
        if begun < self.restored {
            return None;
        }
        for (index, stamp) in content.iter().enumerate() {
            let block = first + index;
            let values = &mut self.blocks[block];
            let Some(at) = values.iter().position(|value| value.stamp == *stamp) else {
                return Some(format!("I15: block {block} holds {stamp}, which nobody wrote"));
            };
            if !values[at].sent_twice || values[at].acknowledged != NEVER {
                values[at].first_end = values[at].first_end.min(now);
            }
            values[at].last_begin = values[at].last_begin.max(begun);
            if let Some(fault) = self.check(block, at) {
                return Some(fault);
            }
        }
        None
    }

    /// A flush that was sent at the given moment has been acknowledged.
    pub fn end_flush(&mut self, sent: Tick) {
        if sent < self.restored {
            return;
        }
        let values = self.blocks.iter_mut().flatten();
        values.filter(|value| value.acknowledged < sent).for_each(|value| value.durable = true);
    }

    fn check(&self, block: usize, at: usize) -> Option<String> {
        let value = &self.blocks[block][at];
        let mut others = self.blocks[block].iter();
        let other = others.find(|other| {
            other.stamp != value.stamp && value.is_before(other) && other.is_before(value)
        })?;
        let (this, other) = (value.stamp, other.stamp);
        Some(format!("I15: block {block} shows {this} before {other} and {other} before {this}"))
    }

    /// The power of the owner's disk failed, and this is what is left (I8).
    pub fn power_lost(&mut self, left: impl Iterator<Item = Stamp>) -> Option<String> {
        let now = self.tick();
        self.restored = now;
        for (block, stamp) in left.enumerate() {
            let values = &mut self.blocks[block];
            let Some(kept) = values.iter().find(|value| value.stamp == stamp).cloned() else {
                return Some(format!("I8: block {block} is left with {stamp}, which nobody wrote"));
            };
            let lost = values
                .iter()
                .find(|value| value.durable && value.stamp != stamp && kept.is_before(value));
            if let Some(lost) = lost {
                let lost = lost.stamp;
                return Some(format!("I8: block {block} lost {lost} and is left with {stamp}"));
            }
            values.retain(|value| value.acknowledged == NEVER || value.stamp == stamp);
            for value in values.iter_mut() {
                let is_left = value.stamp == stamp;
                value.first_end = if is_left { now } else { NEVER };
                value.durable = is_left;
            }
        }
        None
    }
}

impl Registers {
    /// The power of a disk failed of which nobody can know yet whether it is the owner's. What was not
    /// durable may be gone or not.
    pub fn power_lost_in_doubt(&mut self) {
        self.restored = self.tick();
        let values = self.blocks.iter_mut().flatten();
        values.filter(|value| !value.durable).for_each(|value| value.first_end = NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Stamp = Stamp(1);
    const A: Stamp = Stamp(2);
    const B: Stamp = Stamp(3);

    fn registers() -> Registers {
        Registers::new([OLD].into_iter())
    }

    fn write(registers: &mut Registers, stamp: Stamp) -> Option<String> {
        registers.begin_write(0..1, stamp);
        let sent = registers.tick();
        registers.end_write(0..1, stamp, sent, false)
    }

    fn read(registers: &mut Registers, stamp: Stamp) -> Option<String> {
        let begun = registers.tick();
        registers.end_read(0, &[stamp], begun)
    }

    #[test]
    fn i15_a_read_that_returns_an_overwritten_value_is_caught() {
        let mut registers = registers();
        assert_eq!(write(&mut registers, A), None);
        assert_eq!(read(&mut registers, A), None);
        assert!(read(&mut registers, OLD).is_some());
    }

    #[test]
    fn i15_of_two_writes_at_the_same_time_either_may_stay_but_not_change() {
        let mut registers = registers();
        registers.begin_write(0..1, A);
        registers.begin_write(0..1, B);
        let sent = registers.tick();
        assert_eq!(registers.end_write(0..1, A, sent, false), None);
        assert_eq!(registers.end_write(0..1, B, sent, false), None);
        assert_eq!(read(&mut registers, A), None);
        assert!(read(&mut registers, B).is_some(), "it went back");
    }

    #[test]
    fn i8_what_was_flushed_must_be_left_and_what_was_not_may_be_gone() {
        let mut registers = registers();
        write(&mut registers, A);
        let sent = registers.tick();
        registers.end_flush(sent);
        write(&mut registers, B);
        assert_eq!(registers.power_lost([A].into_iter()), None);
        assert_eq!(read(&mut registers, A), None);
        assert!(registers.power_lost([OLD].into_iter()).is_some());
    }
}
