//! The core against the definition: a history is legal when some order of its operations explains
//! every read. Short histories are compared with a search through all orders; long ones come from
//! a volume that really is one.

use blockferry_block::Extent;
use blockferry_checker::{Content, Outcome, ReadUnderWay, Registers, Tick, WriteUnderWay};
use proptest::prelude::*;

const BLOCK: u32 = 8;
const WHOLE: Extent = Extent::whole(BLOCK as u64);

/// One operation of a short history on one block; moments are indices of events.
#[derive(Clone, Debug)]
struct Operation {
    /// What is written; `None` for a read.
    written: Option<u64>,
    begin: usize,
    end: usize,
    /// What a read returned; of a write, whether it certainly happened.
    returned: u64,
    outcome: Outcome,
}

/// Until when a write that was given up may be executed.
#[derive(Clone, Copy, PartialEq)]
enum Deadline {
    /// Before every acknowledged write that began after it was given up.
    LaterWrite,
    /// Whenever.
    Never,
}

/// Whether some order explains the operations: those that certainly happened, and any of the others.
fn some_order_explains(operations: &[Operation], deadline: Deadline) -> bool {
    let optional: Vec<_> =
        (0..operations.len()).filter(|i| operations[*i].outcome == Outcome::Unknown).collect();
    (0..1_u32 << optional.len()).any(|subset| {
        let left_out =
            |i: &usize| optional.iter().position(|o| o == i).is_some_and(|o| subset >> o & 1 == 0);
        let rest: Vec<_> = (0..operations.len()).filter(|i| !left_out(i)).collect();
        explains(operations, &rest, 0, deadline)
    })
}

fn explains(operations: &[Operation], rest: &[usize], value: u64, deadline: Deadline) -> bool {
    rest.is_empty()
        || rest.iter().any(|&next| {
            let operation = &operations[next];
            let precedes = |other: &Operation| {
                let ended = other.end < operation.begin;
                let acknowledged_write =
                    operation.written.is_some() && operation.outcome == Outcome::Acknowledged;
                let certain = other.outcome == Outcome::Acknowledged
                    || (deadline == Deadline::LaterWrite && acknowledged_write);
                ended && certain
            };
            let first = !rest.iter().any(|&other| precedes(&operations[other]));
            let fits = operation.written.is_some() || operation.returned == value;
            let remaining: Vec<_> = rest.iter().copied().filter(|i| *i != next).collect();
            let then = operation.written.unwrap_or(value);
            first && fits && explains(operations, &remaining, then, deadline)
        })
}

struct Value(u64);

impl Content<u64> for Value {
    fn is(&self, _: Extent, value: &u64) -> bool {
        self.0 == *value
    }
}

enum UnderWay {
    Write(WriteUnderWay, usize),
    Read(ReadUnderWay, usize),
}

/// A history of one block, and what the core says to it.
struct Play {
    registers: Registers<u64>,
    operations: Vec<Operation>,
    under_way: Vec<UnderWay>,
    /// Writes so far.
    written: u64,
    /// How many values there are, zero among them.
    values: u64,
    legal: bool,
}

impl Play {
    fn new(values: u64) -> Self {
        Self {
            registers: Registers::new(BLOCK, 0),
            operations: Vec::new(),
            under_way: Vec::new(),
            written: 0,
            values,
            legal: true,
        }
    }

    /// Begins an operation or ends one, as the choice says.
    fn event(&mut self, index: usize, (act, which, outcome): (u8, u8, u8), given_up: bool) {
        let at = Tick(index as u64 + 1);
        match act % 4 {
            0 => self.begin_write(index, at),
            1 => self.begin_read(index, at),
            _ if self.under_way.is_empty() => {}
            _ => match self.under_way.swap_remove(usize::from(which) % self.under_way.len()) {
                UnderWay::Write(write, number) => {
                    let lost = given_up && outcome % 3 == 0;
                    let outcome = if lost { Outcome::Unknown } else { Outcome::Acknowledged };
                    self.legal &= self.registers.end_write(at, write, outcome).is_empty();
                    self.operations[number].end = index;
                    self.operations[number].outcome = outcome;
                }
                UnderWay::Read(read, number) => {
                    let returned = u64::from(outcome) % (self.written.min(self.values - 1) + 1);
                    let findings = self.registers.end_read(at, read, &Value(returned));
                    self.legal &= findings.is_empty();
                    self.operations[number].end = index;
                    self.operations[number].returned = returned;
                    self.operations[number].outcome = Outcome::Acknowledged;
                }
            },
        }
    }

    fn begin_write(&mut self, index: usize, at: Tick) {
        self.written += 1;
        let value = self.written % self.values;
        let write = self.registers.begin_write(at, WHOLE, value);
        self.under_way.push(UnderWay::Write(write, self.operations.len()));
        self.operations.push(Operation { written: Some(value), ..begun(index) });
    }

    fn begin_read(&mut self, index: usize, at: Tick) {
        let read = self.registers.begin_read(at, WHOLE);
        self.under_way.push(UnderWay::Read(read, self.operations.len()));
        self.operations.push(begun(index));
    }
}

fn begun(index: usize) -> Operation {
    Operation {
        written: None,
        begin: index,
        end: usize::MAX,
        returned: 0,
        outcome: Outcome::Unknown,
    }
}

/// Plays the choices until the core objects; returns the history and its verdict.
fn play(choices: &[(u8, u8, u8)], values: u64, given_up: bool) -> (Vec<Operation>, bool) {
    let mut play = Play::new(values);
    for (index, choice) in choices.iter().enumerate() {
        play.event(index, *choice, given_up);
        if !play.legal {
            break;
        }
    }
    // A read that has not ended tells nothing.
    let tells = |operation: &Operation| operation.written.is_some() || operation.end != usize::MAX;
    (play.operations.into_iter().filter(tells).collect(), play.legal)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn where_values_differ_the_verdict_is_that_of_a_search_through_all_orders(
        choices in prop::collection::vec(any::<(u8, u8, u8)>(), 0..18),
    ) {
        let (operations, legal) = play(&choices, 1000, false);
        let explained = some_order_explains(&operations, Deadline::Never);
        prop_assert_eq!(legal, explained, "{:?}", operations);
    }

    #[test]
    fn writes_that_were_given_up_hide_no_fault_and_raise_no_false_alarm(
        choices in prop::collection::vec(any::<(u8, u8, u8)>(), 0..18),
    ) {
        let (operations, legal) = play(&choices, 1000, true);
        if legal {
            prop_assert!(some_order_explains(&operations, Deadline::Never), "{:?}", operations);
        } else {
            prop_assert!(!some_order_explains(&operations, Deadline::LaterWrite), "{:?}", operations);
        }
    }

    #[test]
    fn where_values_repeat_nothing_legal_is_flagged(
        choices in prop::collection::vec(any::<(u8, u8, u8)>(), 0..18),
        values in 2_u64..4,
        given_up: bool,
    ) {
        let (operations, legal) = play(&choices, values, given_up);
        let explained = some_order_explains(&operations, Deadline::LaterWrite);
        prop_assert!(legal || !explained, "{:?}", operations);
    }
}
