//! The running switch: its clients and its control API, from opening to the end.

use std::future::pending;
use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use blockferry_control::api::{PartyAddress, ProgramStatus};
use blockferry_control::{BearerToken, ControlServer, ListenAddress};
use blockferry_iscsi::PortalAddress;
use blockferry_iscsi_session::Advertised;
use blockferry_nbd_session::{NbdUri, serve_all};
use blockferry_net::{Address, Limits, Listener, Threads};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, KeeperStatus};
use crate::bound::Bound;
use crate::config::Config;
use crate::desk::{Beginning, Desk, Entrance, Leaving, Reception};
use crate::exports::RouteExports;
use crate::iscsi::Portal;
use crate::ledger::Ledger;
use crate::owner::OwnerQuery;
use crate::placement::RouteRecord;
use crate::routes::Routes;
use crate::watch::watch;

/// Version of the migration protocol.
const PROTOCOL: u32 = 1;
/// How long requests under way may take when the program is told to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// The same when another process goes on with its clients, which wait meanwhile: what is unanswered
/// then is begun again there.
const HANDOVER_GRACE: Duration = Duration::from_secs(2);

/// How long connections may take to end that were cut.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// A switch that is bound and not yet running.
pub struct Switch {
    door: Door,
    listen: Address,
    /// For initiators.
    portal: Option<PortalDoor>,
    control: ControlServer,
    routes: Arc<Routes>,
    program: ProgramStatus,
    keeper: Option<KeeperStatus>,
    limits: Arc<Limits>,
    client_timeout: Duration,
}

/// Where initiators come from.
struct PortalDoor {
    listener: Listener,
    /// What those are told who look for targets; where they have come already without it.
    told: Option<PortalAddress>,
    /// What everybody else is told, if it is known.
    reached_at: Option<PortalAddress>,
}

impl PortalDoor {
    fn new(listener: Listener, config: &Config) -> Result<Self> {
        let (portal, host) = (config.iscsi_advertise.as_deref(), config.advertise.as_deref());
        let advertised = Advertised { portal, host };
        let told = advertised.portal(listener.address())?;
        let reached_at = advertised.destination(listener.address())?;
        Ok(Self { listener, told, reached_at })
    }
}

/// Where clients come from.
enum Door {
    Listener(Listener, Arc<Threads>),
    Keeper(Desk, Arc<Threads>),
}

impl Switch {
    /// Reads what survived, and binds.
    ///
    /// # Errors
    /// What could not be read or bound.
    pub async fn bind(config: &Config) -> Result<Self> {
        let opened = Opened::new(config, &Bound::default()).await?;
        let listener = Listener::bind(&config.listen).await?;
        let listen = listener.address().clone();
        opened.into_switch(config, listen, None, Door::Listener(listener, threads()?))
    }

    /// The same for the clients of the keeper that has started this process; `None` when it has
    /// another.
    ///
    /// # Errors
    /// What could not be read or bound.
    pub(crate) async fn behind_keeper(config: &Config) -> Result<Option<Self>> {
        let reception = Reception::greet().await?;
        let Some(Beginning { run, listen, last }) = reception.wait().await? else {
            return Ok(None);
        };
        let listen = listen.parse().context("where the keeper listens")?;
        let opened = Opened::new(config, &last).await?;
        let desk = reception.open(&opened.bound()).await?;
        let (pid, worker_pid) = (parent_id(), std::process::id());
        let keeper = KeeperStatus { pid, worker_pid, workers: run, shut: None };
        opened.into_switch(config, listen, Some(keeper), Door::Keeper(desk, threads()?)).map(Some)
    }

    /// Where clients connect, with the port that was picked.
    pub const fn clients(&self) -> &Address {
        &self.listen
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
        let routes = Arc::clone(&self.routes);
        let (keeper, entrance) = (self.keeper, self.door.entrance());
        let api = Api { routes, program: self.program, keeper, entrance, limits };
        let leaving = self.door.leaving();
        let threads = Arc::clone(self.door.threads());
        let initiators =
            serve_initiators(self.portal, threads, Arc::clone(&self.routes), &shutdown);
        let watcher = tokio::spawn(watch(self.routes));
        let clients = self.door.run(exports, self.limits, shutdown.clone());
        let control = self.control.serve(api::routes(Arc::new(api)), shutdown.clone());
        let clients = async {
            end_in_time(clients, &shutdown, cut, &leaving).await;
            // The keeper may be gone, which nobody has told the control API.
            shutdown.cancel();
        };
        tokio::join!(end_control(control, &shutdown, &leaving), clients, initiators);
        watcher.abort();
        // It ends with being aborted, which is no error.
        let _ = watcher.await;
    }
}

impl Door {
    fn leaving(&self) -> Leaving {
        match self {
            Self::Listener(..) => Leaving::for_good(),
            Self::Keeper(desk, _) => desk.leaving(),
        }
    }

    const fn threads(&self) -> &Arc<Threads> {
        match self {
            Self::Listener(_, threads) | Self::Keeper(_, threads) => threads,
        }
    }

