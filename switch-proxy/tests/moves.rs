//! Volumes move under clients that go on working.

mod harness;

use blockferry_control::api::{MoveReply, PrepareReply, PrepareRequest, VolumeRole};
use blockferry_device::{DeviceInfo, Features, Reply};
use blockferry_nbd_session::Link;
use harness::{Proxy, SIZE, Seen, Storage, Volume, arrangement, read, soon, until, write};
use tokio_util::sync::CancellationToken;

fn prepare(storage: &Storage, announce_only: bool) -> PrepareRequest {
    PrepareRequest {
        migration: "00".repeat(16),
        export: "vol".to_owned(),
        candidate: storage.party(),
        announce_only,
    }
}

/// Writes and reads back until it is told to stop; gives the number of rounds.
async fn work(link: Link, lane: u64, stop: CancellationToken) -> u64 {
    let mut round = 0;
    while !stop.is_cancelled() {
        round += 1;
        let byte = u8::try_from(round % 251).unwrap();
        let offset = lane * 65536 + (round % 64) * 512;
        assert_eq!(soon(write(&link, offset, byte)).await, Ok(Reply::Done));
        assert_eq!(read(&link, offset).await, byte);
    }
    round
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_go_on_while_their_volume_changes_servers() {
    let volume = Volume::default();
    let old = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let new = Storage::start(&volume, VolumeRole::Ready, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[old.route()]).await;
    let stop = CancellationToken::new();
    let mut clients = Vec::new();
    for lane in 0..4 {
        let link = proxy.connect("vol").await;
        clients.push(tokio::spawn(work(link, lane, stop.clone())));
    }
    let reply: PrepareReply =
        proxy.control.post("/v1/routes/vol/prepare", &prepare(&new, false)).await.unwrap();
    assert_eq!(reply, PrepareReply { prepared: 4, problems: Vec::new() });
    new.becomes(VolumeRole::Owner, 2);
    old.becomes(VolumeRole::Forwarding, 2);
    let told = arrangement(2, new.party());
    let reply: MoveReply = proxy.control.post("/v1/routes/vol/arrangement", &told).await.unwrap();
    assert_eq!(reply.moved, 4);
    proxy.until("vol", |route| route.moving == 0).await;
    let before = old.seen().len();
    let rounds = new.seen().len();
    until(|| new.seen().len() > rounds + 100).await;
    stop.cancel();
    for client in clients {
        assert!(soon(client).await.unwrap() > 0);
    }
    assert_eq!(old.seen().len(), before, "the old server is still used");
    let again: MoveReply = proxy.control.post("/v1/routes/vol/arrangement", &told).await.unwrap();
    assert_eq!(again.remaining, 0);
    let route = proxy.route("vol").await;
    assert_eq!((route.upstream, route.generation), (new.uri().to_string(), 2));
    assert!(!new.seen().iter().any(|seen| matches!(seen, Seen::Fenced(_))), "nothing was lost");
    let claims = new.claims();
    assert!(claims[0].arrangement.ends_with(" vol"), "{}", claims[0].arrangement);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_moved_survives_a_restart() {
    let volume = Volume::default();
    let old = Storage::start(&volume, VolumeRole::Forwarding, 2).await;
    let new = Storage::start(&volume, VolumeRole::Owner, 2).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[old.route()]).await;
    let told = arrangement(2, new.party());
    let _: MoveReply = proxy.control.post("/v1/routes/vol/arrangement", &told).await.unwrap();
    proxy.stop().await;
    let proxy = Proxy::start(&state, &[old.route()]).await;
    assert_eq!(proxy.route("vol").await.upstream, new.uri().to_string());
    let link = proxy.connect("vol").await;
    assert_eq!(soon(write(&link, 0, 7)).await, Ok(Reply::Done));
    assert_eq!(old.seen(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_clients_would_notice_is_named_before_the_move() {
    let volume = Volume::default();
    let old = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let poor = DeviceInfo::new(SIZE as u64 - 512, Features::default());
    let poor = Storage::start_with(&volume, VolumeRole::Ready, 1, poor).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[old.route()]).await;
    for clients in 0..2 {
        let _link = match clients {
            0 => None,
            _ => Some(proxy.connect("vol").await),
        };
        let reply: PrepareReply =
            proxy.control.post("/v1/routes/vol/prepare", &prepare(&poor, false)).await.unwrap();
        assert_eq!(reply.prepared, 0);
        assert!(reply.problems[0].contains("1048064 bytes"), "{:?}", reply.problems);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_nobody_told_finds_the_new_owner_when_the_old_one_dies() {
    let volume = Volume::default();
    let old = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let new = Storage::start(&volume, VolumeRole::Ready, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[old.route()]).await;
    let link = proxy.connect("vol").await;
    let _: PrepareReply =
        proxy.control.post("/v1/routes/vol/prepare", &prepare(&new, true)).await.unwrap();
    old.hang();
    let under_way = tokio::spawn(write(&link, 0, 9));
    until(|| old.writes() == 1).await;
    old.kill().await;
    new.becomes(VolumeRole::Owner, 2);
    assert_eq!(soon(under_way).await.unwrap(), Ok(Reply::Done));
    let seen = new.seen();
    let at = |wanted: fn(&Seen) -> bool| seen.iter().position(wanted).expect("it was seen");
    let fenced = at(|seen| matches!(seen, Seen::Fenced(_)));
    assert!(fenced < at(|seen| matches!(seen, Seen::Write(..))), "{seen:?}");
    assert_eq!(proxy.route("vol").await.generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_nobody_told_leaves_an_owner_that_hangs_after_the_commit() {
    let volume = Volume::default();
    let old = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let new = Storage::start(&volume, VolumeRole::Ready, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[old.route()]).await;
    let link = proxy.connect("vol").await;
    let _: PrepareReply =
        proxy.control.post("/v1/routes/vol/prepare", &prepare(&new, false)).await.unwrap();
    old.hang();
    let under_way = tokio::spawn(write(&link, 0, 9));
    until(|| old.writes() == 1).await;
    new.becomes(VolumeRole::Owner, 2);
    assert_eq!(soon(under_way).await.unwrap(), Ok(Reply::Done));
}

#[tokio::test(flavor = "multi_thread")]
async fn arrangements_are_believed_only_where_the_owner_says_the_same() {
    let volume = Volume::default();
    let old = Storage::start(&volume, VolumeRole::Owner, 3).await;
    let new = Storage::start(&volume, VolumeRole::Ready, 3).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[old.route()]).await;
    let tell = async |generation, storage: &Storage| {
        let told = arrangement(generation, storage.party());
        let told = proxy.control.post::<_, MoveReply>("/v1/routes/vol/arrangement", &told).await;
        told.map_err(|error| error.status().unwrap().as_u16())
    };
    assert_eq!(tell(4, &new).await, Err(409), "it is not the owner yet");
    new.becomes(VolumeRole::Owner, 4);
    assert!(tell(4, &new).await.is_ok());
    assert!(tell(4, &new).await.is_ok(), "the same again changes nothing");
    assert_eq!(tell(4, &old).await, Err(409), "one generation has one owner");
    assert_eq!(tell(3, &old).await, Err(409), "older");
    let told = arrangement(5, new.party());
    let missing = proxy.control.post::<_, MoveReply>("/v1/routes/nope/arrangement", &told).await;
    assert_eq!(missing.unwrap_err().status().unwrap().as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_request_is_measured_from_the_announcement_on() {
    let volume = Volume::default();
    let old = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let new = Storage::start(&volume, VolumeRole::Ready, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[old.route()]).await;
    let link = proxy.connect("vol").await;
    old.hang();
    let slow = tokio::spawn(write(&link, 0, 1));
    proxy.until("vol", |route| route.longest_request_ms >= 30.0).await;
    old.kill().await;
    old.come_back().await;
    assert_eq!(soon(slow).await.unwrap(), Ok(Reply::Done));
    assert!(proxy.route("vol").await.longest_request_ms >= 30.0);
    let _: PrepareReply =
        proxy.control.post("/v1/routes/vol/prepare", &prepare(&new, false)).await.unwrap();
    assert!(proxy.route("vol").await.longest_request_ms < 30.0);
    drop(link);
    proxy.until("vol", |route| route.sessions == 0).await;
}
