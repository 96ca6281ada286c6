//! What can happen in a state.

use super::Action;
use crate::disk::Disk;
use crate::operation::Operation;
use crate::path::Host;
use crate::place::Content;
use crate::source::Checkpoint;
use crate::wire::Stage;
use crate::world::World;

impl World {
    /// What can happen next.
    pub fn actions(&self, out: &mut Vec<Action>) {
        self.client_actions(out);
        self.source_actions(out);
        self.mirror_actions(out);
        self.control_actions(out);
        self.copy_actions(out);
        self.takeover_actions(out);
        if self.scope.switch {
            self.commit_actions(out);
            self.switch_actions(out);
        }
        self.crash_actions(out);
        out.retain(|action| self.faults.covers(action.cost()));
    }

    fn client_actions(&self, out: &mut Vec<Action>) {
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
            Some(Checkpoint::Flushing(..)) if self.destination.attaching.is_none() => {
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
        for (call, late) in self.wire.late.iter().enumerate() {
            if self.may_arrive_late(late) {
                out.push(Action::ArrivesLate { call: call as u8 });
            }
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

    fn switch_actions(&self, out: &mut Vec<Action>) {
        out.push(Action::WorkerDies);
        if self.may_lose_switch() {
            out.push(Action::SwitchDies { owner: Host::Source });
            if self.destination.journal.owned {
                out.push(Action::SwitchDies { owner: Host::Destination });
            }
        }
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
}

/// What a crash may leave on a disk: everything, or after a loss of power what is told.
fn ends(disk: &Disk) -> impl Iterator<Item = Option<Content>> {
    let losses = disk.losses();
    let all_kept = (losses.len() > 1).then_some(None);
    all_kept.into_iter().chain(losses.into_iter().map(Some))
}
