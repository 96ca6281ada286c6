//! Servers that sin against our client. It lets go of them with a clear reason, in bounded time and
//! memory, and loses no call silently.

mod support;

use blockferry_device::Request;
use blockferry_nbd_session::{CallError, ConnectError, LinkEnd, list};
use blockferry_nbd_wire::RequestHeader;
use blockferry_nbd_wire::constants as c;
use blockferry_net::Address;
use support::fake::{Conn, fake, joined, refused};
use support::*;
use tokio::io::AsyncWriteExt;

/// The calls are lost and the link says that the server broke the protocol.
async fn breaks_the_protocol(address: Address, request: Request) -> String {
    let link = joined(address).await;
    let bystander = link.request(Request::Flush);
    assert_eq!(soon(link.request(request)).await, Err(CallError::Lost));
    assert_eq!(soon(bystander).await, Err(CallError::Lost));
    match soon(link.closed()).await {
        LinkEnd::Protocol(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// The read among the two requests that [`breaks_the_protocol`] sends.
async fn the_read(conn: &mut Conn) -> RequestHeader {
    loop {
        let header = conn.request().await;
        if header.command != c::CMD_FLUSH {
            return header;
        }
    }
}

#[tokio::test]
async fn closes_before_hello() {
    let address = fake(|conn| async move { drop(conn) }).await;
    assert!(matches!(refused(address).await, ConnectError::Network { .. }));
}

#[tokio::test]
async fn closes_after_hello() {
    let address = fake(|mut conn| async move { conn.greet(3).await }).await;
    assert!(matches!(refused(address).await, ConnectError::Network { .. }));
}

#[tokio::test]
async fn says_nothing_at_all() {
    let address = fake(Conn::stay).await;
    let error = refused(address).await;
    let ConnectError::Network { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn stops_in_the_middle_of_the_haggling() {
    let address = fake(|mut conn| async move {
        conn.greet(3).await;
        conn.send(&[0; 3]).await;
        conn.stay().await;
    })
    .await;
    let error = refused(address).await;
    let ConnectError::Network { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn is_another_kind_of_server() {
    let address = fake(|mut conn| async move {
        conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        conn.stay().await;
    })
    .await;
    assert!(matches!(refused(address).await, ConnectError::Protocol { .. }));
}

#[tokio::test]
async fn tells_a_negative_size() {
    let address = fake(|mut conn| async move {
        conn.greet(2).await;
        conn.send(&[&u64::MAX.to_be_bytes()[..], &1_u16.to_be_bytes()].concat()).await;
        conn.stay().await;
    })
    .await;
    let error = refused(address).await;
    assert!(error.to_string().contains("size"), "{error}");
}

#[tokio::test]
async fn lists_exports_without_end() {
    let address = fake(|mut conn| async move {
        conn.greet(3).await;
        let entry = [
            &c::OPTION_REPLY_MAGIC.to_be_bytes()[..],
            &c::OPT_LIST.to_be_bytes(),
            &c::REP_SERVER.to_be_bytes(),
            &4_u32.to_be_bytes(),
            &0_u32.to_be_bytes(),
        ]
        .concat();
        while conn.stream.write_all(&entry).await.is_ok() {}
    })
    .await;
    let error = soon(list(&address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn answers_an_option_with_4_gib() {
    let address = fake(|mut conn| async move {
        conn.greet(3).await;
        let header = [
            &c::OPTION_REPLY_MAGIC.to_be_bytes()[..],
            &c::OPT_EXTENDED_HEADERS.to_be_bytes(),
            &c::REP_ERR_UNSUP.to_be_bytes(),
            &u32::MAX.to_be_bytes(),
        ];
        conn.send(&header.concat()).await;
        conn.stay().await;
    })
    .await;
    assert!(matches!(refused(address).await, ConnectError::Protocol { .. }));
}

#[tokio::test]
async fn answers_with_garbage() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        conn.request().await;
        conn.send(&[0x5a; 64]).await;
        conn.stay().await;
    })
    .await;
    let reason = breaks_the_protocol(address, read(0, 512)).await;
    assert!(reason.contains("magic"), "{reason}");
}

#[tokio::test]
async fn answers_somebody_elses_request() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let mut header = the_read(&mut conn).await;
        header.cookie.0 ^= 1 << 40;
        conn.chunk(&header, true, c::REPLY_TYPE_NONE, 0, b"").await;
        conn.stay().await;
    })
    .await;
    let reason = breaks_the_protocol(address, read(0, 512)).await;
    assert!(reason.contains("cookie"), "{reason}");
}

#[tokio::test]
async fn answers_twice() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = conn.request().await;
        conn.chunk(&header, true, c::REPLY_TYPE_NONE, 0, b"").await;
        conn.chunk(&header, true, c::REPLY_TYPE_NONE, 0, b"").await;
        conn.stay().await;
    })
    .await;
    let link = joined(address).await;
    soon(link.request(Request::Flush)).await.unwrap();
    assert!(matches!(soon(link.closed()).await, LinkEnd::Protocol(_)));
}

#[tokio::test]
async fn announces_a_chunk_of_4_gib() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = the_read(&mut conn).await;
        conn.chunk(&header, true, c::REPLY_TYPE_OFFSET_DATA, 1 << 32, b"").await;
        conn.stay().await;
    })
    .await;
    breaks_the_protocol(address, read(0, 512)).await;
}

