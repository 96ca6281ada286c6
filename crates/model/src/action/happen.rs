//! What follows when something happens.

use super::Action;
use crate::world::World;

impl World {
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
            Action::Begin { controller } => self.begin_by(controller),
            Action::TakeOver { controller } => self.take_over(controller),
            Action::Abort { controller, late } => self.abort_by(controller, late),
            Action::Aborted => self.aborted(),
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
            Action::Ready { controller, late } => self.ready_by(controller, late),
            Action::ReadyDone => self.ready_ends(),
            Action::Commit { controller, late } => self.commit_by(controller, late),
            Action::Committed => self.committed(),
            Action::Own => self.own(),
            Action::Forget { controller } => self.controllers[at(controller)].forget(),
            Action::CallArrives { call } => self.call_arrives(at(call)),
            Action::OpenLink { path, host } => self.open_link(path, host),
            Action::FenceSession { path } => self.fence(path),
            Action::BreakLink { path, link } => self.break_link(path, link),
            Action::DrainTooSlow { path } => self.drain_too_slow(path),
            Action::SwitchDies { owner } => self.switch_dies(owner),
            Action::WorkerDies => self.worker_dies(),
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
