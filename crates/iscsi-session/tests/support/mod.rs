//! A target of one disk in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use blockferry_device::Failure;
use blockferry_iscsi::{Chap, Inquiry, IscsiName, Refusal, TargetEntry};
use blockferry_iscsi_session::{KeepState, Medium, Opened, Targets, Unit, serve_all};
use blockferry_net::{Address, Limits, Listener, Threads};
use blockferry_scsi::{
    BlockLength, Geometry, Identity, LogicalUnit, PhysicalBlock, Provisioning, UnitConfig,
    UnitState,
};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The target's name.
pub(crate) const TARGET: &str = "iqn.2026-01.io.blockferry:vol";

/// A server, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shutdown: DropGuard,
    serving: JoinHandle<()>,
}

impl Server {
    /// Ends when the last connection has ended.
    pub(crate) async fn end(self) {
        drop(self.shutdown);
        self.serving.await.expect("no panic");
    }
}

struct Nowhere;

struct OneDisk {
    unit: Arc<Unit>,
    medium: Arc<dyn Medium>,
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

/// Serves a thin disk of so many bytes, which a medium has.
pub(crate) async fn serve_on(bytes: u64, medium: Arc<dyn Medium>) -> Server {
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
    Server { address, shutdown: shutdown.drop_guard(), serving }
}
