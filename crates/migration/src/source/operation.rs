//! One operation of the record, from its admission to its answer.
//!
//! ```text
//!  Queued -> (Logging ->) Decided -> Applying -> Answered
//!                  \                    |  ^         ^
//!                   +-> Forward <- held until the commit is known
//! ```

use blockferry_block::Extent;

use super::sweep::Attachment;
use crate::activity::BatchId;

/// A client session, as the program numbers it; each has a mirror connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// What the caller has to do for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until it is woken.
    Wait,
    /// Apply it here, and beside that mirror the given part; report both. For a resync or a
    /// comparison: read here, and write or read the same extent at the destination.
    Apply {
        /// The part that the destination has to execute too.
        mirror: Option<Extent>,
    },
    /// The destination executes it; whatever was applied here does not count.
    Forward,
    /// It has ended.
    Reply(Answer),
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Well.
    Done,
    /// The local store failed; the client is told what it would be told without a migration.
    LocalFailed,
    /// The activity log could not be written.
    NotLogged,
    /// There was nothing to do any more.
    Skipped,
}

/// How a mirror write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MirrorOutcome {
    /// The destination executed it.
    Executed,
    /// It reached above `W`, which the destination named.
    Refused {
        /// The epoch of the connection.
        epoch: u64,
        /// The destination's reserved address in bytes.
        reserved: u64,
    },
    /// Unknown: the connection failed or took longer than `mirror_timeout`, or the destination had an
    /// error.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Read,
    Update,
    Resync,
    Compare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mirror {
    None,
    Pending(Extent),
    Executed,
    Held(Extent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpState {
    Queued,
    Logging(BatchId),
    Decided(Mirror),
    Applying { local: Option<bool>, mirror: Mirror },
    Forward,
    Answered(Answer),
}

impl OpState {
    pub(super) fn apply(mirror: Option<Extent>) -> Self {
        Self::Decided(mirror.map_or(Mirror::None, Mirror::Pending))
    }

    pub(super) fn apply_held(extent: Extent) -> Self {
        Self::Decided(Mirror::Held(extent))
    }

    pub(super) fn answered(local_ok: bool) -> Self {
        Self::Answered(if local_ok { Answer::Done } else { Answer::LocalFailed })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) session: SessionKey,
    pub(super) extent: Extent,
    pub(super) state: OpState,
    /// The attachment in which it learned what to do.
    pub(super) decided_in: Option<Attachment>,
}

impl Operation {
    pub(super) fn new(kind: Kind, session: SessionKey, extent: Extent) -> Self {
        Self { kind, session, extent, state: OpState::Queued, decided_in: None }
    }

    pub(super) fn step(&mut self) -> Step {
        match self.state {
            OpState::Queued | OpState::Logging(_) | OpState::Applying { .. } => Step::Wait,
            OpState::Decided(mirror) => {
                self.state = OpState::Applying { local: None, mirror };
                let extent = match mirror {
                    Mirror::Pending(extent) => Some(extent),
                    Mirror::None | Mirror::Executed | Mirror::Held(_) => None,
                };
                Step::Apply { mirror: extent }
            }
            OpState::Forward => Step::Forward,
            OpState::Answered(answer) => Step::Reply(answer),
        }
    }

    pub(super) fn local_done(&mut self, ok: bool) {
        if let OpState::Applying { local, .. } = &mut self.state {
            *local = Some(ok);
        }
    }

    /// The part that the destination still has to answer.
    pub(super) fn mirrored(&self) -> Option<Extent> {
        match self.state {
            OpState::Applying { mirror: Mirror::Pending(extent), .. } => Some(extent),
            _ => None,
        }
    }

    pub(super) fn mirror_done(&mut self, held: bool) {
        if let OpState::Applying { mirror, .. } = &mut self.state
            && let Mirror::Pending(extent) = *mirror
        {
            *mirror = if held { Mirror::Held(extent) } else { Mirror::Executed };
        }
    }

    /// Once both parts have ended: whether the local one succeeded, and the part that is held.
    pub(super) fn finished(&self) -> Option<(bool, Option<Extent>)> {
        match self.state {
            OpState::Applying { local: Some(ok), mirror: Mirror::Held(extent) } => {
                Some((ok, Some(extent)))
            }
            OpState::Applying { local: Some(ok), mirror: Mirror::None | Mirror::Executed } => {
                Some((ok, None))
            }
            _ => None,
        }
    }
}
