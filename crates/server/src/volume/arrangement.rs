//! Tells a client's switch where the volume lives now (D1.6).

use std::sync::Arc;
use std::time::Duration;

use blockferry_control::api::{Arrangement, MoveReply};

use super::status::party_address;
use super::{Stage, Volume};

/// Arrangement information is sent so often, this far apart, until the switch has taken it.
const ARRANGEMENT_TRIES: (u32, Duration) = (20, Duration::from_millis(500));

impl Volume {
    /// Tells a client's switch where the volume lives now (D1.6).
    pub(super) fn tell_arrangement(self: &Arc<Self>, arrangement: String) {
        let volume = Arc::clone(self);
        tokio::spawn(async move {
            let Some((control, route)) = arrangement.split_once(' ') else { return };
            for _ in 0..ARRANGEMENT_TRIES.0 {
                blockferry_label::reached("destination.arrangement.sending");
                match volume.send_arrangement(control, route).await {
                    Ok(_) => return blockferry_label::reached("destination.arrangement.taken"),
                    Err(error) => tracing::info!(%error, route, "arrangement not taken yet"),
                }
                tokio::time::sleep(ARRANGEMENT_TRIES.1).await;
            }
        });
    }

    async fn send_arrangement(&self, control: &str, route: &str) -> anyhow::Result<MoveReply> {
        let state = self.state();
        let owner = match (self.stage(), &state.migration) {
            (Stage::Retired, Some(migration)) => party_address(&migration.peer),
            _ => self.program.address.clone(),
        };
        let migration = state.migration.map(|migration| migration.migration);
        let message = Arrangement {
            migration: migration.unwrap_or_default(),
            generation: state.generation.0,
            export: self.name.to_string(),
            owner,
        };
        let client = self.program.control_client(control)?;
        let path = format!("/v1/routes/{route}/arrangement");
        Ok(client.post(&path, &message).await?)
    }
}
