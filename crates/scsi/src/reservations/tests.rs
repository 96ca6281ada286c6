//! Persistent reservations: what each service action does, and what others hear of it.

use super::out::{Aftermath, ReserveOut};
use super::*;
use crate::codes::SenseCode;
use crate::response::Refusal;

mod model;
mod reports;

fn port(number: u8) -> InitiatorPort {
    InitiatorPort::iscsi("iqn.2026-01.test:initiator", [0, 0, 0, 0, 0, number]).unwrap()
}

/// A service action with its key, the key it speaks of, and its type.
fn out(action: ReserveAction, key: u64, action_key: u64, code: u8) -> ReserveOut {
    ReserveOut {
        action,
        scope_and_type: ScopeAndType(code),
        key: Key(key),
        action_key: Key(action_key),
        persistent: false,
    }
}

/// Ports 1 to `count` registered with keys 1 to `count`, and a reservation that port 1 has made.
fn reserved(count: u8, kind: Option<ReservationType>) -> Reservations {
    let mut reservations = Reservations::default();
    for number in 1..=count {
        let register = out(ReserveAction::Register, 0, number.into(), 0);
        reservations.execute(&port(number), &register).unwrap();
    }
    if let Some(kind) = kind {
        let reserve = out(ReserveAction::Reserve, 1, 0, kind.code());
        reservations.execute(&port(1), &reserve).unwrap();
    }
    reservations
}

/// Who hears what, as numbers of ports.
fn heard(aftermath: &Aftermath) -> Vec<(u8, SenseCode)> {
    let number = |who: &InitiatorPort| (1..=9).find(|number| port(*number) == *who).unwrap();
    aftermath.attentions.iter().map(|(who, code)| (number(who), *code)).collect()
}

#[test]
fn registering_again_with_another_key_is_a_conflict_unless_it_is_ignored() {
    let mut reservations = reserved(1, None);
    let again = out(ReserveAction::Register, 9, 2, 0);
    assert_eq!(reservations.execute(&port(1), &again), Err(Refusal::Conflict));
    let ignoring = out(ReserveAction::RegisterAndIgnore, 9, 2, 0);
    assert!(reservations.execute(&port(1), &ignoring).unwrap().changed);
    assert_eq!(reservations.key_of(&port(1)), Some(Key(2)));
}

#[test]
fn an_unregistered_port_registers_with_key_zero_and_can_do_nothing_else() {
    let mut reservations = reserved(1, None);
    let wrong = out(ReserveAction::Register, 1, 2, 0);
    assert_eq!(reservations.execute(&port(2), &wrong), Err(Refusal::Conflict));
    for action in [
        ReserveAction::Reserve,
        ReserveAction::Release,
        ReserveAction::Clear,
        ReserveAction::Preempt,
        ReserveAction::PreemptAndAbort,
    ] {
        for key in [0, 1] {
            let outcome = reservations.execute(&port(2), &out(action, key, 1, 1));
            assert_eq!(outcome, Err(Refusal::Conflict), "{action:?} with key {key}");
        }
    }
}

#[test]
fn unregistering_what_is_not_registered_changes_nothing() {
    let mut reservations = reserved(1, None);
    let before = reservations.clone();
    for action in [ReserveAction::Register, ReserveAction::RegisterAndIgnore] {
        let outcome = reservations.execute(&port(2), &out(action, 0, 0, 0));
        assert_eq!(outcome, Ok(Aftermath::default()));
    }
    assert_eq!(reservations, before);
}

#[test]
fn a_holder_that_unregisters_takes_its_reservation_along_and_registrants_hear_of_it() {
    for kind in ReservationType::ALL {
        let mut reservations = reserved(3, Some(kind));
        let outcome = reservations.execute(&port(1), &out(ReserveAction::Register, 1, 0, 0));
        let heard = heard(&outcome.unwrap());
        if kind.is_for_all_registrants() {
            assert_eq!((reservations.held(), heard.len()), (Some(kind), 0), "{kind:?}");
        } else {
            assert_eq!(reservations.held(), None, "{kind:?}");
            let released = SenseCode::RESERVATIONS_RELEASED;
            let told = [(2, released), (3, released)];
            let expected = if kind.admits_registrants() { &told[..] } else { &[] };
            assert_eq!(heard, expected, "{kind:?}");
        }
    }
}

