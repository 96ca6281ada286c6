//! Our client and our server talk to each other, over TCP and over unix sockets.

mod support;

use std::sync::Arc;

use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, ReadPart, Reply, Request};
use blockferry_nbd_session::{
    CallError, ConnectError, ConnectOptions, LinkEnd, ReplyCode, connect, list,
};
use blockferry_net::{Address, Limits};
use support::*;

#[tokio::test]
async fn what_was_written_is_read_back() {
    let device = Memory::new(8 * MIB + 17);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    assert_eq!(link.info().size, 8 * MIB + 17);
    assert!(link.extended());
    let data = pattern(300_001);
    soon(link.request(write(5, data.clone()))).await.unwrap();
    let reply = soon(link.request(read(0, 300_010))).await.unwrap();
    let expected = [&[0; 5][..], &data, &[0; 4]].concat();
    assert_eq!(bytes(reply), expected);
    assert_eq!(soon(link.disconnect()).await, LinkEnd::Disconnected);
    server.stop().await;
}

#[tokio::test]
async fn holes_travel_as_holes_and_an_unfragmented_read_as_one_piece() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    soon(link.request(write(PAGE, vec![1; 4096]))).await.unwrap();
    let reply = soon(link.request(read(0, 3 * PAGE))).await.unwrap();
    assert_eq!(
        reply,
        Reply::Read(vec![
            ReadPart::Hole(PAGE),
            ReadPart::Data(vec![1; 4096].into()),
            ReadPart::Hole(PAGE)
        ])
    );
    let whole = Request::Read { extent: extent(0, 3 * PAGE), dont_fragment: true };
    let Reply::Read(parts) = soon(link.request(whole)).await.unwrap() else { panic!() };
    assert!(matches!(&parts[..], [ReadPart::Data(data)] if data.len() == 3 * 4096));
    server.stop().await;
}

#[tokio::test]
async fn every_command_reaches_the_device_as_it_was_sent() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    let piece = extent(4096, 8192);
    let requests = [
        Request::Read { extent: piece, dont_fragment: true },
        Request::Write { offset: 1, data: vec![1, 2, 3].into(), fua: true },
        Request::WriteZeroes { extent: piece, fua: true, no_hole: true, fast_zero: false },
        Request::WriteZeroes { extent: piece, fua: false, no_hole: false, fast_zero: true },
        Request::Trim { extent: piece, fua: true },
        Request::Cache { extent: piece },
        Request::BlockStatus { extent: piece, one: true },
        Request::BlockStatus { extent: piece, one: false },
        Request::Flush,
    ];
    for request in &requests {
        soon(link.request(request.clone())).await.unwrap();
    }
    assert_eq!(device.calls(), requests);
    server.stop().await;
}

#[tokio::test]
async fn a_failure_keeps_its_value_and_its_text() {
    let device = Memory::new(MIB);
    device.fail_with(Failure::new(Errno::NoSpc, "the pool is full"));
    let server = Server::start(device).await;
    let link = soon(connect(&server.options())).await.unwrap();
    let error = soon(link.request(write(0, vec![1]))).await.unwrap_err();
    assert_eq!(error, CallError::Refused(Failure::new(Errno::NoSpc, "the pool is full")));
    server.stop().await;
}

#[tokio::test]
async fn answers_come_in_any_order_and_find_their_requests() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    for i in 0..100_u8 {
        soon(link.request(write(u64::from(i) * 100, vec![i; 100]))).await.unwrap();
    }
    device.hold();
    let reads: Vec<_> = (0..100).map(|i| link.request(read(i * 100, 100))).collect();
    device.release();
    for (i, answer) in reads.into_iter().enumerate().rev() {
        let reply = soon(answer).await.unwrap();
        assert_eq!(bytes(reply), vec![u8::try_from(i).unwrap(); 100]);
    }
    server.stop().await;
}

/// Answers each request after a number of turns of its own, so that answers overtake one another.
struct Unordered(Arc<Memory>);

