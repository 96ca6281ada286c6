//! The control API of a storage program: what it tells, and (in [`steps`]) what it does.

mod steps;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use blockferry_block::VolumeName;
use blockferry_control::api::{ErrorBody, Initiators, ProgramStatus, VolumeStatus};
use blockferry_control::{ApiError, openapi};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::metrics;
use crate::program::PROTOCOL;
use crate::volume::{Refused, Volume};
use crate::volumes::Volumes;

type App = State<Arc<Volumes>>;
type Answer<T> = Result<Json<T>, ApiError>;

/// All routes.
pub(crate) fn routes(volumes: Arc<Volumes>) -> OpenApiRouter {
    openapi::routes_of(volumes.program.program)
        .routes(routes!(status))
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(initiators))
        .routes(routes!(metrics::page))
        .merge(steps::routes())
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

/// Which volume.
#[derive(Deserialize, IntoParams)]
struct Named {
    /// Name of the volume.
    name: String,
}

impl Named {
    fn parse(&self) -> Result<VolumeName, ApiError> {
        let name = &self.name;
        name.parse().map_err(|error| ApiError::bad_request(format!("{name:?}: {error}")))
    }
}

fn find(volumes: &Volumes, name: &Named) -> Result<Arc<Volume>, ApiError> {
    let name = name.parse()?;
    volumes.get(&name).ok_or_else(|| ApiError::not_found(format!("there is no volume {name} here")))
}

/// The program itself.
#[utoipa::path(
    get, path = "/v1/status",
    responses((status = 200, description = "Name, version, addresses", body = ProgramStatus))
)]
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

/// All volumes.
#[utoipa::path(
    get, path = "/v1/volumes",
    responses((status = 200, description = "Ordered by name", body = [VolumeStatus]))
)]
async fn list(State(volumes): App) -> Json<Vec<VolumeStatus>> {
    Json(volumes.all().iter().map(|volume| volume.status()).collect())
}

/// One volume.
#[utoipa::path(
    get, path = "/v1/volumes/{name}", params(Named),
    responses(
        (status = 200, description = "Where it stands", body = VolumeStatus),
        (status = 400, description = "That is no volume's name", body = ErrorBody),
        (status = 404, description = "There is no such volume here", body = ErrorBody),
    )
)]
async fn show(State(volumes): App, Path(name): Path<Named>) -> Answer<VolumeStatus> {
    Ok(Json(find(&volumes, &name)?.status()))
}

/// Source: who uses the volume over iSCSI, and whom it lets in; null where it serves none.
#[utoipa::path(
    get, path = "/v1/volumes/{name}/initiators", params(Named),
    responses(
        (status = 200, description = "For the destination to compare", body = Option<Initiators>),
        (status = 400, description = "That is no volume's name", body = ErrorBody),
        (status = 404, description = "There is no such volume here", body = ErrorBody),
    )
)]
async fn initiators(State(volumes): App, Path(name): Path<Named>) -> Answer<Option<Initiators>> {
    let volume = find(&volumes, &name)?;
    let accounts = volumes.program.accounts.as_ref();
    Ok(Json(accounts.map(|accounts| accounts.prove(volume.initiators()))))
}