#[test]
fn a_reservation_of_all_registrants_ends_with_the_last_of_them() {
    for kind in ReservationType::ALL.into_iter().filter(|kind| kind.is_for_all_registrants()) {
        let mut reservations = reserved(2, Some(kind));
        for number in [1, 2] {
            assert_eq!(reservations.held(), Some(kind));
            let leave = out(ReserveAction::Register, number.into(), 0, 0);
            reservations.execute(&port(number), &leave).unwrap();
        }
        assert_eq!(reservations.held(), None);
    }
}

#[test]
fn reserving_again_changes_nothing_and_another_type_is_a_conflict() {
    for kind in ReservationType::ALL {
        let mut reservations = reserved(2, Some(kind));
        let before = reservations.clone();
        let again = out(ReserveAction::Reserve, 1, 0, kind.code());
        assert_eq!(reservations.execute(&port(1), &again), Ok(Aftermath::default()));
        let other = if kind.code() == 1 { 3 } else { 1 };
        let another = out(ReserveAction::Reserve, 1, 0, other);
        assert_eq!(reservations.execute(&port(1), &another), Err(Refusal::Conflict));
        let others = out(ReserveAction::Reserve, 2, 0, kind.code());
        let outcome = reservations.execute(&port(2), &others);
        let holds = kind.is_for_all_registrants();
        let expected = if holds { Ok(Aftermath::default()) } else { Err(Refusal::Conflict) };
        assert_eq!(outcome, expected, "{kind:?}");
        assert_eq!(reservations, before);
    }
}

#[test]
fn unknown_scopes_and_types_are_refused() {
    let mut reservations = reserved(1, None);
    for (code, bit) in [(0x00, 3), (0x02, 3), (0x04, 3), (0x09, 3), (0x11, 7), (0x21, 7)] {
        let outcome = reservations.execute(&port(1), &out(ReserveAction::Reserve, 1, 0, code));
        assert_eq!(outcome, Err(Refusal::Check(Sense::cdb_field(2, Some(bit)))), "{code:#x}");
    }
}

#[test]
fn a_release_by_its_holder_is_told_to_registrants_where_they_relied_on_it() {
    for kind in ReservationType::ALL {
        let mut reservations = reserved(3, Some(kind));
        let outcome =
            reservations.execute(&port(1), &out(ReserveAction::Release, 1, 0, kind.code()));
        assert_eq!(reservations.held(), None, "{kind:?}");
        let released = SenseCode::RESERVATIONS_RELEASED;
        let told = [(2, released), (3, released)];
        let expected = if kind.admits_registrants() { &told[..] } else { &[] };
        assert_eq!(heard(&outcome.unwrap()), expected, "{kind:?}");
    }
}

#[test]
fn a_release_of_another_type_is_refused_and_one_by_another_changes_nothing() {
    let mut reservations = reserved(2, Some(ReservationType::WriteExclusive));
    let before = reservations.clone();
    let outcome = reservations.execute(&port(1), &out(ReserveAction::Release, 1, 0, 3));
    let refused = Sense::illegal(SenseCode::INVALID_RELEASE);
    assert_eq!(outcome, Err(Refusal::Check(refused)));
    let outcome = reservations.execute(&port(2), &out(ReserveAction::Release, 2, 0, 3));
    assert_eq!(outcome, Ok(Aftermath::default()));
    assert_eq!(reservations, before);
}

#[test]
fn a_clear_ends_everything_and_everybody_else_hears_of_it() {
    let mut reservations = reserved(3, Some(ReservationType::ExclusiveAccess));
    let generation = reservations.generation;
    let outcome = reservations.execute(&port(2), &out(ReserveAction::Clear, 2, 0, 0));
    let preempted = SenseCode::RESERVATIONS_PREEMPTED;
    assert_eq!(heard(&outcome.unwrap()), [(1, preempted), (3, preempted)]);
    assert_eq!((reservations.held(), reservations.has_registrations()), (None, false));
    assert_eq!(reservations.generation, generation + 1);
}

