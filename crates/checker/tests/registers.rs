//! What the pure core promises: the rules of I15, one by one.

use blockferry_block::Extent;
use blockferry_checker::{
    Content, Fault, Finding, Outcome, ReadUnderWay, Registers, Tick, WriteUnderWay,
};

const BLOCK: u32 = 10;
const INITIAL: u64 = 0;

/// A read that returned one value everywhere.
struct All(u64);

impl Content<u64> for All {
    fn is(&self, _: Extent, value: &u64) -> bool {
        self.0 == *value
    }
}

/// A read that returned some bytes of each of the values.
struct Mixture<'a>(&'a [u64]);

impl Content<u64> for Mixture<'_> {
    fn is(&self, _: Extent, _: &u64) -> bool {
        false
    }

    fn is_mixture(&self, _: Extent, values: &[u64]) -> bool {
        self.0.iter().all(|value| values.contains(value))
    }
}

/// Registers with a clock that moves with every event.
struct History {
    registers: Registers<u64>,
    now: u64,
}

fn block(index: u64) -> Extent {
    Extent::between(index * u64::from(BLOCK), (index + 1) * u64::from(BLOCK))
}

impl History {
    fn new() -> Self {
        Self { registers: Registers::new(BLOCK, INITIAL), now: 0 }
    }

    fn tick(&mut self) -> Tick {
        self.now += 1;
        Tick(self.now)
    }

    fn begin(&mut self, extent: Extent, value: u64) -> WriteUnderWay {
        let at = self.tick();
        self.registers.begin_write(at, extent, value)
    }

    fn end(&mut self, write: WriteUnderWay, outcome: Outcome) -> Vec<Finding<u64>> {
        let at = self.tick();
        self.registers.end_write(at, write, outcome)
    }

    fn write(&mut self, extent: Extent, value: u64) {
        let write = self.begin(extent, value);
        assert_eq!(self.end(write, Outcome::Acknowledged), []);
    }

    fn begin_read(&mut self, extent: Extent) -> ReadUnderWay {
        let at = self.tick();
        self.registers.begin_read(at, extent)
    }

    fn end_read(&mut self, read: ReadUnderWay, content: &impl Content<u64>) -> Vec<Fault> {
        let at = self.tick();
        self.registers.end_read(at, read, content).iter().map(|finding| finding.fault).collect()
    }

    fn read(&mut self, extent: Extent, value: u64) -> Vec<Fault> {
        let read = self.begin_read(extent);
        self.end_read(read, &All(value))
    }
}

#[test]
fn an_acknowledged_write_is_what_a_later_read_returns() {
    let mut history = History::new();
    assert_eq!(history.read(block(0), INITIAL), []);
    history.write(block(0), 1);
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.read(block(0), INITIAL), [Fault::NoCandidate]);
    assert_eq!(history.read(block(0), 7), [Fault::NoCandidate]);
}

#[test]
fn a_read_beside_a_write_returns_the_old_or_the_new_value() {
    let mut history = History::new();
    history.write(block(0), 1);
    let write = history.begin(block(0), 2);
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.read(block(0), 2), []);
    assert_eq!(history.read(block(0), 1), [Fault::NoCandidate], "2 had been seen");
    assert_eq!(history.end(write, Outcome::Acknowledged), []);
    assert_eq!(history.read(block(0), 2), []);
}

#[test]
fn a_read_that_began_before_the_newer_value_was_seen_may_return_the_older_one() {
    let mut history = History::new();
    history.write(block(0), 1);
    let slow = history.begin_read(block(0));
    let write = history.begin(block(0), 2);
    assert_eq!(history.read(block(0), 2), []);
    let late = history.begin_read(block(0));
    assert_eq!(history.end_read(slow, &All(1)), []);
    assert_eq!(history.end_read(late, &All(1)), [Fault::NoCandidate]);
    assert_eq!(history.end(write, Outcome::Acknowledged), []);
}

