//! The switches learn where the volume may go, so that they can ask there when the source dies.

use anyhow::{Context, bail};
use blockferry_control::api::PrepareRequest;

use super::{Migration, Next};
use crate::network::Network;
use crate::outcome::one_line;
use crate::show::Phase;

impl<N: Network> Migration<'_, N> {
    pub(super) async fn announce(&mut self) -> anyhow::Result<Next> {
        // The copy needs no switch; before the commit each of them is asked again.
        if let Err(error) = self.prepare_switches(true).await {
            self.note(one_line(&error));
        }
        blockferry_label::reached("controller.announce.done");
        Ok(Next::Go(Phase::Copy))
    }

    /// Tells every switch about the destination; unless that is all, they open what can fail and
    /// compare what both sides offer.
    pub(crate) async fn prepare_switches(&self, announce_only: bool) -> anyhow::Result<()> {
        let request = PrepareRequest {
            migration: self.identity.migration.clone(),
            export: self.parties.volume.to_string(),
            candidate: self.destination_at.clone(),
            announce_only,
        };
        for switch in &self.parties.switches {
            let address = switch.address();
            let reply = switch.prepare(&request).await.with_context(|| {
                format!("switch {address} cannot prepare; nothing has moved, resume later")
            })?;
            if !reply.problems.is_empty() {
                bail!(
                    "switch {address} could not move {}: {}; nothing has moved, mend it and resume",
                    self.parties.volume,
                    reply.problems.join("; ")
                );
            }
        }
        Ok(())
    }
}
