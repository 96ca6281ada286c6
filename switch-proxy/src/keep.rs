//! The switch's keeper: the process that has the clients' sockets. See [`blockferry_keeper`].

use std::convert::Infallible;
use std::env;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use blockferry_keeper::{Handover, Keeper, Outcome, Program, Wish};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::front_door::FrontDoor;
use crate::succession;

/// What is left beside the clients' sockets: the listener, and how each conversation stands.
const DESCRIPTORS_BESIDE: usize = 2;
/// Signals that wait to be obeyed.
const WISHES_MAX: usize = 16;

/// Runs the keeper until it is told to end; gives the exit code.
///
/// # Errors
/// What could not be bound or started. A worker that cannot begin tells why itself.
pub async fn keep(config: &Config) -> Result<u8> {
    let room = succession::room();
    let wishes = wishes(if room.is_some() { Wish::Leave } else { Wish::ShutDown })?;
    let command = command()?;
    // From here on nothing may fail that clients can be kept without.
    let inheritance = succession::inherit().unwrap_or_else(|error| {
        tracing::error!("clients are lost: {error:#}");
        None
    });
    let (door, inherited) = FrontDoor::open(&config.listen, inheritance).await?;
    let keeper = Keeper::new(door, command, FrontDoor::announce)
        .that_forgets_answers(config.replay_answered);
    let keeper = match inherited {
        Some((estate, clients)) => keeper.that_inherits(estate, clients),
        None => keeper,
    };
    match keeper.run(wishes).await {
        Outcome::Ended => Ok(0),
        Outcome::Left(handover) => leave(*handover, room.unwrap_or_default()).map(|()| 0),
        Outcome::NeverServed(Some(status)) => Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .filter(|c| *c > 0)
            .unwrap_or(1)),
        Outcome::NeverServed(None) => bail!("no worker could be started; the log says why"),
    }
}

/// How a worker is started.
fn command() -> Result<impl FnMut(Program) -> Command> {
    let on_disk = program().context("the path of this program")?;
    Ok(move |program| {
        let mut command = match program {
            Program::OnDisk => Command::new(&on_disk),
            // What a process that has just been forked still runs.
            Program::Own => Command::new("/proc/self/exe"),
        };
        command.args(env::args_os().skip(1)).arg("--worker");
        for variable in succession::ENVIRONMENT {
            command.env_remove(variable);
        }
        command
    })
}

/// Leaves the clients with the service manager; those for whom it has no room lose their connection.
fn leave(handover: Handover<FrontDoor>, room: usize) -> Result<()> {
    let Handover { door, estate, sockets } = handover;
    let left = sockets.len().min(room.saturating_sub(DESCRIPTORS_BESIDE));
    if left < sockets.len() {
        tracing::error!(
            left,
            of = sockets.len(),
            "the service manager has no room for all clients"
        );
    }
    let sockets = sockets.into_iter().take(left);
    let sockets: Vec<_> = sockets
        .map(|(client, socket)| Ok((client, socket.into_descriptor()?)))
        .collect::<io::Result<_>>()?;
    succession::leave(&estate, door.into_descriptor().as_ref(), &sockets)?;
    tracing::info!(clients = sockets.len(), "the clients are left to the next process");
    Ok(())
}

/// The program that a worker is started from: what there is under this one's name by then.
fn program() -> io::Result<PathBuf> {
    match env::args_os().next().map(PathBuf::from) {
        // As it was called: what a link leads to may change with an upgrade.
        Some(called) if called.components().count() > 1 => std::path::absolute(called),
        _ => env::current_exe(),
    }
}

/// What operators want, by signals: SIGTERM, which is also how a service manager ends its services,
/// and SIGINT and SIGHUP.
fn wishes(terminate: Wish) -> Result<mpsc::Receiver<Wish>> {
    let (sender, receiver) = mpsc::channel(WISHES_MAX);
    for (kind, wish) in [
        (SignalKind::terminate(), terminate),
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
            Wish::Leave => tracing::info!("ending: the clients are left to the next process"),
            Wish::Reload => tracing::info!("another worker takes over"),
        }
        wishes.send(wish).await.ok()?;
    }
}
