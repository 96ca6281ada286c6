//! A storage server: data side, control side, and what it saw.

use std::sync::{Arc, Mutex};

use axum::routing::get;
use axum::{Json, Router};
use blockferry_block::Generation;
use blockferry_control::api::{PartyAddress, VolumeRole, VolumeStatus};
use blockferry_control::{ControlServer, ListenAddress};
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Features, ReadPart, Reply, Request,
};
use blockferry_nbd_session::{
    ExportEntry, Exports, FenceRequest, Hello, NbdUri, OpenError, Opened, Purpose, RoleClaim,
    serve_all,
};
use blockferry_net::{Address, Limits, Listener, Threads};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{SIZE, soon};

/// The bytes behind all servers of a test.
pub(crate) type Volume = Arc<Mutex<Vec<u8>>>;

/// Something that a server saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Opened(Generation),
    Standby(Generation),
    Write(Generation, u64),
    Fenced(Generation),
}

/// See the module.
pub(crate) struct Storage {
    shared: Arc<Shared>,
    address: Address,
    control: ListenAddress,
    run: Mutex<Option<Run>>,
    _control: JoinHandle<()>,
}

struct Run {
    shutdown: CancellationToken,
    cut: CancellationToken,
    task: JoinHandle<()>,
}

struct Shared {
    info: DeviceInfo,
    volume: Volume,
    role: Mutex<(VolumeRole, u64)>,
    seen: Mutex<Vec<Seen>>,
    claims: Mutex<Vec<RoleClaim>>,
    /// Whether requests are executed; they wait otherwise.
    running: watch::Sender<bool>,
}

impl Storage {
    pub(crate) async fn start(volume: &Volume, role: VolumeRole, generation: u64) -> Self {
        let features = Features {
            flush: true,
            fua: true,
            trim: true,
            write_zeroes: true,
            multi_conn: true,
            ..Features::default()
        };
        let info = DeviceInfo::new(SIZE as u64, features);
        Self::start_with(volume, role, generation, info).await
    }

    pub(crate) async fn start_with(
        volume: &Volume,
        role: VolumeRole,
        generation: u64,
        info: DeviceInfo,
    ) -> Self {
        volume.lock().unwrap().resize(SIZE, 0);
        let shared = Arc::new(Shared {
            info,
            volume: Arc::clone(volume),
            role: Mutex::new((role, generation)),
            seen: Mutex::default(),
            claims: Mutex::default(),
            running: watch::Sender::new(true),
        });
        let server = ControlServer::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let control = server.address().clone();
        let told = Arc::clone(&shared);
        let status = get(async move || Json(told.status()));
        let router = Router::new().route("/v1/volumes/vol", status);
        let _control = tokio::spawn(server.serve(router.into(), CancellationToken::new()));
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&any).await.unwrap();
        let address = listener.address().clone();
        let run = Mutex::new(Some(Run::start(&shared, listener)));
        Self { shared, address, control, run, _control }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn party(&self) -> PartyAddress {
        let nbd = NbdUri { address: self.address.clone(), export: String::new() }.to_string();
        PartyAddress {
            nbd,
            control: self.control.to_control(None).unwrap().to_string(),
            iscsi: None,
        }
    }

    pub(crate) fn uri(&self) -> NbdUri {
        NbdUri { address: self.address.clone(), export: "vol".to_owned() }
    }

    pub(crate) fn route(&self) -> String {
        format!("vol={}", self.uri())
    }

