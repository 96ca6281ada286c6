//! What can happen next, one thing at a time.

mod enabled;
mod happen;

use crate::path::Host;
use crate::place::Content;
use crate::scope::Faults;

/// One thing that happens. Numbers are places in the lists of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    /// A controller begins a migration.
    Begin { controller: u8 },
    /// A controller takes the migration over.
    TakeOver { controller: u8 },
    /// A controller asks the source to end the migration.
    Abort { controller: u8, late: bool },
    /// The record that the migration has ended is durable.
    Aborted,
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
    /// The controller asks the destination to be ready; the question may take so long that it gives up.
    Ready { controller: u8, late: bool },
    /// The destination has flushed, and its promise is durable.
    ReadyDone,
    /// The controller asks the source to commit; the question may take so long that it gives up.
    Commit { controller: u8, late: bool },
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
    /// The switch dies, its keeper with it, and its clients come back through another that finds this
    /// owner.
    SwitchDies { owner: Host },
    /// The switch's worker dies. Its keeper tells the next one what is unanswered, and that goes on
    /// with the sessions.
    WorkerDies,
    /// The source dies, with its disk's cache when something is left to tell, and is started again.
    /// What it was about to write may be written, and nobody has learned of it.
    RestartSource { left: Option<Content>, applied: bool, committed: bool },
    /// The destination dies, likewise, perhaps after it has just executed what was under way.
    RestartDestination { left: Option<Content>, executed: bool },
}

impl Action {
    /// What it takes from the faults that a run may have.
    pub const fn cost(self) -> Faults {
        let mut cost =
            Faults { crashes: 0, switches: 0, breaks: 0, errors: 0, takeovers: 0, aborts: 0 };
        match self {
            Self::RestartSource { .. } | Self::RestartDestination { .. } => cost.crashes = 1,
            Self::SwitchDies { .. } | Self::WorkerDies => cost.switches = 1,
            Self::LaneLost { .. }
            | Self::AttachLate
            | Self::CheckpointFlushed { late: true }
            | Self::CheckpointLost
            | Self::Disconnect { .. }
            | Self::Forget { .. }
            | Self::Ready { late: true, .. }
            | Self::Commit { late: true, .. }
            | Self::BreakLink { .. }
            | Self::DrainTooSlow { .. } => cost.breaks = 1,
            Self::ApplyFails { .. }
            | Self::LogFails
            | Self::MirrorFails { .. }
            | Self::ReadFails { .. }
            | Self::CopyFails { .. } => cost.errors = 1,
            Self::TakeOver { .. } => cost.takeovers = 1,
            Self::Abort { late: false, .. } => cost.aborts = 1,
            Self::Abort { late: true, .. } => (cost.aborts, cost.breaks) = (1, 1),
            _ => {}
        }
        cost
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
                | Self::OpenLink { host: Host::Source, .. }
                | Self::FenceSession { .. }
                | Self::CallArrives { .. }
                | Self::LaneLost { .. }
        )
    }
}