impl Device for Unordered {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn call(&self, request: Request) -> Answer {
        let turns = request.extent().map_or(0, |extent| extent.start() / PAGE * 7 % 13);
        let answer = self.0.call(request);
        Answer::later(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            answer.await
        })
    }
}

#[tokio::test]
async fn four_links_with_answers_that_overtake_one_another_read_what_they_wrote() {
    let device = Arc::new(Unordered(Memory::new(16 * MIB)));
    let server = Server::start(device).await;
    let mut links = Vec::new();
    for _ in 0..4 {
        links.push(soon(connect(&server.options())).await.unwrap());
    }
    let content = |page: u64| vec![u8::try_from(page % 251).unwrap(); 4096];
    let each = |page: u64| &links[usize::try_from(page % 4).unwrap()];
    let writes: Vec<_> =
        (0..4096).map(|page| each(page).request(write(page * PAGE, content(page)))).collect();
    for answer in writes {
        assert_eq!(soon(answer).await, Ok(Reply::Done));
    }
    let reads: Vec<_> =
        (0..4096).map(|page| each(page + 1).request(read(page * PAGE, PAGE))).collect();
    for (page, answer) in (0..).zip(reads) {
        assert_eq!(bytes(soon(answer).await.unwrap()), content(page));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_dropped_answer_breaks_nothing() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    drop(link.request(write(0, vec![9; 50_000])));
    let reply = soon(link.request(read(0, 50_000))).await.unwrap();
    assert_eq!(bytes(reply), vec![9; 50_000]);
    server.stop().await;
}

#[tokio::test]
async fn a_link_that_disconnects_finishes_what_is_outstanding() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    device.hold();
    let answer = link.request(write(0, vec![1]));
    let leaving = tokio::spawn(link.disconnect());
    device.release();
    assert_eq!(soon(answer).await, Ok(Reply::Done));
    assert_eq!(soon(leaving).await.unwrap(), LinkEnd::Disconnected);
    server.stop().await;
}

#[tokio::test]
async fn an_aborted_link_loses_its_calls_and_takes_no_more() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    device.hold();
    let answer = link.request(write(0, vec![1]));
    link.abort();
    assert_eq!(soon(link.closed()).await, LinkEnd::Aborted);
    assert_eq!(soon(answer).await, Err(CallError::Lost));
    assert_eq!(soon(link.request(Request::Flush)).await, Err(CallError::Lost));
    let failure = soon(link.call(Request::Flush)).await.unwrap_err();
    assert_eq!(failure.errno, Errno::Io);
    device.release();
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_does_not_fit_is_refused_before_it_is_sent() {
    let info = DeviceInfo { block_size_min: 512, ..DeviceInfo::new(MIB, ALL) };
    let device = Memory::with_info(info);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    for request in [read(1, 512), read(0, 1), write(512, vec![0; 10]), read(MIB, 512)] {
        let error = soon(link.request(request)).await.unwrap_err();
        assert!(matches!(error, CallError::Refused(f) if f.errno == Errno::Inval));
    }
    assert_eq!(device.calls(), []);
    server.stop().await;
}

#[tokio::test]
async fn a_request_of_no_bytes_needs_no_server() {
    let device = Memory::new(MIB);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    assert_eq!(soon(link.request(read(5, 0))).await, Ok(Reply::Read(Vec::new())));
    assert_eq!(soon(link.request(write(MIB, Vec::new()))).await, Ok(Reply::Done));
    let status = Request::BlockStatus { extent: extent(0, 0), one: true };
    assert!(soon(link.request(status)).await.is_err());
    assert!(soon(link.request(write(MIB + 1, Vec::new()))).await.is_err());
    assert_eq!(device.calls(), []);
    server.stop().await;
}

