//! Content that goes from one connection to another while it comes.

mod support;

use blockferry_device::{Errno, Failure, Reply, Request};
use blockferry_nbd_session::{CallError, Content, Flow, Link, LinkEnd, connect};
use blockferry_nbd_wire::{RequestDecoder, RequestHeader, constants as c};
use support::fake::{Conn, fake, joined};
use support::*;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// What flows, in bytes: several pieces, and a part of one.
const LENGTH: u64 = (5 << 20) + 7;
/// The same from a fake server, whose export has 1 MiB.
const SHORT: u64 = 768 << 10;
/// What has come of it when something happens.
const BEGUN: usize = 300 << 10;

fn data(length: u64) -> bytes::Bytes {
    pattern(usize::try_from(length).unwrap())
}

async fn flow(link: &Link, length: u64) -> Flow {
    match soon(link.read_flowing(extent(0, length))).await {
        Ok(Content::Flow(flow)) => flow,
        other => panic!("{other:?}"),
    }
}

fn whole(content: &Result<Content, CallError>) -> &Reply {
    match content {
        Ok(Content::Whole(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_read_from_one_server_is_written_to_another_and_both_serve_on() {
    let (from, to) = (Memory::new(8 * MIB), Memory::new(8 * MIB));
    let servers = [Server::start(from.clone()).await, Server::start(to.clone()).await];
    let source = soon(connect(&servers[0].options())).await.unwrap();
    let destination = soon(connect(&servers[1].options())).await.unwrap();
    soon(source.request(write(0, data(LENGTH)))).await.unwrap();

    let flow = flow(&source, LENGTH).await;
    let written = destination.write_flowing(extent(MIB, LENGTH), flow);
    let (written, next) = tokio::join!(written, source.request(read(0, 9)));
    assert_eq!(written, Ok(Reply::Done));
    assert_eq!(bytes(next.unwrap()), data(9));
    assert_eq!(to.content(extent(MIB, LENGTH)), data(LENGTH));
    soon(destination.request(write(0, data(9)))).await.unwrap();
    assert_eq!(soon(source.disconnect()).await, LinkEnd::Disconnected);
    assert_eq!(soon(destination.disconnect()).await, LinkEnd::Disconnected);
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn holes_errors_and_short_answers_come_whole() {
    let device = Memory::new(8 * MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    soon(link.request(write(0, data(MIB)))).await.unwrap();
    let with_a_hole = soon(link.read_flowing(extent(0, 2 * MIB))).await;
    assert_eq!(bytes(whole(&with_a_hole).clone())[..1 << 20], data(MIB));
    let short = soon(link.read_flowing(extent(0, 4096))).await;
    assert_eq!(bytes(whole(&short).clone()), data(4096));
    let failure = Failure::new(Errno::Io, "unreadable sector");
    device.fail_with(failure.clone());
    let failed = soon(link.read_flowing(extent(0, MIB))).await;
    assert_eq!(failed, Err(CallError::Refused(failure)));
    server.stop().await;
}

/// Answers a read of [`SHORT`] with the beginning of its data.
async fn begins_to_answer(mut conn: Conn, offset: u64) {
    let header = conn.request().await;
    let begun = [&offset.to_be_bytes()[..], &data(SHORT)[..BEGUN]].concat();
    conn.chunk(&header, true, c::REPLY_TYPE_OFFSET_DATA, 8 + SHORT, &begun).await;
}

#[tokio::test]
async fn a_source_that_dies_in_mid_payload_leaves_no_write_behind() {
    let address = fake(|conn| async move { begins_to_answer(conn.join().await, 0).await }).await;
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let source = joined(address).await;
    let destination = soon(connect(&server.options())).await.unwrap();

    let flow = flow(&source, SHORT).await;
    let written = soon(destination.write_flowing(extent(0, SHORT), flow.clone())).await;
    assert_eq!(written, Err(CallError::Lost));
    assert!(flow.broke_off());
    assert_eq!(soon(destination.closed()).await, LinkEnd::BrokeOff, "the server has half a write");
    server.stop().await;
    assert!(!device.calls().iter().any(Request::is_write));
}

#[tokio::test]
async fn content_of_another_offset_does_not_flow() {
    let address = fake(|conn| async move { begins_to_answer(conn.join().await, 4096).await }).await;
    let source = joined(address).await;
    let content = soon(source.read_flowing(extent(0, SHORT))).await;
    assert_eq!(content, Err(CallError::Lost));
    assert!(matches!(soon(source.closed()).await, LinkEnd::Protocol(_)));
}

/// Gives the header of the write that has begun, without waiting for its payload.
async fn begun(conn: &mut Conn) -> (RequestHeader, RequestDecoder) {
    let mut decoder = RequestDecoder::new(conn.negotiated.expect("a joined client").style);
    loop {
        assert_eq!(decoder.decode(&mut conn.input), Ok(None), "the payload is not there yet");
        if let Some(header) = decoder.begun() {
            return (*header, decoder);
        }
        conn.stream.read_buf(&mut conn.input).await.expect("a client");
    }
}

#[tokio::test]
async fn a_destination_that_refuses_in_mid_payload_is_heard_and_gets_the_rest() {
    let (told, mut headers) = mpsc::channel(2);
    let address = fake(move |conn| {
        let told = told.clone();
        async move {
            let mut conn = conn.join().await;
            let (header, mut decoder) = begun(&mut conn).await;
            let refusal = b"\0\0\0\x16\0\x14expected address 512";
            let length = refusal.len() as u64;
            conn.chunk(&header, true, c::REPLY_TYPE_ERROR, length, refusal).await;
            while decoder.decode(&mut conn.input) == Ok(None) {
                conn.stream.read_buf(&mut conn.input).await.expect("a client");
            }
            told.send(header).await.expect("the test waits");
            told.send(conn.request().await).await.expect("the test waits");
        }
    })
    .await;
    let destination = joined(address).await;
    let (mut sender, flow) = Flow::channel(SHORT);
    sender.send(data(SHORT).slice(..BEGUN));
    let refused = soon(destination.write_flowing(extent(0, SHORT), flow)).await;
    let words = Failure::new(Errno::Inval, "expected address 512");
    assert_eq!(refused, Err(CallError::Refused(words)));

    // The rest is still owed: what follows it would be taken for payload otherwise.
    let _flush = destination.request(Request::Flush);
    sender.send(data(SHORT).slice(BEGUN..));
    let write = soon(headers.recv()).await.unwrap();
    assert_eq!((write.command, write.length), (c::CMD_WRITE, SHORT));
    assert_eq!(soon(headers.recv()).await.unwrap().command, c::CMD_FLUSH);
}

#[tokio::test]
async fn nothing_is_said_in_the_middle_of_a_write_not_even_good_bye() {
    let server = Memory::new(MIB);
    let serving = Server::start(server.clone()).await;
    let link = soon(connect(&serving.options())).await.unwrap();
    let (mut sender, flow) = Flow::channel(SHORT);
    let other = link.clone();
    let writing = tokio::spawn(async move { other.write_flowing(extent(0, SHORT), flow).await });
    sender.send(data(SHORT).slice(..BEGUN));
    let leaving = tokio::spawn(link.disconnect());
    sender.send(data(SHORT).slice(BEGUN..));
    assert_eq!(soon(writing).await.unwrap(), Ok(Reply::Done));
    assert_eq!(soon(leaving).await.unwrap(), LinkEnd::Disconnected);
    assert_eq!(server.content(extent(0, SHORT)), data(SHORT));
    serving.stop().await;
}

#[tokio::test]
async fn a_flow_of_another_length_than_the_write_is_refused_here() {
    let server = Server::start(Memory::new(MIB)).await;
    let link = soon(connect(&server.options())).await.unwrap();
    for at in [extent(0, SHORT - 1), extent(MIB - 4096, SHORT)] {
        let (_sender, flow) = Flow::channel(SHORT);
        let refused = soon(link.write_flowing(at, flow)).await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
    }
    server.stop().await;
}
