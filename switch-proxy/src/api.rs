//! The control API of the switch.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use blockferry_block::{Generation, VolumeName};
use blockferry_control::api::{
    Arrangement, ErrorBody, MoveReply, PartyAddress, PrepareReply, PrepareRequest, ProgramStatus,
    RouteStatus,
};
use blockferry_control::{ApiError, openapi};
use blockferry_nbd_session::NbdUri;
use blockferry_net::Limits;
use blockferry_path::PathState;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::desk::Entrance;
use crate::metrics;
use crate::owner::Claim;
use crate::placement::{Candidate, Placement, RouteRecord, control, portal, upstream};
use crate::prepare::prepare;
use crate::route::{Relocation, Route};
use crate::routes::{AddError, Routes};

/// How long an arrangement waits for every connection to take its new requests there.
const MOVE_WAIT: Duration = Duration::from_secs(10);

/// `POST /v1/routes`: a new route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewRoute {
    /// Name under which clients find the volume here.
    pub name: String,
    /// NBD URI of the volume.
    pub upstream: String,
    /// Control address of the volume's owner, where there is one.
    #[serde(default)]
    pub control: Option<String>,
    /// Where the volume's owner serves iSCSI, HOST:PORT; not needed where it has a control address.
    #[serde(default)]
    pub iscsi: Option<String>,
}

/// `GET /v1/status`: the switch itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwitchStatus {
    /// `switch-proxy`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Version of the migration protocol.
    pub protocol: u32,
    /// This run; changes with every worker.
    pub boot: u64,
    /// How other parties reach it.
    pub address: PartyAddress,
    /// Its two processes, where it has a keeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<KeeperStatus>,
}

/// The two processes of a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeeperStatus {
    /// Process id of the keeper, which has the clients' sockets.
    pub pid: u32,
    /// Process id of the worker, which does everything else.
    pub worker_pid: u32,
    /// Workers that this keeper has had, this one included.
    pub workers: u64,
    /// Why no new client can connect, in one line; `null` when all can. Those who are connected are
    /// served, and it is tried again.
    pub shut: Option<String>,
}

/// What the handlers see.
pub(crate) struct Api {
    /// All routes.
    pub(crate) routes: Arc<Routes>,
    /// The program itself.
    pub(crate) program: ProgramStatus,
    /// Its keeper.
    pub(crate) keeper: Option<KeeperStatus>,
    /// Whether new clients can come in there.
    pub(crate) entrance: Entrance,
    /// What client connections hold.
    pub(crate) limits: Arc<Limits>,
}

type Shared = State<Arc<Api>>;
type Answer<T> = Result<Json<T>, ApiError>;

/// Which route.
#[derive(Deserialize, IntoParams)]
struct Named {
    /// Name under which clients find the volume here.
    name: String,
}

/// The paths of the control API.
pub(crate) fn routes(api: Arc<Api>) -> OpenApiRouter {
    openapi::routes_of(&api.program.program)
        .routes(routes!(status))
        .routes(routes!(list, add))
        .routes(routes!(one))
        .routes(routes!(begin_prepare))
        .routes(routes!(arrange))
        .routes(routes!(scrape))
        .with_state(api)
}

/// The program itself.
#[utoipa::path(
    get, path = "/v1/status",
    responses((status = 200, description = "Name, version, addresses", body = SwitchStatus))
)]
async fn status(State(api): Shared) -> Json<SwitchStatus> {
    let ProgramStatus { program, version, protocol, boot, address } = api.program.clone();
    let keeper = api.keeper.clone();
    let keeper = keeper.map(|keeper| KeeperStatus { shut: api.entrance.shut(), ..keeper });
    Json(SwitchStatus { program, version, protocol, boot, address, keeper })
}

/// All routes.
#[utoipa::path(
    get, path = "/v1/routes",
    responses((status = 200, description = "Ordered by name", body = [RouteStatus]))
)]
async fn list(State(api): Shared) -> Json<Vec<RouteStatus>> {
    Json(api.routes.all().iter().map(|route| route.status()).collect())
}

/// One route.
#[utoipa::path(
    get, path = "/v1/routes/{name}", params(Named),
    responses(
        (status = 200, description = "Where it leads", body = RouteStatus),
        (status = 404, description = "There is no such route here", body = ErrorBody),
    )
)]
async fn one(State(api): Shared, Path(name): Path<Named>) -> Answer<RouteStatus> {
    Ok(Json(api.find(&name)?.status()))
}

