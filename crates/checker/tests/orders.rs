//! The core against the definition: a history is legal when some order of its operations explains
//! every read. Short histories are compared with a search through all orders; long ones come from
//! a volume that really is one.

use blockferry_block::Extent;
use blockferry_checker::{Content, Outcome, ReadUnderWay, Registers, Tick, WriteUnderWay};
use proptest::prelude::*;

const BLOCK: u32 = 8;

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

/// Plays the choices as a history of one block, and returns it with the core's verdict.
fn play(choices: &[(u8, u8, u8)], values: u64, given_up: bool) -> (Vec<Operation>, bool) {
    let whole = Extent::between(0, u64::from(BLOCK));
    let mut registers = Registers::new(BLOCK, 0);
    let mut operations: Vec<Operation> = Vec::new();
    let mut under_way = Vec::new();
    let mut next_value = 0;
    let mut legal = true;
    for (index, (act, which, returned)) in choices.iter().enumerate() {
        let at = Tick(index as u64 + 1);
        let begins = Operation {
            written: None,
            begin: index,
            end: usize::MAX,
            returned: 0,
            outcome: Outcome::Unknown,
        };
        match act % 4 {
            0 => {
                next_value += 1;
                let value = if next_value % values == 0 { 0 } else { next_value % values };
                under_way.push(UnderWay::Write(
                    registers.begin_write(at, whole, value),
                    operations.len(),
                ));
                operations.push(Operation { written: Some(value), ..begins });
            }
            1 => {
                under_way.push(UnderWay::Read(registers.begin_read(at, whole), operations.len()));
                operations.push(begins);
            }
            _ if under_way.is_empty() => {}
            _ => match under_way.swap_remove(usize::from(*which) % under_way.len()) {
                UnderWay::Write(write, number) => {
                    let outcome = if given_up && returned % 3 == 0 {
                        Outcome::Unknown
                    } else {
                        Outcome::Acknowledged
                    };
                    legal &= registers.end_write(at, write, outcome).is_empty();
                    operations[number].end = index;
                    operations[number].outcome = outcome;
                }
                UnderWay::Read(read, number) => {
                    let value = u64::from(*returned) % (next_value.min(values - 1) + 1);
                    legal &= registers.end_read(at, read, &Value(value)).is_empty();
                    operations[number].end = index;
                    operations[number].returned = value;
                    operations[number].outcome = Outcome::Acknowledged;
                    if !legal {
                        break;
                    }
                }
            },
        }
    }
    // A read that has not ended tells nothing.
    operations.retain(|operation| operation.written.is_some() || operation.end != usize::MAX);
    (operations, legal)
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
