//! What clients ask for.

use crate::place::{BLOCKS, Content, INITIAL, Span, Value, Values, ZEROES};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Writes a value of its own.
    Write,
    /// The same, durable before it is answered.
    WriteFua,
    /// Writes zeroes.
    Trim,
    /// Reads.
    Read,
    /// Makes durable what was answered before.
    Flush,
}

/// One request of a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// What it does.
    pub verb: Verb,
    /// The extents that it touches.
    pub span: Span,
    /// What it writes.
    pub value: Value,
    /// Which request of a run it is.
    pub serial: u8,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.verb {
            Verb::Read => write!(f, "read {:?}", self.span),
            Verb::Flush => f.write_str("flush"),
            Verb::Trim => write!(f, "trim {:?}", self.span),
            Verb::Write => write!(f, "{:?}:={}", self.span, self.value),
            Verb::WriteFua => write!(f, "{:?}:={} fua", self.span, self.value),
        }
    }
}

impl Request {
    /// A request that a scope offers; its value is chosen when it is sent.
    pub const fn new(verb: Verb, span: Span) -> Self {
        Self { verb, span, value: ZEROES, serial: 0 }
    }

    /// Whether it changes the volume.
    pub const fn is_update(self) -> bool {
        matches!(self.verb, Verb::Write | Verb::WriteFua | Verb::Trim)
    }

    /// Whether it may not wait beside an unanswered one.
    pub fn conflicts(self, other: Self) -> bool {
        self.is_update() && other.is_update() && self.span.overlaps(other.span)
    }
}

/// A request without an answer, and what it means for the register of each extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unanswered {
    /// The request.
    pub request: Request,
    /// What was under way at some time beside it.
    beside: [Values; BLOCKS],
    /// What the extents may have held at some time since it was sent.
    seen: [Values; BLOCKS],
}

/// Every extent is a register (I15) that keeps what was promised durable (I8).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registers {
    /// What a read that begins now may return.
    shown: [Values; BLOCKS],
    /// What may be left by a loss of power at the owner.
    owed: [Values; BLOCKS],
}

impl Registers {
    /// Registers that hold what the volume holds first.
    pub fn new() -> Self {
        Self { shown: [Values::of(INITIAL); BLOCKS], owed: [Values::of(INITIAL); BLOCKS] }
    }

    /// What the extent may hold at the owner after a loss of power.
    pub fn owed(&self, block: usize) -> Values {
        self.owed[block]
    }

    /// A request is sent while others are unanswered.
    pub fn begin<'a>(
        &mut self,
        request: Request,
        others: impl Iterator<Item = &'a mut Unanswered>,
    ) -> Unanswered {
        let mut beside = [Values::default(); BLOCKS];
        let updates = |block| request.is_update() && request.span.has(block);
        for other in others {
            for block in Span::AB.blocks() {
                if updates(block) {
                    let value = Values::of(request.value);
                    other.beside[block] = other.beside[block].or(value);
                    other.seen[block] = other.seen[block].or(value);
                }
                if other.request.is_update() && other.request.span.has(block) {
                    beside[block] = beside[block].or(Values::of(other.request.value));
                }
            }
        }
        for block in Span::AB.blocks().filter(|block| updates(*block)) {
            self.shown[block] = self.shown[block].or(Values::of(request.value));
            self.owed[block] = self.owed[block].or(Values::of(request.value));
        }
        Unanswered { request, beside, seen: self.shown }
    }

    /// A request is answered well; what it read, if it did. False when no register answers so.
    pub fn end(&mut self, of: &Unanswered, read: Content) -> bool {
        let mut possible = true;
        for block in Span::AB.blocks() {
            let touched = of.request.span.has(block);
            let with_own = |value| Values::of(value).or(of.beside[block]);
            match of.request.verb {
                Verb::Flush => self.owed[block] = self.owed[block].and(of.seen[block]),
                _ if !touched => {}
                Verb::Read => {
                    self.shown[block] = self.shown[block].and(with_own(read[block]));
                    possible &= of.seen[block].has(read[block]);
                }
                Verb::Write | Verb::Trim => self.shown[block] = with_own(of.request.value),
                Verb::WriteFua => {
                    self.shown[block] = with_own(of.request.value);
                    self.owed[block] = self.shown[block];
                }
            }
        }
        possible
    }

    /// The owner's disk has lost its power and holds this. What is unanswered may still be executed.
    pub fn power_lost<'a>(
        &mut self,
        left: Content,
        unanswered: impl Iterator<Item = &'a mut Unanswered>,
    ) {
        self.shown = left.map(Values::of);
        for of in unanswered {
            for block in Span::AB.blocks() {
                of.seen[block] = of.seen[block].or(Values::of(left[block]));
                if of.request.is_update() && of.request.span.has(block) {
                    let value = Values::of(of.request.value);
                    self.shown[block] = self.shown[block].or(value);
                }
            }
        }
        self.owed = self.shown;
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Value = INITIAL;

    fn write(value: Value) -> Request {
        Request { value, ..Request::new(Verb::Write, Span::A) }
    }

    fn reads(registers: &mut Registers, value: Value) -> bool {
        let read = registers.begin(Request::new(Verb::Read, Span::A), std::iter::empty());
        registers.end(&read, Span::A.filled(value))
    }

    #[test]
    fn i15_what_was_overwritten_is_not_read_again() {
        let mut registers = Registers::new();
        let of = registers.begin(write(2), std::iter::empty());
        registers.end(&of, Content::default());
        assert!(reads(&mut registers, 2));
        assert!(!reads(&mut registers, OLD));
    }

    #[test]
    fn i15_of_two_writes_at_the_same_time_either_may_stay_but_not_change() {
        let mut registers = Registers::new();
        let mut first = registers.begin(write(2), std::iter::empty());
        let second = registers.begin(write(3), std::iter::once(&mut first));
        registers.end(&second, Content::default());
        registers.end(&first, Content::default());
        assert!(reads(&mut registers, 2));
        assert!(!reads(&mut registers, 3), "it went back");
    }

    #[test]
    fn i8_a_flush_promises_what_was_answered_before_it_was_sent() {
        let mut registers = Registers::new();
        let of = registers.begin(write(2), std::iter::empty());
        registers.end(&of, Content::default());
        let flush = registers.begin(Request::new(Verb::Flush, Span::AB), std::iter::empty());
        assert!(registers.owed(0).has(OLD), "nothing was promised yet");
        registers.end(&flush, Content::default());
        assert_eq!(registers.owed(0), Values::of(2));
    }
}
