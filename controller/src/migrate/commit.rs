//! The change of owner (commit, steps 1 and 2). Until the source's answer everything can be taken
//! back; once the question is on its way, only the source knows whether it still can.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{anyhow, bail};
use blockferry_control::ControlError;
use blockferry_control::api::{CommitRequest, ReadyRequest, SettleReply, VolumeRole};
use tokio::time::sleep;

use super::ground::{Voice, WAIT};
use super::{Migration, Next};
use crate::network::Network;
use crate::outcome::one_line;
use crate::position::role_name;
use crate::show::Phase;

/// Attempts before a commit that is refused every time is a failure.
const COMMIT_TRIES_MAX: u32 = 5;

impl<N: Network> Migration<'_, N> {
    pub(super) async fn commit(&mut self) -> anyhow::Result<Next> {
        let Some(settled) = self.record.settled.take() else { return Ok(Next::Go(Phase::Settle)) };
        blockferry_label::reached("controller.prepare.asking");
        self.prepare_switches(false).await?;
        blockferry_label::reached("controller.prepare.answered");
        self.record.cutover_start = Some(unix_now());
        let ready = ReadyRequest {
            migration: self.identity.migration.clone(),
            token: self.identity.token.clone(),
            term: self.identity.term,
            attempt: settled.attempt,
            epoch: settled.epoch,
        };
        let boot = match self.parties.destination.ready(&ready).await {
            Ok(reply) => {
                self.record.flush_seconds = Some(reply.flush_seconds);
                reply.boot
            }
            Err(error) => return self.try_again(error).await,
        };
        blockferry_label::reached("controller.ready.answered");
        self.ask_source(&settled, boot).await
    }

    /// The point of no return.
    async fn ask_source(&mut self, settled: &SettleReply, boot: u64) -> anyhow::Result<Next> {
        let request = CommitRequest {
            migration: self.identity.migration.clone(),
            term: self.identity.term,
            attempt: settled.attempt,
            destination_boot: boot,
        };
        match self.parties.source.commit(&request).await {
            Ok(reply) => {
                blockferry_label::reached("controller.commit.answered");
                self.record.generation = Some(reply.generation);
                Ok(Next::Go(Phase::Own))
            }
            Err(error @ ControlError::Refused { .. }) if !error.is_transient() => {
                self.try_again(error).await
            }
            // Whether the record is durable is unknown: only the source can tell (I11).
            Err(error) => {
                self.note(format!("asking the source what became of the commit: {error}"));
                self.commit_outcome().await
            }
        }
    }

    /// Waits until the source says whether it has committed.
    pub(crate) async fn commit_outcome(&mut self) -> anyhow::Result<Next> {
        let mut voice = Voice::new(self.show);
        loop {
            match self.parties.source.status().await {
                Ok(Some(volume)) => match volume.role {
                    VolumeRole::Forwarding | VolumeRole::Standby | VolumeRole::Retired => {
                        self.record.generation = Some(volume.generation);
                        return Ok(Next::Go(Phase::Own));
                    }
                    VolumeRole::Migrating => {
                        let why = anyhow!("the source did not commit");
                        return self.count_try(why);
                    }
                    VolumeRole::Committing => {
                        voice.say("waiting: the source is committing".to_owned());
                    }
                    role => bail!("the volume is {} at the source; see status", role_name(role)),
                },
                Ok(None) => bail!("the source does not have the volume any more; see status"),
                Err(error) => voice.say(format!("waiting: {error}")),
            }
            sleep(WAIT).await;
        }
    }

    /// A refusal before the commit makes this attempt void: the next one settles anew.
    async fn try_again(&mut self, error: ControlError) -> anyhow::Result<Next> {
        if let Ok(Some(volume)) = self.parties.source.status().await
            && volume.role != VolumeRole::Migrating
        {
            return self.commit_outcome().await;
        }
        self.count_try(error.into())
    }

    fn count_try(&mut self, why: anyhow::Error) -> anyhow::Result<Next> {
        self.record.commit_tries += 1;
        if self.record.commit_tries >= COMMIT_TRIES_MAX {
            let volume = &self.parties.volume;
            return Err(why.context(format!(
                "{volume} could not be committed in {COMMIT_TRIES_MAX} attempts; the source goes on \
                 as its owner, resume later"
            )));
        }
        self.note(format!("settling again: {}", one_line(&why)));
        Ok(Next::Go(Phase::Settle))
    }
}

/// Unix time in seconds.
pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
