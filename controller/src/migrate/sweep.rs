//! The ordered copy, again and again from the destination's reserved address until it has reached
//! the end. What is lost or restarted in between costs a new round, never a new beginning.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use blockferry_block::{BootId, ClaimEpoch, Generation};
use blockferry_control::api::PauseRequest;
use blockferry_copier::{Halt, OrderedCopy, Pace, Side};
use blockferry_nbd_session::{Role, RoleClaim};
use tokio::time::sleep;

use super::ground::{Footing, Ground, Voice};
use super::progress::{Done, progress};
use super::verify::patient;
use super::{Migration, Next};
use crate::cli::Copier;
use crate::network::Network;
use crate::outcome::one_line;
use crate::show::{Event, Phase, Rate};

/// Pause between two looks at both programs while the copy runs.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Pause before a round that follows one without progress.
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// A destination that carries the copy is given up after so long without an answer, as a connection is.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// Rounds without progress after which a refusal is a failure: what a restart causes passes sooner.
const REFUSED_ROUNDS_MAX: u32 = 10;

/// Rounds without progress after which a failing storage at the destination pauses the migration.
const FAILED_ROUNDS_MAX: u32 = 4;

/// How a round ended.
pub(super) enum Round {
    /// `W` is the volume's size.
    Complete,
    /// Something passed that the next round gets over.
    Broken(Break),
}

/// Why a round ended early.
pub(super) enum Break {
    /// The copy halted.
    Halted(Halt),
    /// A connection could not be opened, or the ground moved.
    Shaken(String),
}

/// Rounds that ended at the address where they began.
#[derive(Default)]
struct Standstill {
    rounds: u32,
    reserved: Option<u64>,
}

impl Standstill {
    fn note(&mut self, reserved: u64) {
        self.rounds = if self.reserved == Some(reserved) { self.rounds + 1 } else { 0 };
        self.reserved = Some(reserved);
    }
}