    /// Without a keeper it is open as long as the process lives.
    fn entrance(&self) -> Entrance {
        match self {
            Self::Listener(..) => Entrance::default(),
            Self::Keeper(desk, _) => desk.entrance(),
        }
    }

    /// Serves clients until `shutdown` is cancelled and what was under way is answered.
    async fn run(
        self,
        exports: Arc<RouteExports>,
        limits: Arc<Limits>,
        shutdown: CancellationToken,
    ) {
        match self {
            Self::Listener(listener, threads) => {
                serve_all(listener, threads, exports, limits, shutdown).await
            }
            Self::Keeper(desk, threads) => desk.run(&threads, exports, limits, shutdown).await,
        }
    }
}

async fn serve_initiators(
    door: Option<PortalDoor>,
    threads: Arc<Threads>,
    routes: Arc<Routes>,
    shutdown: &CancellationToken,
) {
    let Some(PortalDoor { listener, told, .. }) = door else { return };
    let portal = Portal::new(routes, told, shutdown.clone());
    portal.serve(listener, threads).await;
}

/// What cannot be answered in time is cut, since its volume is away, or left to the next process.
async fn end_in_time(
    clients: impl Future<Output = ()>,
    shutdown: &CancellationToken,
    cut: CancellationToken,
    leaving: &Leaving,
) {
    let mut clients = std::pin::pin!(clients);
    tokio::select! {
        () = &mut clients => return,
        () = shutdown.cancelled() => {}
    }
    let grace = if leaving.is_for_good() { SHUTDOWN_GRACE } else { HANDOVER_GRACE };
    if timeout(grace, &mut clients).await.is_ok() {
        return;
    }
    if !leaving.is_for_good() {
        return tracing::warn!("leaving requests without an answer to the next process");
    }
    tracing::warn!("cutting connections whose requests cannot be answered");
    cut.cancel();
    if timeout(CUT_GRACE, clients).await.is_err() {
        tracing::warn!("leaving requests behind at a server that does not answer");
    }
}

/// The next process needs the address: who asked something asks it again there.
async fn end_control(
    control: impl Future<Output = ()>,
    shutdown: &CancellationToken,
    leaving: &Leaving,
) {
    let late = async {
        shutdown.cancelled().await;
        sleep(HANDOVER_GRACE).await;
        if leaving.is_for_good() {
            pending().await
        }
    };
    tokio::select! {
        () = control => {}
        () = late => {}
    }
}

/// Everything that is opened whoever has the clients' sockets.
struct Opened {
    control: ControlServer,
    portal: Option<Listener>,
    token: Option<BearerToken>,
    ledger: Ledger,
    records: Vec<RouteRecord>,
}

impl Opened {
    /// After another process, which has bound that: others know the switch there.
    async fn new(config: &Config, last: &Bound) -> Result<Self> {
        let token = config.token_file.as_deref().map(BearerToken::read).transpose()?;
        let (ledger, records) = Ledger::open(&config.state, &config.routes)?;
        let control = last.control_at(&config.control);
        let control = ControlServer::bind(&control, token.clone()).await?;
        let portal = match &config.iscsi {
            Some(wanted) => Some(Listener::bind(&last.iscsi_at(wanted)).await?),
            None => None,
        };
        Ok(Self { control, portal, token, ledger, records })
    }

    fn bound(&self) -> Bound {
        let iscsi = self.portal.as_ref().map(|listener| listener.address().clone());
        Bound { control: Some(self.control.address().clone()), iscsi }
    }

    fn into_switch(
        self,
        config: &Config,
        listen: Address,
        keeper: Option<KeeperStatus>,
        door: Door,
    ) -> Result<Switch> {
        let Self { control, portal, token, ledger, records } = self;
        warn_of_strangers(&listen);
        let portal = portal.map(|listener| PortalDoor::new(listener, config)).transpose()?;
        let iscsi = portal.as_ref().and_then(|door| door.reached_at.clone());
        let program = program(config, &listen, iscsi, control.address())?;
        let address = program.address.control.parse().context("this switch's own address")?;
        let routes = Arc::new(Routes::new(records, address, ledger, OwnerQuery::new(token)));
        let (limits, client_timeout) = (Arc::default(), config.client_timeout);
        Ok(Switch {
            door,
            listen,
            portal,
            control,
            routes,
            program,
            keeper,
            limits,
            client_timeout,
        })
    }
}

fn program(
    config: &Config,
    clients: &Address,
    iscsi: Option<PortalAddress>,
    control: &ListenAddress,
) -> Result<ProgramStatus> {
    let advertise = config.advertise.as_deref();
    let address = clients.advertised(advertise);
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
            iscsi: iscsi.map(|portal| portal.to_string()),
        },
    })
}

fn threads() -> Result<Arc<Threads>> {
    Threads::start().map(Arc::new).context("the threads that serve connections")
}

fn warn_of_strangers(address: &Address) {
    let Address::Tcp(host, _) = address else { return };
    let local = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !local {
        tracing::warn!(%address, "volumes are served unencrypted to whoever reaches this address");
    }
}