#[test]
fn concurrent_writes_settle_on_the_one_that_was_seen() {
    let mut history = History::new();
    let (a, b) = (history.begin(block(0), 1), history.begin(block(0), 2));
    assert_eq!(history.end(a, Outcome::Acknowledged), []);
    assert_eq!(history.end(b, Outcome::Acknowledged), []);
    let held = history.begin_read(block(0));
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.read(block(0), 2), [Fault::NoCandidate], "1 was there after both had ended");
    assert_eq!(history.end_read(held, &All(1)), []);
}

#[test]
fn a_value_that_was_seen_to_go_never_comes_back() {
    let mut history = History::new();
    let (a, b) = (history.begin(block(0), 1), history.begin(block(0), 2));
    let held = history.begin_read(block(0));
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.read(block(0), 2), []);
    assert_eq!(history.read(block(0), 1), [Fault::WentBack]);
    assert_eq!(history.end(a, Outcome::Acknowledged), []);
    assert_eq!(history.end(b, Outcome::Acknowledged), []);
    assert_eq!(history.end_read(held, &All(1)), [], "it began before 2 was seen");
    assert_eq!(history.registers.legal().next(), Some((block(0), vec![2])));
}

#[test]
fn a_write_of_unknown_outcome_stays_possible_until_a_later_one_is_acknowledged() {
    let mut history = History::new();
    history.write(block(0), 1);
    let lost = history.begin(block(0), 2);
    assert_eq!(history.end(lost, Outcome::Unknown), []);
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.read(block(0), 2), [], "it was executed late");
    assert_eq!(history.read(block(0), 1), [Fault::NoCandidate]);
    let lost = history.begin(block(0), 3);
    assert_eq!(history.end(lost, Outcome::Unknown), []);
    history.write(block(0), 4);
    assert_eq!(history.read(block(0), 3), [Fault::NoCandidate]);
    assert_eq!(history.read(block(0), 4), []);
}

#[test]
fn a_slow_read_does_not_bring_a_superseded_write_back_for_others() {
    let mut history = History::new();
    let held = history.begin_read(block(0));
    let lost = history.begin(block(0), 1);
    assert_eq!(history.end(lost, Outcome::Unknown), []);
    history.write(block(0), 2);
    assert_eq!(history.read(block(0), 1), [Fault::Overwritten]);
    assert_eq!(history.end_read(held, &All(1)), [], "it began before 2");
}

#[test]
fn a_write_that_was_given_up_and_seen_beside_a_later_one_may_be_the_last() {
    let mut history = History::new();
    let lost = history.begin(block(0), 1);
    assert_eq!(history.end(lost, Outcome::Unknown), []);
    let later = history.begin(block(0), 2);
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.end(later, Outcome::Acknowledged), []);
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.read(block(0), 2), [Fault::NoCandidate]);
}

#[test]
fn a_refused_write_is_never_seen() {
    let mut history = History::new();
    let refused = history.begin(block(0), 1);
    assert_eq!(history.end(refused, Outcome::Refused), []);
    assert_eq!(history.read(block(0), 1), [Fault::NoCandidate]);
    let refused = history.begin(block(0), 2);
    assert_eq!(history.read(block(0), 2), []);
    assert_eq!(history.end(refused, Outcome::Refused).len(), 1);
}

#[test]
fn only_the_blocks_that_are_wrong_are_named() {
    let mut history = History::new();
    history.write(Extent::between(0, 30), 1);
    history.write(block(1), 2);
    let read = history.begin_read(Extent::between(0, 35));
    let at = history.tick();
    let findings = history.registers.end_read(at, read, &All(1));
    let pieces: Vec<_> = findings.iter().map(|finding| finding.piece).collect();
    assert_eq!(pieces, [block(1), Extent::between(30, 35)]);
    assert_eq!(findings[0].legal, [2]);
}

