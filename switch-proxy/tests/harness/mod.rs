//! A switch over real sockets, and storage servers in this process that can be killed, stopped and
//! asked what they saw. All servers of a test share one volume, as owner and forwarder do.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

pub(crate) mod garbler;
pub(crate) mod initiator;
mod storage;

use std::net::TcpListener;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_control::api::{Arrangement, PartyAddress, RouteStatus};
use blockferry_control::{ControlAddress, ControlClient};
use blockferry_device::{ReadPart, Reply, Request};
use blockferry_nbd_session::{CallError, ConnectOptions, Link, connect};
use blockferry_net::Address;
use bytes::Bytes;
use switch_proxy::{Config, Flags, Switch, SwitchStatus};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use storage::{Seen, Storage, Volume};

/// Longest time for anything.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Size of every volume here.
pub(crate) const SIZE: usize = 1 << 20;

/// A switch in this process.
pub(crate) struct Proxy {
    pub(crate) clients: Address,
    /// Where initiators connect.
    pub(crate) portal: String,
    pub(crate) control: ControlClient,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Proxy {
    /// With the state folder and the routes given, and any free ports.
    pub(crate) async fn start(state: &TempDir, routes: &[String]) -> Self {
        use clap::Parser;
        let state = state.path().to_str().unwrap();
        let fixed = ["switch-proxy", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
        let mut flags: Vec<&str> = fixed.to_vec();
        flags.extend(["--state", state, "--iscsi", "127.0.0.1:0"]);
        routes.iter().for_each(|route| flags.extend(["--route", route]));
        let config = Config::new(Flags::parse_from(flags)).unwrap();
        let switch = soon(bind(&config)).await;
        let clients = switch.clients().clone();
        let control: ControlAddress = switch.control().to_control(None).unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(switch.run(shutdown.clone()));
        let control = ControlClient::new(control, None);
        let status: SwitchStatus = soon(control.get("/v1/status")).await.unwrap();
        Self { clients, portal: status.address.iscsi.unwrap(), control, shutdown, running }
    }

    pub(crate) async fn connect(&self, export: &str) -> Link {
        connect(&ConnectOptions::new(self.clients.clone(), export)).await.unwrap()
    }

    pub(crate) async fn route(&self, name: &str) -> RouteStatus {
        self.control.get(&format!("/v1/routes/{name}")).await.unwrap()
    }

    pub(crate) async fn until(&self, name: &str, condition: impl Fn(&RouteStatus) -> bool) {
        soon(async {
            while !condition(&self.route(name).await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        soon(self.running).await.unwrap();
    }
}

/// A switch that ended in this process lets go of its journal a moment later.
async fn bind(config: &Config) -> Switch {
    loop {
        match Switch::bind(config).await {
            Err(error) if error.to_string().contains("in use") => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            outcome => return outcome.unwrap(),
        }
    }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it takes too long")
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn arrangement(generation: u64, owner: PartyAddress) -> Arrangement {
    let migration = "00".repeat(16);
    Arrangement { migration, generation, export: "vol".to_owned(), owner }
}

pub(crate) fn write(
    link: &Link,
    offset: u64,
    byte: u8,
) -> impl Future<Output = Result<Reply, CallError>> + Send + 'static + use<> {
    link.request(Request::Write { offset, data: Bytes::from(vec![byte; 512]), fua: false })
}

pub(crate) async fn read(link: &Link, offset: u64) -> u8 {
    let extent = Extent::between(offset, offset + 1);
    match soon(link.request(Request::Read { extent, dont_fragment: true })).await {
        Ok(Reply::Read(parts)) => match &parts[..] {
            [ReadPart::Data(data)] => data[0],
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
