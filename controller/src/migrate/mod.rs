//! A migration, phase by phase. The controller keeps no state that matters: whatever is interrupted
//! is found again by [`crate::position`] and goes on from the phase that it names.
//!
//! ```text
//!  preflight -> begin -> announce -> copy -> verify -> settle -> commit -> own -> redirect -> finish
//!                                     ^ ^                |  ^      |
//!                                     | +-- W fell ------+  +------+ refused
//!                                     +-- lost, restarted, refused address
//! ```
//!
//! Each phase is a file with a function that gives the next one. Before the commit every failure
//! leaves the source owner and a migration that can be resumed or aborted; after it there is only
//! the way forward.

mod announce;
mod begin;
mod carried;
mod commit;
mod finish;
mod ground;
mod own;
mod preflight;
mod progress;
mod record;
mod redirect;
mod settle;
mod sweep;
mod verify;

use std::time::Duration;

use blockferry_block::SessionId;
use blockferry_control::ControlError;
use blockferry_control::api::{PartyAddress, TermRequest};

use crate::network::Network;
use crate::parties::Parties;
use crate::settings::Driving;
use crate::show::{Event, Phase, Show};

pub(crate) use begin::{Beginning, drop_orphan, new_session};
pub(crate) use preflight::preflight;
pub(crate) use record::Record;
pub(crate) use verify::compare;

/// What proves to the parties that a controller speaks for a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The migration, hexadecimal.
    pub(crate) migration: String,
    /// Its secret, hexadecimal; empty when the source does not tell any more.
    pub(crate) token: String,
    /// The controller's term.
    pub(crate) term: u64,
}

/// A migration that this controller drives.
pub(crate) struct Migration<'a, N> {
    /// Everybody.
    pub(crate) parties: &'a Parties,
    /// How the copier reaches the exports.
    pub(crate) network: &'a N,
    /// How to drive.
    pub(crate) driving: &'a Driving,
    /// Who is shown what happens.
    pub(crate) show: &'a dyn Show,
    /// What proves that it is ours.
    pub(crate) identity: Identity,
    /// The copier's session; a random constant of this run.
    pub(crate) session: SessionId,
    /// Where the source serves.
    pub(crate) source_at: PartyAddress,
    /// Where the destination serves.
    pub(crate) destination_at: PartyAddress,
    /// Size of the volume in bytes.
    pub(crate) size: u64,
    /// What was learned on the way, for the report.
    pub(crate) record: Record,
}

/// What follows a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another phase.
    Go(Phase),
    /// Nothing: it waits for `commit`.
    Hold,
    /// Nothing: everything is done.
    Finish,
}

impl<N: Network> Migration<'_, N> {
    /// Drives from a phase to the end, or to a hold.
    pub(crate) async fn drive(mut self, from: Phase) -> anyhow::Result<()> {
        let mut next = Next::Go(from);
        loop {
            next = match next {
                Next::Go(phase) => self.phase(phase).await?,
                Next::Hold => {
                    let volume = self.parties.volume.to_string();
                    self.show.show(&Event::Held { volume });
                    return Ok(());
                }
                Next::Finish => return self.finish().await,
            };
        }
    }

    async fn phase(&mut self, phase: Phase) -> anyhow::Result<Next> {
        let volume = self.parties.volume.to_string();
        self.show.show(&Event::Phase { volume, phase });
        match phase {
            Phase::Preflight | Phase::Begin | Phase::Announce => self.announce().await,
            Phase::Copy => self.sweep().await,
            Phase::Verify => self.verify().await,
            Phase::Settle => self.settle().await,
            Phase::Commit => self.commit().await,
            Phase::Own => self.own().await,
            Phase::Move => self.redirect().await,
        }
    }

    /// A new term for this controller: whatever an older one still has under way is fenced (I12).
    pub(crate) async fn renew_term(&mut self) -> Result<(), ControlError> {
        self.identity =
            take_over(self.parties, &self.identity.migration, self.driving.client_p99).await?;
        Ok(())
    }

    pub(crate) fn note(&self, message: impl Into<String>) {
        self.show.show(&Event::Note { message: message.into() });
    }
}

/// As the control API has it.
fn in_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Takes a migration over from whichever controller drove it, with a bound for its clients if it names
/// one.
pub(crate) async fn take_over(
    parties: &Parties,
    migration: &str,
    client_p99: Option<Duration>,
) -> Result<Identity, ControlError> {
    let client_p99_ms = client_p99.map(in_ms);
    let request = TermRequest { migration: migration.to_owned(), token: None, client_p99_ms };
    let reply = parties.source.term(&request).await?;
    Ok(Identity { migration: migration.to_owned(), token: reply.token, term: reply.term })
}
