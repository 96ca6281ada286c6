//! Persistent reservations against a model that is written down from the standard a second time, in
//! another way: a map of keys, and the set of those that hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Types of the model: code, whether registrants have access, whether all of them hold, whether
/// everybody reads.
const TYPES: [(u8, bool, bool, bool); 6] = [
    (1, false, false, true),
    (3, false, false, false),
    (5, true, false, true),
    (6, true, false, false),
    (7, true, true, true),
    (8, true, true, false),
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    keys: BTreeMap<u8, u64>,
    /// Code of the type, and who holds; never empty sets.
    held: Option<(u8, BTreeSet<u8>)>,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    port: u8,
    action: u8,
    key: u64,
    action_key: u64,
    code: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Conflict,
    Check,
}

impl Model {
    fn is_shared(code: u8) -> bool {
        TYPES.iter().any(|(known, _, shared, _)| *known == code && *shared)
    }

    fn holds(&self, port: u8) -> bool {
        self.held.as_ref().is_some_and(|(_, holders)| holders.contains(&port))
    }

    /// Holders who are not registered hold no more, and those of a shared type are all registered.
    fn settle(&mut self) {
        let Some((code, holders)) = &mut self.held else { return };
        if Self::is_shared(*code) {
            *holders = self.keys.keys().copied().collect();
        } else {
            holders.retain(|port| self.keys.contains_key(port));
        }
        if holders.is_empty() {
            self.held = None;
        }
    }

    fn ask(&mut self, asked: Asked) -> Answer {
        let own = self.keys.get(&asked.port).copied();
        let answer = match asked.action {
            0 if own.unwrap_or(0) != asked.key => Answer::Conflict,
            0 | 6 => {
                self.register(asked, own.is_some());
                Answer::Good
            }
            _ if own != Some(asked.key) => Answer::Conflict,
            1 => self.reserve(asked),
            2 => self.release(asked),
            3 => {
                *self = Self { generation: self.generation + 1, ..Self::default() };
                Answer::Good
            }
            _ => self.preempt(asked),
        };
        self.settle();
        answer
    }

    fn register(&mut self, asked: Asked, known: bool) {
        match (known, asked.action_key) {
            (false, 0) => return,
            (true, 0) => self.keys.remove(&asked.port),
            (_, key) => self.keys.insert(asked.port, key),
        };
        self.generation += 1;
    }

    fn reserve(&mut self, asked: Asked) -> Answer {
        if !TYPES.iter().any(|(code, ..)| *code == asked.code) {
            return Answer::Check;
        }
        match &self.held {
            Some((code, _)) if *code == asked.code && self.holds(asked.port) => Answer::Good,
            Some(_) => Answer::Conflict,
            None => {
                self.held = Some((asked.code, BTreeSet::from([asked.port])));
                Answer::Good
            }
        }
    }

    fn release(&mut self, asked: Asked) -> Answer {
        match &self.held {
            Some((code, _)) if self.holds(asked.port) && *code != asked.code => Answer::Check,
            Some(_) if self.holds(asked.port) => {
                self.held = None;
                Answer::Good
            }
            _ => Answer::Good,
        }
    }

    fn preempt(&mut self, asked: Asked) -> Answer {
        let held_under = match &self.held {
            None => None,
            Some((code, _)) if Self::is_shared(*code) => Some(0),
            Some((_, holders)) => holders.iter().next().map(|holder| self.keys[holder]),
        };
        if held_under == Some(asked.action_key) {
            if !TYPES.iter().any(|(code, ..)| *code == asked.code) {
                return Answer::Check;
            }
            self.keys.retain(|port, key| {
                *port == asked.port || (asked.action_key != 0 && *key != asked.action_key)
            });
            self.held = Some((asked.code, BTreeSet::from([asked.port])));
        } else if asked.action_key == 0 {
            return Answer::Check;
        } else if !self.keys.values().any(|key| *key == asked.action_key) {
            return Answer::Conflict;
        } else {
            self.keys.retain(|_, key| *key != asked.action_key);
        }
        self.generation += 1;
        Answer::Good
    }

    fn admits(&self, port: u8, access: Access) -> bool {
        let Some((held, _)) = &self.held else { return true };
        let (_, registrants, _, all_read) = *TYPES.iter().find(|(code, ..)| code == held).unwrap();
        self.holds(port)
            || (registrants && self.keys.contains_key(&port))
            || (all_read && access == Access::Read)
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    (1..4_u8, 0..7_u8, 0..4_u64, 0..4_u64, 0..10_u8).prop_map(
        |(port, action, key, action_key, code)| Asked { port, action, key, action_key, code },
    )
}

/// What both know, in one form.
fn known(reservations: &Reservations) -> Model {
    let ports = 1..4_u8;
    let key = |number: &u8| reservations.key_of(&port(*number)).map(|key| (*number, key.0));
    let holders = ports.clone().filter(|number| reservations.is_holder(&port(*number)));
    Model {
        keys: ports.filter_map(|number| key(&number)).collect(),
        held: reservations.held().map(|kind| (kind.code(), holders.collect())),
        generation: reservations.generation,
    }
}

proptest! {
    #[test]
    fn reservations_do_what_the_model_does(steps in prop::collection::vec(asked(), 0..60)) {
        let (mut model, mut reservations) = (Model::default(), Reservations::default());
        for asked in steps {
            let action = ReserveAction::from_action(asked.action).unwrap();
            let out = out(action, asked.key, asked.action_key, asked.code);
            let before = reservations.clone();
            let outcome = reservations.execute(&port(asked.port), &out);
            let answer = match &outcome {
                Ok(_) => Answer::Good,
                Err(Refusal::Conflict) => Answer::Conflict,
                Err(_) => Answer::Check,
            };
            prop_assert_eq!(answer, model.ask(asked), "{:?}", asked);
            prop_assert_eq!(known(&reservations), model.clone(), "{:?}", asked);
            let changed = outcome.as_ref().is_ok_and(|aftermath| aftermath.changed);
            prop_assert!(changed || before == reservations, "{:?} changed silently", asked);
            let told = outcome.unwrap_or_default().attentions;
            prop_assert!(told.iter().all(|(told, _)| *told != port(asked.port)));
            for number in 1..5 {
                for access in [Access::Read, Access::Write] {
                    let admitted = reservations.admits(&port(number), access);
                    prop_assert_eq!(admitted, model.admits(number, access));
                }
            }
        }
    }
}
