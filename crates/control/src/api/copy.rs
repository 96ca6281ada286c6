//! The ordered copy, carried by the destination for a controller.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Destination, `/copy`: read from the source and write in order, from `W` to the end. It is answered
/// when that has ended, and ends when its caller goes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// Term of the controller.
    pub term: u64,
    /// The copier's session, hexadecimal.
    pub session: String,
    /// The run of the source.
    pub source_boot: u64,
    /// The run of the destination.
    pub destination_boot: u64,
    /// Epoch of the claims.
    pub epoch: u64,
    /// Longest read and longest write of data at first, in bytes, whole leaves of the digest.
    pub chunk: u64,
    /// The same where the way needs it; no less.
    pub chunk_max: u64,
    /// Writes sent without waiting for the completion of the one before.
    pub window: u32,
    /// Bytes of data a second; no limit when it is missing.
    #[serde(default)]
    pub bandwidth: Option<u64>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "ended", rename_all = "kebab-case")]
pub enum CopyReply {
    /// `W` is the volume's size.
    Complete,
    /// It could not begin: the source does not answer here, or refuses.
    NotOpened {
        /// Why.
        reason: String,
    },
    /// It stopped on the way. What was not acknowledged does not count as written.
    Halted(CopyHalt),
}

/// What stopped a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyHalt {
    /// In what way.
    pub kind: CopyHaltKind,
    /// Whether the source did, or else the destination.
    pub at_source: bool,
    /// Begin of what was asked for, in bytes.
    pub start: u64,
    /// Its end.
    pub end: u64,
    /// NBD's number of the error, where a storage program gave one.
    #[serde(default)]
    pub errno: u32,
    /// What was said.
    pub reason: String,
}

/// In what way a copy was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CopyHaltKind {
    /// A connection is gone.
    Lost,
    /// The request is not accepted from this connection, or not any more.
    Refused,
    /// The storage below failed.
    Failed,
    /// The answer does not belong to the request.
    Malformed,
}
