//! Connections whose client's socket is a keeper's: served in frames, and gone on with.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blockferry_keeper::{Frame, FrameDecoder, Kind, Next, Talk};
use blockferry_nbd_session::{
    Held, Hold, Kept, KeptEnd, KeptLine, Opened, Order, Replay, Resumed, Style, Turn, resume,
    serve_kept,
};
use blockferry_nbd_wire::{Negotiated, constants as c};
use blockferry_net::{Limits, Peer};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use support::raw::request;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SIMPLE: Negotiated = Negotiated { style: Style::Simple, allocation_context: None };

/// An order that lets nobody begin before it is opened, and counts what has not left.
#[derive(Default)]
struct Gate {
    /// Whether somebody waits for what has not left.
    wanted: Arc<AtomicBool>,
    open: watch::Sender<bool>,
    arrivals: Mutex<Vec<Option<u64>>>,
    inside: Arc<()>,
}

impl Gate {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self { open: watch::Sender::new(open), ..Self::default() })
    }

    fn arrivals(&self) -> Vec<Option<u64>> {
        self.arrivals.lock().unwrap().clone()
    }

    fn inside(&self) -> usize {
        Arc::strong_count(&self.inside) - 1
    }
}

impl Order for Gate {
    fn enter(&self, _: &blockferry_device::Request, arrival: Option<u64>) -> Turn {
        self.arrivals.lock().unwrap().push(arrival);
        let mut open = self.open.subscribe();
        let come = async move {
            open.wait_for(|open| *open).await.expect("the gate lives");
        };
        let (inside, wanted) = (Arc::clone(&self.inside), Arc::clone(&self.wanted));
        let hold: Hold = Some(Box::new(Inside { _inside: inside, wanted }));
        Turn { come: Some(come.boxed()), hold }
    }
}

struct Inside {
    _inside: Arc<()>,
    wanted: Arc<AtomicBool>,
}

impl Held for Inside {
    fn is_waited_for(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }
}

fn kept(gate: &Arc<Gate>) -> Kept {
    let pass = Box::new(|negotiated: Negotiated| Bytes::from(format!("{:?}", negotiated.style)));
    Kept { order: gate.clone(), pass }
}

fn opened(device: &Arc<Memory>, gate: &Arc<Gate>) -> Opened {
    Opened {
        name: "vol".to_owned(),
        description: String::new(),
        device: device.clone(),
        cut: CancellationToken::new(),
        kept: Some(kept(gate)),
    }
}

/// The line of a client whose own socket is not lent.
fn line(keeper: UnixStream) -> KeptLine {
    KeptLine { keeper, borrowed: None, peer: Peer::Unix }
}

/// A keeper that obeys the test, with its worker.
struct Keeper {
    socket: UnixStream,
    decoder: FrameDecoder,
    inbox: BytesMut,
    worker: JoinHandle<KeptEnd>,
    shutdown: CancellationToken,
}

impl Keeper {
    fn new(begin: impl FnOnce(UnixStream, CancellationToken) -> JoinHandle<KeptEnd>) -> Self {
        let (socket, far) = UnixStream::pair().unwrap();
        let shutdown = CancellationToken::new();
        let worker = begin(far, shutdown.clone());
        let (decoder, inbox) = (FrameDecoder::default(), BytesMut::new());
        Self { socket, decoder, inbox, worker, shutdown }
    }

    /// With a new client.
    fn serve(device: &Arc<Memory>, gate: &Arc<Gate>) -> Self {
        Self::serve_within(device, gate, Limits::default())
    }

    fn serve_within(device: &Arc<Memory>, gate: &Arc<Gate>, limits: Limits) -> Self {
        let exports = OneVolume::new(device.clone());
        *exports.kept.lock().unwrap() = Some(kept(gate));
        Self::new(|far, shutdown| {
            let session = serve_kept(line(far), exports, Arc::new(limits), shutdown);
            tokio::spawn(session)
        })
    }

    /// With a client of another worker, of whose requests so many bytes may have been begun. Gives
    /// what is dropped when all of those are queued, too.
    fn resume(
        device: &Arc<Memory>,
        gate: &Arc<Gate>,
        bytes: u64,
        limits: Limits,
    ) -> (Self, Arc<()>) {
        let queued = Arc::new(());
        let replay = Replay { bytes, missing: Box::new(Arc::clone(&queued)) };
        let resumed = Resumed { opened: opened(device, gate), negotiated: SIMPLE, replay };
        let keeper = Self::new(|far, shutdown| {
            tokio::spawn(resume(line(far), resumed, Arc::new(limits), shutdown))
        });
        (keeper, queued)
    }