/// The numbers, in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics",
    responses((status = 200, description = "All routes", body = str, content_type = "text/plain"))
)]
async fn scrape(State(api): Shared) -> String {
    metrics::text(&api.routes, &api.limits)
}

/// Add a route; one that is there already and leads to the same volume is left alone.
#[utoipa::path(
    post, path = "/v1/routes",
    responses(
        (status = 200, description = "Clients find it", body = RouteStatus),
        (status = 400, description = "The name or an address makes no sense", body = ErrorBody),
        (status = 409, description = "The name leads elsewhere", body = ErrorBody),
        (status = 500, description = "It would not survive a restart", body = ErrorBody),
        (status = 507, description = "The switch has as many routes as it takes", body = ErrorBody),
    )
)]
async fn add(State(api): Shared, Json(new): Json<NewRoute>) -> Answer<RouteStatus> {
    let name: VolumeName = new.name.parse().map_err(bad_request)?;
    let upstream = new.upstream.parse().map_err(bad_request)?;
    let control = new.control.map(|text| text.parse()).transpose().map_err(bad_request)?;
    let iscsi = new.iscsi.map(|text| text.parse()).transpose().map_err(bad_request)?;
    let placement = Placement { control, iscsi, ..Placement::initial(upstream) };
    let name = name.as_str().to_owned();
    let record = RouteRecord { name, placement, candidate: None, configured: false };
    let route = api.routes.add(record).await.map_err(|error| match error {
        AddError::Exists(..) => ApiError::conflict(error.to_string()),
        AddError::TooMany => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
        AddError::Journal(error) => not_durable(error),
    })?;
    Ok(Json(route.status()))
}

/// Prepare for a migration: open everything that can fail towards the candidate.
#[utoipa::path(
    post, path = "/v1/routes/{name}/prepare", operation_id = "prepare", params(Named),
    responses((status = 200, description = "What is in the way", body = PrepareReply), ApiError)
)]
async fn begin_prepare(
    State(api): Shared,
    Path(name): Path<Named>,
    Json(request): Json<PrepareRequest>,
) -> Answer<PrepareReply> {
    let route = api.find(&name)?;
    blockferry_label::reached("switch.prepare.asked");
    let candidate = Candidate {
        migration: request.migration,
        upstream: upstream(&request.candidate, &request.export).map_err(bad_request)?,
        control: control(&request.candidate).map_err(bad_request)?,
        iscsi: portal(&request.candidate).map_err(bad_request)?,
        standby: !request.announce_only,
    };
    let to = candidate.upstream.clone();
    if to == route.placement().upstream {
        return Ok(Json(PrepareReply { prepared: route.status().sessions, problems: Vec::new() }));
    }
    route.announce(candidate).await.map_err(not_durable)?;
    blockferry_label::reached("switch.announce.recorded");
    if request.announce_only {
        return Ok(Json(PrepareReply { prepared: 0, problems: Vec::new() }));
    }
    let reply = prepare(&route, &to).await;
    blockferry_label::reached("switch.prepare.answering");
    Ok(Json(reply))
}

/// Send new requests to where the volume lives now (D1.6, D2.6).
#[utoipa::path(
    post, path = "/v1/routes/{name}/arrangement", params(Named),
    responses((status = 200, description = "How many connections do", body = MoveReply), ApiError)
)]
async fn arrange(
    State(api): Shared,
    Path(name): Path<Named>,
    Json(arrangement): Json<Arrangement>,
) -> Answer<MoveReply> {
    let route = api.find(&name)?;
    blockferry_label::reached("switch.arrangement.asked");
    let Arrangement { generation, export, owner, .. } = &arrangement;
    let placement = Placement::at(owner, export, Generation(*generation)).map_err(bad_request)?;
    if *generation > route.placement().generation {
        verify(&route, &placement).await?;
    }
    blockferry_label::reached("switch.arrangement.verified");
    match route.relocate(placement.clone()).await.map_err(not_durable)? {
        Relocation::Moved | Relocation::AlreadyThere => {
            let reply = wait_for_clients(&route, &placement.upstream).await;
            blockferry_label::reached("switch.arrangement.answering");
            Ok(Json(reply))
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
    fn find(&self, Named { name }: &Named) -> Result<Arc<Route>, ApiError> {
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
