//! Connections to the world's volumes. They check what a real server checks, and break when they are
//! told to.

use std::time::Duration;

use anyhow::{bail, ensure};
use blockferry_copier::fake::FakeEnd;
use blockferry_copier::{End, EndError};
use blockferry_device::{DeviceInfo, Reply, Request};
use blockferry_nbd_session::{Role, RoleClaim};

use super::world::{DESTINATION_NBD, NAME, SOURCE_NBD, Trouble, World};
use crate::network::Network;

/// A connection, and which one of the world's it is.
pub(crate) struct Connection {
    world: World,
    end: FakeEnd,
    number: u64,
}

impl Network for World {
    type Connection = Connection;

    async fn reach(&self, nbd: &str) -> anyhow::Result<()> {
        ensure!([SOURCE_NBD, DESTINATION_NBD].contains(&nbd), "{nbd} is unknown");
        Ok(())
    }

    async fn open(
        &self,
        nbd: &str,
        export: &str,
        role: Option<RoleClaim>,
    ) -> anyhow::Result<Connection> {
        ensure!(export == NAME, "no export {export}");
        let end = match nbd {
            SOURCE_NBD => self.source.clone(),
            DESTINATION_NBD => self.destination.clone(),
            _ => bail!("{nbd} is unknown"),
        };
        let mut state = self.state();
        if let Some(claim) = role {
            let Some(sending) = &state.migration else { bail!("no migration") };
            ensure!(claim.role == Role::Copy);
            ensure!(claim.migration.to_string() == sending.id, "another migration");
            ensure!(claim.token.to_string() == sending.token, "a wrong token");
            ensure!(claim.generation.0 == sending.term, "an older term");
            ensure!(claim.claim_epoch.0 == sending.epoch, "an older epoch");
            ensure!(claim.source_boot.0 == state.source_boot, "an older source");
            ensure!(claim.destination_boot.0 == state.destination_boot, "an older destination");
        }
        state.connections += 1;
        let number = state.connections;
        drop(state);
        Ok(Connection { world: self.clone(), end, number })
    }

    async fn close(&self, _: Connection) {}
}

impl Connection {
    fn is_lost(&self) -> bool {
        self.number <= self.world.state().connections_cut
    }

    /// The trouble that a write up to `end` causes, once.
    fn trouble(&self, end: u64) -> Option<Trouble> {
        let mut state = self.world.state();
        let at = state.troubles.iter().position(|(address, _)| *address < end)?;
        Some(state.troubles.remove(at).1)
    }

    async fn suffer(&self, trouble: Trouble) {
        match trouble {
            Trouble::DestinationRestarts => self.world.restart_destination(),
            Trouble::ConnectionsBreak => {
                let mut state = self.world.state();
                state.connections_cut = state.connections;
            }
            Trouble::WriteHangs => std::future::pending().await,
            Trouble::TakenOver => {
                let mut state = self.world.state();
                state.connections_cut = state.connections;
                if let Some(sending) = &mut state.migration {
                    sending.term += 1;
                }
            }
        }
    }
}

impl End for Connection {
    fn info(&self) -> &DeviceInfo {
        &self.end.info
    }

    fn round_trip(&self) -> Duration {
        Duration::ZERO
    }

    async fn request(&self, request: Request) -> Result<Reply, EndError> {
        let lost = || EndError::Lost("cut".to_owned());
        let end = request.extent().map_or(0, |extent| extent.end());
        if request.is_write()
            && let Some(trouble) = self.trouble(end)
        {
            self.suffer(trouble).await;
        }
        if self.is_lost() {
            return Err(lost());
        }
        let paused = self.world.state().migration.as_ref().is_some_and(|s| s.paused);
        if paused && !request.is_write() {
            std::future::pending::<()>().await;
        }
        let reply = self.end.request(request).await;
        if self.is_lost() { Err(lost()) } else { reply }
    }
}
