//! Clients outlive the servers behind the switch, and what they send.

mod harness;

use std::process::Stdio;
use std::time::Duration;

use blockferry_control::api::VolumeRole;
use blockferry_device::Reply;
use blockferry_nbd_session::{CallError, ConnectOptions, connect, list};
use harness::garbler::Garbler;
use harness::{Proxy, SIZE, Seen, Storage, Volume, free_port, read, soon, until, write};
use switch_proxy::NewRoute;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_left_unanswered_is_sent_again_only_after_a_fence() {
    let volume = Volume::default();
    let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[storage.route()]).await;
    let link = proxy.connect("vol").await;
    storage.hang();
    let under_way: Vec<_> = (0..8).map(|n| tokio::spawn(write(&link, n * 512, 5))).collect();
    until(|| storage.writes() == 8).await;
    storage.kill().await;
    proxy.until("vol", |route| route.held == 1).await;
    let held = tokio::spawn(write(&link, 65536, 6));
    proxy.until("vol", |route| route.unanswered == 9).await;
    storage.come_back().await;
    for request in under_way.into_iter().chain([held]) {
        assert_eq!(soon(request).await.unwrap(), Ok(Reply::Done));
    }
    let seen = storage.seen();
    let fence = seen.iter().position(|seen| matches!(seen, Seen::Fenced(_))).unwrap();
    let Seen::Fenced(generation) = seen[fence] else { unreachable!() };
    let again = |seen: &&Seen| matches!(seen, Seen::Write(g, offset) if *g == generation && *offset < 65536);
    assert_eq!(seen[..fence].iter().filter(again).count(), 0, "{seen:?}");
    assert_eq!(seen[fence..].iter().filter(again).count(), 8, "{seen:?}");
    assert_eq!((read(&link, 0).await, read(&link, 65536).await), (5, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_from_a_server_holds_the_client_and_breaks_nothing() {
    let volume = Volume::default();
    let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let (garbler, port) = Garbler::start(storage.address().to_string()).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[format!("vol=nbd://127.0.0.1:{port}/vol")]).await;
    let link = proxy.connect("vol").await;
    assert_eq!(soon(write(&link, 0, 1)).await, Ok(Reply::Done));
    garbler.garble(true);
    let held = tokio::spawn(write(&link, 512, 2));
    let before = garbler.connections();
    until(|| garbler.connections() > before + 2).await;
    assert!(!held.is_finished());
    garbler.garble(false);
    assert_eq!(soon(held).await.unwrap(), Ok(Reply::Done));
    assert_eq!((read(&link, 0).await, read(&link, 512).await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_server_may_die_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("img");
    std::fs::write(&image, vec![0; SIZE]).unwrap();
    let port = free_port();
    let nbdkit = || -> Option<Child> {
        let mut command = Command::new("nbdkit");
        command.args(["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "file"]).arg(&image);
        command.stdout(Stdio::null()).kill_on_drop(true).spawn().ok()
    };
    let Some(mut server) = nbdkit() else {
        eprintln!("nbdkit is not installed: nothing was tested");
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[format!("vol=nbd://127.0.0.1:{port}/")]).await;
    soon(async { while TcpStream::connect(("127.0.0.1", port)).await.is_err() {} }).await;
    let link = proxy.connect("vol").await;
    assert_eq!(soon(write(&link, 0, 3)).await, Ok(Reply::Done));
    server.kill().await.unwrap();
    proxy.until("vol", |route| route.held == 1).await;
    let held = tokio::spawn(write(&link, 512, 4));
    proxy.until("vol", |route| route.unanswered == 1).await;
    let _server = nbdkit();
    assert_eq!(soon(held).await.unwrap(), Ok(Reply::Done));
    assert_eq!((read(&link, 0).await, read(&link, 512).await), (3, 4));
    assert_eq!(std::fs::read(&image).unwrap()[512], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_asked_for_a_client_that_has_named_no_export() {
    let volume = Volume::default();
    let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let (relay, port) = Garbler::start(storage.address().to_string()).await;
    let state = tempfile::tempdir().unwrap();
    let routes = ["vol", "other"].map(|name| format!("{name}=nbd://127.0.0.1:{port}/vol"));
    let proxy = Proxy::start(&state, &routes).await;
    let _idle = TcpStream::connect(proxy.clients.to_string()).await.unwrap();
    let names: Vec<_> = list(&proxy.clients).await.unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["other", "vol"]);
    for unknown in ["nope", ""] {
        let options = ConnectOptions::new(proxy.clients.clone(), unknown);
        let refused = connect(&options).await.unwrap_err().to_string();
        assert!(refused.contains("there is no route"), "{refused}");
    }
    assert_eq!(relay.connections(), 0);
    let _link = proxy.connect("vol").await;
    assert!(relay.connections() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_come_while_its_server_is_away() {
    let volume = Volume::default();
    let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[storage.route()]).await;
    storage.kill().await;
    let options = ConnectOptions::new(proxy.clients.clone(), "vol");
    let coming = tokio::spawn(async move { connect(&options).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    storage.come_back().await;
    let link = soon(coming).await.unwrap().unwrap();
    assert_eq!(soon(write(&link, 0, 1)).await, Ok(Reply::Done));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_told_to_end_answers_what_is_under_way_first() {
    let volume = Volume::default();
    let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[storage.route()]).await;
    let link = proxy.connect("vol").await;
    storage.hang();
    let under_way = tokio::spawn(write(&link, 0, 1));
    until(|| storage.writes() == 1).await;
    let ending = tokio::spawn(proxy.stop());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!under_way.is_finished() && !ending.is_finished());
    storage.resume();
    assert_eq!(soon(under_way).await.unwrap(), Ok(Reply::Done));
    soon(ending).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_ends_in_time_even_while_a_volume_is_away() {
    let volume = Volume::default();
    let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[storage.route()]).await;
    let link = proxy.connect("vol").await;
    storage.kill().await;
    let held = tokio::spawn(write(&link, 0, 1));
    proxy.until("vol", |route| route.unanswered == 1).await;
    proxy.stop().await;
    assert_eq!(soon(held).await.unwrap(), Err(CallError::Lost), "never an error of the volume");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_can_be_added_and_survive_a_restart() {
    let volume = Volume::default();
    let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&state, &[]).await;
    let upstream = storage.uri().to_string();
    let mut new = NewRoute { name: "vol".to_owned(), upstream, control: None, iscsi: None };
    for _ in 0..2 {
        let added: blockferry_control::api::RouteStatus =
            proxy.control.post("/v1/routes", &new).await.unwrap();
        assert_eq!(added.upstream, storage.uri().to_string());
    }
    new.upstream = "nbd://127.0.0.1:1/elsewhere".to_owned();
    let refused = proxy.control.post::<_, ()>("/v1/routes", &new).await.unwrap_err();
    assert_eq!(refused.status().unwrap().as_u16(), 409);
    proxy.stop().await;
    let proxy = Proxy::start(&state, &[]).await;
    let link = proxy.connect("").await;
    assert_eq!(soon(write(&link, 0, 1)).await, Ok(Reply::Done));
}