#[test]
fn an_unaligned_write_splits_its_blocks_and_they_grow_together_again() {
    let mut history = History::new();
    history.write(Extent::between(0, 20), 1);
    history.write(Extent::between(7, 13), 2);
    assert_eq!(history.read(Extent::between(0, 7), 1), []);
    assert_eq!(history.read(Extent::between(7, 13), 2), []);
    assert_eq!(history.read(Extent::between(13, 20), 1), []);
    assert_eq!(history.read(Extent::between(6, 7), 2), [Fault::NoCandidate]);
    assert_eq!(history.registers.legal().count(), 4);
    history.write(Extent::between(0, 20), 3);
    assert_eq!(history.registers.legal().count(), 2);
}

#[test]
fn a_mixture_is_legal_only_beside_a_write_and_only_of_what_is_legal() {
    let mut history = History::new();
    history.write(block(0), 1);
    history.write(block(0), 2);
    let early = history.begin_read(block(0));
    assert_eq!(history.end_read(early, &Mixture(&[1, 2])), [Fault::NoCandidate]);
    let early = history.begin_read(block(0));
    let other = history.begin_read(block(0));
    let write = history.begin(block(0), 3);
    assert_eq!(history.end_read(early, &Mixture(&[2, 3])), []);
    assert_eq!(history.end_read(other, &Mixture(&[1, 3])), [Fault::NoCandidate]);
    assert_eq!(history.end(write, Outcome::Acknowledged), []);
    let late = history.begin_read(block(0));
    assert_eq!(history.end_read(late, &Mixture(&[2, 3])), [Fault::NoCandidate]);
}

#[test]
fn writes_that_met_may_leave_one_of_them_but_no_mixture() {
    let mut history = History::new();
    let (a, b) = (history.begin(block(0), 1), history.begin(block(0), 2));
    assert_eq!(history.end(a, Outcome::Acknowledged), []);
    assert_eq!(history.end(b, Outcome::Acknowledged), []);
    let read = history.begin_read(block(0));
    assert_eq!(history.end_read(read, &Mixture(&[1, 2])), [Fault::NoCandidate]);
    assert_eq!(history.read(block(0), 2), []);
}

#[test]
fn what_only_looks_like_the_initial_content_proves_nothing_beside_a_write() {
    struct LooksInitial;
    impl Content<u64> for LooksInitial {
        fn is(&self, _: Extent, value: &u64) -> bool {
            *value == INITIAL
        }
        fn is_sure(&self, _: Extent, value: &u64) -> bool {
            *value != INITIAL
        }
    }
    let mut history = History::new();
    let write = history.begin(block(0), 1);
    let slow = history.begin_read(block(0));
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.end_read(slow, &LooksInitial), [], "it may have met the write");
    assert_eq!(history.end(write, Outcome::Acknowledged), []);
    let write = history.begin(block(1), 1);
    assert_eq!(history.read(block(1), 1), []);
    let read = history.begin_read(block(1));
    assert_eq!(history.end_read(read, &LooksInitial), [Fault::NoCandidate], "1 was there");
    assert_eq!(history.end(write, Outcome::Acknowledged), []);
    let write = history.begin(block(2), 1);
    let read = history.begin_read(block(2));
    assert_eq!(history.end_read(read, &LooksInitial), []);
    assert_eq!(history.read(block(2), 1), []);
    assert_eq!(history.end(write, Outcome::Acknowledged), []);
}

#[test]
fn equal_values_are_told_apart_by_what_was_seen_between_them() {
    let mut history = History::new();
    let zeroings = [history.begin(block(0), 0), history.begin(block(0), 0)];
    let write = history.begin(block(0), 1);
    assert_eq!(history.read(block(0), 1), []);
    assert_eq!(history.read(block(0), 0), []);
    assert_eq!(history.read(block(0), 1), [Fault::WentBack], "1 was written once");
    for zeroing in zeroings {
        assert_eq!(history.end(zeroing, Outcome::Acknowledged), []);
    }
    assert_eq!(history.end(write, Outcome::Acknowledged), []);
}

#[test]
fn what_is_overwritten_is_forgotten_however_often() {
    let mut history = History::new();
    for value in 1..10_000 {
        history.write(block(0), value);
        assert_eq!(history.registers.legal().next(), Some((block(0), vec![value])));
    }
    assert_eq!(history.registers.legal().count(), 1);
}
