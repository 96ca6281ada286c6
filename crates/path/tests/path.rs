//! What a path promises to the client above it.

mod harness;

use std::sync::Arc;
use std::time::Duration;

use blockferry_block::{Extent, Generation};
use blockferry_device::{Device, DeviceInfo, Errno, Failure, ReadPart, Reply, Request};
use blockferry_path::{Path, PathOptions, PathState, PrepareError, WriteOrder};
use harness::{Event, Name, SIZE, World, features, soon, until, write};

async fn open(world: &World, order: &Arc<WriteOrder>) -> Path<World> {
    let options = PathOptions { order: Arc::clone(order), ..PathOptions::default() };
    Path::open(world.clone(), options).await.expect("a server is up")
}

async fn open_alone(world: &World) -> Path<World> {
    open(world, &Arc::default()).await
}

async fn read(path: &Path<World>, offset: u64) -> u8 {
    let extent = Extent::between(offset, offset + 1);
    match soon(path.call(Request::Read { extent, dont_fragment: false })).await {
        Ok(Reply::Read(parts)) => match &parts[..] {
            [ReadPart::Data(data)] => data[0],
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_move_holds_no_request_and_lets_those_under_way_finish_where_they_are() {
    let world = World::default();
    let (old, new) = (world.server("old"), world.server("new"));
    world.owners(&["old"]);
    let path = open_alone(&world).await;
    old.stop();
    let under_way = tokio::spawn(write(&path, 0, 1));
    until(|| old.events().contains(&Event::Write(Generation(1), 0))).await;
    path.prepare(&Name("new")).await.unwrap();
    path.move_to(Name("new"));
    until(|| path.status().upstream == Name("new")).await;
    assert_eq!(soon(write(&path, 8, 2)).await, Ok(Reply::Done));
    assert_eq!(path.status().state, PathState::Moving);
    old.running.send_replace(true);
    assert_eq!(soon(under_way).await.unwrap(), Ok(Reply::Done));
    soon(path.at(&Name("new"))).await;
    assert_eq!(path.status().state, PathState::Direct);
    until(|| old.events().contains(&Event::Disconnected(Generation(1)))).await;
    let prepared = Generation(2);
    assert_eq!(new.events(), [Event::Standby(prepared), Event::Write(prepared, 8)]);
    assert_eq!((read(&path, 0).await, read(&path, 8).await), (1, 2));
    assert_eq!(path.status().replayed, 0);
}

#[tokio::test]
async fn what_a_lost_server_left_unanswered_is_sent_again_after_a_fence() {
    let (world, server) = World::of_one();
    let path = open_alone(&world).await;
    server.stop();
    let under_way = tokio::spawn(write(&path, 0, 7));
    until(|| server.events().len() == 2).await;
    server.die();
    until(|| path.status().state == PathState::Lost).await;
    let held = tokio::spawn(write(&path, 8, 8));
    until(|| path.status().held == 2).await;
    server.come_back();
    assert_eq!(soon(under_way).await.unwrap(), Ok(Reply::Done));
    assert_eq!(soon(held).await.unwrap(), Ok(Reply::Done));
    let events = server.events();
    let at = |event| events.iter().position(|e| *e == event);
    let again = events.iter().rev().find(|e| matches!(e, Event::Write(_, 0))).unwrap();
    let Event::Write(generation, _) = *again else { unreachable!() };
    assert!(generation > Generation(1));
    assert!(at(Event::Fenced(generation)).unwrap() < at(*again).unwrap(), "{events:?}");
    assert_eq!((read(&path, 0).await, read(&path, 8).await), (7, 8));
}

#[tokio::test]
async fn the_owner_is_found_where_it_is_when_the_old_one_never_returns() {
    let world = World::default();
    let (old, _new) = (world.server("old"), world.server("new"));
    world.owners(&["old"]);
    let path = open_alone(&world).await;
    old.die();
    let held = tokio::spawn(write(&path, 0, 3));
    until(|| path.status().held == 1).await;
    world.owners(&["old", "new"]);
    assert_eq!(soon(held).await.unwrap(), Ok(Reply::Done));
    assert_eq!(path.status().upstream, Name("new"));
}

#[tokio::test]
async fn a_former_owner_that_hangs_holds_a_client_no_longer_than_the_limit() {
    let world = World::default();
    let (old, new) = (world.server("old"), world.server("new"));
    world.owners(&["old"]);
    let path = open_alone(&world).await;
    old.stop();
    let stuck = tokio::spawn(write(&path, 0, 5));
    until(|| old.events().len() == 2).await;
    world.owners(&["new"]);
    path.move_to(Name("new"));
    assert_eq!(soon(stuck).await.unwrap(), Ok(Reply::Done));
    let generation = Generation(2);
    let expected =
        [Event::Opened(generation), Event::Fenced(generation), Event::Write(generation, 0)];
    assert_eq!(new.events(), expected);
}

#[tokio::test]
async fn a_client_never_hears_that_a_server_shuts_down_or_is_not_the_owner() {
    for message in ["not the owner: it is elsewhere", "going down"] {
        let world = World::default();
        let server = world.server("only");
        world.owners(&["only"]);
        let path = open_alone(&world).await;
        *server.refusal.lock().unwrap() = Some(Failure::new(Errno::Shutdown, message));
        let held = tokio::spawn(write(&path, 0, 9));
        until(|| server.events().len() > 3).await;
        *server.refusal.lock().unwrap() = None;
        assert_eq!(soon(held).await.unwrap(), Ok(Reply::Done));
    }
}

#[tokio::test]
async fn a_candidate_that_a_client_would_notice_is_refused_before_the_move() {
    let world = World::default();
    world.server("old");
    world.server_with("small", DeviceInfo::new(512, features()));
    let mut poor = features();
    poor.trim = false;
    world.server_with("poor", DeviceInfo::new(SIZE as u64, poor));
    world.owners(&["old"]);
    let path = open_alone(&world).await;
    for (name, word) in [("small", "512 bytes"), ("poor", "trim")] {
        let refused = path.prepare(&Name(name)).await.unwrap_err();
        assert!(matches!(refused, PrepareError::Misfit(_)));
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert!(matches!(path.prepare(&Name("nowhere")).await, Err(PrepareError::Upstream(_))));
    assert_eq!(soon(write(&path, 0, 1)).await, Ok(Reply::Done));
}

#[tokio::test]
async fn a_path_that_cannot_move_stays_and_moves_when_it_can() {
    let world = World::default();
    let (_old, new) = (world.server("old"), world.server("new"));
    world.owners(&["old"]);
    let path = open_alone(&world).await;
    new.die();
    path.move_to(Name("new"));
    for byte in 0..20 {
        assert_eq!(soon(write(&path, 0, byte)).await, Ok(Reply::Done));
    }
    assert_eq!(path.status().upstream, Name("old"));
    assert_eq!(path.status().goal, Some(Name("new")));
    new.come_back();
    soon(path.at(&Name("new"))).await;
    assert_eq!(read(&path, 0).await, 19);
}

#[tokio::test]
async fn a_write_of_a_client_that_is_gone_ends_before_a_newer_one_leaves() {
    let (world, server) = World::of_one();
    let order = Arc::default();
    let gone = open(&world, &order).await;
    let back = open(&world, &order).await;
    server.stop();
    let mut old_write = write(&gone, 0, 1);
    assert!(futures_util::poll!(&mut old_write).is_pending());
    until(|| server.events().len() == 3).await;
    drop((old_write, gone));
    let newer = tokio::spawn(write(&back, 4, 2));
    tokio::task::yield_now().await;
    assert_eq!(server.events().len(), 3, "the newer write left too early");
    server.running.send_replace(true);
    assert_eq!(soon(newer).await.unwrap(), Ok(Reply::Done));
    assert_eq!((read(&back, 0).await, read(&back, 4).await), (1, 2));
}

#[tokio::test]
async fn a_client_is_told_an_error_only_after_the_timeout() {
    let (world, server) = World::of_one();
    let client_timeout = Duration::from_millis(50);
    let options = PathOptions { client_timeout, ..PathOptions::default() };
    let path = Path::open(world.clone(), options).await.unwrap();
    server.die();
    until(|| path.status().state == PathState::Lost).await;
    let started = std::time::Instant::now();
    let failure = soon(write(&path, 0, 1)).await.unwrap_err();
    assert_eq!(failure.errno, Errno::Io);
    assert!(started.elapsed() >= client_timeout);
    server.come_back();
    assert_eq!(soon(write(&path, 0, 1)).await, Ok(Reply::Done));
}

#[tokio::test]
async fn a_path_that_a_newer_connection_of_its_client_replaced_ends_at_once() {
    let (world, server) = World::of_one();
    let path = open_alone(&world).await;
    server.stop();
    let under_way = tokio::spawn(write(&path, 0, 1));
    until(|| path.status().unanswered == 1).await;
    *server.fence.lock().unwrap() = Generation(100);
    server.die();
    until(|| path.status().state == PathState::Lost).await;
    server.come_back();
    let failure = soon(under_way).await.unwrap().unwrap_err();
    assert_eq!(failure.errno, Errno::Shutdown, "not an error of the volume");
    let failure = soon(write(&path, 0, 2)).await.unwrap_err();
    assert_eq!(failure.errno, Errno::Shutdown, "nothing is waited for any more");
    let writes = server.events().iter().filter(|e| matches!(e, Event::Write(..))).count();
    assert_eq!(writes, 1, "nothing was sent again");
}