#[tokio::test]
async fn sends_more_than_was_asked_for() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = the_read(&mut conn).await;
        conn.data(&header, true, header.offset, &[1; 513]).await;
        conn.stay().await;
    })
    .await;
    breaks_the_protocol(address, read(0, 512)).await;
}

#[tokio::test]
async fn sends_the_same_content_twice_and_leaves_some_out() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = the_read(&mut conn).await;
        conn.data(&header, false, header.offset, &[1; 256]).await;
        conn.data(&header, true, header.offset, &[1; 256]).await;
        conn.stay().await;
    })
    .await;
    let reason = breaks_the_protocol(address, read(0, 512)).await;
    assert!(reason.contains("overlaps or leaves gaps"), "{reason}");
}

#[tokio::test]
async fn claims_success_without_the_content() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = the_read(&mut conn).await;
        conn.chunk(&header, true, c::REPLY_TYPE_NONE, 0, b"").await;
        conn.stay().await;
    })
    .await;
    breaks_the_protocol(address, read(0, 512)).await;
}

#[tokio::test]
async fn sends_chunks_without_end() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = the_read(&mut conn).await;
        for _ in 0..100_000 {
            let error = [0, 0, 0, 5, 0, 0];
            conn.chunk(&header, false, c::REPLY_TYPE_ERROR, 6, &error).await;
        }
        conn.stay().await;
    })
    .await;
    let reason = breaks_the_protocol(address, read(0, 512)).await;
    assert!(reason.contains("more than"), "{reason}");
}

#[tokio::test]
async fn answers_simply_after_extended_headers() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = conn.request().await;
        let reply = [
            &c::SIMPLE_REPLY_MAGIC.to_be_bytes()[..],
            &0_u32.to_be_bytes(),
            &header.cookie.0.to_be_bytes(),
        ];
        conn.send(&reply.concat()).await;
        conn.stay().await;
    })
    .await;
    breaks_the_protocol(address, read(0, 512)).await;
}

#[tokio::test]
async fn closes_in_the_middle_of_a_reply() {
    let address = fake(|conn| async move {
        let mut conn = conn.join().await;
        let header = conn.request().await;
        conn.chunk(&header, true, c::REPLY_TYPE_OFFSET_DATA, 520, &[0; 100]).await;
    })
    .await;
    let link = joined(address).await;
    assert_eq!(soon(link.request(read(0, 512))).await, Err(CallError::Lost));
    assert!(matches!(soon(link.closed()).await, LinkEnd::Closed | LinkEnd::Network(_)));
}

#[tokio::test]
async fn never_reads_and_can_be_left_all_the_same() {
    let address = fake(|conn| async move {
        let conn = conn.join().await;
        std::future::pending::<()>().await;
        drop(conn);
    })
    .await;
    let link = joined(address).await;
    let answers: Vec<_> = (0..64).map(|_| link.request(write(0, vec![0; 1 << 20]))).collect();
    link.abort();
    for answer in answers {
        assert_eq!(soon(answer).await, Err(CallError::Lost));
    }
    assert_eq!(soon(link.closed()).await, LinkEnd::Aborted);
}
