//! What the switch is asked and told. Paths begin with `/v1/routes`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PartyAddress;

/// `GET /v1/routes` gives a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteStatus {
    /// Name under which clients find the volume here.
    pub name: String,
    /// NBD URI of the upstream that new requests go to.
    pub upstream: String,
    /// Generation of the owner behind it; zero for a server that knows nothing of generations.
    pub generation: u64,
    /// Client connections, of both protocols.
    pub sessions: u64,
    /// Those of iSCSI initiators among them, which are joined to an owner.
    #[serde(default)]
    pub initiators: u64,
    /// Requests that clients wait for.
    pub unanswered: u64,
    /// Connections whose old path is still in use.
    pub moving: u64,
    /// Connections that have no upstream at the moment.
    pub held: u64,
    /// The destination of the migration under way.
    pub candidate: Option<PartyAddress>,
    /// Longest request since the migration was announced, in milliseconds.
    pub longest_request_ms: f64,
}

/// `POST /v1/routes/NAME/prepare`: a migration has begun; open everything that can fail towards the
/// candidate, compare size and features. Repeated before the commit, it opens what is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PrepareRequest {
    /// Identity of the migration.
    pub migration: String,
    /// Export name at the destination.
    pub export: String,
    /// The destination.
    pub candidate: PartyAddress,
    /// Only remember the candidate; open no standby connections yet.
    #[serde(default)]
    pub announce_only: bool,
}

/// Answer to [`PrepareRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PrepareReply {
    /// Client connections with a standby connection to the candidate.
    pub prepared: u64,
    /// Every reason why the route could not move; empty when it can.
    pub problems: Vec<String>,
}

/// Where a volume now lives. `POST /v1/routes/NAME/arrangement`, from the controller (the request of
/// D2.6) or from the destination itself (D1.6). Answers when every connection sends its new requests
/// there, at the latest after ten seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Arrangement {
    /// Identity of the migration that moved it.
    pub migration: String,
    /// Generation of the owner; an older one than the switch knows is refused.
    pub generation: u64,
    /// Export name at the owner.
    pub export: String,
    /// The owner.
    pub owner: PartyAddress,
}

/// Answer to [`Arrangement`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MoveReply {
    /// Connections whose new requests go to the owner.
    pub moved: u64,
    /// Connections that still wait for answers on their old path, or could not be moved yet.
    pub remaining: u64,
}
