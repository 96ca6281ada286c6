//! A target of one disk in this process, as other people's initiators see it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Failure, Outcome, Request};
use blockferry_iscsi::{Chap, Inquiry, IscsiName, Refusal, TargetEntry};
use blockferry_iscsi_session::{
    Change, Changed, KeepState, Medium, Opened, Targets, Unit, serve_all,
};
use blockferry_net::{Address, Limits, Listener, Threads};
use blockferry_scsi::{
    BlockLength, Geometry, Identity, LogicalUnit, PhysicalBlock, Provisioning, UnitConfig,
    UnitState,
};
use blockferry_store::MemoryStore;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The target's name.
pub(crate) const TARGET: &str = "iqn.2026-01.io.blockferry:vol";

/// A server, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _shutdown: DropGuard,
    _serving: JoinHandle<()>,
}

/// Memory in which one update comes after the other.
struct OneByOne {
    memory: MemoryStore,
    turn: Mutex<()>,
}

struct Nowhere;

struct OneDisk {
    unit: Arc<Unit>,
    medium: Arc<OneByOne>,
}

impl Device for OneByOne {
    fn info(&self) -> &DeviceInfo {
        self.memory.info()
    }

    fn call(&self, request: Request) -> Answer {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.memory.call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Outcome> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.memory.call_now(request)
    }
}

impl Medium for OneByOne {
    fn change(
        &self,
        extent: Extent,
        change: Change,
    ) -> BoxFuture<'static, Result<Changed, Failure>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.content(extent);
        let changed = match change.kind.of(&found) {
            Err(at) => Ok(Changed::Differs { at }),
            Ok(data) => {
                let write = Request::Write { offset: extent.start(), data, fua: change.fua };
                let written = self.memory.call(write).now_or_never().expect("memory does not wait");
                written.map(|_| Changed::Made)
            }
        };
        Box::pin(std::future::ready(changed))
    }
}

impl OneByOne {
    fn content(&self, extent: Extent) -> Vec<u8> {
        let read = self.memory.call(Request::Read { extent, dont_fragment: true });
        match read.now_or_never().expect("memory does not wait") {
            Ok(blockferry_device::Reply::Read(parts)) => match parts.as_slice() {
                [blockferry_device::ReadPart::Data(data)] => data.to_vec(),
                other => panic!("not in one piece: {other:?}"),
            },
            other => panic!("not read: {other:?}"),
        }
    }
}

impl KeepState for Nowhere {
    fn keep(&self, _: UnitState) -> BoxFuture<'static, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Targets for OneDisk {
    fn list(&self, _: &IscsiName) -> Vec<TargetEntry> {
        vec![TargetEntry { name: name(), portals: Vec::new() }]
    }

    fn admit(&self, who: &Inquiry) -> Result<Option<Chap>, Refusal> {
        match &who.target {
            Some(target) if *target != name() => Err(Refusal::NotFound),
            _ => Ok(None),
        }
    }

    fn open<'a>(
        &'a self,
        _: &'a IscsiName,
        _: &'a Inquiry,
    ) -> BoxFuture<'a, Result<Opened, Refusal>> {
        let (unit, medium) = (Arc::clone(&self.unit), Arc::clone(&self.medium));
        Box::pin(std::future::ready(Ok(Opened { unit, medium, cut: CancellationToken::new() })))
    }
}

fn name() -> IscsiName {
    IscsiName::parse(TARGET).expect("a name")
}

/// Serves a thin disk of so many bytes.
pub(crate) async fn serve(bytes: u64) -> Server {
    let geometry = Geometry::new(bytes, BlockLength::B512, PhysicalBlock::Logical).expect("a disk");
    let identity = Identity { uuid: [7; 16], name: "vol".parse().expect("a name") };
    let config = UnitConfig {
        identity,
        geometry,
        provisioning: Provisioning::Thin,
        read_only: false,
        rotational: false,
    };
    let unit = Arc::new(Unit::new(LogicalUnit::new(config, UnitState::new()), Nowhere));
    let medium = Arc::new(OneByOne { memory: MemoryStore::new(bytes), turn: Mutex::new(()) });
    let listener =
        Listener::bind(&"127.0.0.1:0".parse().expect("an address")).await.expect("bound");
    let Address::Tcp(_, port) = *listener.address() else { panic!("bound over TCP") };
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve_all(
        listener,
        Arc::new(Threads::start().expect("threads")),
        Arc::new(OneDisk { unit, medium }),
        Arc::new(Limits::default()),
        shutdown.clone(),
    ));
    let address = ([127, 0, 0, 1], port).into();
    Server { address, _shutdown: shutdown.drop_guard(), _serving: serving }
}
