//! The control APIs of the world's three programs.

use axum::extract::State as Shared;
use axum::routing::{get, post};
use axum::{Json, Router};
use blockferry_control::ApiError;
use blockferry_control::api::{
    AbortRequest, Arrangement, CommitReply, CommitRequest, CopyReply, CopyRequest, Initiators,
    MoveReply, OwnReply, OwnRequest, PauseRequest, PrepareReply, PrepareRequest, ProgramStatus,
    ReadyReply, ReadyRequest, ReceiveReply, ReceiveRequest, RouteStatus, SendReply, SendRequest,
    SettleReply, SettleRequest, TermReply, TermRequest, VerifyReply, VerifyRequest, VolumeRole,
    VolumeStatus,
};
use blockferry_control::api::{PartyAddress, RetireReply};

use super::world::{CommitFault, DESTINATION_NBD, Sending, World};

type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn source(world: World) -> Router {
    Router::new()
        .route("/v1/status", get(async |Shared(world): Shared<World>| Json(world.program(0))))
        .route("/v1/volumes/vol", get(source_volume))
        .route("/v1/volumes/vol/initiators", get(async || Json(None::<Initiators>)))
        .route("/v1/volumes/vol/send", post(send))
        .route("/v1/volumes/vol/term", post(term))
        .route("/v1/volumes/vol/settle", post(settle))
        .route("/v1/volumes/vol/commit", post(commit))
        .route("/v1/volumes/vol/pause", post(pause))
        .route("/v1/volumes/vol/unpause", post(unpause))
        .route("/v1/volumes/vol/abort", post(abort_source))
        .route("/v1/volumes/vol/verify", post(verify))
        .route("/v1/volumes/vol/retire", post(retire))
        .with_state(world)
}

pub(super) fn destination(world: World) -> Router {
    Router::new()
        .route("/v1/status", get(async |Shared(world): Shared<World>| Json(world.program(1))))
        .route("/v1/volumes/vol", get(destination_volume))
        .route("/v1/volumes/vol/receive", post(receive))
        .route("/v1/volumes/vol/copy", post(copy))
        .route("/v1/volumes/vol/ready", post(ready))
        .route("/v1/volumes/vol/own", post(own))
        .route("/v1/volumes/vol/abort", post(abort_destination))
        .with_state(world)
}

pub(super) fn switch(world: World) -> Router {
    Router::new()
        .route("/v1/status", get(switch_program))
        .route("/v1/routes", get(routes))
        .route("/v1/routes/vol/prepare", post(prepare))
        .route("/v1/routes/vol/arrangement", post(arrangement))
        .with_state(world)
}

fn note(world: &World, call: &str) {
    world.state().calls.push(call.to_owned());
}

async fn source_volume(Shared(world): Shared<World>) -> Json<VolumeStatus> {
    Json(world.source_status())
}

async fn destination_volume(Shared(world): Shared<World>) -> Answer<VolumeStatus> {
    world.destination_status().map(Json).ok_or_else(|| ApiError::not_found("no such volume"))
}

async fn receive(
    Shared(world): Shared<World>,
    Json(request): Json<ReceiveRequest>,
) -> Answer<ReceiveReply> {
    note(&world, if request.dry_run { "destination dry-run" } else { "destination receive" });
    let mut state = world.state();
    assert_eq!(request.size, state.size, "D2.1: exactly the source volume's size");
    let problems = state.receive_problems.clone();
    if !request.dry_run {
        state.destination_role = Some(VolumeRole::Receiving);
        state.receiving = Some(request.migration);
    }
    let boot = state.destination_boot;
    Ok(Json(ReceiveReply { boot, reserved_address: 0, problems, overwrites: None }))
}

