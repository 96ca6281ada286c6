//! The owner of a volume, alone or as the source of a migration.
//!
//! ```text
//!            begin            settle            commit_begin          commit_durable
//!  Owner ------------> Sweeping ------> Settling ------------> Committing ------> Forwarding
//!    ^                  |    ^            |                        |
//!    +-- abort_durable -+    +--- attach, dirty, commit_failed, ---+
//!                                 abort_begin
//! ```
//!
//! Requests are operations: the caller begins one, asks for its [`Step`], does what it says, reports
//! the outcome and asks again when the operation is woken. Everything is decided here; the caller
//! only moves bytes. Reads before `Settling` take no part in the record, since nothing but the order
//! between updates matters then.

mod abort;
mod claim;
mod commit;
mod compare;
mod data_claimed;
mod fingerprint;
mod operation;
mod resync;
mod sweep;

use std::collections::BTreeMap;

use blockferry_block::{Attempt, Extent};

pub use claim::{
    CHECKPOINT_LAG_MAX, CLAIM_AHEAD_MAX, ClaimId, ClaimRefusal, ClaimStep, SWEEP_DIRTY_MAX,
};
pub use commit::{CommitRefusal, DigestMismatch, Missing};
pub use compare::Comparison;
pub use operation::{Answer, MirrorOutcome, SessionKey, Step};
pub use resync::RESYNC_LENGTH_MAX;
pub use sweep::{Attachment, Counters, Sweep};

use crate::Faults;
use crate::activity::{Batch, BatchId};
use crate::in_flight::{InFlight, Mode, OpId};
use operation::{Kind, OpState, Operation};

/// What the owner is doing; see the drawing above.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Owner,
    Sweeping(Box<Sweep>),
    Settling(Box<Sweep>, Attempt),
    Committing(Box<Sweep>),
    Forwarding,
}

/// The phase's name, for status and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhaseName {
    /// No migration.
    Owner,
    /// The ordered copy or its aftermath is under way.
    Sweeping,
    /// Reads take locks; the attempt to commit prepares.
    Settling,
    /// The commit record is being made durable.
    Committing,
    /// The destination owns the volume.
    Forwarding,
}

/// How a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStart {
    /// Read now; report [`Source::end_unlocked_read`].
    Unlocked,
    /// An operation of the record: follow its steps.
    Recorded(OpId),
    /// The destination answers it.
    Forward,
}

/// The owner of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    size: u64,
    phase: Phase,
    in_flight: InFlight,
    operations: BTreeMap<OpId, Operation>,
    woken: Vec<OpId>,
    unlocked_reads: u64,
    faults: Faults,
}

impl Source {
    /// The owner of a volume of `size` bytes, without a migration.
    pub fn new(size: u64, faults: Faults) -> Self {
        Self {
            size,
            phase: Phase::Owner,
            in_flight: InFlight::default(),
            operations: BTreeMap::new(),
            woken: Vec::new(),
            unlocked_reads: 0,
            faults,
        }
    }

    /// A former owner whose commit record is durable.
    pub fn forwarding(size: u64) -> Self {
        Self { phase: Phase::Forwarding, ..Self::new(size, Faults::default()) }
    }

    /// An owner that was restarted in the middle of a migration: until it has attached it serves at
    /// once, with every write logged and dirty and no claim granted ("Restarts").
    pub fn recovering(size: u64, logged: impl IntoIterator<Item = u32>, faults: Faults) -> Self {
        let sweep = Sweep::recovering(size, logged);
        Self { phase: Phase::Sweeping(Box::new(sweep)), ..Self::new(size, faults) }
    }

    /// Begins a migration; the sweep waits for the first attach. Does nothing when one is under way.
    pub fn begin(&mut self) {
        if matches!(self.phase, Phase::Owner) {
            self.phase = Phase::Sweeping(Box::new(Sweep::new(self.size)));
            // I5: an update that an aborted migration mirrored in part is local to this one.
            if !self.faults.begin_unseen {
                self.in_flight.set_all_local_only();
            }
        }
    }

    /// The phase.
    pub fn phase(&self) -> PhaseName {
        match self.phase {
            Phase::Owner => PhaseName::Owner,
            Phase::Sweeping(_) => PhaseName::Sweeping,
            Phase::Settling(..) => PhaseName::Settling,
            Phase::Committing(_) => PhaseName::Committing,
            Phase::Forwarding => PhaseName::Forwarding,
        }
    }

