//! The destination becomes owner (commit, step 3). The commit is durable, so this is repeated until
//! it has happened; the destination may also learn it from the source's first forwarded request.

use anyhow::{Context, bail};
use blockferry_control::api::OwnRequest;
use tokio::time::sleep;

use super::ground::{Voice, WAIT};
use super::{Migration, Next};
use crate::network::Network;
use crate::position::owns;
use crate::show::Phase;

impl<N: Network> Migration<'_, N> {
    pub(super) async fn own(&mut self) -> anyhow::Result<Next> {
        let generation = self.record.generation.context("no generation to own with")?;
        let request = OwnRequest {
            migration: self.identity.migration.clone(),
            token: self.identity.token.clone(),
            generation,
        };
        let mut voice = Voice::new(self.show);
        loop {
            match self.parties.destination.own(&request).await {
                Ok(reply) => {
                    self.record.generation = Some(reply.generation);
                    blockferry_label::reached("controller.own.answered");
                    return Ok(Next::Go(Phase::Move));
                }
                Err(error) if error.is_transient() => {
                    voice.say(format!("committed; waiting for the destination: {error}"));
                }
                Err(error) => {
                    if self.owns_already(generation).await {
                        return Ok(Next::Go(Phase::Move));
                    }
                    bail!("committed, but the destination does not become owner: {error}; resume");
                }
            }
            sleep(WAIT).await;
        }
    }

    async fn owns_already(&self, generation: u64) -> bool {
        let status = self.parties.destination.status().await;
        matches!(status, Ok(Some(volume)) if owns(&volume) && volume.generation >= generation)
    }
}
