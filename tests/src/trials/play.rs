//! The course of a trial: a migration to its end and the retirement of the source, by as many runs of
//! the controller as it takes, while the blows fall.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use blockferry_checker::{Load, LoadHandle, Report};
use serde_json::Value;

use super::disk::{Disk, Left};
use super::stage::{CELLS, Stage};
use super::strike::is_call_of;
use super::trial::Party;
use crate::cast::{Controller, Outcome, VOLUME, connect, load, moves_on};
use blockferry_initiator::ReadsOnly;

/// Pause between two runs of the controller.
const AGAIN: Duration = Duration::from_millis(300);

/// Runs of the controller after which it will not come to an end.
const RUNS_MAX: u32 = 25;

/// The whole course may take this long: what is away for seconds comes back, and nothing else waits.
const PLAY_MAX: Duration = Duration::from_secs(150);

/// How often is looked.
pub(super) const LOOK: Duration = Duration::from_millis(4);

/// An abort begins when so much is copied, in bytes.
const ABORTED_AT: u64 = 4 << 20;

/// What the controller is for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Abort,
    Move,
    Retire,
}

/// What the controller's last words of a migration were.
pub(super) struct Played {
    pub(super) done: Value,
}

/// Who uses the volume.
pub(super) struct Clients {
    load: LoadHandle,
    disk: Option<Disk>,
}

/// What is left of them.
pub(super) struct Ended {
    pub(super) report: Report,
    pub(super) disk: Option<Left>,
}

impl Stage {
    /// Plays it to its end.
    pub(super) async fn play(&mut self) -> Result<Played> {
        let begun = Instant::now();
        let mut runs = 1;
        let mut aim = if self.trial.aborted { Aim::Abort } else { Aim::Move };
        let mut done = None;
        self.running = Some(self.controller("migrate"));
        let mut overtaken = self.overtaken(aim).await?;
        loop {
            self.strike().await?;
            if let Some(controller) = self.running.take_if(|run| run.process.ended().is_some()) {
                let outcome = controller.end().await;
                if outcome.code.is_none() {
                    self.coming.retain(|blow| !is_call_of(Party::Controller, blow));
                }
                runs += 1;
                ensure!(runs <= RUNS_MAX, "{runs} runs of the controller: {:?}", outcome.err);
                let ended_well = outcome.code == Some(0);
                match (aim, ended_well) {
                    (Aim::Abort, true) => {
                        self.gives_up(overtaken.take()).await?;
                        aim = Aim::Move;
                    }
                    (Aim::Move, true) => {
                        done = Some(outcome.last());
                        aim = Aim::Retire;
                    }
                    (Aim::Retire, true) => {
                        return Ok(Played { done: done.context("retired before it moved")? });
                    }
                    (_, false) => tokio::time::sleep(AGAIN).await,
                }
                self.running = Some(self.controller(command(aim, &outcome)));
            }
            ensure!(begun.elapsed() < PLAY_MAX, "no end: {}", self.stands().await?);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Where the migration is to be aborted: the controller that copied up to then. Another one
    /// aborts now.
    async fn overtaken(&mut self, aim: Aim) -> Result<Option<Controller>> {
        if aim != Aim::Abort {
            return Ok(None);
        }
        self.cluster.until_copied(ABORTED_AT).await;
        let abort = self.controller("abort");
        Ok(self.running.replace(abort))
    }

    /// A controller whose migration was aborted has to end by itself.
    async fn gives_up(&self, overtaken: Option<Controller>) -> Result<()> {
        let Some(controller) = overtaken else { return Ok(()) };
        let outcome = controller.end().await;
        ensure!(outcome.code == Some(1), "an aborted migration went on: {outcome:?}");
        let gone = self.cluster.destination.status(VOLUME).await.is_none();
        ensure!(gone && !self.cluster.copy().exists(), "the abort left something behind");
        Ok(())
    }

    /// Starts the load, and waits until it works. A system call may kill somebody before.
    pub(super) async fn begin_load(&mut self) -> Result<Clients> {
        let config = self.load_config();
        let uri = self.cluster.uri();
        let connections = self.trial.connections;
        let way = self.trial.iscsi.then(|| self.way()).transpose()?;
        let mut loading = std::pin::pin!(async {
            let clients = match way {
                None => Clients { load: load(&uri, connections, config).await, disk: None },
                Some(way) => {
                    let mut disk = Disk::log_in(way, connections, CELLS).await?;
                    let mut devices = disk.devices();
                    devices.push(Arc::new(ReadsOnly::new(connect(&uri).await)));
                    disk.begin();
                    Clients { load: Load::start(devices, config)?, disk: Some(disk) }
                }
            };
            moves_on(&clients.load).await;
            anyhow::Ok(clients)
        });
        loop {
            tokio::select! {
                clients = &mut loading => return clients,
                () = tokio::time::sleep(LOOK) => self.strike().await?,
            }
        }
    }

    /// Ends the load once it has gone on. A system call may kill somebody even now.
    pub(super) async fn end_load(&mut self, clients: Clients) -> Result<Ended> {
        let mut ending = std::pin::pin!(async {
            let Clients { load, disk } = clients;
            moves_on(&load).await;
            let report = load.stop().await;
            let disk = match disk {
                Some(disk) => Some(disk.end().await?),
                None => None,
            };
            anyhow::Ok(Ended { report, disk })
        });
        let ended = loop {
            tokio::select! {
                ended = &mut ending => break ended?,
                () = tokio::time::sleep(LOOK) => self.strike().await?,
            }
        };
        self.strike().await?;
        Ok(ended)
    }

    /// What `controller status` says; it has to say something, whoever is away.
    pub(super) async fn stands(&self) -> Result<Value> {
        let outcome = self.controller("status").end().await;
        ensure!(outcome.code == Some(0), "status fails: {:?}", outcome.err);
        let status = outcome.last();
        let told = |field: &str| status[field].as_str().is_some_and(|text| !text.is_empty());
        if !(told("owner") && told("next")) {
            bail!("status names no owner or no next step: {status}");
        }
        Ok(status)
    }
}

/// What brings it to its end after this: a migration that has not begun is begun again.
fn command(aim: Aim, before: &Outcome) -> &'static str {
    let never_begun = before.err.iter().any(|line| line.contains("`migrate` begins one"));
    match aim {
        Aim::Abort => "abort",
        Aim::Retire => "retire",
        Aim::Move if before.code == Some(0) || never_begun => "migrate",
        Aim::Move => "resume",
    }
}
