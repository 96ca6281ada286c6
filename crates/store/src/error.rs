//! Why a store cannot be opened, created or deleted.

use std::io;
use std::path::PathBuf;

use blockferry_block::VolumeName;
use blockferry_nbd_session::ConnectError;

/// A store that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{path:?}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody else has it open.
    #[error(
        "{path:?} is in use by another program, or by another volume of this one; stop that one first"
    )]
    InUse {
        /// The file or device.
        path: PathBuf,
    },
    /// The path's last component is a symbolic link, which could be pointed elsewhere later.
    #[error("{path:?} is a symbolic link; name what it points to: {target:?}")]
    Symlink {
        /// The link.
        path: PathBuf,
        /// Where it leads now.
        target: PathBuf,
    },
    /// It cannot hold a volume.
    #[error("{path:?} is neither a regular file nor a block device")]
    WrongKind {
        /// The file.
        path: PathBuf,
    },
    /// A volume is to be created where one is.
    #[error("the pool {pool:?} has a volume {name} already; it was left untouched")]
    Exists {
        /// The directory.
        pool: PathBuf,
        /// The volume.
        name: VolumeName,
    },
    /// The pool's file system has too little room.
    #[error(
        "the pool {pool:?} has room for {available} bytes, the volume needs {needed}; make room, or \
         name another pool"
    )]
    NoRoom {
        /// The directory.
        pool: PathBuf,
        /// The room that is needed, in bytes.
        needed: u64,
        /// The room there is, in bytes.
        available: u64,
    },
    /// A server cannot be reached, or does not give the export.
    #[error("{uri}: {source}")]
    Remote {
        /// The export.
        uri: String,
        /// Why.
        source: Box<ConnectError>,
    },
    /// A server's export cannot hold a volume.
    #[error("{uri} cannot be used: {reason}")]
    Unusable {
        /// The export.
        uri: String,
        /// Why.
        reason: String,
    },
    /// A store's description makes no sense.
    #[error(
        "{spec:?} is not a store: {reason}; expected a path, mem:SIZE or nbd://HOST:PORT/EXPORT"
    )]
    Spec {
        /// The description.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
}
