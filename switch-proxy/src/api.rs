//! The control API of the switch.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use blockferry_block::{Generation, VolumeName};
use blockferry_control::ApiError;
use blockferry_control::api::{
    Arrangement, MoveReply, PrepareReply, PrepareRequest, ProgramStatus, RouteStatus,
};
use blockferry_nbd_session::{Limits, NbdUri};
use blockferry_path::PathState;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::metrics;
use crate::owner::Claim;
use crate::placement::{Candidate, Placement, RouteRecord, control, upstream};
use crate::prepare::prepare;
use crate::route::{Relocation, Route};
use crate::routes::{AddError, Routes};

/// How long an arrangement waits for every connection to take its new requests there.
const MOVE_WAIT: Duration = Duration::from_secs(10);

/// `POST /v1/routes`: a new route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRoute {
    /// Name under which clients find the volume here.
    pub name: String,
    /// NBD URI of the volume.
    pub upstream: String,
    /// Control address of the volume's owner, where there is one.
    #[serde(default)]
    pub control: Option<String>,
}

/// `GET /v1/status`: the switch itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwitchStatus {
    /// As any program tells of itself; `boot` changes with every worker.
    #[serde(flatten)]
    pub program: ProgramStatus,
    /// Its two processes, where it has a keeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<KeeperStatus>,
}

/// The two processes of a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperStatus {
    /// Process id of the keeper, which has the clients' sockets.
    pub pid: u32,
    /// Process id of the worker, which does everything else.
    pub worker_pid: u32,
    /// Workers that this keeper has had, this one included.
    pub workers: u64,
}

/// What the handlers see.
pub(crate) struct Api {
    /// All routes.
    pub(crate) routes: Arc<Routes>,
    /// The program itself.
    pub(crate) program: ProgramStatus,
    /// Its keeper.
    pub(crate) keeper: Option<KeeperStatus>,
    /// What client connections hold.
    pub(crate) limits: Arc<Limits>,
}

type Shared = State<Arc<Api>>;
type Answer<T> = Result<Json<T>, ApiError>;

/// The paths of the control API.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/routes", get(list).post(add))
        .route("/v1/routes/{name}", get(one))
        .route("/v1/routes/{name}/prepare", post(begin_prepare))
        .route("/v1/routes/{name}/arrangement", post(arrange))
        .route("/metrics", get(scrape))
        .with_state(api)
}

async fn status(State(api): Shared) -> Json<SwitchStatus> {
    Json(SwitchStatus { program: api.program.clone(), keeper: api.keeper.clone() })
}

async fn list(State(api): Shared) -> Json<Vec<RouteStatus>> {
    Json(api.routes.all().iter().map(|route| route.status()).collect())
}

async fn one(State(api): Shared, Path(name): Path<String>) -> Answer<RouteStatus> {
    Ok(Json(api.find(&name)?.status()))
}

async fn scrape(State(api): Shared) -> String {
    metrics::text(&api.routes, &api.limits)
}

async fn add(State(api): Shared, Json(new): Json<NewRoute>) -> Answer<RouteStatus> {
    let name: VolumeName = new.name.parse().map_err(bad_request)?;
    let upstream = new.upstream.parse().map_err(bad_request)?;
    let control = new.control.map(|text| text.parse()).transpose().map_err(bad_request)?;
    let placement = Placement { control, ..Placement::initial(upstream) };
    let name = name.as_str().to_owned();
    let record = RouteRecord { name, placement, candidate: None, configured: false };
    let route = api.routes.add(record).await.map_err(|error| match error {
        AddError::Exists(..) => ApiError::conflict(error.to_string()),
        AddError::TooMany => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
        AddError::Journal(error) => not_durable(error),
    })?;
    Ok(Json(route.status()))
}

async fn begin_prepare(
    State(api): Shared,
    Path(name): Path<String>,
    Json(request): Json<PrepareRequest>,
) -> Answer<PrepareReply> {
    let route = api.find(&name)?;
    let candidate = Candidate {
        migration: request.migration,
        upstream: upstream(&request.candidate, &request.export).map_err(bad_request)?,
        control: control(&request.candidate).map_err(bad_request)?,
        standby: !request.announce_only,
    };
    let to = candidate.upstream.clone();
    if to == route.placement().upstream {
        return Ok(Json(PrepareReply { prepared: route.status().sessions, problems: Vec::new() }));
    }
    route.announce(candidate).await.map_err(not_durable)?;
    if request.announce_only {
        return Ok(Json(PrepareReply { prepared: 0, problems: Vec::new() }));
    }
    Ok(Json(prepare(&route, &to).await))
}

/// D1.6, D2.6: the volume lives elsewhere now.
async fn arrange(
    State(api): Shared,
    Path(name): Path<String>,
    Json(arrangement): Json<Arrangement>,
) -> Answer<MoveReply> {
    let route = api.find(&name)?;
    let Arrangement { generation, export, owner, .. } = &arrangement;
    let placement = Placement::at(owner, export, Generation(*generation)).map_err(bad_request)?;
    if *generation > route.placement().generation {
        verify(&route, &placement).await?;
    }
    match route.relocate(placement.clone()).await.map_err(not_durable)? {
        Relocation::Moved | Relocation::AlreadyThere => {
            Ok(Json(wait_for_clients(&route, &placement.upstream).await))
        }
        Relocation::Outdated => {
            let known = route.placement();
            Err(ApiError::conflict(format!(
                "this switch knows {} as the owner with generation {}, and was told {} with {}",
                known.upstream, known.generation, placement.upstream, placement.generation,
            )))
        }
    }
}

/// Asks the alleged owner. One that cannot be reached is believed: paths that cannot be opened there
/// stay where they are, and go on trying.
async fn verify(route: &Route, placement: &Placement) -> Result<(), ApiError> {
    let Some(control) = &placement.control else { return Ok(()) };
    let told = placement.generation;
    match route.query().ask(control, &placement.upstream.export).await {
        Ok(Claim::Owner(generation) | Claim::Forwards(generation, _)) if generation.0 >= told => {
            Ok(())
        }
        Ok(claim) => Err(ApiError::conflict(format!(
            "{control} does not own the volume with generation {told}: it says {claim:?}"
        ))),
        Err(error) if error.is_transient() => {
            let route = route.name();
            tracing::warn!(route, %error, "the new owner could not be asked; it is believed");
            Ok(())
        }
        Err(error) => Err(ApiError::conflict(format!("the alleged owner: {error}"))),
    }
}

async fn wait_for_clients(route: &Route, upstream: &NbdUri) -> MoveReply {
    let paths = route.paths();
    let all = join_all(paths.iter().map(|path| path.at(upstream)));
    // What is still missing after the wait is in the answer.
    let _ = tokio::time::timeout(MOVE_WAIT, all).await;
    let mut reply = MoveReply { moved: 0, remaining: 0 };
    for path in &paths {
        let status = path.status();
        let moved = status.upstream == *upstream && status.state != PathState::Lost;
        reply.moved += u64::from(moved);
        reply.remaining += u64::from(!moved || status.state != PathState::Direct);
    }
    reply
}

impl Api {
    fn find(&self, name: &str) -> Result<Arc<Route>, ApiError> {
        self.routes
            .find(name)
            .ok_or_else(|| ApiError::not_found(format!("there is no route {name:?} here")))
    }
}

fn bad_request(error: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("{error:#}"))
}

fn not_durable(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(format!("this would not survive a restart, try again: {error}"))
}
