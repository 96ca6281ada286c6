//! The switch's keeper: the process that has the clients' sockets. See [`blockferry_keeper`].

use std::convert::Infallible;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use blockferry_keeper::{Admitted, Door, Keeper, Outcome, Program, Wish};
use blockferry_nbd_session::{Limits, Listener, Peer, Stream};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::Config;

/// Signals that wait to be obeyed.
const WISHES_MAX: usize = 16;

/// Runs the keeper until it is told to end; gives the exit code.
///
/// # Errors
/// What could not be bound or started. A worker that cannot begin tells why itself.
pub async fn keep(config: &Config) -> Result<u8> {
    let wishes = wishes()?;
    let listener = Listener::bind(&config.listen).await?;
    let listen = listener.address().to_string();
    let door = FrontDoor { listener, limits: Limits::default() };
    let on_disk = program().context("the path of this program")?;
    let command = move |program| {
        let mut command = match program {
            Program::OnDisk => Command::new(&on_disk),
            // What a process that has just been forked still runs.
            Program::Own => Command::new("/proc/self/exe"),
        };
        command.args(env::args_os().skip(1)).arg("--worker");
        command
    };
    let keeper = Keeper::new(door, listen, command, |door| door.listener.announce())
        .that_forgets_answers(config.replay_answered);
    match keeper.run(wishes).await {
        Outcome::Ended => Ok(0),
        Outcome::NeverServed(Some(status)) => Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .filter(|c| *c > 0)
            .unwrap_or(1)),
        Outcome::NeverServed(None) => bail!("no worker could be started; the log says why"),
    }
}

/// Where clients come in.
struct FrontDoor {
    listener: Listener,
    limits: Limits,
}

impl Door for FrontDoor {
    type Socket = Stream;

    async fn admit(&self) -> Admitted<Stream> {
        loop {
            let (socket, place) = self.listener.admit(&self.limits).await;
            match socket.tune() {
                Ok(()) => {
                    let peer = address(socket.peer());
                    return Admitted { socket, peer, place: Box::new(place) };
                }
                Err(error) => tracing::debug!(%error, "a client has left at once"),
            }
        }
    }
}

fn address(peer: Peer) -> Option<SocketAddr> {
    match peer {
        Peer::Tcp(address) => Some(address),
        Peer::Unix => None,
    }
}

/// The program that a worker is started from: what there is under this one's name by then.
fn program() -> io::Result<PathBuf> {
    match env::args_os().next().map(PathBuf::from) {
        // As it was called: what a link leads to may change with an upgrade.
        Some(called) if called.components().count() > 1 => std::path::absolute(called),
        _ => env::current_exe(),
    }
}

/// What operators want, by signals: SIGTERM and SIGINT, and SIGHUP.
fn wishes() -> Result<mpsc::Receiver<Wish>> {
    let (sender, receiver) = mpsc::channel(WISHES_MAX);
    for (kind, wish) in [
        (SignalKind::terminate(), Wish::ShutDown),
        (SignalKind::interrupt(), Wish::ShutDown),
        (SignalKind::hangup(), Wish::Reload),
    ] {
        let signals = signal(kind).context("cannot wait for signals")?;
        tokio::spawn(pass_on(signals, wish, sender.clone()));
    }
    Ok(receiver)
}

async fn pass_on(
    mut signals: Signal,
    wish: Wish,
    wishes: mpsc::Sender<Wish>,
) -> Option<Infallible> {
    loop {
        signals.recv().await?;
        match wish {
            Wish::ShutDown => tracing::info!("ending: requests under way are answered"),
            Wish::Reload => tracing::info!("another worker takes over"),
        }
        wishes.send(wish).await.ok()?;
    }
}
