//! Connections whose client's own socket a keeper lends: nothing is taken from it or given to it that is
//! not on the keeper's record first.

mod support;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use blockferry_device::Request;
use blockferry_keeper::{Clock, Frame, Kind, Next, Talk, new_record, read_record};
use blockferry_nbd_session::{
    Borrowed, Kept, KeptEnd, KeptLine, Opened, Order, Replay, Resumed, Style, Turn, resume,
};
use blockferry_nbd_wire::{Negotiated, constants as c};
use blockferry_net::{Limits, Peer};
use blockferry_tcp_progress::{Progress, progress};
use bytes::{Buf, Bytes};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use support::raw::request;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct AtOnce;

impl Order for AtOnce {
    fn enter(&self, _: &Request, _: Option<u64>) -> Turn {
        Turn::default()
    }
}

/// A client, and a keeper that has it in the transmission phase, with a worker.
struct Stage {
    client: TcpStream,
    /// The keeper's own, of the client's connection.
    socket: OwnedFd,
    worker_end: UnixStream,
    worker: JoinHandle<KeptEnd>,
    shutdown: CancellationToken,
    talk: Talk,
    record: OwnedFd,
    begin: Progress,
}

fn opened(device: &Arc<Memory>) -> Opened {
    let pass = Box::new(|_: Negotiated| Bytes::new());
    Opened {
        name: "vol".to_owned(),
        description: String::new(),
        device: device.clone(),
        cut: CancellationToken::new(),
        kept: Some(Kept { order: Arc::new(AtOnce), pass }),
    }
}

impl Stage {
    async fn new(device: &Arc<Memory>) -> Self {
        Self::with_record(device, new_record().unwrap()).await
    }

    async fn with_record(device: &Arc<Memory>, record: OwnedFd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = OwnedFd::from(listener.accept().await.unwrap().0.into_std().unwrap());
        let mut talk = Talk::default().that_lends(true);
        let (pass, bytes) = (Bytes::new(), Bytes::new());
        talk.take_frame(Frame { kind: Kind::Established, settles: 0..0, pass, bytes }).unwrap();
        let begin = progress(socket.as_fd()).unwrap();
        let (worker_end, far) = UnixStream::pair().unwrap();
        let mut stage = Self {
            client,
            worker: tokio::spawn(async { KeptEnd::Cut }),
            socket,
            worker_end,
            shutdown: CancellationToken::new(),
            talk,
            record,
            begin,
        };
        stage.give_to(device, far).await;
        stage
    }

    /// Gives the client to a worker, and tells it what another has left.
    async fn give_to(&mut self, device: &Arc<Memory>, far: UnixStream) {
        let Next::Resume(left) = self.talk.part() else { panic!("it can be gone on with") };
        let replay = Replay { bytes: left.replay, missing: Box::new(()) };
        let negotiated = Negotiated { style: Style::Simple, allocation_context: None };
        let resumed = Resumed { opened: opened(device), negotiated, replay };
        let socket = self.socket.try_clone().unwrap();
        let socket = TcpStream::from_std(socket.into()).unwrap();
        let (clock, record) = (Arc::new(Clock::default()), self.record.try_clone().unwrap());
        let borrowed = Some(Borrowed { socket, clock, record });
        let line = KeptLine { keeper: far, borrowed, peer: Peer::Unix };
        self.shutdown = CancellationToken::new();
        let session = resume(line, resumed, Arc::new(Limits::default()), self.shutdown.clone());
        self.worker = tokio::spawn(session);
        while self.talk.to_worker().has_remaining() {
            let buffer = self.talk.to_worker();
            let bytes = buffer.copy_to_bytes(buffer.remaining());
            soon(self.worker_end.write_all(&bytes)).await.unwrap();
        }
    }

