//! What can happen next, one thing at a time.

use crate::disk::Disk;
use crate::operation::Operation;
use crate::path::Host;
use crate::place::Content;
use crate::scope::Faults;
use crate::source::Checkpoint;
use crate::wire::Stage;
use crate::world::World;

/// One thing that happens. Numbers are places in the lists of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    /// The controller begins the migration.
    Begin,
    /// A client sends what stands in the menu.
    Request { client: u8, choice: u8 },
    /// A client's request arrives (again).
    Send { client: u8 },
    /// The local part of an update is done.
    Applied { operation: u8 },
    /// The local disk fails.
    ApplyFails { operation: u8, applied: bool },
    /// A batch of the activity log is durable.
    Logged,
    /// A batch of the activity log cannot be written.
    LogFails,
    /// Mirror lanes are fenced and opened.
    TendLanes,
    /// The source notices that the destination has left its mirror connections.
    LanesGone,
    /// A mirror write takes too long, or its connection breaks.
    LaneLost { lane: u8 },
    /// A mirror write arrives at the destination.
    MirrorArrives { call: u8 },
    /// A mirror write has been executed and answered.
    Mirrored { call: u8 },
    /// The destination's disk fails a mirror write.
    MirrorFails { call: u8, applied: bool },
    /// The source sends a dirty extent again.
    Resync,
    /// The source attaches.
    Attach,
    /// The source's attach takes too long.
    AttachLate,
    /// The destination executes nothing older any more, and answers an attach.
    Attached,
    /// The source begins a checkpoint.
    Checkpoint,
    /// Both sides have flushed, and the address is durable; or will be when it is too late.
    CheckpointFlushed { late: bool },
    /// The source learns that a checkpoint is made.
    CheckpointDone,
    /// The source learns nothing of a checkpoint any more.
    CheckpointLost,
    /// The controller has both sides compared.
    Compare,
    /// A call arrives that was given up.
    ArrivesLate { call: u8 },
    /// A controller claims the next extent.
    Claim { controller: u8 },
    /// A controller dies, or its connections break.
    Disconnect { controller: u8 },
    /// A claimed extent is read, and sent to the destination.
    ReadClaimed { claim: u8 },
    /// The source's disk fails a claimed read.
    ReadFails { claim: u8 },
    /// A copy write arrives at the destination.
    CopyArrives { call: u8 },
    /// A copy write has been executed.
    Copied { call: u8 },
    /// The destination's disk fails a copy write.
    CopyFails { call: u8, applied: bool },
    /// The controller asks the source to settle.
    Settle { controller: u8 },
    /// The controller asks the destination to be ready.
    Ready { controller: u8 },
    /// The destination has flushed, and its promise is durable.
    ReadyDone,
    /// The controller asks the source to commit.
    Commit { controller: u8 },
    /// The commit record is durable.
    Committed,
    /// The controller tells the destination that it owns the volume.
    Own,
    /// A controller that was about to commit dies.
    Forget { controller: u8 },
    /// A client's request arrives at a server.
    CallArrives { call: u8 },
    /// A path opens a link.
    OpenLink { path: u8, host: Host },
    /// A server confirms a path's fence.
    FenceSession { path: u8 },
    /// A path's link breaks.
    BreakLink { path: u8, link: u8 },
    /// The old link of a path that moves answers too slowly.
    DrainTooSlow { path: u8 },
    /// The source dies, with its disk's cache when something is left to tell, and is started again.
    /// What it was about to write may be written, and nobody has learned of it.
    RestartSource { left: Option<Content>, applied: bool, committed: bool },
    /// The destination dies, likewise, perhaps after it has just executed what was under way.
    RestartDestination { left: Option<Content>, executed: bool },
}

impl Action {
    /// What it takes from the faults that a run may have.
    pub const fn cost(self) -> Faults {
        let (mut crashes, mut breaks, mut errors) = (0, 0, 0);
        match self {
            Self::RestartSource { .. } | Self::RestartDestination { .. } => crashes = 1,
            Self::LaneLost { .. }
            | Self::AttachLate
            | Self::CheckpointFlushed { late: true }
            | Self::CheckpointLost
            | Self::Disconnect { .. }
            | Self::Forget { .. }
            | Self::BreakLink { .. }
            | Self::DrainTooSlow { .. } => breaks = 1,
            Self::ApplyFails { .. }
            | Self::LogFails
            | Self::MirrorFails { .. }
            | Self::ReadFails { .. }
            | Self::CopyFails { .. } => errors = 1,
            _ => {}
        }
        Faults { crashes, breaks, errors }
    }

    /// Whether something goes wrong.
    pub fn is_fault(self) -> bool {
        self.cost() != Faults::default()
    }

    /// Whether it happens without the controller and the destination.
    pub const fn is_of_source_alone(self) -> bool {
        matches!(
            self,
            Self::Request { .. }
                | Self::Send { .. }
                | Self::Applied { .. }
                | Self::Logged
                | Self::LanesGone
                | Self::Committed
                | Self::CallArrives { .. }
                | Self::LaneLost { .. }
        )
    }
}