    pub(crate) fn becomes(&self, role: VolumeRole, generation: u64) {
        *self.shared.role.lock().unwrap() = (role, generation);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many writes it was asked for.
    pub(crate) fn writes(&self) -> usize {
        self.seen().iter().filter(|seen| matches!(seen, Seen::Write(..))).count()
    }

    pub(crate) fn claims(&self) -> Vec<RoleClaim> {
        self.shared.claims.lock().unwrap().clone()
    }

    /// Requests wait from now on.
    pub(crate) fn hang(&self) {
        self.shared.running.send_replace(false);
    }

    /// Requests are executed again.
    pub(crate) fn resume(&self) {
        self.shared.running.send_replace(true);
    }

    /// Cuts all connections; those who connect are turned away by the system. What was under way
    /// is never executed.
    pub(crate) async fn kill(&self) {
        let run = self.run.lock().unwrap().take().expect("it runs");
        run.cut.cancel();
        run.shutdown.cancel();
        soon(run.task).await.unwrap();
    }

    pub(crate) async fn come_back(&self) {
        self.shared.running.send_replace(true);
        let listener = Listener::bind(&self.address).await.unwrap();
        *self.run.lock().unwrap() = Some(Run::start(&self.shared, listener));
    }
}

impl Run {
    fn start(shared: &Arc<Shared>, listener: Listener) -> Self {
        let (shutdown, cut) = (CancellationToken::new(), CancellationToken::new());
        let exports = Arc::new(Volumes { shared: Arc::clone(shared), cut: cut.clone() });
        let limits = Arc::new(Limits::default());
        let task = tokio::spawn(serve_all(
            listener,
            Arc::new(Threads::start().unwrap()),
            exports,
            limits,
            shutdown.clone(),
        ));
        Self { shutdown, cut, task }
    }
}

impl Shared {
    fn admit(&self, claim: RoleClaim) -> Generation {
        let generation = claim.generation;
        let seen = if claim.standby { Seen::Standby } else { Seen::Opened };
        self.saw(seen(generation));
        self.claims.lock().unwrap().push(claim);
        generation
    }

    fn saw(&self, seen: Seen) {
        self.seen.lock().unwrap().push(seen);
    }

    fn status(&self) -> VolumeStatus {
        let (role, generation) = *self.role.lock().unwrap();
        VolumeStatus {
            name: "vol".to_owned(),
            size: self.info.size,
            allocated_bytes: self.info.size,
            features: Vec::new(),
            role,
            generation,
            reserved_address: 0,
            durable_address: 0,
            read_cursor: 0,
            dirty_bytes: 0,
            in_flight_updates: 0,
            sessions: 0,
            migration: None,
        }
    }
}

struct Volumes {
    shared: Arc<Shared>,
    cut: CancellationToken,
}

impl Exports for Volumes {
    fn list(&self) -> Vec<ExportEntry> {
        Vec::new()
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            if name != "vol" {
                return Err(OpenError::Unknown("no such volume".to_owned()));
            }
            let generation = match (hello.purpose, hello.role.clone()) {
                (Purpose::Info, _) => Generation(0),
                (Purpose::Go, claim) => self.shared.admit(claim.expect("a switch claims a role")),
            };
            let cut = self.cut.clone();
            let device = Session { shared: Arc::clone(&self.shared), generation, cut: cut.clone() };
            Ok(Opened {
                name: name.to_owned(),
                description: String::new(),
                device: Arc::new(device),
                cut,
                kept: None,
            })
        })
    }

    fn fence<'a>(&'a self, fence: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>> {
        self.shared.saw(Seen::Fenced(fence.generation));
        Box::pin(async { Ok(()) })
    }
}

struct Session {
    shared: Arc<Shared>,
    generation: Generation,
    cut: CancellationToken,
}

impl Device for Session {
    fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    fn call(&self, request: Request) -> Answer {
        if let Request::Write { offset, .. } = request {
            self.shared.saw(Seen::Write(self.generation, offset));
        }
        let (shared, cut) = (Arc::clone(&self.shared), self.cut.clone());
        Answer::later(async move {
            let mut running = shared.running.subscribe();
            tokio::select! {
                biased;
                () = cut.cancelled() => Err(Failure::new(Errno::Io, "killed")),
                _ = running.wait_for(|running| *running) => Ok(shared.execute(request)),
            }
        })
    }
}

impl Shared {
    fn execute(&self, request: Request) -> Reply {
        let mut volume = self.volume.lock().unwrap();
        let at = |address: u64| usize::try_from(address).unwrap();
        match request {
            Request::Write { offset, data, .. } => {
                volume[at(offset)..at(offset) + data.len()].copy_from_slice(&data);
                Reply::Done
            }
            Request::Read { extent, .. } => {
                let range = at(extent.start())..at(extent.end());
                Reply::Read(vec![ReadPart::Data(Bytes::copy_from_slice(&volume[range]))])
            }
            _ => Reply::Done,
        }
    }
}
