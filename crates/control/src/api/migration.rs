//! The steps of a migration. All paths begin with `/v1/volumes/NAME`, all are POST unless said
//! otherwise, all are idempotent: a repeated call with the same content answers the same.
//!
//! A refusal is an HTTP error with one line; 409 means "not in this state or not by you" (an older
//! term, another migration, another boot id), 404 no such volume, 403 a wrong token.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Initiators;

/// Where a storage program is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct PartyAddress {
    /// NBD URI without export.
    pub nbd: String,
    /// Control address.
    pub control: String,
    /// Where iSCSI initiators are served, HOST:PORT; none where they are not.
    #[serde(default)]
    pub iscsi: Option<String>,
}

/// What the source does when the destination cannot keep up with mirrored writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SlowDestination {
    /// Pause the sweep; the client runs at full speed and extents become dirty.
    #[default]
    Pause,
    /// Hold the client's writes until the destination follows.
    Throttle,
}

/// Destination, `/receive`: create the volume (D2.1), or take the store that was prepared for it, and
/// wait for its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiveRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// Term of the controller.
    pub term: u64,
    /// Exact size of the source volume in bytes.
    pub size: u64,
    /// Bytes that the source volume has allocated: the room that the destination needs now.
    pub allocated: u64,
    /// Generation of the present owner.
    pub generation: u64,
    /// The source.
    pub source: PartyAddress,
    /// Only say whether it could be done (preflight); changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// What the source's export offers its clients; the destination must offer as much.
    pub features: Vec<String>,
    /// The volume's initiators, where the source serves iSCSI.
    #[serde(default)]
    pub initiators: Option<Initiators>,
}

/// Answer to [`ReceiveRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiveReply {
    /// This run of the destination.
    pub boot: u64,
    /// `W`.
    pub reserved_address: u64,
    /// Every reason why it cannot be done; empty when it can (only filled for `dry_run`).
    pub problems: Vec<String>,
    /// The store that was prepared for the volume, whose content is overwritten; none when the volume
    /// is created.
    #[serde(default)]
    pub overwrites: Option<String>,
}

/// Source, `/send`: begin to migrate to the destination, which has answered `/receive`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SendRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// Term of the controller.
    pub term: u64,
    /// The destination.
    pub destination: PartyAddress,
    /// Policy for a destination that cannot follow.
    #[serde(default)]
    pub slow_destination: SlowDestination,
    /// How long the slowest hundredth of the clients' requests may take before the copy goes slower, in
    /// milliseconds; the source's default when it is missing.
    #[serde(default)]
    pub client_p99_ms: Option<f64>,
}

/// Answer to [`SendRequest`], once the source has attached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SendReply {
    /// This run of the source.
    pub boot: u64,
    /// The run of the destination that it attached to.
    pub destination_boot: u64,
    /// Epoch of claims that copy connections must name.
    pub epoch: u64,
    /// Address from which the sweep goes on.
    pub reserved_address: u64,
}

/// Source, `/term`: a controller takes the migration over; every older one is fenced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TermRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret, when the caller knows it; not needed on an authenticated control address.
    #[serde(default)]
    pub token: Option<String>,
    /// As in [`SendRequest`]; what was said before counts when it is missing.
    #[serde(default)]
    pub client_p99_ms: Option<f64>,
}

/// Answer to [`TermRequest`]: everything that a new controller needs to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TermReply {
    /// The caller's term.
    pub term: u64,
    /// The migration's secret.
    pub token: String,
    /// The destination.
    pub destination: PartyAddress,
}

/// Destination, `/attach`, from the source: fence all copy and mirror sessions, fall back to
/// `W_durable` ("Restarts").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttachRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// This run of the source.
    pub source_boot: u64,
}

/// Answer to [`AttachRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttachReply {
    /// This run of the destination.
    pub destination_boot: u64,
    /// `W`, now equal to `W_durable`.
    pub reserved_address: u64,
    /// What copy and mirror connections must name from now on.
    pub epoch: u64,
    /// State of the stream's digest at `W_durable`, for the source to go on from.
    pub digest_state: String,
}

/// Destination, `GET /reserved?migration=&epoch=&above=&wait_ms=`: answers when `W > above`, when
/// the epoch is another one, or after the wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
pub struct ReservedQuery {
    /// Identity of the migration.
    pub migration: String,
    /// The epoch that the source is attached with.
    pub epoch: u64,
    /// What the caller knows already.
    pub above: u64,
    /// Longest wait in milliseconds, at most 10,000.
    pub wait_ms: u64,
}