async fn send(Shared(world): Shared<World>, Json(request): Json<SendRequest>) -> Answer<SendReply> {
    note(&world, "source send");
    let mut state = world.state();
    assert_eq!(request.destination.nbd, DESTINATION_NBD);
    state.source_role = VolumeRole::Migrating;
    state.migration = Some(Sending {
        id: request.migration,
        token: request.token,
        term: request.term,
        epoch: 1,
        attempt: 0,
        paused: false,
        rewinds: 0,
    });
    Ok(Json(SendReply {
        boot: state.source_boot,
        destination_boot: state.destination_boot,
        epoch: 1,
        reserved_address: 0,
    }))
}

async fn term(Shared(world): Shared<World>, Json(request): Json<TermRequest>) -> Answer<TermReply> {
    note(&world, "source term");
    let control = world.control(1);
    let mut state = world.state();
    let sending = state.migration.as_mut().filter(|sending| sending.id == request.migration);
    let sending = sending.ok_or_else(|| ApiError::conflict("no such migration"))?;
    sending.term += 1;
    Ok(Json(TermReply {
        term: sending.term,
        token: sending.token.clone(),
        destination: PartyAddress { nbd: DESTINATION_NBD.to_owned(), control, iscsi: None },
    }))
}

async fn settle(
    Shared(world): Shared<World>,
    Json(request): Json<SettleRequest>,
) -> Answer<SettleReply> {
    note(&world, "source settle");
    if std::mem::take(&mut world.state().restart_when_settling) {
        world.restart_source();
    }
    let reserved = world.reserved();
    let mut state = world.state();
    let proved = state.digest_agreed || state.verified >= state.size;
    let settled = reserved == state.size && state.dirty == 0 && proved;
    state.durable = reserved;
    let sending = state.migration.as_mut().filter(|sending| sending.term == request.term);
    let sending = sending.ok_or_else(|| ApiError::conflict("an older term"))?;
    sending.attempt += 1;
    let missing = (!settled).then(|| "something".to_owned());
    Ok(Json(SettleReply { settled, attempt: sending.attempt, missing, epoch: sending.epoch }))
}

async fn copy(Shared(world): Shared<World>, Json(request): Json<CopyRequest>) -> Answer<CopyReply> {
    let reply = world.state().copies.pop_front();
    let reply = reply.ok_or_else(|| ApiError::not_found("nothing is there"))?;
    note(&world, &format!("destination copy, term {}", request.term));
    if reply == CopyReply::Complete {
        world.carry();
    }
    Ok(Json(reply))
}

async fn ready(
    Shared(world): Shared<World>,
    Json(request): Json<ReadyRequest>,
) -> Answer<ReadyReply> {
    note(&world, "destination ready");
    let mut state = world.state();
    assert_eq!(state.migration.as_ref().map(|s| s.attempt), Some(request.attempt));
    state.destination_role = Some(VolumeRole::Ready);
    Ok(Json(ReadyReply { generation: 2, flush_seconds: 0.25, boot: state.destination_boot }))
}

async fn commit(
    Shared(world): Shared<World>,
    Json(request): Json<CommitRequest>,
) -> Answer<CommitReply> {
    note(&world, "source commit");
    let fault = {
        let mut state = world.state();
        assert_eq!(state.destination_role, Some(VolumeRole::Ready), "I10");
        assert_eq!(request.destination_boot, state.destination_boot);
        let fault = state.commit_faults.pop_front();
        if matches!(fault, None | Some(CommitFault::CommittedWithoutAnswer)) {
            state.source_role = VolumeRole::Forwarding;
        }
        fault
    };
    match fault {
        None => Ok(Json(CommitReply { generation: 2 })),
        Some(CommitFault::Refused) => Err(ApiError::conflict("dirty again")),
        // 504 is what a client makes of an answer that does not come.
        Some(_) => Err(ApiError::new(axum::http::StatusCode::GATEWAY_TIMEOUT, "lost")),
    }
}

async fn own(Shared(world): Shared<World>, Json(request): Json<OwnRequest>) -> Answer<OwnReply> {
    note(&world, "destination own");
    let mut state = world.state();
    assert_eq!(state.source_role, VolumeRole::Forwarding, "I1: never two owners");
    state.destination_role = Some(VolumeRole::Owner);
    state.generation = request.generation;
    Ok(Json(OwnReply { generation: request.generation }))
}

