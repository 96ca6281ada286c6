//! Long writes that a device takes in pieces while they come.

mod support;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use blockferry_block::Extent;
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Inflow, PieceSink, Reply, Request,
};
use blockferry_nbd_session::connect;
use blockferry_nbd_wire::constants as c;
use blockferry_net::Limits;
use bytes::Bytes;
use support::raw::{Raw, Simple, request};
use support::*;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::PollSender;

const LENGTH: usize = 4 << 20;

/// A device that takes long writes in pieces, one by one as the test lets it.
struct Piecemeal {
    memory: Arc<Memory>,
    /// Bytes that have been taken, of all writes.
    taken: watch::Sender<usize>,
    /// Whether pieces are taken at present.
    takes: watch::Sender<bool>,
    /// How the last write ended.
    ended: watch::Sender<Option<Ended>>,
    fails: Mutex<Option<Failure>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Whole,
    InPart,
}

struct Pieces(PollSender<Bytes>);

impl PieceSink for Pieces {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_reserve(cx).map(|_| ())
    }

    fn push(&mut self, piece: Bytes) {
        let _ = self.0.send_item(piece);
    }
}

impl Piecemeal {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::new(64 * MIB),
            taken: watch::Sender::new(0),
            takes: watch::Sender::new(true),
            ended: watch::Sender::new(None),
            fails: Mutex::default(),
        })
    }

    async fn has_taken(&self, bytes: usize) {
        let mut taken = self.taken.subscribe();
        soon(taken.wait_for(|taken| *taken >= bytes)).await.expect("the device lives");
    }

    async fn ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        let ended = soon(ended.wait_for(Option::is_some)).await.expect("the device lives");
        ended.expect("it has ended")
    }
}

async fn take(
    (memory, taken, mut takes): (Arc<Memory>, watch::Sender<usize>, watch::Receiver<bool>),
    extent: Extent,
    mut pieces: mpsc::Receiver<Bytes>,
) -> Ended {
    let mut at = extent.start();
    while let Some(data) = pieces.recv().await {
        takes.wait_for(|takes| *takes).await.expect("the device lives");
        let length = data.len();
        memory.call(Request::Write { offset: at, data, fua: false }).await.expect("inside");
        at += length as u64;
        taken.send_modify(|taken| *taken += length);
    }
    if at == extent.end() { Ended::Whole } else { Ended::InPart }
}

impl Device for Piecemeal {
    fn info(&self) -> &DeviceInfo {
        self.memory.info()
    }

    fn call(&self, request: Request) -> Answer {
        self.memory.call(request)
    }

    fn begin_write(&self, extent: Extent) -> Option<Inflow> {
        let (sender, pieces) = mpsc::channel(1);
        let sink = Box::new(Pieces(PollSender::new(sender)));
        if let Some(failure) = self.fails.lock().unwrap().clone() {
            return Some(Inflow { sink, answer: Answer::ready(Err(failure)) });
        }
        let parts = (Arc::clone(&self.memory), self.taken.clone(), self.takes.subscribe());
        let ended = self.ended.clone();
        let taking = tokio::spawn(async move {
            let how = take(parts, extent, pieces).await;
            ended.send_replace(Some(how));
            how
        });
        let answer = Answer::later(async move {
            match taking.await.expect("no panic") {
                Ended::Whole => Ok(Reply::Done),
                Ended::InPart => Err(Failure::new(Errno::Io, "it came in part")),
            }
        });
        Some(Inflow { sink, answer })
    }
}

fn header(cookie: u64) -> Vec<u8> {
    request(0, c::CMD_WRITE, cookie, 0, u32::try_from(LENGTH).unwrap())
}

/// A client of whose long write the device has taken one half, and no more has come.
async fn half_way(device: &Piecemeal, server: &Server) -> Raw {
    let mut client = Raw::join(&server.address).await;
    client.send(&header(1)).await;
    client.send(&pattern(LENGTH / 2)).await;
    device.has_taken(LENGTH / 2).await;
    client
}

#[tokio::test]
async fn a_long_write_is_executed_while_it_comes_and_answered_when_it_has_come() {
    let device = Piecemeal::new();
    let server = Server::start(device.clone()).await;
    let mut client = Raw::join(&server.address).await;
    let data = pattern(LENGTH);
    client.send(&header(1)).await;
    client.send(&data[..LENGTH / 2]).await;
    device.has_taken(LENGTH / 2).await;
    client.send(&data[LENGTH / 2..]).await;
    client.request(c::CMD_FLUSH, 2, 0, 0).await;
    let answers = [client.simple().await, client.simple().await];
    for cookie in [1, 2] {
        assert!(answers.contains(&Simple { error: 0, cookie }), "{answers:?}");
    }
    assert_eq!(device.ended().await, Ended::Whole);
    assert!(device.memory.content(extent(0, LENGTH as u64)) == data, "other content");
    server.stop().await;
}

