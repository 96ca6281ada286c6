//! What the tests of sessions share: a device in memory, a server on a socket, foreign tools.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod fake;
pub mod raw;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use blockferry_block::{BootId, ClaimEpoch, Extent, Generation, MigrationId, SessionId, Token};
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Features, ReadPart, Reply, Request, Segment,
    SegmentState,
};
use blockferry_nbd_session::{
    ConnectOptions, ExportEntry, Exports, FenceRequest, Hello, Kept, OpenError, Opened, Role,
    RoleClaim, serve_all,
};
use blockferry_net::{Address, Limits, Listener, Threads};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const MIB: u64 = 1 << 20;
/// Size of a page, the unit in which the memory device knows holes, in bytes.
pub const PAGE: u64 = 4096;
/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that a device can offer.
pub const ALL: Features = Features {
    read_only: false,
    flush: true,
    fua: true,
    trim: true,
    write_zeroes: true,
    fast_zero: true,
    cache: true,
    block_status: true,
    multi_conn: true,
    rotational: false,
};

/// A device in memory that remembers what it was asked, and whose answers can be held.
pub struct Memory {
    info: DeviceInfo,
    state: Mutex<State>,
    /// While true, answers wait.
    held: watch::Sender<bool>,
}

struct State {
    pages: Vec<Option<Box<[u8]>>>,
    calls: Vec<Request>,
    failure: Option<Failure>,
}

impl Memory {
    pub fn new(size: u64) -> Arc<Self> {
        Self::with_info(DeviceInfo::new(size, ALL))
    }

    pub fn with_info(info: DeviceInfo) -> Arc<Self> {
        let pages = usize::try_from(info.size.div_ceil(PAGE)).unwrap();
        let state = State { pages: vec![None; pages], calls: Vec::new(), failure: None };
        Arc::new(Self { info, state: Mutex::new(state), held: watch::Sender::new(false) })
    }

    /// Makes answers wait until [`Self::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Every call from now on fails.
    pub fn fail_with(&self, failure: Failure) {
        self.state.lock().unwrap().failure = Some(failure);
    }

    /// What the device was asked so far.
    pub fn calls(&self) -> Vec<Request> {
        self.state.lock().unwrap().calls.clone()
    }

    pub fn content(&self, extent: Extent) -> Vec<u8> {
        self.state.lock().unwrap().read(extent)
    }
}

impl State {
    fn read(&self, extent: Extent) -> Vec<u8> {
        let mut all = Vec::new();
        for (page, inside) in pages(extent) {
            match &self.pages[page] {
                Some(content) => all.extend_from_slice(&content[inside]),
                None => all.resize(all.len() + inside.len(), 0),
            }
        }
        all
    }

    fn write(&mut self, offset: u64, mut data: &[u8]) {
        for (page, inside) in pages(Extent::new(offset, data.len() as u64).unwrap()) {
            let content = self.pages[page].get_or_insert_with(|| vec![0; 4096].into());
            let (now, later) = data.split_at(inside.len());
            content[inside].copy_from_slice(now);
            data = later;
        }
    }

    fn zero(&mut self, extent: Extent, allocate: bool) {
        for (page, inside) in pages(extent) {
            if inside.len() == 4096 && !allocate {
                self.pages[page] = None;
            } else {
                let content = self.pages[page].get_or_insert_with(|| vec![0; 4096].into());
                content[inside].fill(0);
            }
        }
    }

    fn segments(&self, extent: Extent, one: bool) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for (page, inside) in pages(extent) {
            let hole = self.pages[page].is_none();
            let state = if hole { SegmentState::HOLE } else { SegmentState::DATA };
            match segments.last_mut() {
                Some(last) if last.state == state => last.length += inside.len() as u64,
                Some(_) if one => break,
                _ => segments.push(Segment { length: inside.len() as u64, state }),
            }
        }
        segments
    }

    fn parts(&self, extent: Extent, dont_fragment: bool) -> Vec<ReadPart> {
        if dont_fragment {
            return vec![ReadPart::Data(self.read(extent).into())];
        }
        let mut at = extent.start();
        let mut parts = Vec::new();
        for segment in self.segments(extent, false) {
            let here = Extent::new(at, segment.length).unwrap();
            at = here.end();
            parts.push(if segment.state.hole {
                ReadPart::Hole(segment.length)
            } else {
                ReadPart::Data(Bytes::from(self.read(here)))
            });
        }
        parts
    }

    fn execute(&mut self, request: Request) -> Result<Reply, Failure> {
        self.calls.push(request.clone());
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match request {
            Request::Read { extent, dont_fragment } => {
                return Ok(Reply::Read(self.parts(extent, dont_fragment)));
            }
            Request::BlockStatus { extent, one } => {
                return Ok(Reply::BlockStatus(self.segments(extent, one)));
            }
            Request::Write { offset, data, .. } => self.write(offset, &data),
            Request::WriteZeroes { fast_zero: true, no_hole: true, .. } => {
                return Err(Failure::new(Errno::NotSup, "not faster than a write"));
            }
            Request::WriteZeroes { extent, no_hole, .. } => self.zero(extent, no_hole),
            Request::Trim { extent, .. } => self.zero(extent, false),
            Request::Flush | Request::Cache { .. } => {}
        }
        Ok(Reply::Done)
    }
}

