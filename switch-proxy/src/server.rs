//! The running switch: its listeners, from binding to the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use blockferry_control::api::{PartyAddress, ProgramStatus};
use blockferry_control::{BearerToken, ControlServer, ListenAddress};
use blockferry_nbd_session::{Address, Limits, Listener, NbdUri};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, routes};
use crate::config::Config;
use crate::exports::RouteExports;
use crate::ledger::Ledger;
use crate::owner::OwnerQuery;
use crate::routes::Routes;
use crate::watch::watch;

/// Version of the migration protocol.
const PROTOCOL: u32 = 1;
/// How long requests under way may take when the program is told to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How long connections may take to end that were cut.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// A switch that is bound and not yet running.
pub struct Switch {
    clients: Listener,
    control: ControlServer,
    routes: Arc<Routes>,
    program: ProgramStatus,
    limits: Arc<Limits>,
    client_timeout: Duration,
}

impl Switch {
    /// Reads what survived, and binds.
    ///
    /// # Errors
    /// What could not be read or bound.
    pub async fn bind(config: &Config) -> Result<Self> {
        let token = config.token_file.as_deref().map(BearerToken::read).transpose()?;
        let (ledger, records) = Ledger::open(&config.state, &config.routes)?;
        let control = ControlServer::bind(&config.control, token.clone()).await?;
        let clients = Listener::bind(&config.listen).await?;
        warn_of_strangers(clients.address());
        let program = program(config, clients.address(), control.address())?;
        let address = program.address.control.parse().context("this switch's own address")?;
        let routes = Routes::new(records, address, ledger, OwnerQuery::new(token));
        let limits = Arc::new(Limits::default());
        let client_timeout = config.client_timeout;
        let routes = Arc::new(routes);
        Ok(Self { clients, control, routes, program, limits, client_timeout })
    }

    /// Where clients connect, with the port that was picked.
    pub const fn clients(&self) -> &Address {
        self.clients.address()
    }

    /// Where the control API listens, with the port that was picked.
    pub fn control(&self) -> &ListenAddress {
        self.control.address()
    }

    /// Runs until `shutdown` is cancelled and what was under way is answered.
    pub async fn run(self, shutdown: CancellationToken) {
        let cut = CancellationToken::new();
        let exports = Arc::new(RouteExports {
            routes: Arc::clone(&self.routes),
            client_timeout: self.client_timeout,
            cut: cut.clone(),
        });
        let limits = Arc::clone(&self.limits);
        let api = Api { routes: Arc::clone(&self.routes), program: self.program, limits };
        let watcher = tokio::spawn(watch(self.routes));
        let clients = self.clients.run(exports, self.limits, shutdown.clone());
        let control = self.control.serve(routes(Arc::new(api)), shutdown.clone());
        tokio::join!(control, end_in_time(clients, shutdown, cut));
        watcher.abort();
        // It ends with being aborted, which is no error.
        let _ = watcher.await;
    }
}

/// What cannot be answered in time is cut: its volume is away.
async fn end_in_time(
    clients: impl Future<Output = ()>,
    shutdown: CancellationToken,
    cut: CancellationToken,
) {
    let mut clients = std::pin::pin!(clients);
    tokio::select! {
        () = &mut clients => return,
        () = shutdown.cancelled() => {}
    }
    if timeout(SHUTDOWN_GRACE, &mut clients).await.is_err() {
        tracing::warn!("cutting connections whose requests cannot be answered");
        cut.cancel();
        if timeout(CUT_GRACE, clients).await.is_err() {
            tracing::warn!("leaving requests behind at a server that does not answer");
        }
    }
}

fn program(config: &Config, clients: &Address, control: &ListenAddress) -> Result<ProgramStatus> {
    let advertise = config.advertise.as_deref();
    let address = match (clients, advertise) {
        (Address::Tcp(_, port), Some(host)) => Address::Tcp(host.to_owned(), *port),
        (here, _) => here.clone(),
    };
    let control = control.to_control(advertise).context("--advertise")?;
    let mut boot = [0; 8];
    getrandom::fill(&mut boot).context("random numbers")?;
    Ok(ProgramStatus {
        program: "switch-proxy".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        boot: u64::from_le_bytes(boot) >> 2,
        address: PartyAddress {
            nbd: NbdUri { address, export: String::new() }.to_string(),
            control: control.to_string(),
        },
    })
}

fn warn_of_strangers(address: &Address) {
    let Address::Tcp(host, _) = address else { return };
    let local = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !local {
        tracing::warn!(%address, "volumes are served unencrypted to whoever reaches this address");
    }
}
