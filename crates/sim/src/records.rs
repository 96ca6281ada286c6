//! What the two programs make durable.

use blockferry_migration::digest::Frontier;

use crate::message::{Generation, Session};

/// A record of the source.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceRecord {
    /// It migrates the volume away.
    Sending,
    /// An attempt to commit has begun.
    Attempt(u64),
    /// Units leave and enter the activity log.
    Log {
        /// Units that leave.
        remove: Vec<u32>,
        /// Units that enter, afterwards.
        add: Vec<u32>,
    },
    /// A controller took the migration over.
    Term(u64),
    /// The migration ended before its commit.
    Aborted,
    /// The point of no return.
    Committed,
    /// A session's fence.
    Fence(Session, Generation),
}

/// A record of the destination.
#[derive(Clone, Debug, PartialEq)]
pub enum DestinationRecord {
    /// `W_durable` and the digest state there.
    Durable(u64, Frontier),
    /// All is here and durable, for this attempt.
    Ready(u64),
    /// A controller took the migration over.
    Term(u64),
    /// The migration ended before its commit.
    Aborted,
    /// It owns the volume.
    Owned,
    /// A session's fence.
    Fence(Session, Generation),
}
