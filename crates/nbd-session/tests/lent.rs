//! Connections whose client's own socket a keeper lends: nothing is taken from it or given to it that is
//! not on the keeper's record first.

mod support;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use blockferry_device::Request;
use blockferry_keeper::{Clock, Frame, FrameDecoder, Kind, Next, Talk};
use blockferry_nbd_session::{
    Borrowed, Kept, KeptEnd, KeptLine, Limits, Opened, Order, Peer, Replay, Resumed, Style, Turn,
    resume,
};
use blockferry_nbd_wire::{Negotiated, constants as c};
use blockferry_tcp_progress::{Progress, progress};
use bytes::{Buf, Bytes, BytesMut};
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
    decoder: FrameDecoder,
    inbox: BytesMut,
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
            decoder: FrameDecoder::default(),
            inbox: BytesMut::new(),
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
        let borrowed = Some(Borrowed { socket, clock: Arc::new(Clock::default()) });
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

    /// Takes the worker's next words.
    async fn listen(&mut self) -> usize {
        let count = soon(self.worker_end.read_buf(&mut self.inbox)).await.unwrap_or_default();
        while let Some(frame) = self.decoder.decode(&mut self.inbox).unwrap() {
            self.talk.take_frame(frame).unwrap();
        }
        count
    }

    /// The worker dies wherever it is; another gets the client.
    async fn succeed(&mut self, device: &Arc<Memory>) {
        self.worker.abort();
        // It has ended already, or ends so.
        let _ = (&mut self.worker).await;
        while self.listen().await > 0 {}
        let moved = progress(self.socket.as_fd()).unwrap().since(self.begin).unwrap();
        self.talk.give_back(moved).expect("all of it was on the record");
        (self.decoder, self.inbox) = Default::default();
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
async fn what_the_keeper_is_not_told_is_not_taken() {
    let device = Memory::new(64 * MIB);
    let mut stage = Stage::new(&device).await;
    stage.lend().await;
    // Far more than fits between the worker and a keeper that does not listen.
    let requests: Vec<u8> = (1..=64).flat_map(|cookie| write_at(cookie, 256 << 10)).collect();
    let length = requests.len() as u64;
    let (mut other, mut half) = stage.client.split();
    let send = async { half.write_all(&requests).await.unwrap() };
    let mut answers = vec![0; 64 * 16];
    let receive = async { other.read_exact(&mut answers).await.map(|_| ()).unwrap() };
    let keeper = async {
        let mut told = 0;
        while told < length {
            let moved = progress(stage.socket.as_fd()).unwrap().since(stage.begin).unwrap();
            let before = told;
            let count = stage.worker_end.read_buf(&mut stage.inbox).await.unwrap();
            while let Some(frame) = stage.decoder.decode(&mut stage.inbox).unwrap() {
                told += if frame.kind == Kind::Heard { frame.bytes.len() as u64 } else { 0 };
            }
            // What lies between them was told, too.
            assert!(count > 0 && moved.taken <= before + (1 << 20), "{moved:?} {before}");
        }
        while stage.worker_end.read_buf(&mut stage.inbox).await.unwrap() > 0 {
            stage.inbox.clear();
        }
    };
    tokio::select! {
        () = soon(async { tokio::join!(send, receive); }) => {}
        () = keeper => panic!("the worker has ended"),
    }
}

#[tokio::test]
async fn however_a_worker_dies_every_request_has_one_answer_and_whole() {
    const LENGTH: u32 = 100 << 10;
    const REQUESTS: u64 = 200;
    let device = Memory::new(MIB);
    let mut stage = Stage::new(&device).await;
    stage.lend().await;
    let client = std::mem::replace(&mut stage.client, TcpStream::from_std(dead()).unwrap());
    let (mut from, mut to) = client.into_split();
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
            if cookie % 3 != 0 {
                from.read_exact(&mut vec![0; LENGTH as usize]).await.unwrap();
            }
            cookies.push(cookie);
        }
        cookies
    });
    // After more and more words, wherever the worker is then.
    let mut words = 0;
    while !answers.is_finished() {
        words += 1;
        for _ in 0..words {
            tokio::select! {
                heard = stage.listen() => assert!(heard > 0, "the worker has ended"),
                () = async { while !answers.is_finished() { tokio::task::yield_now().await } } => break,
            }
        }
        if !answers.is_finished() {
            stage.succeed(&device).await;
            stage.lend().await;
        }
    }
    let mut cookies = soon(answers).await.unwrap();
    cookies.sort_unstable();
    assert_eq!(cookies, (1..=REQUESTS).collect::<Vec<_>>());
    assert!(words > 5, "no more than {words} workers");
    drop(soon(asking).await.unwrap());
}

/// A socket without a peer, to stand where one was.
fn dead() -> std::net::TcpStream {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}