    async fn tell(&mut self, bytes: &[u8]) {
        soon(self.socket.write_all(bytes)).await.unwrap();
    }

    async fn tell_all(&mut self, talk: &mut Talk) {
        while talk.to_worker().has_remaining() {
            let buffer = talk.to_worker();
            let bytes = buffer.copy_to_bytes(buffer.remaining());
            self.tell(&bytes).await;
        }
    }

    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.inbox).unwrap() {
                return frame;
            }
            assert_ne!(soon(self.socket.read_buf(&mut self.inbox)).await.unwrap(), 0, "closed");
        }
    }

    /// Leads the client through its handshake; gives the last frame.
    async fn shake_hands(&mut self) -> Frame {
        let greeting = self.frame().await;
        assert_eq!((greeting.kind, greeting.settles), (Kind::Handshake, 0..0));
        let option = [&c::OPTION_MAGIC.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 3], b"vol"];
        self.tell(&[&[0, 0, 0, 3], &option.concat()[..]].concat()).await;
        self.frame().await
    }
}

/// Length of the handshake that [`Keeper::shake_hands`] speaks, and of a request's header, in bytes.
const HANDSHAKE: u64 = 4 + 16 + 3;
const HEADER: u64 = 28;

fn write_at(offset: u64, byte: u8) -> Vec<u8> {
    [request(0, c::CMD_WRITE, offset, offset, 512), vec![byte; 512]].concat()
}

fn read_at(offset: u64, length: u32) -> Vec<u8> {
    request(0, c::CMD_READ, offset, offset, length)
}

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_handshake_leaves_a_pass_and_every_answer_settles_its_request() {
    let (device, gate) = (Memory::new(MIB), Gate::new(true));
    let mut keeper = Keeper::serve(&device, &gate);
    let welcome = keeper.shake_hands().await;
    assert_eq!((welcome.kind, welcome.settles), (Kind::Established, 0..HANDSHAKE));
    assert_eq!((&welcome.pass[..], welcome.bytes.len()), (&b"Simple"[..], 10));
    device.hold();
    let write = write_at(0, 7);
    keeper.tell(&[&write[..100], &write[100..], &read_at(0, 512)].concat()).await;
    until(|| device.calls().len() == 2).await;
    device.release();
    let start = HANDSHAKE;
    let mut settled = Vec::new();
    for _ in 0..2 {
        let frame = keeper.frame().await;
        assert_eq!(frame.kind, Kind::Reply);
        settled.push((frame.settles, frame.bytes.len()));
    }
    settled.sort_by_key(|(range, _)| range.start);
    let middle = start + HEADER + 512;
    assert_eq!(settled, [(start..middle, 16), (middle..middle + HEADER, 16 + 512)]);
    until(|| gate.inside() == 0).await;
    assert_eq!(gate.arrivals(), [None, None], "nobody had them before");
}

#[tokio::test]
async fn what_was_left_is_queued_whole_before_anything_begins_whatever_room_there_is() {
    let (device, gate) = (Memory::new(MIB), Gate::new(false));
    let mut talk = Talk::default();
    let established =
        Frame { kind: Kind::Established, settles: 0..0, pass: Bytes::new(), bytes: Bytes::new() };
    talk.take_frame(established).unwrap();
    let requests = [read_at(0, 512), write_at(0, 1), read_at(0, 512), write_at(512, 2)];
    for (request, arrival) in requests.into_iter().zip(5..) {
        talk.take_input(request.into(), arrival);
    }
    talk.to_worker().advance(usize::try_from(4 * HEADER + 1024).unwrap());
    let Next::Resume(resume) = talk.part() else { panic!("it can be gone on with") };
    // Room for no answer at all while another is under way.
    let limits = Limits {
        buffered_bytes_max: u64::from(blockferry_device::PAYLOAD_MAX),
        ..Limits::default()
    };
    let (mut keeper, queued) = Keeper::resume(&device, &gate, resume.replay, limits);
    talk.take_input(write_at(1024, 3).into(), 9);
    keeper.tell_all(&mut talk).await;
    until(|| Arc::strong_count(&queued) == 1).await;
    assert_eq!(gate.arrivals()[..4], [Some(5), Some(6), Some(7), Some(8)]);
    assert!(device.calls().is_empty());
    gate.open.send_replace(true);
    let mut got = Vec::new();
    for _ in 0..5 {
        let frame = keeper.frame().await;
        talk.take_frame(frame.clone()).unwrap();
        got.push(frame);
    }
    assert_eq!(device.calls().len(), 5);
    assert_eq!(gate.arrivals()[4], None, "this one is new");
    let reads = got.iter().filter(|frame| frame.bytes.len() == 16 + 512).count();
    assert_eq!(reads, 2);
}

