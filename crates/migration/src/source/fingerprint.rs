//! What a model checker tells states apart by.
//!
//! Operations, claims and batches are numbered without end, and statistics only grow. Machines that
//! differ in nothing else decide alike, so they hash alike; `==` still tells them apart.

use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use super::compare::Comparison;
use super::operation::{OpState, Operation};
use super::sweep::Sweep;
use super::{Phase, Source};

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        discriminant(&self.phase).hash(state);
        if let Phase::Settling(_, attempt) = &self.phase {
            attempt.hash(state);
        }
        self.in_flight.hash(state);
        self.unlocked_reads.hash(state);
        self.faults.hash(state);
        let sweep = self.sweep();
        self.operations.values().for_each(|operation| hash_operation(operation, sweep, state));
        let Some(sweep) = sweep else { return };
        sweep.reads_locked.map(|end| self.in_flight.count_before(end)).hash(state);
        hash_sweep(sweep, state);
    }
}

fn hash_operation<H: Hasher>(operation: &Operation, sweep: Option<&Sweep>, state: &mut H) {
    let Operation { kind, session, extent, state: reached, decided_in } = operation;
    (kind, session, extent, decided_in, discriminant(reached)).hash(state);
    match reached {
        OpState::Queued | OpState::Forward => {}
        OpState::Logging(batch) => sweep.map(|sweep| sweep.log.batches_since(*batch)).hash(state),
        OpState::Decided(mirror) => mirror.hash(state),
        OpState::Applying { local, mirror } => (local, mirror).hash(state),
        OpState::Answered(answer) => answer.hash(state),
    }
}

fn hash_sweep<H: Hasher>(sweep: &Sweep, state: &mut H) {
    (sweep.read_cursor, sweep.reserved, sweep.durable).hash(state);
    (sweep.attachment, sweep.recovering, sweep.paused, sweep.ending).hash(state);
    (&sweep.dirty, &sweep.unflushed, &sweep.flushing, &sweep.log).hash(state);
    (&sweep.ledger, sweep.digest_agreed).hash(state);
    (&sweep.mirrors, &sweep.unfenced).hash(state);
    sweep.claims.values().for_each(|claim| claim.hash(state));
    (&sweep.data_claimed, sweep.resync_cursor, sweep.resyncing).hash(state);
    sweep.comparison.map(hash_of).hash(state);
}

/// An operation that is under way is hashed with the others.
fn hash_of(pass: Comparison) -> (u64, bool, bool) {
    (pass.address, pass.mismatched > 0, pass.under_way.is_some())
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use blockferry_block::Extent;

    use crate::Faults;
    use crate::source::{SessionKey, Source, Step};

    fn fingerprint(source: &Source) -> u64 {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn an_operation_that_came_and_went_leaves_no_mark_but_in_its_number() {
        let mut source = Source::new(100, Faults::default());
        let before = source.clone();
        let id = source.begin_update(SessionKey(1), Extent::between(0, 10));
        assert_ne!(fingerprint(&source), fingerprint(&before));
        assert_eq!(source.step(id), Step::Apply { mirror: None });
        source.local_done(id, true);
        assert!(matches!(source.step(id), Step::Reply(_)));
        source.take_woken();
        assert_eq!(fingerprint(&source), fingerprint(&before));
        assert_ne!(source, before, "the next operation gets another number");
    }

    #[test]
    fn two_orders_of_the_same_updates_are_two_states() {
        let ordered = |first, second| {
            let mut source = Source::new(100, Faults::default());
            source.begin_update(SessionKey(1), first);
            source.begin_update(SessionKey(1), second);
            fingerprint(&source)
        };
        let (long, short) = (Extent::between(0, 10), Extent::between(5, 6));
        assert_ne!(ordered(long, short), ordered(short, long));
    }
}