    /// Sends what another worker has left to be sent, and lends the client's socket.
    async fn lend(&mut self) {
        let rest = self.talk.to_client();
        let rest = rest.copy_to_bytes(rest.remaining());
        let mut sent = 0;
        while sent < rest.len() {
            sent += rustix::io::write(&self.socket, &rest[sent..]).unwrap_or_default();
            tokio::task::yield_now().await;
        }
        assert!(self.talk.is_to_be_lent());
        self.begin = progress(self.socket.as_fd()).unwrap();
        soon(self.worker_end.shutdown()).await.unwrap();
        self.talk.lend();
    }

    /// How far the socket has come since it was lent.
    fn moved(&self) -> Progress {
        progress(self.socket.as_fd()).unwrap().since(self.begin).unwrap()
    }

    /// How many bytes of the client's stream are written down as taken, and of answers as given.
    fn written(&self) -> Progress {
        let (mut taken, mut given) = (0, 0);
        for Frame { kind, settles, bytes, .. } in read_record(&self.record).unwrap() {
            match kind {
                Kind::Heard => taken += bytes.len() as u64,
                Kind::Past => taken += settles.end - settles.start,
                Kind::Given => given += settles.start,
                _ => given += bytes.len() as u64,
            }
        }
        Progress { taken, given }
    }

    /// The worker dies wherever it is; another gets the client.
    async fn succeed(&mut self, device: &Arc<Memory>) {
        self.worker.abort();
        // It has ended already, or ends so.
        let _ = (&mut self.worker).await;
        for frame in read_record(&self.record).unwrap() {
            self.talk.take_frame(frame).unwrap();
        }
        self.talk.give_back(self.moved()).expect("all of it was on the record");
        self.record = new_record().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        self.worker_end = near;
        self.give_to(device, far).await;
    }
}

fn read_at(cookie: u64, length: u32) -> Vec<u8> {
    request(0, c::CMD_READ, cookie, 0, length)
}

fn write_at(cookie: u64, length: u32) -> Vec<u8> {
    [request(0, c::CMD_WRITE, cookie, 0, length), vec![7; length as usize]].concat()
}

