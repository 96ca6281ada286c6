//! Every path moves (commit, step 4; D2.6): each switch is asked to connect its clients to the
//! destination instead of the source. A switch that cannot be asked now heals itself later (D1.7), so
//! the time for it is bounded.

use std::time::Duration;

use anyhow::bail;
use blockferry_control::api::Arrangement;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::commit::unix_now;
use super::ground::{Voice, WAIT};
use super::{Migration, Next};
use crate::network::Network;
use crate::parties::Switch;

/// How long a switch may take until all its connections have moved: a client that answers slowly
/// keeps its old path, which forwards.
const MOVE_TIMEOUT: Duration = Duration::from_secs(60);

impl<N: Network> Migration<'_, N> {
    pub(super) async fn redirect(&mut self) -> anyhow::Result<Next> {
        let Some(generation) = self.record.generation else { return Ok(Next::Finish) };
        let arrangement = Arrangement {
            migration: self.identity.migration.clone(),
            generation,
            export: self.parties.volume.to_string(),
            owner: self.destination_at.clone(),
        };
        blockferry_label::reached("controller.move.asking");
        let moves = self.parties.switches.iter().map(|switch| self.move_all(switch, &arrangement));
        let moved = join_all(moves).await;
        blockferry_label::reached("controller.move.answered");
        self.record.cutover_end = Some(unix_now());
        let mut failures = Vec::new();
        for outcome in moved {
            match outcome {
                Ok(count) => self.record.moved += count,
                Err(error) => failures.push(error.to_string()),
            }
        }
        if !failures.is_empty() {
            bail!(
                "the destination owns {}, and clients are served, but some come the long way: {}; \
                 resume moves them",
                self.parties.volume,
                failures.join("; ")
            );
        }
        Ok(Next::Finish)
    }

    /// Asks one switch until nothing is left on the old path.
    async fn move_all(&self, switch: &Switch, arrangement: &Arrangement) -> anyhow::Result<u64> {
        let deadline = Instant::now() + MOVE_TIMEOUT;
        let (address, mut voice) = (switch.address(), Voice::new(self.show));
        loop {
            let trouble = match switch.arrange(arrangement).await {
                Ok(reply) if reply.remaining == 0 => return Ok(reply.moved),
                Ok(reply) => {
                    format!("{} connections of switch {address} are still to move", reply.remaining)
                }
                Err(error) if error.is_transient() => error.to_string(),
                Err(error) => bail!("{error}"),
            };
            if Instant::now() >= deadline {
                bail!("{trouble}");
            }
            voice.say(trouble);
            sleep(WAIT).await;
        }
    }
}
