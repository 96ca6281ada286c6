//! How sessions end: cut by the owner, at shutdown, after a fence.

mod support;

use std::time::Duration;

use blockferry_block::{Generation, SessionId};
use blockferry_device::Reply;
use blockferry_nbd_session::{
    CallError, ConnectError, FenceOutcome, FenceRequest, LinkEnd, Purpose, connect, fence,
};
use support::*;

#[tokio::test]
async fn a_graceful_shutdown_answers_what_is_under_way_and_nobody_sees_an_error() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    device.hold();
    let answers: Vec<_> = (0..10).map(|i| link.request(write(i * 4096, vec![1; 4096]))).collect();
    soon(async {
        while device.calls().len() < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.shutdown.cancel();
    device.release();
    for answer in answers {
        assert_eq!(soon(answer).await, Ok(Reply::Done));
    }
    assert_eq!(soon(link.closed()).await, LinkEnd::Closed);
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_handshakes_and_idle_sessions_at_once() {
    let server = Server::start(Memory::new(MIB)).await;
    let idle = soon(connect(&server.options())).await.unwrap();
    let mut haggling = support::raw::Raw::connect(&server.address).await;
    server.shutdown.cancel();
    assert_eq!(soon(idle.closed()).await, LinkEnd::Closed);
    haggling.closed().await;
    server.stop().await;
}

#[tokio::test]
async fn a_cut_ends_the_connection_at_once_but_not_what_was_begun_at_the_device() {
    let device = Memory::new(MIB);
    let mut server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    device.hold();
    let answer = link.request(write(0, vec![1]));
    soon(async {
        while device.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.exports.cut.cancel();
    assert_eq!(soon(answer).await, Err(CallError::Lost));
    server.shutdown.cancel();
    let early = tokio::time::timeout(Duration::from_millis(100), &mut server.task).await;
    assert!(early.is_err(), "the write is still under way");
    device.release();
    server.stop().await;
}

#[tokio::test]
async fn a_claimed_role_is_known_when_the_export_is_opened() {
    let server = Server::start(Memory::new(MIB)).await;
    let mut options = server.options();
    options.role = Some(claim());
    let link = soon(connect(&options)).await.unwrap();
    assert!(link.role_accepted());
    let hellos = server.exports.hellos.lock().unwrap().clone();
    let (name, last) = hellos.last().unwrap();
    assert_eq!((name.as_str(), last.purpose), ("vol", Purpose::Go));
    assert_eq!(last.role, Some(claim()));
    drop(link);
    server.stop().await;
}

#[tokio::test]
async fn a_fence_is_confirmed_when_the_exports_have_made_it() {
    let server = Server::start(Memory::new(MIB)).await;
    let session = SessionId::from_bytes([7; 16]);
    let request = FenceRequest { export: "vol".to_owned(), session, generation: Generation(5) };
    let outcome = soon(fence(&server.address, &request, PATIENCE)).await.unwrap();
    assert_eq!(outcome, FenceOutcome::Confirmed);
    assert_eq!(server.exports.fences.lock().unwrap()[..], *std::slice::from_ref(&request));
    let other = FenceRequest { export: "other".to_owned(), ..request };
    let error = soon(fence(&server.address, &other, PATIENCE)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    server.stop().await;
}