/// The pages that an extent touches, and its bytes in each.
fn pages(extent: Extent) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let mut at = extent.start();
    std::iter::from_fn(move || {
        if at >= extent.end() {
            return None;
        }
        let page = at / PAGE;
        let end = extent.end().min((page + 1) * PAGE);
        let inside =
            usize::try_from(at % PAGE).unwrap()..usize::try_from(end - page * PAGE).unwrap();
        at = end;
        Some((usize::try_from(page).unwrap(), inside))
    })
}

impl Device for Memory {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        let outcome = self.state.lock().unwrap().execute(request);
        let mut held = self.held.subscribe();
        Answer::later(async move {
            held.wait_for(|held| !held).await.expect("the device lives");
            outcome
        })
    }
}

/// One export named `vol`, which is also the default; remembers who came.
pub struct OneVolume {
    pub device: Arc<dyn Device>,
    pub cut: CancellationToken,
    pub hellos: Mutex<Vec<(String, Hello)>>,
    pub fences: Mutex<Vec<FenceRequest>>,
    /// For the next client that joins.
    pub kept: Mutex<Option<Kept>>,
}

impl OneVolume {
    pub fn new(device: Arc<dyn Device>) -> Arc<Self> {
        Arc::new(Self {
            device,
            cut: CancellationToken::new(),
            hellos: Mutex::default(),
            fences: Mutex::default(),
            kept: Mutex::default(),
        })
    }
}

impl Exports for OneVolume {
    fn list(&self) -> Vec<ExportEntry> {
        vec![ExportEntry { name: "vol".to_owned(), description: "a test volume".to_owned() }]
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Opened, OpenError>> {
        self.hellos.lock().unwrap().push((name.to_owned(), hello.clone()));
        let opened = match name {
            "" | "vol" => Ok(Opened {
                name: "vol".to_owned(),
                description: "a test volume".to_owned(),
                device: Arc::clone(&self.device),
                cut: self.cut.clone(),
                kept: self.kept.lock().unwrap().take(),
            }),
            "forbidden" => Err(OpenError::Policy("not for you".to_owned())),
            "closing" => Err(OpenError::Shutdown),
            _ => Err(OpenError::Unknown(format!("there is no export {name:?}"))),
        };
        Box::pin(async { opened })
    }

    fn fence<'a>(&'a self, fence: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>> {
        let known = fence.export == "vol";
        self.fences.lock().unwrap().push(fence);
        Box::pin(async move {
            if known { Ok(()) } else { Err(OpenError::Unknown("no such export".to_owned())) }
        })
    }
}

/// A server of our own on a socket of its own.
pub struct Server {
    pub address: Address,
    pub exports: Arc<OneVolume>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Server {
    pub async fn start(device: Arc<dyn Device>) -> Self {
        Self::start_with(device, Limits::default()).await
    }

    pub async fn start_with(device: Arc<dyn Device>, limits: Limits) -> Self {
        Self::start_at(&"127.0.0.1:0".parse().unwrap(), device, limits).await
    }

    pub async fn start_at(address: &Address, device: Arc<dyn Device>, limits: Limits) -> Self {
        let listener = Listener::bind(address).await.unwrap();
        let address = listener.address().clone();
        let exports = OneVolume::new(device);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve_all(
            listener,
            Arc::new(Threads::start().unwrap()),
            exports.clone(),
            Arc::new(limits),
            shutdown.clone(),
        ));
        Self { address, exports, shutdown, task }
    }

    pub fn options(&self) -> ConnectOptions {
        ConnectOptions::new(self.address.clone(), "vol")
    }

    /// Stops in good manners and waits until nothing is left.
    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }
}

/// Waits, but not for ever.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}

pub fn extent(start: u64, length: u64) -> Extent {
    Extent::new(start, length).unwrap()
}

pub fn read(start: u64, length: u64) -> Request {
    Request::Read { extent: extent(start, length), dont_fragment: false }
}

pub fn write(offset: u64, data: impl Into<Bytes>) -> Request {
    Request::Write { offset, data: data.into(), fua: false }
}

/// A read's bytes in one piece.
pub fn bytes(reply: Reply) -> Vec<u8> {
    let Reply::Read(parts) = reply else { panic!("{reply:?} is no answer to a read") };
    let mut all = Vec::new();
    for part in parts {
        match part {
            ReadPart::Data(data) => all.extend_from_slice(&data),
            ReadPart::Hole(length) => all.resize(all.len() + usize::try_from(length).unwrap(), 0),
        }
    }
    all
}

/// Bytes that differ from place to place.
pub fn pattern(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
}

/// A claim to be a mirror.
pub fn claim() -> RoleClaim {
    RoleClaim {
        role: Role::Mirror,
        standby: true,
        migration: MigrationId::from_bytes([1; 16]),
        token: Token::from_bytes([2; 32]),
        session: SessionId::from_bytes([3; 16]),
        generation: Generation(4),
        source_boot: BootId(5),
        destination_boot: BootId(6),
        claim_epoch: ClaimEpoch(7),
        arrangement: "unix:/run/switch.sock".to_owned(),
    }
}