impl World {
    /// What can happen next.
    pub fn actions(&self, out: &mut Vec<Action>) {
        self.client_actions(out);
        self.source_actions(out);
        self.mirror_actions(out);
        self.control_actions(out);
        self.copy_actions(out);
        if self.scope.switch {
            self.commit_actions(out);
        }
        self.crash_actions(out);
        out.retain(|action| self.faults.covers(action.cost()));
    }

    fn client_actions(&self, out: &mut Vec<Action>) {
        if !self.source.journal.sending {
            out.push(Action::Begin);
        }
        for client in 0..self.scope.clients {
            if self.may_send(client) {
                out.push(Action::Send { client });
            }
            let choices = self.scope.menu.iter().zip(0..);
            let open = choices.filter(|(request, _)| self.may_request(client, **request));
            out.extend(open.map(|(_, choice)| Action::Request { client, choice }));
        }
    }

    fn source_actions(&self, out: &mut Vec<Action>) {
        for (operation, of) in self.source.operations.iter().enumerate() {
            if of.is_unapplied() {
                let operation = operation as u8;
                out.push(Action::Applied { operation });
                let fails = |applied| Action::ApplyFails { operation, applied };
                let applied = if of.is_update() { 0..2 } else { 0..1 };
                out.extend(applied.map(|applied| fails(applied == 1)));
            }
        }
        if self.source.batch.is_some() {
            out.extend([Action::Logged, Action::LogFails]);
        }
        if self.may_tend_lanes() {
            out.push(Action::TendLanes);
        }
        let links = || self.source.lanes.iter().map(|lane| lane.link);
        if links().flatten().any(|link| !link.up) {
            out.push(Action::LanesGone);
        }
        for (lane, link) in links().enumerate() {
            if link.is_some_and(|link| link.up) {
                out.push(Action::LaneLost { lane: lane as u8 });
            }
        }
        if self.may_resync() {
            out.push(Action::Resync);
        }
    }

    fn mirror_actions(&self, out: &mut Vec<Action>) {
        for (index, of) in self.wire.mirrors.iter().enumerate() {
            let call = index as u8;
            match of.stage {
                Stage::Sent => out.push(Action::MirrorArrives { call }),
                Stage::Running(_) => {
                    out.push(Action::Mirrored { call });
                    let fails = |applied| Action::MirrorFails { call, applied };
                    out.extend([false, true].map(fails));
                }
                Stage::Lost => {}
            }
        }
    }

    fn control_actions(&self, out: &mut Vec<Action>) {
        if self.may_attach() {
            out.extend([Action::Attach, Action::AttachLate]);
        }
        if self.destination.attaching.is_some() && self.destination.machine.is_idle() {
            out.push(Action::Attached);
        }
        if self.may_checkpoint() {
            out.push(Action::Checkpoint);
        }
        match self.source.checkpoint {
            Some(Checkpoint::Flushing(..)) if self.may_arrive_late() => {
                let flushed = |late| Action::CheckpointFlushed { late };
                out.extend([false, true].map(flushed));
            }
            Some(Checkpoint::Durable(_)) => out.push(Action::CheckpointDone),
            _ => {}
        }
        if self.may_compare() {
            out.push(Action::Compare);
        }
        if self.source.checkpoint.is_some() {
            out.push(Action::CheckpointLost);
        }
        if self.may_arrive_late() {
            let calls = 0..self.wire.late.len() as u8;
            out.extend(calls.map(|call| Action::ArrivesLate { call }));
        }
    }

    fn copy_actions(&self, out: &mut Vec<Action>) {
        for controller in 0..self.scope.controllers {
            if self.may_claim(controller) {
                out.push(Action::Claim { controller });
            }
            if self.controllers[usize::from(controller)].epoch.is_some() {
                out.push(Action::Disconnect { controller });
            }
        }
        for (claim, _) in self.source.claims.iter().enumerate().filter(|(_, c)| c.granted) {
            let claim = claim as u8;
            out.extend([Action::ReadClaimed { claim }, Action::ReadFails { claim }]);
        }
        for (index, of) in self.wire.copies.iter().enumerate() {
            let call = index as u8;
            if self.may_arrive(of) {
                out.push(Action::CopyArrives { call });
            }
            if matches!(of.stage, Stage::Running(_)) {
                out.push(Action::Copied { call });
                let fails = |applied| Action::CopyFails { call, applied };
                out.extend([false, true].map(fails));
            }
        }
    }

    fn commit_actions(&self, out: &mut Vec<Action>) {
        self.controller_actions(out);
        if self.destination.readying.is_some() && self.destination.attaching.is_none() {
            out.push(Action::ReadyDone);
        }
        if self.is_committing() {
            out.push(Action::Committed);
        }
        for (index, call) in self.wire.calls.iter().enumerate() {
            // A forwarded request waits until the destination can own the volume.
            let waits = call.to == Host::Destination && !self.destination.journal.owned;
            if !waits || self.may_own() {
                out.push(Action::CallArrives { call: index as u8 });
            }
        }
        self.path_actions(out);
    }

