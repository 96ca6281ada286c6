//! How blows fall: on whom, when the moment has come, and what is done to them.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::network::Network;
use super::play::LOOK;
use super::stage::Stage;
use super::trial::{Blow, Fault, Party, Point};
use crate::cast::until;

/// How long a stop lasts.
const STOP: Duration = Duration::from_secs(5);

/// How long the network holds everything back.
const HELD: Duration = Duration::from_secs(3);

/// How long new connections are refused after the old ones were cut.
const REFUSED: Duration = Duration::from_millis(500);

/// Longest pause between a death and the restart.
const DEAD_MAX_MS: u64 = 400;

const PARTIES: [Party; 4] = [Party::Source, Party::Destination, Party::Switch, Party::Controller];

impl Stage {
    /// Lets a blow fall whose moment has come.
    pub(super) async fn strike(&mut self) -> Result<()> {
        for party in PARTIES {
            let at = self.coming.iter().position(|blow| blow.party == party);
            let by_call = at.is_some_and(|at| is_call_of(party, &self.coming[at]));
            let (death, stopped) = (self.death(party)?, self.is_stopped(party));
            let dead = death.is_some();
            ensure!(
                !dead || by_call,
                "the {party} has ended by itself: {}",
                death.unwrap_or_default()
            );
            match at {
                Some(at) if stopped || dead => {
                    let blow = self.coming.remove(at).context("a blow that was there")?;
                    self.fall(blow).await?;
                }
                // A switch's next worker is armed like its predecessor.
                None if stopped => self.go_on(party),
                _ => {}
            }
        }
        Ok(())
    }

    /// What the judge asks for may bring the switch's next worker to the label of its predecessor.
    pub(super) async fn lets_the_switch_go_on(&self) -> Infallible {
        let (switch, worker) = (&self.cluster.switch, self.worker);
        loop {
            if switch.is_worker_stopped(worker) {
                switch.cont_worker(worker);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn fall(&mut self, blow: Blow) -> Result<()> {
        let party = blow.party;
        match blow.fault {
            Fault::Kill => self.kill(party).await?,
            Fault::Stop => {
                tokio::time::sleep(STOP).await;
                self.go_on(party);
            }
            cut => self.cut_off(party, cut).await?,
        }
        Ok(())
    }

    /// Kills whom a system call has not killed yet, now: it must not happen while all is judged.
    pub(super) async fn end_tracing(&mut self) -> Result<()> {
        let traced = self.coming.iter().find(|blow| is_call_of(blow.party, blow));
        let Some(party) = traced.map(|blow| blow.party) else { return Ok(()) };
        self.coming.retain(|blow| !is_call_of(party, blow));
        if party == Party::Controller { Ok(()) } else { self.kill(party).await }
    }

    async fn cut_off(&mut self, party: Party, cut: Fault) -> Result<()> {
        match &self.network {
            Some(network) => network.cut(party, cut)?,
            None => self.relays.cut(party, cut, self.trial.seed),
        }
        match cut {
            Fault::Vanish => self.kill(party).await?,
            _ => self.go_on(party),
        }
        let hard = matches!(cut, Fault::Reset | Fault::Torn);
        tokio::time::sleep(if hard { REFUSED } else { HELD }).await;
        self.relays.heal();
        self.network.as_ref().map_or(Ok(()), Network::heal)
    }

    async fn kill(&mut self, party: Party) -> Result<()> {
        if party == Party::Switch {
            let former = self.worker;
            self.cluster.switch.kill_stopped_worker(former);
            let keeper = self.cluster.switch.process.pid();
            let next = async || child_of(keeper).filter(|worker| *worker != former);
            self.worker = until("the switch has another worker", next).await;
            return Ok(());
        }
        if let Some(process) = self.process(party) {
            process.kill9_with_traced();
        }
        if party != Party::Controller {
            self.stands().await?;
            let pause = self.trial.seed.wrapping_mul(137) % DEAD_MAX_MS;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.restart(party).await;
        }
        Ok(())
    }

    /// How somebody has died who comes back. A controller may end whenever it is done.
    fn death(&mut self, party: Party) -> Result<Option<String>> {
        let ended = self.process(party).and_then(|process| process.ended());
        if party != Party::Switch {
            let ended = ended.filter(|_| party != Party::Controller);
            return Ok(ended.map(|status| status.to_string()));
        }
        ensure!(ended.is_none(), "the switch's keeper has ended by itself: {ended:?}");
        let child = child_of(self.cluster.switch.process.pid());
        let former = self.worker;
        let gone = child != Some(former);
        Ok(gone.then(|| format!("its worker was {former}, and its child is {child:?}")))
    }

    fn is_stopped(&mut self, party: Party) -> bool {
        match party {
            Party::Switch => self.cluster.switch.is_worker_stopped(self.worker),
            _ => self.process(party).is_some_and(|process| process.is_stopped()),
        }
    }

    fn go_on(&mut self, party: Party) {
        match party {
            Party::Switch => self.cluster.switch.cont_worker(self.worker),
            _ => self.process(party).into_iter().for_each(|process| process.cont()),
        }
    }
}

/// Whether the blow falls on the party at a system call.
pub(super) fn is_call_of(party: Party, blow: &Blow) -> bool {
    blow.party == party && matches!(blow.point, Point::Call(_))
}

/// The only child of a process with one thread.
fn child_of(parent: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    children.ok()?.split_whitespace().last()?.parse().ok()
}
