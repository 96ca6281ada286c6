//! A request that the source executes.

use blockferry_block::{Extent, Generation};
use blockferry_migration::in_flight::OpId;

use crate::path::Number;
use crate::place::{Content, Span};
use crate::request::{Request, Verb};
use crate::skip::Skip;
use crate::wire::{PathGeneration, Session};

/// Who waits for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client that is connected to the source itself.
    Client(u8),
    /// A session's path of this generation.
    Path(Session, PathGeneration, Way),
    /// Nobody: a dirty extent is made equal again.
    Resync,
}

/// How an answer finds back to where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    /// The link.
    pub link: Generation,
    /// The request's number.
    pub id: Number,
    /// Whether the link still stands.
    pub live: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Its number in the in-flight record, if it is recorded there.
    pub id: Option<Skip<OpId>>,
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
    /// A client's request, and what it has read.
    Request(Request, Content),
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
    /// The destination executes it; its number on the way there, once it is sent.
    Forwarding(Option<Number>),
}

impl Operation {
    /// An operation that has just arrived.
    pub fn new(id: Option<OpId>, origin: Origin, work: Work) -> Self {
        Self {
            id: id.map(Skip),
            origin,
            work,
            stage: Stage::Queued,
            mirrored: None,
            executed: false,
            forgotten: false,
        }
    }

    /// The client's request.
    pub fn request(&self) -> Option<Request> {
        match self.work {
            Work::Request(request, _) => Some(request),
            Work::Resync(..) => None,
        }
    }

    /// Whether it changes the volume.
    pub fn is_update(&self) -> bool {
        self.request().is_some_and(Request::is_update)
    }

    /// The extents that it touches.
    pub fn span(&self) -> Span {
        match self.work {
            Work::Request(request, _) => request.span,
            Work::Resync(span, ..) => span,
        }
    }

    /// Whether it changes the extent now, here or at the destination.
    pub fn is_changing(&self, block: usize) -> bool {
        let changes = self.is_update() || self.request().is_none();
        changes && matches!(self.stage, Stage::Applying(_)) && self.span().has(block)
    }

    /// Whether its local part is under way.
    pub fn is_unapplied(&self) -> bool {
        self.stage == Stage::Applying(false) && self.request().is_some()
    }

    /// Whether it is applied to the extent here alone and has not been answered.
    pub fn is_local_only(&self, block: usize) -> bool {
        let mirrored = self.mirrored.is_some_and(|span| span.has(block));
        self.is_update() && self.is_changing(block) && !mirrored
    }

    /// Whether it flushes.
    pub fn is_flush(&self) -> bool {
        self.request().is_some_and(|request| request.verb == Verb::Flush)
    }
}