    fn crash_actions(&self, out: &mut Vec<Action>) {
        if self.faults.crashes == 0 {
            return;
        }
        let restart = |left, applied| Action::RestartSource { left, applied, committed: false };
        out.extend(ends(&self.source.disk).map(|left| restart(left, false)));
        let unapplied = |of: &Operation| of.is_unapplied() && of.is_update();
        if self.source.operations.iter().any(unapplied) {
            // Without a loss of power: what may be lost need not have been written.
            out.push(restart(None, true));
        }
        if self.is_committing() {
            let committed = true;
            out.push(Action::RestartSource { left: None, applied: false, committed });
        }
        for left in ends(&self.destination.disk) {
            out.push(Action::RestartDestination { left, executed: false });
        }
        let stages = self.wire.mirrors.iter().map(|call| call.stage);
        let mut stages = stages.chain(self.wire.copies.iter().map(|call| call.stage));
        let calls = self.destination.journal.owned
            && self.wire.calls.iter().any(|call| call.to == Host::Destination);
        if calls || stages.any(|stage| matches!(stage, Stage::Running(_))) {
            // Without a loss of power: what may be lost need not have been executed.
            out.push(Action::RestartDestination { left: None, executed: true });
        }
    }

    /// Lets it happen, and everything that follows at once.
    pub fn act(&mut self, action: Action) {
        self.faults.spend(action.cost());
        self.happen(action);
        self.settle();
        self.tidy();
    }

    fn happen(&mut self, action: Action) {
        let at = usize::from;
        match action {
            Action::Begin => self.begin(),
            Action::Request { client, choice } => self.request(client, at(choice)),
            Action::Send { client } => self.send(client),
            Action::Applied { operation } => self.local_done(at(operation), true, true),
            Action::ApplyFails { operation, applied } => {
                self.local_done(at(operation), false, applied);
            }
            Action::Logged => self.log_durable(),
            Action::LogFails => self.log_failed(),
            Action::TendLanes => self.tend_lanes(),
            Action::LanesGone => self.lanes_gone(),
            Action::LaneLost { lane } => self.lane_lost(at(lane)),
            Action::MirrorArrives { call } => self.mirror_arrives(at(call)),
            Action::Mirrored { call } => self.mirror_ends(at(call), true, true),
            Action::MirrorFails { call, applied } => self.mirror_ends(at(call), false, applied),
            Action::Resync => self.begin_resync(),
            Action::Attach => self.attach(),
            Action::AttachLate => self.attach_late(),
            Action::Attached => self.attach_ends(),
            Action::Checkpoint => self.checkpoint(),
            Action::CheckpointFlushed { late } => self.checkpoint_flushed(late),
            Action::CheckpointDone => self.checkpoint_done(),
            Action::CheckpointLost => self.checkpoint_lost(),
            Action::Compare => self.compare(),
            Action::ArrivesLate { call } => self.arrives_late(at(call)),
            Action::Claim { controller } => self.claim(controller),
            Action::Disconnect { controller } => self.disconnect(controller),
            Action::ReadClaimed { claim } => self.read_claimed(at(claim)),
            Action::ReadFails { claim } => self.read_failed(at(claim)),
            Action::CopyArrives { call } => self.copy_arrives(at(call)),
            Action::Copied { call } => self.copy_done(at(call)),
            Action::CopyFails { call, applied } => self.copy_failed(at(call), applied),
            Action::Settle { controller } => self.settle_by(controller),
            Action::Ready { controller } => self.ready_by(controller),
            Action::ReadyDone => self.ready_ends(),
            Action::Commit { controller } => self.commit_by(controller),
            Action::Committed => self.committed(),
            Action::Own => self.own(),
            Action::Forget { controller } => self.controllers[at(controller)].forget(),
            Action::CallArrives { call } => self.call_arrives(at(call)),
            Action::OpenLink { path, host } => self.open_link(path, host),
            Action::FenceSession { path } => self.fence(path),
            Action::BreakLink { path, link } => self.break_link(path, link),
            Action::DrainTooSlow { path } => self.drain_too_slow(path),
            Action::RestartSource { left, applied, committed } => {
                if committed {
                    self.committed();
                }
                if applied {
                    self.apply_unanswered();
                }
                self.restart_source(left);
            }
            Action::RestartDestination { left, executed } => {
                if executed {
                    self.end_unanswered();
                }
                self.restart_destination(left);
            }
        }
    }
}

/// What a crash may leave on a disk: everything, or after a loss of power what is told.
fn ends(disk: &Disk) -> impl Iterator<Item = Option<Content>> {
    let losses = disk.losses();
    let all_kept = (losses.len() > 1).then_some(None);
    all_kept.into_iter().chain(losses.into_iter().map(Some))
}
