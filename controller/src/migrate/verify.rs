//! Reading both sides back under live writes. What differs becomes dirty and is sent again, so a
//! pass that found something is followed by another.

use std::time::{Duration, Instant};

use anyhow::bail;
use blockferry_control::ControlError;
use blockferry_control::api::{VerifyReply, VerifyRequest};
use tokio::time::sleep;

use super::ground::{Footing, Voice, WAIT};
use super::progress::{Done, progress};
use super::{Migration, Next};
use crate::network::Network;
use crate::parties::Parties;
use crate::report::Verified;
use crate::show::{Event, Phase, Rate, Show, bytes};

/// Passes before a volume that still differs is a failure: a medium that does not keep what it is
/// given differs every time.
const PASSES_MAX: u32 = 3;

/// Pause between two questions how far it is.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// How long the source has between two passes to send again what differed.
const RESYNC_TIMEOUT: Duration = Duration::from_secs(5);

impl<N: Network> Migration<'_, N> {
    pub(super) async fn verify(&mut self) -> anyhow::Result<Next> {
        let compared = tokio::select! {
            compared = compare(self.parties, &self.identity.migration, self.size, self.show) => compared,
            fallen = self.sweep_taken_back() => return fallen.map(|()| Next::Go(Phase::Copy)),
        };
        match compared {
            Ok(verified) => {
                self.record.verified = Some(verified);
                Ok(Next::Go(Phase::Settle))
            }
            // A restart took the sweep back: it has to reach the end again first.
            Err(_) if self.firm_ground().await?.1 < self.size => Ok(Next::Go(Phase::Copy)),
            Err(error) => Err(error),
        }
    }
}

impl<N: Network> Migration<'_, N> {
    /// Waits until a restart has taken the sweep back. What `W` has not passed again is not compared,
    /// so the comparison would wait for a copy that nobody makes.
    async fn sweep_taken_back(&self) -> anyhow::Result<()> {
        loop {
            sleep(WAIT).await;
            match self.footing().await {
                Footing::Firm(_, reserved) if reserved < self.size => return Ok(()),
                Footing::Lost(why) => bail!("{why}"),
                Footing::Firm(..) | Footing::Loose(_) => {}
            }
        }
    }
}

/// Compares until a pass finds no difference.
///
/// # Errors
/// When the source refuses, or the last pass still found differences.
pub(crate) async fn compare(
    parties: &Parties,
    migration: &str,
    size: u64,
    show: &dyn Show,
) -> anyhow::Result<Verified> {
    for pass in 1..=PASSES_MAX {
        let reply = one_pass(parties, migration, size, show).await?;
        if reply.mismatched_bytes == 0 {
            return Ok(Verified { bytes: reply.verified_bytes, passes: Some(pass) });
        }
        let differed = bytes(reply.mismatched_bytes);
        show.show(&Event::Note { message: format!("{differed} differed and are sent again") });
        resynced(parties).await;
    }
    bail!(
        "{} still differs after {PASSES_MAX} comparisons; the source stays the owner: suspect the \
         destination's storage, and abort",
        parties.volume
    );
}

async fn one_pass(
    parties: &Parties,
    migration: &str,
    size: u64,
    show: &dyn Show,
) -> anyhow::Result<VerifyReply> {
    let mut request = VerifyRequest { migration: migration.to_owned(), restart: true };
    let (mut voice, mut rate) = (Voice::new(show), Rate::default());
    loop {
        match parties.source.verify(&request).await {
            Ok(reply) if reply.done => return Ok(reply),
            Ok(reply) => {
                request.restart = false;
                rate.note(Instant::now(), reply.verified_bytes);
                let done = Done { bytes: reply.verified_bytes, of: size };
                let source = parties.source.status().await;
                let volume = source.as_ref().map(Option::as_ref);
                show.show(&Event::Progress(progress(Phase::Verify, done, &rate, volume)));
                sleep(ASK_INTERVAL).await;
            }
            Err(error) => patient(error, &mut voice).await?,
        }
    }
}

/// Waits for a program that is away; gives every other error back.
pub(super) async fn patient(error: ControlError, voice: &mut Voice<'_>) -> anyhow::Result<()> {
    if !error.is_transient() {
        return Err(error.into());
    }
    voice.say(format!("waiting: {error}"));
    sleep(WAIT).await;
    Ok(())
}

/// Waits until what differed was sent again. A busy client always has something dirty, so the wait
/// ends all the same, and the next pass shows.
async fn resynced(parties: &Parties) {
    let clean = async {
        while let Ok(Some(volume)) = parties.source.status().await
            && volume.dirty_bytes > 0
        {
            sleep(WAIT).await;
        }
    };
    // Either way the next pass follows.
    let _ = tokio::time::timeout(RESYNC_TIMEOUT, clean).await;
}