#[test]
fn preempting_the_holders_key_takes_the_reservation_over() {
    let mut reservations = reserved(3, Some(ReservationType::WriteExclusive));
    let outcome = reservations.execute(&port(2), &out(ReserveAction::Preempt, 2, 1, 1));
    assert_eq!(heard(&outcome.unwrap()), [(1, SenseCode::REGISTRATIONS_PREEMPTED)]);
    assert!(reservations.is_holder(&port(2)));
    assert_eq!(reservations.key_of(&port(1)), None);
    assert_eq!(reservations.key_of(&port(3)), Some(Key(3)));
}

#[test]
fn who_stays_registered_hears_of_a_reservation_that_becomes_another() {
    let mut reservations = reserved(3, Some(ReservationType::WriteExclusive));
    let outcome = reservations.execute(&port(2), &out(ReserveAction::Preempt, 2, 1, 6));
    let expected = [(1, SenseCode::REGISTRATIONS_PREEMPTED), (3, SenseCode::RESERVATIONS_RELEASED)];
    assert_eq!(heard(&outcome.unwrap()), expected);
    assert_eq!(reservations.held(), Some(ReservationType::ExclusiveAccessRegistrantsOnly));
}

#[test]
fn a_holder_can_preempt_itself_to_change_the_type() {
    let mut reservations = reserved(2, Some(ReservationType::WriteExclusive));
    let outcome = reservations.execute(&port(1), &out(ReserveAction::Preempt, 1, 1, 3));
    assert_eq!(heard(&outcome.unwrap()), [(2, SenseCode::RESERVATIONS_RELEASED)]);
    assert_eq!(reservations.key_of(&port(1)), Some(Key(1)));
    assert_eq!(reservations.held(), Some(ReservationType::ExclusiveAccess));
}

#[test]
fn preempting_any_other_key_removes_registrations_and_ignores_the_type() {
    for kind in [None, Some(ReservationType::WriteExclusive)] {
        let mut reservations = reserved(3, kind);
        let outcome = reservations.execute(&port(1), &out(ReserveAction::Preempt, 1, 3, 0xff));
        assert_eq!(heard(&outcome.unwrap()), [(3, SenseCode::REGISTRATIONS_PREEMPTED)]);
        assert_eq!(reservations.held(), kind);
        assert_eq!(reservations.key_of(&port(3)), None);
    }
}

#[test]
fn preempting_a_key_that_nobody_has_is_a_conflict_and_key_zero_an_invalid_field() {
    let mut reservations = reserved(2, Some(ReservationType::WriteExclusive));
    let outcome = reservations.execute(&port(1), &out(ReserveAction::Preempt, 1, 9, 1));
    assert_eq!(outcome, Err(Refusal::Conflict));
    let outcome = reservations.execute(&port(1), &out(ReserveAction::Preempt, 1, 0, 1));
    assert_eq!(outcome, Err(Refusal::Check(Sense::parameter_field(8))));
}

#[test]
fn key_zero_preempts_a_reservation_of_all_registrants_and_all_of_them() {
    let mut reservations = reserved(3, Some(ReservationType::WriteExclusiveAllRegistrants));
    let outcome = reservations.execute(&port(2), &out(ReserveAction::Preempt, 2, 0, 1));
    let preempted = SenseCode::REGISTRATIONS_PREEMPTED;
    assert_eq!(heard(&outcome.unwrap()), [(1, preempted), (3, preempted)]);
    assert!(reservations.is_holder(&port(2)));
    assert_eq!(reservations.registrations.len(), 1);
}