impl<N: Network> Migration<'_, N> {
    pub(super) async fn sweep(&mut self) -> anyhow::Result<Next> {
        let mut pace = self.driving.bandwidth.map(|rate| Pace::new(rate, Instant::now()));
        let (mut standstill, mut voice) = (Standstill::default(), Voice::new(self.show));
        let mut term_is_fresh = true;
        let mut at_destination = self.driving.copier == Copier::Destination;
        loop {
            let (ground, reserved) = self.firm_ground().await?;
            if reserved >= self.size {
                blockferry_label::reached("controller.copy.complete");
                return Ok(Next::Go(match self.driving.verify {
                    true => Phase::Verify,
                    false => Phase::Settle,
                }));
            }
            standstill.note(reserved);
            // What an earlier round has under way must not land between the reads of this one.
            if !term_is_fresh && let Err(error) = self.renew_term().await {
                patient(error, &mut voice).await?;
                continue;
            }
            term_is_fresh = false;
            let round = match at_destination {
                true => self.carried_round(ground, &mut at_destination).await?,
                false => self.round(ground, pace.as_mut()).await?,
            };
            match round {
                Round::Complete => {}
                Round::Broken(Break::Shaken(why)) => voice.say(format!("going on soon: {why}")),
                Round::Broken(Break::Halted(halt)) => self.get_over(halt, &standstill).await?,
            }
            if standstill.rounds > 0 {
                sleep(ROUND_PAUSE).await;
            }
        }
    }

    /// Decides whether another round makes sense after a halt.
    async fn get_over(&self, halt: Halt, standstill: &Standstill) -> anyhow::Result<()> {
        let rounds = standstill.rounds;
        match &halt {
            Halt::Lost { .. } => {}
            Halt::Refused { .. } if rounds < REFUSED_ROUNDS_MAX => {}
            Halt::Refused { .. } => {
                return Err(anyhow!(halt).context("the copy does not get on; resume later"));
            }
            Halt::Failed { side: Side::Destination, .. } if rounds < FAILED_ROUNDS_MAX => {}
            Halt::Failed { .. } => return Err(self.pause_after(halt).await),
            Halt::Malformed { .. } => return Err(anyhow!(halt)),
        }
        self.note(format!("going on from the reserved address: {halt}"));
        Ok(())
    }

    /// Storage that fails needs a person: the sweep is paused and the error names the address.
    async fn pause_after(&self, halt: Halt) -> anyhow::Error {
        let volume = &self.parties.volume;
        let request = PauseRequest { migration: self.identity.migration.clone() };
        let paused = match self.parties.source.pause(&request).await {
            Ok(()) => "the migration is paused".to_owned(),
            Err(error) => format!("the migration could not be paused ({error})"),
        };
        anyhow!(
            "{halt}; {paused}, clients of {volume} are not concerned; mend the storage, then resume"
        )
    }

    /// Opens both connections, asks for `W` once no older copy can change it, and copies.
    async fn round(&mut self, ground: Ground, pace: Option<&mut Pace>) -> anyhow::Result<Round> {
        let (source, destination) = match self.open(ground).await {
            Ok(ends) => ends,
            Err(error) => return Ok(Round::Broken(Break::Shaken(one_line(&error)))),
        };
        blockferry_label::reached("controller.copy.opened");
        let start = match self.footing().await {
            Footing::Firm(now, reserved) if now == ground => reserved,
            Footing::Lost(why) => bail!("{why}"),
            Footing::Loose(why) => return Ok(Round::Broken(Break::Shaken(why))),
            Footing::Firm(..) => {
                let why = "a storage program was restarted".to_owned();
                return Ok(Round::Broken(Break::Shaken(why)));
            }
        };
        let (written, manner) = (AtomicU64::new(start), self.driving.manner);
        let copy = OrderedCopy::new((&source, &destination), start, manner, pace, &written);
        let round = tokio::select! {
            ended = copy.run() => match ended {
                Ok(()) => Round::Complete,
                Err(halt) => Round::Broken(Break::Halted(halt)),
            },
            why = self.watch(ground, Some(&written)) => Round::Broken(Break::Shaken(why?)),
        };
        tokio::join!(self.network.close(source), self.network.close(destination));
        Ok(round)
    }

    async fn open(&self, ground: Ground) -> anyhow::Result<(N::Connection, N::Connection)> {
        let claim = RoleClaim {
            role: Role::Copy,
            standby: false,
            migration: self.identity.migration.parse()?,
            token: self.identity.token.parse()?,
            session: self.session,
            generation: Generation(self.identity.term),
            source_boot: BootId(ground.source_boot),
            destination_boot: BootId(ground.destination_boot),
            claim_epoch: ClaimEpoch(ground.epoch),
            arrangement: String::new(),
        };
        let export = self.parties.volume.as_str();
        let open = async |at: &str, side: Side| {
            let opened = self.network.open(at, export, Some(claim.clone())).await;
            opened.with_context(|| format!("no copy connection to {side}"))
        };
        tokio::try_join!(
            open(&self.source_at.nbd, Side::Source),
            open(&self.destination_at.nbd, Side::Destination)
        )
    }

    /// Shows how far the copy is; ends when the ground moves under it. What another carries is as far as the
    /// destination says, and ends when that says nothing for long.
    pub(super) async fn watch(
        &mut self,
        ground: Ground,
        written: Option<&AtomicU64>,
    ) -> anyhow::Result<String> {
        let (mut rate, mut heard, mut position) = (Rate::default(), Instant::now(), 0);
        loop {
            sleep(LOOK_INTERVAL).await;
            let (source, destination) = self.look_at_both().await;
            match self.judge(&source, &destination) {
                Footing::Firm(now, _) if now != ground => {
                    return Ok("a storage program was restarted".to_owned());
                }
                Footing::Lost(why) => bail!("{why}"),
                // A program that does not answer for a while may still serve the copy.
                Footing::Firm(..) | Footing::Loose(_) => {}
            }
            self.remember(&source);
            let there = destination.as_ref().ok().and_then(|seen| seen.volume.as_ref());
            if there.is_some() {
                heard = Instant::now();
            } else if written.is_none() && heard.elapsed() > SILENCE_MAX {
                return Ok("the destination, which carries the copy, does not answer".to_owned());
            }
            let told = there.map_or(position, |volume| volume.reserved_address);
            position = written.map_or(told, |written| written.load(Ordering::Relaxed));
            rate.note(Instant::now(), position);
            let done = Done { bytes: position, of: self.size };
            let volume = source.as_ref().map(|seen| seen.volume.as_ref());
            self.show.show(&Event::Progress(progress(Phase::Copy, done, &rate, volume)));
        }
    }
}