    /// Size of the volume in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The migration under way.
    pub fn sweep(&self) -> Option<&Sweep> {
        match &self.phase {
            Phase::Sweeping(sweep) | Phase::Settling(sweep, _) | Phase::Committing(sweep) => {
                Some(sweep)
            }
            Phase::Owner | Phase::Forwarding => None,
        }
    }

    fn sweep_mut(&mut self) -> Option<&mut Sweep> {
        match &mut self.phase {
            Phase::Sweeping(sweep) | Phase::Settling(sweep, _) | Phase::Committing(sweep) => {
                Some(sweep)
            }
            Phase::Owner | Phase::Forwarding => None,
        }
    }

    /// Entries of the in-flight record.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Begins a read.
    pub fn begin_read(&mut self, extent: Extent) -> ReadStart {
        match self.phase {
            Phase::Owner | Phase::Sweeping(_) => {
                self.unlocked_reads += 1;
                ReadStart::Unlocked
            }
            Phase::Settling(..) | Phase::Committing(_) => {
                let operation = Operation::new(Kind::Read, SessionKey(0), extent);
                ReadStart::Recorded(self.admit(operation, Mode::Shared))
            }
            Phase::Forwarding => ReadStart::Forward,
        }
    }

    /// A read that began [`ReadStart::Unlocked`] has ended.
    pub fn end_unlocked_read(&mut self) {
        self.unlocked_reads -= 1;
        self.note_reads_locked();
    }

    /// Begins an update: a write, a trim or a zeroing of the extent.
    pub fn begin_update(&mut self, session: SessionKey, extent: Extent) -> OpId {
        let mode = if self.faults.unordered_updates { Mode::Shared } else { Mode::Exclusive };
        self.admit(Operation::new(Kind::Update, session, extent), mode)
    }

    fn admit(&mut self, operation: Operation, mode: Mode) -> OpId {
        let id = self.in_flight.admit(operation.extent, mode);
        self.operations.insert(id, operation);
        if self.in_flight.is_granted(id) {
            self.decide(id);
        }
        id
    }

    /// What to do for the operation now. `Forward` and `Reply` end it: the record forgets it and
    /// others may be woken.
    pub fn step(&mut self, id: OpId) -> Step {
        let Some(operation) = self.operations.get_mut(&id) else { return Step::Wait };
        let step = operation.step();
        if matches!(step, Step::Forward | Step::Reply(_)) {
            self.operations.remove(&id);
            self.in_flight.erase(id);
            self.wake_granted();
        }
        step
    }

    /// Operations whose step may have changed since the last call.
    pub fn take_woken(&mut self) -> Vec<OpId> {
        std::mem::take(&mut self.woken)
    }

