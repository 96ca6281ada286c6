//! Small scopes in which a broken rule shows.

use super::*;
use crate::mutant::Mutant;

const CALM: Scope = Scope { menu: &[WRITE_A], clients: 1, ..sweep::CALM };

const CHANGE: Scope = Scope { menu: &[WRITE_A], clients: 1, requests: 1, ..change::CALM };

const fn faults(crashes: u8, breaks: u8, errors: u8) -> Faults {
    Faults { crashes, breaks, errors, ..NONE }
}

/// The scope for a broken rule, and its name.
pub fn scope_of(mutant: Mutant) -> Scope {
    let scope = match mutant {
        Mutant::ReadTooEarly
        | Mutant::EarlyAdvance
        | Mutant::MirrorAfterAnswer
        | Mutant::LogClearedAtAnswer
        | Mutant::MirrorAbove
        | Mutant::SplitTooEarly
        | Mutant::BeginForgets => Scope { requests: 1, ..CALM },
        Mutant::ShortEndSkipped => Scope { requests: 0, ..CALM },
        Mutant::TrimNotMirrored => Scope { requests: 1, menu: &[TRIM_B], ..CALM },
        Mutant::Unordered => Scope { clients: 2, ..CALM },
        Mutant::DirtyVolatile => Scope { requests: 1, faults: faults(1, 0, 0), ..CALM },
        Mutant::ResyncForgives => Scope { requests: 1, faults: faults(0, 1, 0), ..CALM },
        Mutant::AddressOnly => Scope { requests: 1, faults: faults(0, 2, 0), ..CALM },
        Mutant::ReadErrorIgnored => Scope { requests: 0, faults: faults(0, 0, 1), ..CALM },
        Mutant::ReplayWithoutFence => Scope { requests: 2, faults: faults(0, 1, 0), ..CHANGE },
        Mutant::ReplayAnswered => {
            Scope { requests: 2, menu: &[WRITE_A, READ_A], faults: faults(0, 1, 0), ..CHANGE }
        }
        Mutant::FuaDropped => Scope { menu: &[FUA_A], faults: faults(0, 1, 0), ..CHANGE },
        Mutant::ReadyWithoutFlush | Mutant::ThroughByArrival => {
            Scope { menu: &[FUA_A], faults: faults(1, 0, 0), ..CHANGE }
        }
        Mutant::ForwardBeforeRecord | Mutant::OwnedByPromise => CHANGE,
        Mutant::FlushByProxy => Scope { requests: 2, menu: &[WRITE_A, FLUSH], ..CHANGE },
        Mutant::ShutdownForwarded => Scope { faults: faults(1, 0, 0), ..CHANGE },
        Mutant::FenceStaysHere => Scope { faults: faults(1, 0, 0), ..CHANGE },
        Mutant::OwnedWithMirrors => {
            Scope { requests: 2, menu: &[WRITE_A, FLUSH], faults: faults(1, 0, 0), ..CHANGE }
        }
        Mutant::FenceVolatile => Scope { faults: faults(1, 1, 0), ..CHANGE },
        Mutant::OwnedByPhase => Scope { requests: 0, ..change::LATE },
        Mutant::TermVolatile => recovery::DEADLY_SWEEP_OF_TWO,
        Mutant::AbortedBeforeRecord => recovery::DEADLY_ABORT,
        Mutant::CommitBesideAbort => recovery::ABORT_OF_TWO,
        Mutant::NumbersAgain => {
            Scope { requests: 2, faults: Faults { switches: 1, ..NONE }, ..CHANGE }
        }
    };
    let crashes = if mutant == Mutant::OwnedByPromise { 1 } else { scope.faults.crashes };
    Scope { faults: Faults { crashes, ..scope.faults }, mutant: Some(mutant), ..scope }
}

/// The model that the scope is of.
pub fn model_of(mutant: Mutant) -> &'static str {
    let scope = scope_of(mutant);
    match (scope.controllers, scope.faults.aborts, scope.switch) {
        (1, 0, false) => "(a)",
        (1, 0, true) => "(b)",
        _ => "(c)",
    }
}