#[test]
fn a_key_preempts_single_registrants_of_a_reservation_of_all_registrants() {
    let kind = ReservationType::ExclusiveAccessAllRegistrants;
    let mut reservations = reserved(3, Some(kind));
    let outcome = reservations.execute(&port(2), &out(ReserveAction::Preempt, 2, 1, 1));
    assert_eq!(heard(&outcome.unwrap()), [(1, SenseCode::REGISTRATIONS_PREEMPTED)]);
    assert_eq!(reservations.held(), Some(kind));
    assert!(reservations.is_holder(&port(3)) && !reservations.is_holder(&port(1)));
}

#[test]
fn the_last_of_all_registrants_that_preempts_itself_leaves_no_reservation() {
    for kind in ReservationType::ALL.into_iter().filter(|kind| kind.is_for_all_registrants()) {
        let mut reservations = reserved(1, Some(kind));
        let outcome = reservations.execute(&port(1), &out(ReserveAction::Preempt, 1, 1, 1));
        assert!(outcome.unwrap().changed);
        assert_eq!((reservations.held(), reservations.has_registrations()), (None, false));
    }
}

#[test]
fn only_preempt_and_abort_aborts_and_never_the_sender() {
    let mut reservations = reserved(3, Some(ReservationType::WriteExclusive));
    let outcome = reservations.execute(&port(2), &out(ReserveAction::Preempt, 2, 3, 1));
    assert!(outcome.unwrap().aborted.is_empty());
    let outcome = reservations.execute(&port(2), &out(ReserveAction::PreemptAndAbort, 2, 1, 1));
    assert_eq!(outcome.unwrap().aborted, [port(1)]);
}

#[test]
fn the_generation_counts_changes_of_registrations_and_wraps() {
    let mut reservations = reserved(2, None);
    assert_eq!(reservations.generation, 2);
    reservations.execute(&port(1), &out(ReserveAction::Reserve, 1, 0, 1)).unwrap();
    reservations.execute(&port(1), &out(ReserveAction::Release, 1, 0, 1)).unwrap();
    assert_eq!(reservations.generation, 2);
    reservations.generation = u32::MAX;
    reservations.execute(&port(1), &out(ReserveAction::Preempt, 1, 2, 1)).unwrap();
    assert_eq!(reservations.generation, 0);
}

#[test]
fn registrations_beyond_the_limit_are_refused() {
    let mut reservations = Reservations::default();
    let register = out(ReserveAction::Register, 0, 1, 0);
    let port = |number: usize| {
        let [.., high, low] = number.to_be_bytes();
        InitiatorPort::iscsi("iqn.2026-01.test:many", [0, 0, 0, 0, high, low]).unwrap()
    };
    for number in 0..crate::limits::REGISTRATIONS_MAX {
        reservations.execute(&port(number), &register).unwrap();
    }
    let beyond = reservations.execute(&port(crate::limits::REGISTRATIONS_MAX), &register);
    let refused = Sense::illegal(SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES);
    assert_eq!(beyond, Err(Refusal::Check(refused)));
}

#[test]
fn without_aptpl_a_loss_of_power_ends_everything_and_with_it_the_generation_alone() {
    for persistent in [false, true] {
        let mut reservations = reserved(1, Some(ReservationType::WriteExclusive));
        let again = out(ReserveAction::RegisterAndIgnore, 0, 1, 0);
        reservations.execute(&port(1), &ReserveOut { persistent, ..again }).unwrap();
        reservations.lose_power();
        assert_eq!(reservations.generation, 0);
        assert_eq!(reservations.is_holder(&port(1)), persistent);
        assert_eq!(reservations.has_registrations(), persistent);
    }
}

#[test]
fn strangers_are_bound_as_unregistered_initiators_are() {
    for kind in ReservationType::ALL {
        let reservations = reserved(1, Some(kind));
        for access in [Access::Read, Access::Write] {
            let stranger = reservations.admits_stranger(access);
            assert_eq!(stranger, reservations.admits(&port(9), access), "{kind:?} {access:?}");
        }
        assert!(!reservations.admits_stranger(Access::Write));
    }
    let free = reserved(1, None);
    assert!(free.admits_stranger(Access::Read) && free.admits_stranger(Access::Write));
}
