//! A request that a storage program executes.

use blockferry_migration::in_flight::OpId;

use blockferry_block::Extent;

use crate::place::{Content, Span};
use crate::request::Request;
use crate::skip::Skip;

/// Who waits for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client, over the session's path of this generation.
    Client(u8),
    /// Nobody: a dirty extent is made equal again.
    Resync,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Its number in the in-flight record.
    pub id: Skip<OpId>,
    /// Who waits for it.
    pub origin: Origin,
    /// What it does.
    pub work: Work,
    /// How far it is.
    pub stage: Stage,
    /// What the destination has to execute of it.
    pub mirrored: Option<Span>,
    /// Whether the destination has answered that it did.
    pub executed: bool,
    /// Whether a claim overlooks it (a broken rule).
    pub forgotten: bool,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// A client's request.
    Request(Request),
    /// Reads here and writes there.
    Resync(Span, Skip<Extent>, Content),
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It waits for others, or for the activity log.
    Queued,
    /// It is executed here; whether that has ended.
    Applying(bool),
}

impl Operation {
    /// An operation that was just recorded.
    pub fn new(id: OpId, origin: Origin, work: Work) -> Self {
        let (mirrored, executed, forgotten) = (None, false, false);
        Self { id: Skip(id), origin, work, stage: Stage::Queued, mirrored, executed, forgotten }
    }

    /// The extents that it touches.
    pub fn span(&self) -> Span {
        match self.work {
            Work::Request(request) => request.span,
            Work::Resync(span, ..) => span,
        }
    }

    /// Whether it has begun.
    pub fn is_applying(&self) -> bool {
        matches!(self.stage, Stage::Applying(_))
    }

    /// Whether its local part is under way.
    pub fn is_unapplied(&self) -> bool {
        self.stage == Stage::Applying(false) && matches!(self.work, Work::Request(_))
    }

    /// Whether it is applied to the extent here alone and has not been answered.
    pub fn is_local_only(&self, block: usize) -> bool {
        let update = matches!(self.work, Work::Request(request) if request.is_update());
        let mirrored = self.mirrored.is_some_and(|span| span.has(block));
        update && self.is_applying() && self.span().has(block) && !mirrored
    }
}
