//! A storage program from its checked flags to its clean end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use blockferry_block::BootId;
use blockferry_control::api::PartyAddress;
use blockferry_control::{BearerToken, ControlServer};
use blockferry_iscsi_session::Advertised;
use blockferry_nbd_session::{NbdUri, serve_all};
use blockferry_net::{Address, Limits, Listener, Threads};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::api;
use crate::cli::{Cli, UsageError};
use crate::exports::VolumeExports;
use crate::iscsi::VolumeTargets;
use crate::program::{Context, random};
use crate::redirects::Redirects;
use crate::volumes::{Volumes, prepare_folders};

/// After a request to end, connections get this long for what they have under way.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a storage program until `shutdown` is cancelled.
///
/// # Errors
/// [`UsageError`] for bad flags; everything else says what failed, on what, and what to do.
pub async fn run(program: &'static str, cli: Cli, shutdown: CancellationToken) -> Result<()> {
    let config = cli.check()?;
    prepare_folders(&config.state, config.pool.as_ref())?;
    let token = config.token_file.as_deref().map(BearerToken::read).transpose()?;
    let control = ControlServer::bind(&config.control, token.clone()).await?;
    let listener = Listener::bind(&config.nbd).await?;
    warn_if_open("NBD", listener.address());
    let iscsi = match &config.iscsi {
        Some(address) => Some(Listener::bind(address).await?),
        None => None,
    };
    iscsi.iter().for_each(|listener| warn_if_open("iSCSI", listener.address()));
    let accounts = config.iscsi_accounts.as_deref().map(Accounts::read).transpose()?;
    let threads = Threads::start().map(Arc::new).context("the threads that serve connections")?;
    let advertise = config.advertise.as_deref();
    let advertised = Advertised { portal: config.iscsi_advertise.as_deref(), host: advertise };
    let (portal, destination) = match &iscsi {
        Some(listener) => {
            (advertised.portal(listener.address())?, advertised.destination(listener.address())?)
        }
        None => (None, None),
    };
    if iscsi.is_some() && destination.is_none() {
        tracing::warn!(
            "no volume with initiators can come here: --iscsi-advertise HOST tells where they reach it"
        );
    }
    let address = PartyAddress {
        nbd: data_address(listener.address(), advertise),
        control: control.address().to_control(advertise).context("--advertise")?.to_string(),
        iscsi: destination.map(|portal| portal.to_string()),
    };
    tracing::info!(program, nbd = address.nbd, control = address.control, "ready for others");
    let context = Arc::new(Context {
        program,
        boot: BootId(u64::from_be_bytes(random()) >> 2),
        state_dir: config.state,
        pool: config.pool,
        address,
        token,
        threads: Arc::clone(&threads),
        shutdown: shutdown.clone(),
        faults: config.faults,
        accounts: iscsi.is_some().then(|| accounts.unwrap_or_default()),
    });
    let volumes = Volumes::open(context, &config.volumes, config.receive).await?;
    let exports = Arc::new(VolumeExports(Arc::clone(&volumes)));
    let limits = Arc::new(Limits::default());
    let targets =
        VolumeTargets { volumes: Arc::clone(&volumes), redirects: Redirects::default(), portal };
    let disks = serve_disks(iscsi, Arc::clone(&threads), targets, &limits, &shutdown);
    let data = serve_all(listener, threads, exports, limits.clone(), shutdown.clone());
    let control = control.serve(api::routes(volumes), shutdown.clone());
    let serving = async { tokio::join!(data, disks, control) };
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        _ = serving => {}
        () = late => tracing::warn!("connections that did not end in time are cut"),
    }
    Ok(())
}

async fn serve_disks(
    listener: Option<Listener>,
    threads: Arc<Threads>,
    targets: VolumeTargets,
    limits: &Arc<Limits>,
    shutdown: &CancellationToken,
) {
    let Some(listener) = listener else { return };
    let (limits, shutdown) = (Arc::clone(limits), shutdown.clone());
    blockferry_iscsi_session::serve_all(listener, threads, Arc::new(targets), limits, shutdown)
        .await;
}

fn warn_if_open(protocol: &str, address: &Address) {
    let Address::Tcp(host, _) = address else { return };
    let loopback = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !loopback {
        tracing::warn!(%address, "{protocol} is served without TLS: whoever reaches it can read and write");
    }
}

/// The data address as an NBD URI without export.
fn data_address(bound: &Address, advertise: Option<&str>) -> String {
    NbdUri { address: bound.advertised(advertise), export: String::new() }.to_string()
}

/// The common `main` of both storage programs; returns the process' exit code.
pub async fn main(program: &'static str, cli: Cli) -> u8 {
    let started = async {
        let cli = cli.with_file()?;
        let level = cli.log.clone().unwrap_or_else(|| "info".to_owned());
        let format = cli.log_format.as_deref().unwrap_or("text").parse()?;
        blockferry_control::log::init(&level, format)?;
        blockferry_control::files::allow_all().context("the limit of open files")?;
        run(program, cli, on_signal()).await
    };
    match started.await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            if error.is::<UsageError>() { 2 } else { 1 }
        }
    }
}

/// Cancelled by SIGTERM or SIGINT.
fn on_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let shutdown = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let shutdown = shutdown.clone();
        if let Ok(mut stream) = signal(kind) {
            tokio::spawn(async move {
                stream.recv().await;
                shutdown.cancel();
            });
        }
    }
    shutdown
}