#[tokio::test]
async fn what_is_longer_than_the_server_takes_goes_in_pieces() {
    let info = DeviceInfo { payload_max: 65_536, ..DeviceInfo::new(8 * MIB, ALL) };
    let device = Memory::with_info(info);
    let server = Server::start(device.clone()).await;
    let link = soon(connect(&server.options())).await.unwrap();
    let data = pattern(1_000_003);
    soon(link.request(write(7, data.clone()))).await.unwrap();
    let longest = device.calls().iter().filter_map(Request::extent).map(|e| e.len()).max();
    assert_eq!(longest, Some(65_536));
    let whole = Request::Read { extent: extent(7, 1_000_003), dont_fragment: true };
    let Reply::Read(parts) = soon(link.request(whole)).await.unwrap() else { panic!() };
    assert_eq!(parts, [ReadPart::Data(data)]);
    server.stop().await;
}

#[tokio::test]
async fn what_the_exports_refuse_is_told_with_its_reason() {
    let server = Server::start(Memory::new(MIB)).await;
    for (name, expected, text) in [
        ("nothing", 0x8000_0006, "there is no export \"nothing\""),
        ("forbidden", 0x8000_0002, "not for you"),
        ("closing", 0x8000_0007, "the server is shutting down"),
    ] {
        let options = ConnectOptions::new(server.address.clone(), name);
        match soon(connect(&options)).await {
            Err(ConnectError::Refused { code, message, .. }) => {
                assert_eq!((code, message.as_str()), (ReplyCode(expected), text));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn exports_are_listed() {
    let server = Server::start(Memory::new(MIB)).await;
    let entries = soon(list(&server.address)).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].name.as_str(), entries[0].description.as_str()),
        ("vol", "a test volume")
    );
    server.stop().await;
}

/// The server waits awake for each next request, where another processor is free for the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_one_thing_after_another_reads_what_it_wrote_and_may_leave_in_between() {
    for rounds in [2000, 1999] {
        let server = Server::start(Memory::new(MIB)).await;
        let link = soon(connect(&server.options())).await.unwrap();
        for round in 0..rounds {
            let length = 1 + round * 7919 % 100_000;
            let data = vec![u8::try_from(round % 251).unwrap(); length];
            let at = u64::try_from(round * 4099 % 900_000).unwrap();
            soon(link.request(write(at, data.clone()))).await.unwrap();
            let answer = soon(link.request(read(at, length as u64))).await;
            assert_eq!(bytes(answer.unwrap()), data);
        }
        match rounds % 2 {
            0 => assert_eq!(soon(link.disconnect()).await, LinkEnd::Disconnected),
            _ => link.abort(),
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_unix_socket_serves_the_same_and_is_taken_away_at_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd.sock");
    let address = Address::Unix(path.clone());
    let server = Server::start_at(&address, Memory::new(MIB), Limits::default()).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let link = soon(connect(&server.options())).await.unwrap();
    soon(link.request(write(0, vec![1; 3]))).await.unwrap();
    drop(link);
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_busy_unix_socket_is_refused_and_a_stale_one_replaced() {
    use blockferry_net::Listener;
    let folder = tempfile::tempdir().unwrap();
    let address = Address::Unix(folder.path().join("nbd.sock"));
    let first = Listener::bind(&address).await.unwrap();
    assert!(Listener::bind(&address).await.is_err());
    drop(first);
    let path = folder.path().join("nbd.sock");
    // A socket whose server died: nobody listens, the file is still there.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = Listener::bind(&address).await.unwrap();
    drop(second);
    std::fs::write(&path, "a file of the user's").unwrap();
    assert!(Listener::bind(&address).await.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"a file of the user's");
}

#[tokio::test]
async fn the_device_trait_works_through_an_arc_of_a_link() {
    let server = Server::start(Memory::new(MIB)).await;
    let link: Arc<dyn Device> = Arc::new(soon(connect(&server.options())).await.unwrap());
    assert_eq!(soon(link.call(write(0, vec![1]))).await, Ok(Reply::Done));
    server.stop().await;
}
