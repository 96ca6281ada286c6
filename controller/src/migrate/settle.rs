//! From the end of the sweep to two equal, durable volumes: the source finishes its resync and makes
//! the last checkpoint, and this controller asks until it has.

use std::time::{Duration, Instant};

use anyhow::bail;
use blockferry_control::ControlError;
use blockferry_control::api::{SettleReply, SettleRequest, VolumeStatus};
use tokio::time::sleep;

use super::ground::{Footing, Voice};
use super::progress::{Done, progress};
use super::record::is_compared;
use super::verify::patient;
use super::{Migration, Next};
use crate::network::Network;
use crate::show::{Event, Phase, Rate};
use crate::survey::{Seen, StorageSeen, look};

/// Pause between two questions; the source itself answers after up to a second.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// Shortest time between two looks at what is shown.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

impl<N: Network> Migration<'_, N> {
    pub(super) async fn settle(&mut self) -> anyhow::Result<Next> {
        let request =
            SettleRequest { migration: self.identity.migration.clone(), term: self.identity.term };
        let (mut voice, mut shown) = (Voice::new(self.show), Instant::now());
        loop {
            blockferry_label::reached("controller.settle.asking");
            match self.parties.source.settle(&request).await {
                Ok(reply) if reply.settled => return self.settled(reply).await,
                Ok(reply) => {
                    let (source, destination) = self.look_at_both().await;
                    if let Some(phase) = self.back_to(&source, &destination)? {
                        return Ok(Next::Go(phase));
                    }
                    if shown.elapsed() >= SHOW_INTERVAL {
                        shown = Instant::now();
                        self.show_missing(&source, reply.missing);
                    }
                }
                Err(error) => self.refused(error, &mut voice).await?,
            }
            sleep(ASK_INTERVAL).await;
        }
    }

    async fn settled(&mut self, reply: SettleReply) -> anyhow::Result<Next> {
        self.remember(&look(&self.parties.source).await);
        self.record.settled = Some(reply);
        blockferry_label::reached("controller.settle.answered");
        Ok(if self.driving.hold { Next::Hold } else { Next::Go(Phase::Commit) })
    }

    fn show_missing(&self, source: &Seen<StorageSeen>, missing: Option<String>) {
        let done = Done { bytes: self.size, of: self.size };
        let volume = source.as_ref().map(|seen| seen.volume.as_ref());
        let mut progress = progress(Phase::Settle, done, &Rate::default(), volume);
        progress.trouble = progress.trouble.or(missing);
        self.show.show(&Event::Progress(progress));
    }

    /// The earlier phase that what is missing asks for: the sweep when `W` fell, a comparison when
    /// there is no digest, since the copier read in parts, or the source was restarted.
    fn back_to(
        &self,
        source: &Seen<StorageSeen>,
        destination: &Seen<StorageSeen>,
    ) -> anyhow::Result<Option<Phase>> {
        match self.judge(source, destination) {
            Footing::Firm(_, reserved) if reserved < self.size => return Ok(Some(Phase::Copy)),
            Footing::Lost(why) => bail!("{why}"),
            Footing::Firm(..) => {}
            Footing::Loose(_) => return Ok(None),
        }
        let volume = source.as_ref().ok().and_then(|seen| seen.volume.as_ref());
        Ok(volume.is_some_and(lacks_only_a_digest).then_some(Phase::Verify))
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

/// Whether nothing but a proof that both sides are equal is missing: neither a digest nor a comparison
/// of this run of the source gives it.
fn lacks_only_a_digest(source: &VolumeStatus) -> bool {
    let migration = source.migration.as_ref();
    let digest = migration.and_then(|migration| migration.digest.as_ref());
    let compared = migration.is_some_and(|migration| is_compared(migration, source.size));
    source.durable_address >= source.size
        && source.dirty_bytes == 0
        && digest.is_none_or(|digest| digest.matches.is_none())
        && !compared
}
