//! What is under way between the parties.
//!
//! A call of which nobody waits for the answer any more is no longer `live`; it may still be
//! executed, late, or never.

use blockferry_block::BootId;
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::SessionKey;

use crate::operation::Way;
use crate::path::Host;
use crate::place::{Content, Span};
use crate::request::Request;
use crate::skip::Skip;

/// A session as a storage program fences it: that of a client, or the source's own.
pub type Session = u8;

/// The session that carries resyncs.
pub const OWN: Session = 0;

/// How many sessions a run has.
pub const SESSIONS: usize = 5;

/// Number of a path of a session; a fence names the first that may execute.
pub type PathGeneration = u16;

/// Distance between the generations of a client's links. What the source opens on their behalf is
/// numbered in between: mirror connections first, then forward connections.
pub const LINK_STEP: PathGeneration = 32;

/// Where the generations of forward connections begin, above the client's.
pub const FORWARD_STEP: PathGeneration = 16;

/// The generation of the client's link that this one was opened on behalf of.
pub const fn link_of(generation: PathGeneration) -> PathGeneration {
    generation / LINK_STEP * LINK_STEP
}

/// First generation of each session that may execute.
pub type Fences = [PathGeneration; SESSIONS];

/// The number of a session key, which can be ordered.
pub type Key = u64;

/// The key of the source's own lane.
pub const OWN_KEY: SessionKey = SessionKey(u64::MAX);

/// How far a write on the way to the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Under way.
    Sent,
    /// Being executed; whether it has to be durable when it is answered.
    Running(bool),
    /// The connection broke before the destination had it.
    Lost,
}

/// A write of a mirror connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MirrorCall {
    /// The lane that sent it.
    pub lane: Key,
    /// Its session.
    pub session: Session,
    /// The connection's generation.
    pub generation: PathGeneration,
    /// The connection's epoch.
    pub epoch: u64,
    /// Where it writes.
    pub span: Span,
    /// What it writes.
    pub content: Content,
    /// The request that it is of, if of one.
    pub request: Option<Request>,
    /// The operation that waits for it.
    pub operation: Skip<OpId>,
    /// How far it is.
    pub stage: Stage,
    /// Whether the source waits for it.
    pub live: bool,
}

/// A write of a copy connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyCall {
    /// The controller that sent it.
    pub controller: u8,
    /// What its connection named.
    pub voice: Voice,
    /// The connection's epoch.
    pub epoch: u64,
    /// Where it writes.
    pub span: Span,
    /// What it writes.
    pub content: Content,
    /// How far it is.
    pub stage: Stage,
    /// Whether the connection still stands.
    pub live: bool,
}

/// Who sends requests over a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// The switch, for a client.
    Switch,
    /// The source, for a session that it forwards.
    Source,
}

/// A client's request on a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    /// Who sent it.
    pub by: Sender,
    /// Where it goes.
    pub to: Host,
    /// The session.
    pub session: Session,
    /// The link's generation.
    pub generation: PathGeneration,
    /// The request.
    pub request: Request,
    /// How the answer finds back.
    pub way: Way,
}

/// Who asks for a step: a controller's term in a migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Voice {
    /// Number of the migration.
    pub migration: u8,
    /// The term.
    pub term: u8,
}

/// A control call that arrives when nobody waits for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Late {
    /// Fence everything and fall back to `W_durable`.
    Attach(BootId),
    /// Make the address durable, in this epoch.
    Finish(u64, u64),
    /// Promise to be ready for the attempt, in this epoch.
    Ready(Voice, u64, u64),
    /// Commit the attempt, for which this run of the destination is ready.
    Commit(Voice, u64, BootId),
    /// End the migration.
    Abort(Voice),
}

/// Everything under way. Calls are ordered by nothing but what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wire {
    /// Mirror writes.
    pub mirrors: Vec<MirrorCall>,
    /// Copy writes.
    pub copies: Vec<CopyCall>,
    /// Clients' requests.
    pub calls: Vec<Call>,
    /// Control calls that were given up.
    pub late: Vec<Late>,
}
