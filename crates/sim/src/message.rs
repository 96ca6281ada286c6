//! What the parties say to each other. Data, control and options share one vocabulary here; what a
//! connection may say follows from its role.

use blockferry_block::Extent;
use blockferry_migration::digest::{Digest, Frontier};
use blockferry_migration::source::Missing;

use crate::content::{Content, Stamp};

/// One client connection, whatever path it takes. Zero is the source itself: its resyncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub u64);

/// How often a session's path has been opened: by the client, and below that by the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    /// Counted by the client.
    pub client: u64,
    /// Counted by the source for its mirror and forward connections of that client's path.
    pub path: u64,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client's requests.
    Client(Session, Generation),
    /// The ordered copy, in an epoch and for a controller of a term.
    Copy {
        /// The epoch.
        epoch: u64,
        /// The controller's term.
        term: u64,
    },
    /// Writes of the source before the commit, in an epoch.
    Mirror(Session, Generation, u64),
    /// Requests of the source after the commit.
    Forward(Session, Generation),
}

/// A client's request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Read.
    Read(Extent),
    /// Write or trim; durable before the answer when asked for.
    Update {
        /// Where.
        extent: Extent,
        /// What.
        content: Content,
        /// Force unit access.
        fua: bool,
    },
    /// Write one block if it holds what is expected, in one step.
    CompareAndWrite {
        /// The block.
        extent: Extent,
        /// What it has to hold.
        expected: Stamp,
        /// What it holds then.
        stamp: Stamp,
    },
    /// Make durable what was answered before.
    Flush,
}

/// One message.
#[derive(Clone, Debug)]
pub enum Call {
    /// Asks for a role; the first message of a data connection.
    Open(Role),
    /// Nothing of the session older than the generation may execute any more.
    Fence(Session, Generation),
    /// A request in the role of a client, a mirror or a forward connection.
    Request(Request),
    /// An initiator logs in: its older session at this host ends first.
    LogIn(Session),
    /// An initiator sets its value of the disk.
    Set(u64),
    /// What an initiator's value is.
    Value,
    /// Source to destination: what initiators have set.
    Disk {
        /// Grows with every change.
        serial: u64,
        /// All values.
        state: String,
    },
    /// Claims the extent and asks how much of its beginning is a hole.
    Status(Extent),
    /// Claims and reads the extent.
    CopyRead(Extent),
    /// The next piece of the ordered stream.
    CopyWrite(Extent, Content),
    /// Source to destination: fence what was, fall back to `W_durable`.
    Attach(u64),
    /// Source to destination: tell when `W` has passed the address.
    Reserved {
        /// The epoch in which `W` is asked for.
        epoch: u64,
        /// The address.
        above: u64,
    },
    /// Source to destination: flush what lies below `W`.
    Checkpoint(u64),
    /// Source to destination: the address is `W_durable` now.
    FinishCheckpoint {
        /// The epoch of the checkpoint.
        epoch: u64,
        /// Its address.
        address: u64,
    },
    /// Controller to both: where do you stand?
    Inquire,
    /// Controller to source: a controller takes the migration over; every older one is fenced.
    TakeOver,
    /// Controller to source: prepare an attempt to commit.
    Settle {
        /// The controller's term.
        term: u64,
    },
    /// Controller to destination: promise that all is here and durable.
    Ready {
        /// The epoch that the source settled in.
        epoch: u64,
        /// The attempt.
        attempt: u64,
        /// The controller's term.
        term: u64,
    },
    /// Controller to source: the point of no return.
    Commit {
        /// The attempt.
        attempt: u64,
        /// The controller's term.
        term: u64,
    },
    /// Controller to both, the source first: give the migration up.
    Abort {
        /// The controller's term.
        term: u64,
    },
    /// Controller to destination: own the volume.
    Own,
    /// Controller to source: how far is the comparison? A new one begins when it shall, or when none
    /// is known.
    Verify {
        /// Whether it shall.
        restart: bool,
    },
}

/// One answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done.
    Done,
    /// What was read.
    Content(Vec<Stamp>),
    /// The hole at an extent's beginning. A real copier sends zeroes for it; the stamps of trims
    /// travel for the sake of the checks.
    Hole(Vec<Stamp>),
    /// A block holds something else than was expected.
    Differs(Stamp),
    /// An initiator's value of the disk.
    Value(u64),
    /// The volume has moved: log in elsewhere. Nothing was begun.
    LogOut,
    /// A mirror write reached above `W`.
    AboveReserved(u64),
    /// A copy write must begin here.
    Expected(u64),
    /// The disk failed: what a client is told without a migration.
    Failed,
    /// Refused: not in this state, or fenced.
    Refused(&'static str),
    /// Refused: a newer controller has taken the migration over.
    Superseded,
    /// Refused: the commit has begun.
    TooLate,
    /// The controller's term from now on.
    Term(u64),
    /// The outcome of an attach.
    Attached {
        /// What copy and mirror connections must name.
        epoch: u64,
        /// `W`.
        reserved: u64,
        /// The digest state there.
        stream: Frontier,
    },
    /// A checkpoint has begun and this side is flushed.
    Checkpoint {
        /// Its address.
        address: u64,
        /// The digest up to it.
        digest: Digest,
    },
    /// Where a party stands.
    Standing {
        /// The epoch, when there is one.
        epoch: Option<u64>,
        /// `W` as the party knows it.
        reserved: u64,
        /// At the source: its commit record is durable. At the destination: it owns the volume.
        committed: bool,
        /// The migration was given up.
        aborted: bool,
        /// The newest controller's term.
        term: u64,
    },
    /// How far a comparison is.
    Verified {
        /// All below is compared.
        address: u64,
        /// So many bytes of it differed.
        mismatched: u64,
    },
    /// What an attempt still lacks.
    Settled {
        /// Its number.
        attempt: u64,
        /// The epoch it belongs to.
        epoch: u64,
        /// What is missing.
        missing: Option<Missing>,
    },
}
