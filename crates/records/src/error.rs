//! What can go wrong with a volume's records.

use std::io;
use std::path::PathBuf;

use blockferry_journal::JournalError;
use blockferry_migration::digest::ParseFrontierError;
use blockferry_migration::record::ReplayError;

/// A failed operation on the records of a volume.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The journal's own failure.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The records do not fit together.
    #[error("journal {path:?} cannot be followed: {source}")]
    Replay {
        /// The file.
        path: PathBuf,
        /// Which record does not fit.
        source: ReplayError,
    },
    /// A record that no run of the program may write in this state.
    #[error("{record} does not follow from the volume's state")]
    Misplaced {
        /// The record.
        record: String,
    },
    /// The operating system refused something of the activity log's file.
    #[error("the activity log {path:?}: cannot {action}: {source}")]
    Activity {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A part of a migration without one.
    #[error("the records tell of a migration's part, and of no migration")]
    NoMigration,
    /// The recorded digest is none.
    #[error("the recorded digest state is damaged: {0}")]
    Digest(#[from] ParseFrontierError),
}