    /// The local part of an operation has ended.
    pub fn local_done(&mut self, id: OpId, ok: bool) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.local_done(ok);
        let (kind, extent) = (operation.kind, operation.extent);
        if !ok && kind == Kind::Update {
            self.dirty_below_cursor(extent);
        }
        self.settle_operation(id);
    }

    /// The mirrored part of an update has ended. What the destination did not execute is dirty before
    /// the client is answered (I7).
    pub fn mirror_done(&mut self, id: OpId, outcome: MirrorOutcome) {
        let Some(extent) = self.operations.get(&id).and_then(Operation::mirrored) else { return };
        let holds = matches!(self.phase, Phase::Committing(_) | Phase::Forwarding);
        match outcome {
            MirrorOutcome::Executed => {
                if let Some(sweep) = self.sweep_mut() {
                    sweep.counters.mirrored_bytes += extent.len();
                }
            }
            MirrorOutcome::Refused { .. } | MirrorOutcome::Failed if holds => {}
            MirrorOutcome::Refused { epoch, reserved } => {
                self.reserved_grew(epoch, reserved);
                self.make_dirty(extent);
            }
            MirrorOutcome::Failed => self.make_dirty(extent),
        }
        // I11: while the outcome of the commit is unknown, and after it, a mirror write that was not
        // executed, for whatever reason, is not acknowledged as dirty.
        let held = outcome != MirrorOutcome::Executed && holds;
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.mirror_done(held);
        }
        self.settle_operation(id);
    }

    /// Whether a batch of the activity log waits to be made durable, and the batch.
    pub fn take_log_batch(&mut self) -> Option<Batch> {
        self.sweep_mut()?.log.take_batch()
    }

    /// Whether [`Source::take_log_batch`] has something to give.
    pub fn wants_log(&self) -> bool {
        self.sweep().is_some_and(|sweep| sweep.log.has_batch())
    }

    /// A batch of the activity log is durable.
    pub fn log_durable(&mut self, batch: BatchId) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.log.batch_durable(batch);
        }
        self.logging(batch).into_iter().for_each(|id| self.decide(id));
    }

    /// A batch could not be made durable: its updates fail, since a restart would forget them.
    pub fn log_failed(&mut self, batch: BatchId) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.log.batch_failed(batch);
        }
        for id in self.logging(batch) {
            if let Some(operation) = self.operations.get_mut(&id) {
                operation.state = OpState::Answered(Answer::NotLogged);
                self.woken.push(id);
            }
        }
    }

    fn logging(&self, upto: BatchId) -> Vec<OpId> {
        let waits = |operation: &Operation| matches!(operation.state, OpState::Logging(batch) if batch <= upto);
        self.operations.iter().filter(|(_, o)| waits(o)).map(|(id, _)| *id).collect()
    }

    fn wake_granted(&mut self) {
        for id in self.in_flight.take_granted() {
            self.decide(id);
        }
    }

    /// Decides operations again that wait for something which a change of phase has made moot.
    fn decide_again(&mut self) {
        let logging = self.logging(BatchId(u64::MAX));
        logging.into_iter().for_each(|id| self.decide(id));
    }

    /// A granted operation learns what to do.
    fn decide(&mut self, id: OpId) {
        let Some(operation) = self.operations.get(&id) else { return };
        let (kind, session, extent) = (operation.kind, operation.session, operation.extent);
        let state = match kind {
            Kind::Read => self.decide_read(),
            Kind::Update => self.decide_update(id, session, extent),
            Kind::Resync => self.decide_resync(extent),
            Kind::Compare => self.decide_compare(extent),
        };
        let epoch = self.sweep().map(Sweep::attachment);
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.state = state;
            operation.decided_in = epoch;
            self.woken.push(id);
        }
    }

    fn decide_read(&self) -> OpState {
        match self.phase {
            Phase::Forwarding => OpState::Forward,
            _ => OpState::apply(None),
        }
    }

    /// Splits an update at the read cursor ("The source during the sweep", step 3).
    fn decide_update(&mut self, id: OpId, session: SessionKey, extent: Extent) -> OpState {
        let skip_mirror = self.faults.skip_mirror;
        let holds = matches!(self.phase, Phase::Committing(_));
        let sweep = match &mut self.phase {
            Phase::Forwarding => return OpState::Forward,
            Phase::Owner => {
                if !self.faults.begin_unseen {
                    self.in_flight.set_local_only(id, extent);
                }
                return OpState::apply(None);
            }
            Phase::Sweeping(sweep) | Phase::Settling(sweep, _) | Phase::Committing(sweep) => sweep,
        };
        let (below, above) = extent.split_at(sweep.read_cursor());
        self.in_flight.set_local_only(id, above);
        if below.is_empty() || skip_mirror {
            return OpState::apply(None);
        }
        // I9: in the log before it goes anywhere.
        if let Some(batch) = sweep.log.require(below) {
            return OpState::Logging(batch);
        }
        sweep.unflushed.insert(below);
        if sweep.can_mirror(session) && !sweep.dirty.overlaps(below) {
            return OpState::apply(Some(below));
        }
        if holds {
            return OpState::apply_held(below);
        }
        sweep.dirty.insert(below);
        OpState::apply(None)
    }

    /// An operation whose parts have all ended is answered, or held until the commit is known.
    fn settle_operation(&mut self, id: OpId) {
        let outcome_known = !matches!(self.phase, Phase::Committing(_));
        let forwards = matches!(self.phase, Phase::Forwarding);
        let Some(operation) = self.operations.get(&id) else { return };
        let Some((local_ok, held)) = operation.finished() else { return };
        // I14: from the commit on the destination's copy counts, whatever failed here.
        let failed = !local_ok && operation.kind == Kind::Update && (forwards || !outcome_known);
        let state = match held.or(failed.then_some(operation.extent)) {
            Some(_) if !outcome_known => return,
            Some(_) if forwards => OpState::Forward,
            Some(extent) => {
                self.make_dirty(extent);
                OpState::answered(local_ok)
            }
            None => OpState::answered(local_ok),
        };
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.state = state;
        }
        self.woken.push(id);
    }

    fn dirty_below_cursor(&mut self, extent: Extent) {
        if let Some(sweep) = self.sweep_mut() {
            let below = extent.split_at(sweep.read_cursor()).0;
            sweep.dirty.insert(below);
        }
    }

    fn make_dirty(&mut self, extent: Extent) {
        if self.faults.forget_dirty {
            return;
        }
        if let Some(sweep) = self.sweep_mut() {
            sweep.dirty.insert(extent);
        }
    }
}