#[tokio::test]
async fn no_answer_leaves_while_the_keeper_has_still_to_tell_or_send_something() {
    let device = Memory::new(MIB);
    let mut stage = Stage::new(&device).await;
    // Told by the keeper, as what another worker has left would be.
    soon(stage.worker_end.write_all(&read_at(1, 512))).await.unwrap();
    soon(async {
        while device.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut byte = [0];
    assert!(stage.worker_end.try_read(&mut byte).is_err(), "it cannot be told from earlier ones");
    soon(stage.worker_end.shutdown()).await.unwrap();
    let mut answer = [0; 16 + 512];
    soon(stage.client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer[8..16], 1_u64.to_be_bytes());
    soon(stage.client.write_all(&read_at(2, 512))).await.unwrap();
    soon(stage.client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer[8..16], 2_u64.to_be_bytes(), "heard in the client's own socket");
}

#[tokio::test]
async fn whatever_was_taken_or_sent_is_written_down_also_when_the_record_is_begun_anew() {
    const LENGTH: u32 = 100 << 10;
    const COUNT: u64 = 64;
    let device = Memory::new(MIB);
    let mut stage = Stage::new(&device).await;
    stage.lend().await;
    let both = |cookie| [write_at(2 * cookie, LENGTH), read_at(2 * cookie + 1, LENGTH)].concat();
    let requests: Vec<u8> = (1..=COUNT).flat_map(both).collect();
    let (mut from, mut to) = std::mem::replace(&mut stage.client, dead()).into_split();
    let asking = tokio::spawn(async move {
        to.write_all(&requests).await.unwrap();
        to
    });
    let mut answers = vec![0; COUNT as usize * (16 + 16 + LENGTH as usize)];
    let answered = tokio::spawn(async move { from.read_exact(&mut answers).await.map(|_| ()) });
    let mut looks = 0;
    while !answered.is_finished() {
        let (moved, written) = (stage.moved(), stage.written());
        assert!(moved.taken <= written.taken && moved.given <= written.given, "{moved:?}");
        looks += 1;
        tokio::task::yield_now().await;
    }
    soon(answered).await.unwrap().unwrap();
    let whole = stage.written();
    assert_eq!((whole.taken, whole.given), (stage.moved().taken, stage.moved().given));
    let length: usize =
        read_record(&stage.record).unwrap().iter().map(|frame| frame.bytes.len()).sum();
    assert!(length < 1 << 20, "{length} of {whole:?} after {looks} looks");
    drop(soon(asking).await.unwrap());
}

#[tokio::test]
async fn a_client_that_asks_one_thing_after_another_is_answered_whether_it_is_waited_for_or_not() {
    let device = Memory::new(MIB);
    let mut stage = Stage::new(&device).await;
    stage.lend().await;
    for cookie in 1..=2000 {
        // Waits are right for long, then wrong for some time, and right again.
        if (1000..1100).contains(&cookie) {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        soon(stage.client.write_all(&read_at(cookie, 512))).await.unwrap();
        let mut answer = [0; 16 + 512];
        soon(stage.client.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer[8..16], cookie.to_be_bytes());
    }
}

/// A record with room for so many bytes of words.
fn short_record(room: u64) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let record = memfd_create("short", flags).unwrap();
    ftruncate(&record, 4096 + room).unwrap();
    fcntl_add_seals(&record, SealFlags::GROW).unwrap();
    record
}

#[tokio::test]
async fn what_cannot_be_written_down_is_neither_taken_nor_sent() {
    let device = Memory::new(MIB);
    for (room, taken) in [(20, 0), (200, 28)] {
        let mut stage = Stage::with_record(&device, short_record(room)).await;
        stage.lend().await;
        soon(stage.client.write_all(&read_at(1, 512))).await.unwrap();
        assert_eq!(soon(&mut stage.worker).await.unwrap(), KeptEnd::Closed);
        assert_eq!(stage.moved(), Progress { taken, given: 0 });
    }
}

#[tokio::test]
async fn however_a_worker_dies_every_request_has_one_answer_and_whole() {
    const LENGTH: u32 = 100 << 10;
    const REQUESTS: u64 = 200;
    let device = Memory::new(MIB);
    let mut stage = Stage::new(&device).await;
    stage.lend().await;
    let (mut from, mut to) = std::mem::replace(&mut stage.client, dead()).into_split();
    let asking = tokio::spawn(async move {
        for cookie in 1..=REQUESTS {
            let asked =
                if cookie % 3 == 0 { write_at(cookie, LENGTH) } else { read_at(cookie, LENGTH) };
            to.write_all(&asked).await.unwrap();
        }
        to
    });
    let answers = tokio::spawn(async move {
        let mut cookies = Vec::new();
        for _ in 0..REQUESTS {
            let mut header = [0; 16];
            from.read_exact(&mut header).await.unwrap();
            assert_eq!(
                header[..8],
                [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0],
                "a whole answer, no error"
            );
            let cookie = u64::from_be_bytes(*header[8..].first_chunk().unwrap());
            // Not as fast as they come, so that much is on its way whenever a worker dies.
            for _ in 0..if cookie % 3 == 0 { 0 } else { 10 } {
                from.read_exact(&mut [0; LENGTH as usize / 10]).await.unwrap();
                tokio::task::yield_now().await;
            }
            cookies.push(cookie);
        }
        cookies
    });
    // After a few of its turns, wherever the worker is then.
    let mut workers = 0;
    while !answers.is_finished() {
        workers += 1;
        for _ in 0..workers % 7 {
            tokio::task::yield_now().await;
        }
        if !answers.is_finished() {
            stage.succeed(&device).await;
            stage.lend().await;
        }
    }
    let mut cookies = soon(answers).await.unwrap();
    cookies.sort_unstable();
    assert_eq!(cookies, (1..=REQUESTS).collect::<Vec<_>>());
    assert!(workers > 7, "no more than {workers} workers");
    drop(soon(asking).await.unwrap());
}

/// A socket without a peer, to stand where one was.
fn dead() -> TcpStream {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}
