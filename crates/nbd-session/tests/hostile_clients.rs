//! Clients that sin against our server. None may cost more than its own connection.

mod support;

use std::time::Duration;

use blockferry_device::Request;
use blockferry_nbd_session::connect;
use blockferry_nbd_wire::constants as c;
use blockferry_net::Limits;
use support::raw::{Raw, Simple, request};
use support::*;

fn impatient() -> Limits {
    Limits {
        handshake_timeout: Duration::from_millis(200),
        frame_timeout: Duration::from_millis(200),
        ..Limits::default()
    }
}

/// The server still serves others.
async fn serves_others(server: &Server) {
    let link = soon(connect(&server.options())).await.unwrap();
    soon(link.request(read(0, 512))).await.unwrap();
}

#[tokio::test]
async fn says_nothing() {
    let server = Server::start_with(Memory::new(MIB), impatient()).await;
    let mut raw = Raw::connect(&server.address).await;
    assert_eq!(raw.closed().await, b"");
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn haggles_for_ever() {
    let server = Server::start_with(Memory::new(MIB), impatient()).await;
    let mut raw = Raw::connect(&server.address).await;
    raw.send(&3_u32.to_be_bytes()).await;
    // A byte now and then keeps a connection alive, but not its handshake.
    let trickle = async {
        loop {
            raw.send(&[0x49]).await;
            if raw.stream.try_read(&mut [0; 16]).is_ok_and(|length| length == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Not more than eight bytes are the magic: the time is up before, or the magic is wrong.
    soon(trickle).await;
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn sets_flags_that_were_not_offered() {
    let server = Server::start(Memory::new(MIB)).await;
    let mut raw = Raw::connect(&server.address).await;
    raw.send(&7_u32.to_be_bytes()).await;
    assert_eq!(raw.closed().await, b"");
    server.stop().await;
}

#[tokio::test]
async fn announces_an_option_of_4_gib() {
    let server = Server::start(Memory::new(MIB)).await;
    let mut raw = Raw::connect(&server.address).await;
    raw.send(&3_u32.to_be_bytes()).await;
    raw.option_header(c::OPT_GO, u32::MAX).await;
    assert_eq!(raw.closed().await, b"");
    server.stop().await;
}

#[tokio::test]
async fn sends_more_options_than_anybody_needs() {
    let server = Server::start(Memory::new(MIB)).await;
    let mut raw = Raw::connect(&server.address).await;
    raw.send(&3_u32.to_be_bytes()).await;
    for _ in 0..100 {
        raw.option(c::OPT_LIST, b"").await;
    }
    raw.closed().await;
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn leaves_in_the_middle_of_a_write_and_nothing_of_it_is_executed() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    for sent in [0, 1, 27, 28, 29, 1000, 4095 + 28] {
        let mut raw = Raw::join(&server.address).await;
        let whole = [request(0, c::CMD_WRITE, 1, 0, 4096), vec![1; 4096]].concat();
        raw.send(&whole[..sent]).await;
        raw.stream.set_zero_linger().unwrap();
        drop(raw);
    }
    server.stop().await;
    assert_eq!(device.calls(), []);
}

#[tokio::test]
async fn begins_a_request_and_does_not_finish_it() {
    let server = Server::start_with(Memory::new(MIB), impatient()).await;
    for length in [1, 27, 28, 1000] {
        let mut raw = Raw::join(&server.address).await;
        let whole = [request(0, c::CMD_WRITE, 1, 0, 4096), vec![1; 4096]].concat();
        raw.send(&whole[..length]).await;
        assert_eq!(raw.closed().await, b"");
    }
    server.stop().await;
}

#[tokio::test]
async fn idles_between_requests_and_may() {
    let server = Server::start_with(Memory::new(MIB), impatient()).await;
    let mut raw = Raw::join(&server.address).await;
    for cookie in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        raw.request(c::CMD_FLUSH, cookie, 0, 0).await;
        assert_eq!(raw.simple().await, Simple { error: 0, cookie });
    }
    server.stop().await;
}

#[tokio::test]
async fn announces_a_write_of_128_mib() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let mut raw = Raw::join(&server.address).await;
    raw.request(c::CMD_WRITE, 9, 0, 128 << 20).await;
    assert_eq!(raw.simple().await, Simple { error: 22, cookie: 9 });
    assert_eq!(raw.closed().await, b"");
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn asks_for_4_gib_and_stays_in_step() {
    let server = Server::start(Memory::new(MIB)).await;
    let mut raw = Raw::join(&server.address).await;
    raw.request(c::CMD_READ, 1, 0, u32::MAX).await;
    assert_eq!(raw.simple().await, Simple { error: 22, cookie: 1 });
    raw.request(c::CMD_FLUSH, 2, 0, 0).await;
    assert_eq!(raw.simple().await, Simple { error: 0, cookie: 2 });
    server.stop().await;
}

#[tokio::test]
async fn sends_nonsense_commands_flags_and_flushes_and_stays_in_step() {
    let server = Server::start(Memory::new(MIB)).await;
    let mut raw = Raw::join(&server.address).await;
    for (flags, command, offset, length) in [
        (0, 77, 0, 0),
        (0x4000, c::CMD_READ, 0, 1),
        (0, c::CMD_FLUSH, 0, 1),
        (0, c::CMD_TRIM, u64::MAX, 2),
        (0, c::CMD_BLOCK_STATUS, 0, 512),
    ] {
        raw.send(&request(flags, command, 5, offset, length)).await;
        assert_eq!(raw.simple().await, Simple { error: 22, cookie: 5 }, "command {command}");
    }
    let beyond = [request(0, c::CMD_WRITE, 6, MIB, 4), b"abcd".to_vec()].concat();
    raw.send(&beyond).await;
    assert_eq!(raw.simple().await, Simple { error: 28, cookie: 6 });
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn loses_its_place_in_the_stream() {
    let server = Server::start(Memory::new(MIB)).await;
    let mut raw = Raw::join(&server.address).await;
    raw.send(&[0xff; 28]).await;
    assert_eq!(raw.closed().await, b"");
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn uses_one_cookie_for_all_its_requests_and_gets_all_its_answers() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let mut raw = Raw::join(&server.address).await;
    device.hold();
    for _ in 0..10 {
        raw.request(c::CMD_FLUSH, 1, 0, 0).await;
    }
    device.release();
    for _ in 0..10 {
        assert_eq!(raw.simple().await, Simple { error: 0, cookie: 1 });
    }
    server.stop().await;
}

#[tokio::test]
async fn never_takes_its_answers_and_is_read_no_further() {
    let device = Memory::new(8 * MIB);
    let limits = Limits { buffered_bytes_max: 36 << 20, ..Limits::default() };
    let total = limits.buffered_total.clone();
    let server = Server::start_with(device.clone(), limits).await;
    let mut raw = Raw::join(&server.address).await;
    let mut written = 0;
    // Until the server reads no more and the sockets between are full.
    while let Ok(outcome) = tokio::time::timeout(Duration::from_millis(500), async {
        use tokio::io::AsyncWriteExt;
        raw.stream.write_all(&request(0, c::CMD_READ, written, 0, 1 << 20)).await
    })
    .await
    {
        outcome.unwrap();
        written += 1;
        assert!(written < 10_000_000, "the server reads without end");
    }
    assert!(device.calls().len() < 200, "{} answers were made", device.calls().len());
    assert!(total.bytes() <= 36 << 20, "{} bytes are held", total.bytes());
    serves_others(&server).await;
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn asks_for_more_at_once_than_may_be_in_flight() {
    let device = Memory::new(MIB);
    let limits = Limits { in_flight_max: 4, ..Limits::default() };
    let server = Server::start_with(device.clone(), limits).await;
    let mut raw = Raw::join(&server.address).await;
    device.hold();
    for cookie in 0..20 {
        raw.request(c::CMD_FLUSH, cookie, 0, 0).await;
    }
    soon(async {
        while device.calls().len() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(device.calls().len(), 4);
    device.release();
    for _ in 0..20 {
        assert_eq!(raw.simple().await.error, 0);
    }
    assert_eq!(device.calls().len(), 20);
    server.stop().await;
}

#[tokio::test]
async fn disconnects_with_requests_outstanding_and_gets_their_answers() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let mut raw = Raw::join(&server.address).await;
    device.hold();
    let write = [request(0, c::CMD_WRITE, 1, 0, 4), b"abcd".to_vec()].concat();
    raw.send(&write).await;
    raw.request(c::CMD_DISC, 2, 0, 0).await;
    raw.request(c::CMD_FLUSH, 3, 0, 0).await;
    device.release();
    assert_eq!(raw.simple().await, Simple { error: 0, cookie: 1 });
    assert_eq!(raw.closed().await, b"");
    assert!(!device.calls().contains(&Request::Flush), "something after the end was executed");
    server.stop().await;
}

#[tokio::test]
async fn closes_its_sending_half_and_still_gets_its_answers() {
    use tokio::io::AsyncWriteExt;
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let mut raw = Raw::join(&server.address).await;
    device.hold();
    raw.request(c::CMD_FLUSH, 1, 0, 0).await;
    raw.stream.shutdown().await.unwrap();
    device.release();
    assert_eq!(raw.simple().await, Simple { error: 0, cookie: 1 });
    assert_eq!(raw.closed().await, b"");
    server.stop().await;
}

#[tokio::test]
async fn comes_too_often() {
    let limits = Limits { connections_max: 3, connections_per_ip_max: 2, ..Limits::default() };
    let server = Server::start_with(Memory::new(MIB), limits).await;
    let first = Raw::join(&server.address).await;
    let second = Raw::join(&server.address).await;
    let error = soon(connect(&server.options())).await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
    drop(first);
    // The place is free again once the server has noticed.
    soon(async {
        while connect(&server.options()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(second);
    server.stop().await;
}
