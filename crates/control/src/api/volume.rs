//! What a storage program tells of its volumes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PartyAddress;

/// What a volume is at this storage program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeRole {
    /// Serves clients on its own authority.
    Owner,
    /// Owner, with a sweep under way.
    Migrating,
    /// Owner until its commit record is durable, which is being written.
    Committing,
    /// The destination owns the volume; what still arrives here is forwarded.
    Forwarding,
    /// Destination of a sweep.
    Receiving,
    /// Destination that has promised to be complete and durable.
    Ready,
    /// Former owner that is kept in step.
    Standby,
    /// Former owner that serves nobody any more.
    Retired,
}

/// `GET /v1/volumes/NAME`; `GET /v1/volumes` gives a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VolumeStatus {
    /// Name of the volume.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Bytes that are allocated; the size where that is not known.
    pub allocated_bytes: u64,
    /// What the volume is here.
    pub role: VolumeRole,
    /// Generation of the owner that this program knows of.
    pub generation: u64,
    /// `W`: at the destination the truth, at the source what it last heard. Zero without migration.
    pub reserved_address: u64,
    /// `W_durable`.
    pub durable_address: u64,
    /// `R`: how far the copier has claimed. Zero without migration.
    pub read_cursor: u64,
    /// Bytes that only a resync makes equal again.
    pub dirty_bytes: u64,
    /// Entries of the in-flight record.
    pub in_flight_updates: u64,
    /// Client paths that end here.
    pub sessions: u64,
    /// What the volume offers its clients, as NBD names it (`trim`, `fua`, ...).
    pub features: Vec<String>,
    /// The migration that the volume takes part in.
    pub migration: Option<MigrationStatus>,
}

/// The part of [`VolumeStatus`] that exists only while a migration does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrationStatus {
    /// Identity of the migration, hexadecimal.
    pub id: String,
    /// Highest controller term seen.
    pub term: u64,
    /// Last attempt to commit; zero before the first.
    pub attempt: u64,
    /// Epoch of claims, raised by every attach.
    pub epoch: u64,
    /// The other storage program.
    pub peer: PartyAddress,
    /// Whether the source is attached to the running destination.
    pub attached: bool,
    /// Whether an operator paused the sweep, or the source itself.
    pub paused: bool,
    /// Bytes of data that the copy carried (at the source: read; at the destination: written).
    pub copied_bytes: u64,
    /// Bytes that the copy carried as holes.
    pub zero_bytes: u64,
    /// Bytes of client writes mirrored.
    pub mirrored_bytes: u64,
    /// Bytes sent again by resync.
    pub resynced_bytes: u64,
    /// How often the sweep began from an address below one it had reached (restarts).
    pub rewinds: u64,
    /// Longest client request seen since the migration began, in milliseconds.
    pub longest_request_ms: f64,
    /// What the slowest hundredth of the clients' requests took lately, in milliseconds; none without
    /// requests.
    pub client_p99_ms: Option<f64>,
    /// Bytes of data a second that the source gives to the copier at most, for the clients' sake; none
    /// when it does not hold back.
    pub held_to_bytes_per_second: Option<u64>,
    /// Digest of the ordered stream at the last checkpoint.
    pub digest: Option<DigestStatus>,
    /// What keeps the migration from going on, in one line.
    pub trouble: Option<String>,
    /// Why the source has paused the sweep by itself, in one line; a resume ends that.
    pub paused_because: Option<String>,
    /// Verification by reading both sides: bytes compared and found different.
    pub verified_bytes: u64,
    /// Bytes that the verification found different (and made dirty).
    pub mismatched_bytes: u64,
}

/// A digest and the address up to which it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DigestStatus {
    /// Name of the algorithm.
    pub algorithm: String,
    /// The stream's first so many bytes.
    pub address: u64,
    /// Hexadecimal.
    pub value: String,
    /// At the source: whether it equals the destination's at the same address.
    pub matches: Option<bool>,
}

/// `GET /v1/status`: the program itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgramStatus {
    /// `target-src`, `target-dst` or `switch-proxy`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Version of the migration protocol; parties with different ones refuse each other.
    pub protocol: u32,
    /// This run.
    pub boot: u64,
    /// How other parties reach it.
    pub address: PartyAddress,
}
