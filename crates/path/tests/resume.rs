//! A session whose process died is gone on with by another.

mod harness;

use blockferry_block::Generation;
use blockferry_device::{Device, DeviceInfo, Errno, Reply};
use blockferry_path::{Generations, Path, PathOptions, PathState};
use harness::{Event, Name, SIZE, Server, World, features, soon, until, write};

/// The first link of the second process.
const RESUMED: Generation = Generation((1 << 20) + 1);

fn told() -> DeviceInfo {
    DeviceInfo::new(SIZE as u64, features())
}

fn resume(world: &World, incarnation: u16) -> Path<World> {
    let generations = Generations::of_incarnation(incarnation);
    let options = PathOptions { generations, ..PathOptions::default() };
    Path::resume(world.clone(), options, told(), Name("only"))
}

fn writes(server: &Server) -> usize {
    server.events().iter().filter(|event| matches!(event, Event::Write(..))).count()
}

#[tokio::test]
async fn i13_nothing_leaves_before_what_the_former_process_sent_is_fenced() {
    let (world, server) = World::of_one();
    let path = resume(&world, 1);
    assert_eq!(soon(write(&path, 0, 1)).await, Ok(Reply::Done));
    let expected = [Event::Opened(RESUMED), Event::Fenced(RESUMED), Event::Write(RESUMED, 0)];
    assert_eq!(server.events(), expected);
}

#[tokio::test]
async fn a_session_waits_for_its_server_and_then_for_the_fence_without_an_error() {
    let (world, server) = World::of_one();
    server.die();
    let path = resume(&world, 7);
    assert_eq!((*path.info(), path.status().state), (told(), PathState::Lost));
    let held = tokio::spawn(write(&path, 0, 1));
    until(|| path.status().held == 1).await;
    server.come_back();
    assert_eq!(soon(held).await.unwrap(), Ok(Reply::Done));
    let events = server.events();
    let fenced = events.iter().position(|event| matches!(event, Event::Fenced(_)));
    assert!(fenced < events.iter().position(|event| matches!(event, Event::Write(..))));
}

#[tokio::test]
async fn a_server_that_does_not_fit_what_the_client_was_told_gets_nothing() {
    let world = World::default();
    let smaller = DeviceInfo { size: 512, ..told() };
    let server = world.server_with("only", smaller);
    world.owners(&["only"]);
    let path = resume(&world, 1);
    let _held = tokio::spawn(write(&path, 0, 1));
    until(|| server.events().iter().filter(|e| matches!(e, Event::Disconnected(_))).count() > 1)
        .await;
    assert_eq!((writes(&server), path.status().held), (0, 1));
    let opened = server.events().into_iter().filter(|e| matches!(e, Event::Opened(_)));
    assert!(opened.eq(std::iter::repeat_n(Event::Opened(RESUMED), 2)), "a try uses no number up");
}

#[tokio::test]
async fn a_process_that_was_given_up_for_dead_can_open_nothing_any_more() {
    let (world, server) = World::of_one();
    let former = resume(&world, 1);
    assert_eq!(soon(write(&former, 0, 1)).await, Ok(Reply::Done));
    *server.fence.lock().unwrap() = Generation(1 << 21);
    server.die();
    until(|| former.status().state == PathState::Lost).await;
    server.come_back();
    let failure = soon(write(&former, 0, 2)).await.unwrap_err();
    assert_eq!(failure.errno, Errno::Shutdown);
    assert_eq!(writes(&server), 1);
}