#[tokio::test]
async fn long_and_short_writes_of_one_client_keep_their_content() {
    let device = Piecemeal::new();
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    let lengths = [700_001, 5, LENGTH, 512 << 10, (512 << 10) - 1, 1];
    let mut expected = Vec::new();
    let mut calls = Vec::new();
    for (round, length) in lengths.into_iter().enumerate() {
        let data = pattern(length + round).slice(round..);
        calls.push(link.request(write(expected.len() as u64, data.clone())));
        expected.extend_from_slice(&data);
    }
    for call in calls {
        soon(call).await.unwrap();
    }
    let content = device.memory.content(extent(0, expected.len() as u64));
    assert!(content == expected, "other content");
    server.stop().await;
}

#[tokio::test]
async fn a_failure_is_told_once_the_data_is_there_and_the_next_request_is_in_step() {
    let device = Piecemeal::new();
    *device.fails.lock().unwrap() = Some(Failure::new(Errno::NoSpc, "full"));
    let server = Server::start(device.clone()).await;
    let mut client = Raw::join(&server.address).await;
    let data = pattern(LENGTH);
    client.send(&header(1)).await;
    client.send(&data[..LENGTH - 1]).await;
    let early = client.stream.try_read(&mut [0; 16]);
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "the client still sends");
    client.send(&data[LENGTH - 1..]).await;
    // NBD_ENOSPC
    assert_eq!(client.simple().await, Simple { error: 28, cookie: 1 });
    client.request(c::CMD_FLUSH, 2, 0, 0).await;
    assert_eq!(client.simple().await, Simple { error: 0, cookie: 2 });
    server.stop().await;
}

#[tokio::test]
async fn a_write_whose_client_goes_ends_in_part() {
    let device = Piecemeal::new();
    let server = Server::start(device.clone()).await;
    drop(half_way(&device, &server).await);
    assert_eq!(device.ended().await, Ended::InPart);
    server.stop().await;
}

#[tokio::test]
async fn a_write_whose_connection_is_cut_ends_in_part() {
    let device = Piecemeal::new();
    let server = Server::start(device.clone()).await;
    let _client = half_way(&device, &server).await;
    server.exports.cut.cancel();
    assert_eq!(device.ended().await, Ended::InPart);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_write_is_not_waited_for() {
    let device = Piecemeal::new();
    let limits =
        Limits { frame_timeout: std::time::Duration::from_millis(200), ..Limits::default() };
    let server = Server::start_with(device.clone(), limits).await;
    let mut client = Raw::join(&server.address).await;
    client.send(&header(1)).await;
    client.send(&pattern(LENGTH / 2)).await;
    assert!(client.closed().await.is_empty());
    assert_eq!(device.ended().await, Ended::InPart);
    server.stop().await;
}

#[tokio::test]
async fn a_device_that_takes_nothing_holds_the_client_back_and_keeps_little() {
    let device = Piecemeal::new();
    device.takes.send_replace(false);
    let limits =
        Limits { frame_timeout: std::time::Duration::from_millis(200), ..Limits::default() };
    let held = limits.buffered_total.clone();
    let server = Server::start_with(device.clone(), limits).await;
    let link = soon(connect(&server.options())).await.unwrap();
    let data = pattern(32 << 20);
    let call = link.request(write(0, data.clone()));
    let mut call = std::pin::pin!(call);
    // Longer than a client may stop in the middle of a request: it is the device that does.
    let slow = tokio::time::timeout(std::time::Duration::from_millis(600), call.as_mut()).await;
    assert!(slow.is_err(), "{slow:?}");
    assert!(held.bytes() <= 4 << 20, "{} bytes are held", held.bytes());
    device.takes.send_replace(true);
    soon(call).await.unwrap();
    assert!(device.memory.content(extent(0, 32 << 20)) == data, "other content");
    server.stop().await;
}

#[tokio::test]
async fn a_write_that_a_shutdown_interrupts_has_no_answer() {
    let device = Piecemeal::new();
    let server = Server::start(device.clone()).await;
    let mut client = half_way(&device, &server).await;
    server.shutdown.cancel();
    assert!(client.closed().await.is_empty(), "it has not come whole");
    assert_eq!(device.ended().await, Ended::InPart);
    server.stop().await;
}
