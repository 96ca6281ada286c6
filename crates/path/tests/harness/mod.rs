//! Servers in memory whose links can be cut, and whose requests can be stopped, and what every test
//! does with a path to them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blockferry_block::Generation;
use blockferry_device::{Answer, Device, DeviceInfo, Failure, Features, ReadPart, Reply, Request};
use blockferry_path::{CallError, Fabric, FenceOutcome, Link, Opening, Path, UpstreamError};
use bytes::Bytes;
use tokio::sync::watch;

/// Size of every volume here.
pub(crate) const SIZE: usize = 4096;

/// One server, known by its name. All servers share one volume, as owner and forwarder do.
pub(crate) struct Server {
    pub(crate) info: DeviceInfo,
    volume: Arc<Mutex<Vec<u8>>>,
    /// Whether connections are taken.
    pub(crate) up: watch::Sender<bool>,
    /// Whether requests are executed; they wait otherwise.
    pub(crate) running: watch::Sender<bool>,
    /// What every request is refused with.
    pub(crate) refusal: Mutex<Option<Failure>>,
    /// The oldest generation that it still takes.
    pub(crate) fence: Mutex<Generation>,
    /// What was asked of it, in order.
    pub(crate) log: Mutex<Vec<Event>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Opened(Generation),
    Standby(Generation),
    Write(Generation, u64),
    Fenced(Generation),
    Disconnected(Generation),
}

/// One connection to a server.
pub(crate) struct MemoryLink {
    server: Arc<Server>,
    generation: Generation,
    open: watch::Sender<bool>,
}

/// The servers that there are, and where the owner is said to be.
#[derive(Clone, Default)]
pub(crate) struct World {
    servers: Arc<Mutex<HashMap<&'static str, Arc<Server>>>>,
    owners: Arc<Mutex<Vec<Name>>>,
    volume: Arc<Mutex<Vec<u8>>>,
}

/// A server's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) &'static str);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

pub(crate) fn features() -> Features {
    Features { flush: true, fua: true, trim: true, write_zeroes: true, ..Features::default() }
}

/// Nothing takes longer.
const SOON: Duration = Duration::from_secs(10);

/// Writes eight bytes.
pub(crate) fn write(path: &Path<World>, offset: u64, byte: u8) -> Answer {
    path.call(Request::Write { offset, data: Bytes::from(vec![byte; 8]), fua: false })
}

/// What comes of it, which is bound to come soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it takes too long")
}

/// Waits until something is so.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

impl World {
    /// A world in which one server is the owner, and nobody else.
    pub(crate) fn of_one() -> (Self, Arc<Server>) {
        let world = Self::default();
        let server = world.server("only");
        world.owners(&["only"]);
        (world, server)
    }

    pub(crate) fn server(&self, name: &'static str) -> Arc<Server> {
        self.server_with(name, DeviceInfo::new(SIZE as u64, features()))
    }

    pub(crate) fn server_with(&self, name: &'static str, info: DeviceInfo) -> Arc<Server> {
        self.volume.lock().unwrap().resize(SIZE, 0);
        let server = Arc::new(Server {
            info,
            volume: Arc::clone(&self.volume),
            up: watch::Sender::new(true),
            running: watch::Sender::new(true),
            refusal: Mutex::default(),
            fence: Mutex::new(Generation(0)),
            log: Mutex::default(),
        });
        self.servers.lock().unwrap().insert(name, Arc::clone(&server));
        server
    }

    pub(crate) fn owners(&self, names: &[&'static str]) {
        *self.owners.lock().unwrap() = names.iter().map(|name| Name(name)).collect();
    }

    fn find(&self, name: Name) -> Result<Arc<Server>, UpstreamError> {
        let server = self.servers.lock().unwrap().get(name.0).cloned();
        let server = server.filter(|server| *server.up.borrow());
        server.ok_or_else(|| UpstreamError::Unusable("connection refused".to_owned()))
    }
}

impl Server {
    /// Cuts every link and takes no new one.
    pub(crate) fn die(&self) {
        self.up.send_replace(false);
    }

    pub(crate) fn come_back(&self) {
        self.up.send_replace(true);
        self.running.send_replace(true);
    }

    pub(crate) fn stop(&self) {
        self.running.send_replace(false);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.log.lock().unwrap().clone()
    }

    fn record(&self, event: Event) {
        self.log.lock().unwrap().push(event);
    }

    fn execute(&self, request: Request) -> Result<Reply, CallError> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(CallError::Refused(refusal));
        }
        let mut volume = self.volume.lock().unwrap();
        Ok(match request {
            Request::Write { offset, data, .. } => {
                let start = usize::try_from(offset).unwrap();
                volume[start..start + data.len()].copy_from_slice(&data);
                Reply::Done
            }
            Request::Read { extent, .. } => {
                let (start, end) = (extent.start(), extent.end());
                let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                Reply::Read(vec![ReadPart::Data(Bytes::copy_from_slice(&volume[range]))])
            }
            _ => Reply::Done,
        })
    }
}

impl MemoryLink {
    async fn ended(&self) {
        let mut up = self.server.up.subscribe();
        let mut open = self.open.subscribe();
        tokio::select! {
            _ = up.wait_for(|up| !up) => {}
            _ = open.wait_for(|open| !open) => {}
        }
        self.open.send_replace(false);
    }
}

impl Link for MemoryLink {
    fn info(&self) -> &DeviceInfo {
        &self.server.info
    }

    fn request(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        if let Request::Write { offset, .. } = request {
            self.server.record(Event::Write(self.generation, offset));
        }
        async move {
            let mut running = self.server.running.subscribe();
            tokio::select! {
                biased;
                () = self.ended() => Err(CallError::Lost),
                _ = running.wait_for(|running| *running) => self.server.execute(request),
            }
        }
    }

    async fn closed(&self) {
        self.ended().await;
    }

    fn is_closed(&self) -> bool {
        !*self.open.borrow() || !*self.server.up.borrow()
    }

    fn disconnect(&self) {
        self.server.record(Event::Disconnected(self.generation));
        self.open.send_replace(false);
    }

    fn abort(&self) {
        self.open.send_replace(false);
    }
}

impl Fabric for World {
    type Upstream = Name;
    type Link = MemoryLink;

    async fn locate(&self) -> Vec<Name> {
        self.owners.lock().unwrap().clone()
    }

    async fn open(&self, to: &Name, opening: Opening) -> Result<MemoryLink, UpstreamError> {
        let server = self.find(*to)?;
        let Opening { generation, standby } = opening;
        if generation < *server.fence.lock().unwrap() {
            return Err(UpstreamError::Superseded);
        }
        let event = if standby { Event::Standby } else { Event::Opened };
        server.record(event(generation));
        Ok(MemoryLink { server, generation, open: watch::Sender::new(true) })
    }

    async fn fence(&self, at: &Name, below: Generation) -> Result<FenceOutcome, UpstreamError> {
        self.find(*at)?.record(Event::Fenced(below));
        Ok(FenceOutcome::Confirmed)
    }
}
