//! The control API of a storage program.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use blockferry_block::VolumeName;
use blockferry_control::ApiError;
use blockferry_control::api::{
    AbortRequest, AttachReply, AttachRequest, CheckpointReply, CheckpointRequest, CommitReply,
    CommitRequest, FinishCheckpoint, OwnReply, OwnRequest, PauseRequest, ProgramStatus, ReadyReply,
    ReadyRequest, ReceiveReply, ReceiveRequest, ReservedQuery, ReservedReply, RetireReply,
    SendReply, SendRequest, SettleReply, SettleRequest, TermReply, TermRequest, VerifyReply,
    VerifyRequest, VolumeStatus,
};

use crate::metrics;
use crate::program::PROTOCOL;
use crate::volume::{Refused, Volume};
use crate::volumes::Volumes;

type App = State<Arc<Volumes>>;
type Answer<T> = Result<Json<T>, ApiError>;

/// All routes.
pub(crate) fn router(volumes: Arc<Volumes>) -> Router {
    let volume = Router::new()
        .route("/", get(show))
        .route("/receive", post(receive))
        .route("/send", post(send))
        .route("/term", post(term))
        .route("/attach", post(attach))
        .route("/reserved", get(reserved))
        .route("/checkpoint", post(checkpoint))
        .route("/checkpoint/finish", post(finish_checkpoint))
        .route("/settle", post(settle))
        .route("/ready", post(ready))
        .route("/commit", post(commit))
        .route("/own", post(own))
        .route("/pause", post(pause))
        .route("/unpause", post(unpause))
        .route("/abort", post(abort))
        .route("/retire", post(retire))
        .route("/verify", post(verify));
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/volumes", get(list))
        .nest("/v1/volumes/{name}", volume)
        .route("/metrics", get(metrics::page))
        .with_state(volumes)
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Conflict(why) => Self::conflict(why),
            Refused::Token => Self::forbidden(refused.to_string()),
            Refused::Internal(error) => Self::internal(format!("{error:#}")),
        }
    }
}

fn named(name: &str) -> Result<VolumeName, ApiError> {
    name.parse().map_err(|error| ApiError::bad_request(format!("{name:?}: {error}")))
}

fn find(volumes: &Volumes, name: &str) -> Result<Arc<Volume>, ApiError> {
    let name = named(name)?;
    volumes.get(&name).ok_or_else(|| ApiError::not_found(format!("there is no volume {name} here")))
}

async fn status(State(volumes): App) -> Json<ProgramStatus> {
    let program = &volumes.program;
    Json(ProgramStatus {
        program: program.program.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        boot: program.boot.0,
        address: program.address.clone(),
    })
}

async fn list(State(volumes): App) -> Json<Vec<VolumeStatus>> {
    Json(volumes.all().iter().map(|volume| volume.status()).collect())
}

async fn show(State(volumes): App, Path(name): Path<String>) -> Answer<VolumeStatus> {
    Ok(Json(find(&volumes, &name)?.status()))
}

async fn receive(
    State(volumes): App,
    Path(name): Path<String>,
    Json(request): Json<ReceiveRequest>,
) -> Answer<ReceiveReply> {
    Ok(Json(volumes.receive(&named(&name)?, &request).await?))
}

async fn abort(
    State(volumes): App,
    Path(name): Path<String>,
    Json(request): Json<AbortRequest>,
) -> Answer<()> {
    let Some(volume) = volumes.get(&named(&name)?) else { return Ok(Json(())) };
    volume.abort(&request).await?;
    volumes.remove_gone(&volume);
    Ok(Json(()))
}

async fn reserved(
    State(volumes): App,
    Path(name): Path<String>,
    Query(query): Query<ReservedQuery>,
) -> Answer<ReservedReply> {
    Ok(Json(find(&volumes, &name)?.reserved(&query).await?))
}

async fn retire(State(volumes): App, Path(name): Path<String>) -> Answer<RetireReply> {
    Ok(Json(find(&volumes, &name)?.retire().await?))
}

async fn pause(
    State(volumes): App,
    Path(name): Path<String>,
    Json(request): Json<PauseRequest>,
) -> Answer<()> {
    Ok(Json(find(&volumes, &name)?.pause(&request.migration, true)?))
}

async fn unpause(
    State(volumes): App,
    Path(name): Path<String>,
    Json(request): Json<PauseRequest>,
) -> Answer<()> {
    Ok(Json(find(&volumes, &name)?.pause(&request.migration, false)?))
}

async fn verify(
    State(volumes): App,
    Path(name): Path<String>,
    Json(request): Json<VerifyRequest>,
) -> Answer<VerifyReply> {
    Ok(Json(find(&volumes, &name)?.verify(&request)?))
}

/// A step that takes one message and gives one.
macro_rules! step {
    ($name:ident, $request:ty, $reply:ty, $($by_reference:tt)?) => {
        async fn $name(
            State(volumes): App,
            Path(name): Path<String>,
            Json(request): Json<$request>,
        ) -> Answer<$reply> {
            Ok(Json(find(&volumes, &name)?.$name($($by_reference)? request).await?))
        }
    };
}

step!(send, SendRequest, SendReply,);
step!(term, TermRequest, TermReply,);
step!(attach, AttachRequest, AttachReply,);
step!(checkpoint, CheckpointRequest, CheckpointReply, &);
step!(finish_checkpoint, FinishCheckpoint, (), &);
step!(settle, SettleRequest, SettleReply, &);
step!(ready, ReadyRequest, ReadyReply, &);
step!(commit, CommitRequest, CommitReply, &);
step!(own, OwnRequest, OwnReply, &);