async fn pause(Shared(world): Shared<World>, Json(_): Json<PauseRequest>) -> Answer<()> {
    note(&world, "source pause");
    set_paused(&world, true);
    Ok(Json(()))
}

async fn unpause(Shared(world): Shared<World>, Json(_): Json<PauseRequest>) -> Answer<()> {
    note(&world, "source unpause");
    set_paused(&world, false);
    Ok(Json(()))
}

fn set_paused(world: &World, paused: bool) {
    if let Some(sending) = &mut world.state().migration {
        sending.paused = paused;
    }
}

async fn abort_source(
    Shared(world): Shared<World>,
    Json(request): Json<AbortRequest>,
) -> Answer<()> {
    note(&world, "source abort");
    let mut state = world.state();
    assert_eq!(state.migration.as_ref().map(|sending| sending.term), Some(request.term));
    if state.source_role != VolumeRole::Migrating {
        return Err(ApiError::conflict("too late"));
    }
    state.source_role = VolumeRole::Owner;
    state.migration = None;
    Ok(Json(()))
}

async fn abort_destination(
    Shared(world): Shared<World>,
    Json(request): Json<AbortRequest>,
) -> Answer<()> {
    note(&world, "destination abort");
    let mut state = world.state();
    assert_eq!(state.receiving.as_ref(), Some(&request.migration));
    state.destination_role = None;
    state.receiving = None;
    Ok(Json(()))
}

async fn verify(
    Shared(world): Shared<World>,
    Json(request): Json<VerifyRequest>,
) -> Answer<VerifyReply> {
    let restarts = std::mem::take(&mut world.state().restart_when_compared);
    if restarts {
        world.restart_destination();
    }
    let reserved = world.reserved();
    let mut state = world.state();
    let size = state.size;
    if request.restart {
        state.calls.push("source verify".to_owned());
    }
    if request.restart || reserved < size {
        return Ok(Json(VerifyReply { verified_bytes: 0, mismatched_bytes: 0, done: false }));
    }
    let mismatched_bytes = state.mismatches.pop_front().unwrap_or(0);
    state.verified = size;
    Ok(Json(VerifyReply { verified_bytes: size, mismatched_bytes, done: true }))
}

async fn retire(Shared(world): Shared<World>) -> Answer<RetireReply> {
    note(&world, "source retire");
    let moved = world.state().route.as_ref().is_some_and(|route| route.generation == 2);
    Ok(Json(RetireReply { retired: moved, sessions: if moved { 0 } else { 2 }, sent_on: 0 }))
}

async fn switch_program(Shared(world): Shared<World>) -> Json<ProgramStatus> {
    Json(world.program(2))
}

async fn routes(Shared(world): Shared<World>) -> Json<Vec<RouteStatus>> {
    Json(world.state().route.clone().into_iter().collect())
}

async fn prepare(
    Shared(world): Shared<World>,
    Json(request): Json<PrepareRequest>,
) -> Answer<PrepareReply> {
    note(&world, if request.announce_only { "switch announce" } else { "switch prepare" });
    let problems = match request.announce_only {
        true => Vec::new(),
        false => world.state().prepare_problems.clone(),
    };
    Ok(Json(PrepareReply { prepared: 2, problems }))
}

async fn arrangement(
    Shared(world): Shared<World>,
    Json(request): Json<Arrangement>,
) -> Answer<MoveReply> {
    note(&world, "switch arrangement");
    let mut state = world.state();
    assert_eq!(state.destination_role, Some(VolumeRole::Owner));
    if let Some(route) = &mut state.route {
        route.upstream = format!("{}/{}", request.owner.nbd, request.export);
        route.generation = request.generation;
    }
    Ok(Json(MoveReply { moved: 2, remaining: 0 }))
}
