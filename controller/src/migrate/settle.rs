//! From the end of the sweep to two equal, durable volumes: the source finishes its resync and makes
//! the last checkpoint, and this controller asks until it has.

use std::time::{Duration, Instant};

use anyhow::bail;
use blockferry_control::ControlError;
use blockferry_control::api::{SettleReply, SettleRequest, VolumeStatus};
use tokio::time::sleep;

use super::ground::{Footing, Voice};
use super::verify::patient;
use super::{Migration, Next};
use crate::network::Network;
use crate::show::{Phase, Rate};

/// Pause between two questions; the source itself answers after up to a second.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

impl<N: Network> Migration<'_, N> {
    pub(super) async fn settle(&mut self) -> anyhow::Result<Next> {
        let request =
            SettleRequest { migration: self.identity.migration.clone(), term: self.identity.term };
        let (mut voice, mut shown) = (Voice::new(self.show), Instant::now());
        loop {
            match self.parties.source.settle(&request).await {
                Ok(reply) if reply.settled => return self.settled(reply).await,
                Ok(reply) => {
                    if let Some(phase) = self.back_to(&mut voice, &reply).await? {
                        return Ok(Next::Go(phase));
                    }
                }
                Err(error) => self.refused(error, &mut voice).await?,
            }
            if shown.elapsed() >= Duration::from_secs(1) {
                shown = Instant::now();
                self.show_progress(Phase::Settle, self.size, &Rate::default()).await;
            }
            sleep(ASK_INTERVAL).await;
        }
    }

    async fn settled(&mut self, reply: SettleReply) -> anyhow::Result<Next> {
        if let Ok(Some(volume)) = self.parties.source.status().await {
            self.remember(&volume);
        }
        self.record.settled = Some(reply);
        Ok(if self.driving.hold { Next::Hold } else { Next::Go(Phase::Commit) })
    }

    /// Keeps what the source tells of the migration while it still does.
    pub(super) fn remember(&mut self, source: &VolumeStatus) {
        let Some(migration) = &source.migration else { return };
        self.record.carried.grow(migration);
        if migration.digest.is_some() {
            self.record.digest.clone_from(&migration.digest);
        }
        let longest = self.record.longest_request_ms.unwrap_or(0.0);
        self.record.longest_request_ms = Some(longest.max(migration.longest_request_ms));
    }

    /// The earlier phase that what is missing asks for: the sweep when `W` fell, a comparison when the
    /// copier read in parts so that there is no digest.
    async fn back_to(
        &self,
        voice: &mut Voice<'_>,
        reply: &SettleReply,
    ) -> anyhow::Result<Option<Phase>> {
        if let Some(missing) = &reply.missing {
            voice.say(format!("not settled yet: {missing}"));
        }
        match self.footing().await {
            Footing::Firm(_, reserved) if reserved < self.size => return Ok(Some(Phase::Copy)),
            Footing::Lost(why) => bail!("{why}"),
            Footing::Firm(..) | Footing::Loose(_) => {}
        }
        let Ok(Some(volume)) = self.parties.source.status().await else { return Ok(None) };
        let only_the_digest = volume.durable_address >= self.size
            && volume.dirty_bytes == 0
            && volume.migration.is_some_and(|migration| {
                migration.attached && migration.digest.is_none_or(|d| d.matches.is_none())
            });
        Ok((only_the_digest && self.record.verified.is_none()).then_some(Phase::Verify))
    }

    async fn refused(&self, error: ControlError, voice: &mut Voice<'_>) -> anyhow::Result<()> {
        if !error.is_transient()
            && let Footing::Lost(why) = self.footing().await
        {
            bail!("{why}");
        }
        patient(error, voice).await
    }
}