/// Answer to [`ReservedQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReservedReply {
    /// This run of the destination.
    pub destination_boot: u64,
    /// The epoch that is valid there.
    pub epoch: u64,
    /// `W`.
    pub reserved_address: u64,
}

/// Destination, `/checkpoint`, from the source: flush what lies below `W`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// This run of the source.
    pub source_boot: u64,
    /// The epoch that the source is attached with.
    pub epoch: u64,
}

/// Answer to [`CheckpointRequest`], after the flush.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointReply {
    /// The address that may become `W_durable`.
    pub reserved_address: u64,
    /// Digest of the stream up to it, hexadecimal.
    pub digest: String,
}

/// Destination, `/checkpoint/finish`, from the source, which has flushed too: `W_durable` becomes
/// the address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FinishCheckpoint {
    /// The checkpoint that was begun.
    #[serde(flatten)]
    pub checkpoint: CheckpointRequest,
    /// Its address.
    pub reserved_address: u64,
}

/// What a volume is as a disk of SCSI initiators, beyond its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskState {
    /// Its identity: 32 hexadecimal digits.
    pub uuid: String,
    /// Grows with every change.
    pub serial: u64,
    /// What initiators have set, reservations among it, hexadecimal.
    pub state: String,
}

/// Destination, `/disk`, from the source: what the volume is as a disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiskRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// An older one than is known changes nothing.
    pub disk: DiskState,
}

/// Answer to [`DiskRequest`], when that is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiskReply {
    /// That of the state which is known now.
    pub serial: u64,
}

/// Source, `/settle`: the sweep has reached the end; from now on reads take locks, resync finishes,
/// the last checkpoint is made. Answers after at most a second; repeat until `settled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettleRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Term of the controller.
    pub term: u64,
}

/// Answer to [`SettleRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettleReply {
    /// `W = W_durable = S`, nothing dirty, mirror up, digests equal.
    pub settled: bool,
    /// The attempt to name in the steps that follow.
    pub attempt: u64,
    /// What is missing, in one line.
    pub missing: Option<String>,
    /// Epoch and boots that the destination has to confirm.
    pub epoch: u64,
}

/// Destination, `/ready`: write through, flush, make `Ready` durable (commit, step 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReadyRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// Term of the controller.
    pub term: u64,
    /// The attempt.
    pub attempt: u64,
    /// The epoch that the source is attached with.
    pub epoch: u64,
}

/// Answer to [`ReadyRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReadyReply {
    /// Generation that the destination will own with.
    pub generation: u64,
    /// How long the flush took, in seconds.
    pub flush_seconds: f64,
    /// This run of the destination.
    pub boot: u64,
}

/// Source, `/commit`: the point of no return (commit, step 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CommitRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Term of the controller.
    pub term: u64,
    /// The attempt that the destination is ready for.
    pub attempt: u64,
    /// The run of the destination that said so.
    pub destination_boot: u64,
}

/// Answer to [`CommitRequest`]: the record is durable, the source forwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CommitReply {
    /// Generation of the new owner.
    pub generation: u64,
}

/// Destination, `/own` (commit, step 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OwnRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Its secret.
    pub token: String,
    /// The committed generation.
    pub generation: u64,
}

/// Answer to [`OwnRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OwnReply {
    /// Generation that it owns with.
    pub generation: u64,
}

/// Destination, `/promote`, from an operator who knows that the source is lost for good: own the
/// volume without its commit. Answered with [`OwnReply`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PromoteRequest {
    /// Identity of the migration.
    pub migration: String,
}

/// Source, `/pause` and `/unpause`: claims wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PauseRequest {
    /// Identity of the migration.
    pub migration: String,
}

/// Source and destination, `/abort`: before the commit record only. The destination deletes what it
/// created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AbortRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Term of the controller.
    pub term: u64,
    /// The migration's secret, when the caller knows it; the destination checks it then.
    pub token: Option<String>,
}

/// Source, `/retire`: stop forwarding when no client path goes through it any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetireReply {
    /// Whether the source may be switched off.
    pub retired: bool,
    /// Client paths that still end here.
    pub sessions: u64,
    /// Logins of initiators that came here since the program began, and were sent on to the destination.
    #[serde(default)]
    pub sent_on: u64,
}

/// Source, `/verify`: begin to read back both sides under live writes, or ask how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifyRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Begin from the volume's start again.
    #[serde(default)]
    pub restart: bool,
}

/// Answer to [`VerifyRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifyReply {
    /// Bytes compared.
    pub verified_bytes: u64,
    /// Bytes that differed and were made dirty.
    pub mismatched_bytes: u64,
    /// Whether everything has been compared.
    pub done: bool,
}