#[tokio::test]
async fn no_more_is_taken_for_left_than_another_can_have_begun() {
    let (device, gate) = (Memory::new(MIB), Gate::new(false));
    let limits = Limits { in_flight_max: 2, ..Limits::default() };
    let all = [write_at(0, 1), write_at(512, 2), write_at(1024, 3)].concat();
    let (mut keeper, queued) = Keeper::resume(&device, &gate, all.len() as u64, limits);
    keeper.tell(&[0, 0, 0, 0]).await;
    keeper.tell(&all).await;
    until(|| Arc::strong_count(&queued) == 1).await;
    assert_eq!(gate.arrivals().len(), 2);
    gate.open.send_replace(true);
    for _ in 0..3 {
        keeper.frame().await;
    }
}

#[tokio::test]
async fn half_a_request_that_was_left_is_waited_for_like_any_other() {
    let (device, gate) = (Memory::new(MIB), Gate::new(true));
    let half = &write_at(0, 1)[..99];
    let (mut keeper, queued) = Keeper::resume(&device, &gate, 99, Limits::default());
    keeper.tell(&[&[0, 0, 0, 0], half].concat()).await;
    until(|| Arc::strong_count(&queued) == 1).await;
    keeper.tell(&write_at(0, 1)[99..]).await;
    assert_eq!(keeper.frame().await.settles, 0..HEADER + 512);
}

#[tokio::test]
async fn a_client_that_has_gone_is_not_waited_for() {
    let (device, gate) = (Memory::new(MIB), Gate::new(true));
    let (keeper, queued) = Keeper::resume(&device, &gate, 99, Limits::default());
    let Keeper { socket, worker, .. } = keeper;
    drop(socket);
    soon(worker).await.unwrap();
    assert_eq!(Arc::strong_count(&queued), 1);
}

#[tokio::test]
async fn a_worker_that_is_to_leave_answers_what_it_has_and_leaves_the_connection_open_to_another() {
    let (device, gate) = (Memory::new(MIB), Gate::new(true));
    let mut keeper = Keeper::serve(&device, &gate);
    keeper.shake_hands().await;
    device.hold();
    keeper.tell(&write_at(0, 7)).await;
    until(|| device.calls().len() == 1).await;
    keeper.shutdown.cancel();
    device.release();
    assert_eq!(keeper.frame().await.settles.start, HANDSHAKE);
    assert_eq!(soon(keeper.worker).await.unwrap(), KeptEnd::Left);
}

#[tokio::test]
async fn a_client_that_takes_none_of_its_answers_goes_only_when_another_waits_for_that() {
    let (device, gate) = (Memory::new(8 * MIB), Gate::new(true));
    let stuck_timeout = Duration::from_millis(10);
    let limits = Limits { stuck_timeout, ..Limits::default() };
    let mut keeper = Keeper::serve_within(&device, &gate, limits);
    keeper.shake_hands().await;
    keeper.tell(&read_at(0, 8 << 20)).await;
    until(|| device.calls().len() == 1).await;
    let gone = tokio::time::timeout(20 * stuck_timeout, &mut keeper.worker).await;
    assert!(gone.is_err() && gate.inside() == 1, "nobody waits for it");
    gate.wanted.store(true, Ordering::SeqCst);
    assert_eq!(soon(keeper.worker).await.unwrap(), KeptEnd::Closed);
    assert_eq!(gate.inside(), 0);
}

#[tokio::test]
async fn a_client_that_disconnects_is_closed_and_one_that_is_cut_is_cut() {
    let (device, gate) = (Memory::new(MIB), Gate::new(true));
    let mut keeper = Keeper::serve(&device, &gate);
    keeper.shake_hands().await;
    keeper.tell(&request(0, c::CMD_DISC, 0, 0, 0)).await;
    assert_eq!(soon(keeper.worker).await.unwrap(), KeptEnd::Closed);
    let opened = opened(&device, &gate);
    opened.cut.cancel();
    let replay = Replay { bytes: 0, missing: Box::new(()) };
    let resumed = Resumed { opened, negotiated: SIMPLE, replay };
    let mut keeper = Keeper::new(|far, shutdown| {
        tokio::spawn(resume(line(far), resumed, Arc::default(), shutdown))
    });
    keeper.tell(&[0, 0, 0, 0]).await;
    assert_eq!(soon(keeper.worker).await.unwrap(), KeptEnd::Cut);
}
