//! The steps of a migration, as both sides are asked for them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use blockferry_control::ApiError;
use blockferry_control::api::{
    AbortRequest, AttachReply, AttachRequest, CheckpointReply, CheckpointRequest, CommitReply,
    CommitRequest, CopyReply, CopyRequest, DiskReply, DiskRequest, FinishCheckpoint, OwnReply,
    OwnRequest, PauseRequest, PromoteRequest, ReadyReply, ReadyRequest, ReceiveReply,
    ReceiveRequest, ReservedQuery, ReservedReply, RetireReply, SendReply, SendRequest, SettleReply,
    SettleRequest, TermReply, TermRequest, VerifyReply, VerifyRequest,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, App, Named, find};
use crate::volumes::Volumes;

/// All steps.
pub(super) fn routes() -> OpenApiRouter<Arc<Volumes>> {
    OpenApiRouter::default()
        .routes(routes!(receive))
        .routes(routes!(send))
        .routes(routes!(term))
        .routes(routes!(attach))
        .routes(routes!(reserved))
        .routes(routes!(copy))
        .routes(routes!(checkpoint))
        .routes(routes!(finish_checkpoint))
        .routes(routes!(disk_state))
        .routes(routes!(settle))
        .routes(routes!(ready))
        .routes(routes!(commit))
        .routes(routes!(own))
        .routes(routes!(promote))
        .routes(routes!(pause))
        .routes(routes!(unpause))
        .routes(routes!(abort))
        .routes(routes!(retire))
        .routes(routes!(verify))
}

/// A step that takes one message, asks the volume, and gives one.
macro_rules! step {
    (
        #[doc = $summary:literal]
        $path:literal, $name:ident($request:ident $(, $by_reference:tt)?) -> $reply:tt
    ) => {
        #[doc = $summary]
        #[utoipa::path(
            post, path = $path, params(Named),
            responses((status = 200, description = "Done", body = $reply), ApiError)
        )]
        async fn $name(
            State(volumes): App,
            Path(name): Path<Named>,
            Json(request): Json<$request>,
        ) -> Answer<$reply> {
            Ok(Json(find(&volumes, &name)?.$name($($by_reference)? request).await?))
        }
    };
}

step!(
    /// Source: begin to migrate to the destination, which has answered `/receive`.
    "/v1/volumes/{name}/send", send(SendRequest) -> SendReply
);
step!(
    /// Source: another controller takes the migration over; every older one is fenced.
    "/v1/volumes/{name}/term", term(TermRequest) -> TermReply
);
step!(
    /// Destination, from the source: fence copy and mirror sessions, fall back to `W_durable`.
    "/v1/volumes/{name}/attach", attach(AttachRequest) -> AttachReply
);
step!(
    /// Destination, from the source: what the volume is as a disk.
    "/v1/volumes/{name}/disk", disk_state(DiskRequest) -> DiskReply
);
step!(
    /// Destination: carry the ordered copy to the end; answered then, and ended when the caller goes.
    "/v1/volumes/{name}/copy", copy(CopyRequest) -> CopyReply
);
step!(
    /// Destination, from the source: flush what lies below `W`.
    "/v1/volumes/{name}/checkpoint", checkpoint(CheckpointRequest, &) -> CheckpointReply
);
step!(
    /// Destination, from the source, which has flushed too: `W_durable` becomes the address.
    "/v1/volumes/{name}/checkpoint/finish", finish_checkpoint(FinishCheckpoint, &) -> ()
);
step!(
    /// Source: the sweep has reached the end; finish what is left, repeated until `settled`.
    "/v1/volumes/{name}/settle", settle(SettleRequest, &) -> SettleReply
);
step!(
    /// Destination: write through, flush, and make `Ready` durable.
    "/v1/volumes/{name}/ready", ready(ReadyRequest, &) -> ReadyReply
);
step!(
    /// Source: commit, which is the point of no return.
    "/v1/volumes/{name}/commit", commit(CommitRequest, &) -> CommitReply
);
step!(
    /// Destination: own the volume, which the source has committed.
    "/v1/volumes/{name}/own", own(OwnRequest, &) -> OwnReply
);

step!(
    /// Destination: own the volume without its source, which an operator knows to be lost.
    "/v1/volumes/{name}/promote", promote(PromoteRequest, &) -> OwnReply
);

/// Destination: create the volume and prepare to receive it (D2.1).
#[utoipa::path(
    post, path = "/v1/volumes/{name}/receive", params(Named),
    responses(
        (status = 200, description = "Created, or what is in the way", body = ReceiveReply),
        ApiError,
    )
)]
async fn receive(
    State(volumes): App,
    Path(name): Path<Named>,
    Json(request): Json<ReceiveRequest>,
) -> Answer<ReceiveReply> {
    Ok(Json(volumes.receive(&name.parse()?, &request).await?))
}

/// Destination: wait until `W` is above an address, or the epoch is another one.
#[utoipa::path(
    get, path = "/v1/volumes/{name}/reserved", params(Named, ReservedQuery),
    responses(
        (status = 200, description = "It is so, or the wait is over", body = ReservedReply),
        ApiError,
    )
)]
async fn reserved(
    State(volumes): App,
    Path(name): Path<Named>,
    Query(query): Query<ReservedQuery>,
) -> Answer<ReservedReply> {
    Ok(Json(find(&volumes, &name)?.reserved(&query).await?))
}

/// Source: let claims wait.
#[utoipa::path(
    post, path = "/v1/volumes/{name}/pause", params(Named),
    responses((status = 200, description = "Paused", body = ()), ApiError)
)]
async fn pause(
    State(volumes): App,
    Path(name): Path<Named>,
    Json(request): Json<PauseRequest>,
) -> Answer<()> {
    Ok(Json(find(&volumes, &name)?.pause(&request.migration, true)?))
}

/// Source: end the pause.
#[utoipa::path(
    post, path = "/v1/volumes/{name}/unpause", params(Named),
    responses((status = 200, description = "Going on", body = ()), ApiError)
)]
async fn unpause(
    State(volumes): App,
    Path(name): Path<Named>,
    Json(request): Json<PauseRequest>,
) -> Answer<()> {
    Ok(Json(find(&volumes, &name)?.pause(&request.migration, false)?))
}

/// Either side: abort before the commit; the destination deletes what it created.
#[utoipa::path(
    post, path = "/v1/volumes/{name}/abort", params(Named),
    responses((status = 200, description = "Nothing is left of the migration", body = ()), ApiError)
)]
async fn abort(
    State(volumes): App,
    Path(name): Path<Named>,
    Json(request): Json<AbortRequest>,
) -> Answer<()> {
    Ok(Json(volumes.abort(&name.parse()?, &request).await?))
}

/// Source: stop forwarding, once no client path goes through it any more.
#[utoipa::path(
    post, path = "/v1/volumes/{name}/retire", params(Named),
    responses(
        (status = 200, description = "Whether it may be switched off", body = RetireReply),
        ApiError,
    )
)]
async fn retire(State(volumes): App, Path(name): Path<Named>) -> Answer<RetireReply> {
    Ok(Json(find(&volumes, &name)?.retire().await?))
}

/// Source: begin to read back both sides, or tell how far that is.
#[utoipa::path(
    post, path = "/v1/volumes/{name}/verify", params(Named),
    responses((status = 200, description = "How far it is", body = VerifyReply), ApiError)
)]
async fn verify(
    State(volumes): App,
    Path(name): Path<Named>,
    Json(request): Json<VerifyRequest>,
) -> Answer<VerifyReply> {
    Ok(Json(find(&volumes, &name)?.verify(&request)?))
}
