//! Whole commands against a source, a destination and a switch in memory. What the copy itself
//! promises is tested beside it; here it is the order of the steps and what interrupts them.

mod carried;
mod interrupted;
mod refused;
mod steps;

use std::time::Duration;

use blockferry_block::MIB;
use blockferry_control::api::{SlowDestination, VolumeRole};
use blockferry_copier::{EndError, LEAF, Manner};
use blockferry_device::{Errno, Failure};

use super::*;
use crate::cli::Copier;
use crate::outcome::one_line;
use crate::show::{Event, Phase};
use crate::testing::audience::Audience;
use crate::testing::world::{CommitFault, Trouble, World};

/// Long enough for any of these tests on a busy machine; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// 4 MiB of data with a hole of 2 MiB in the middle.
fn content() -> Vec<u8> {
    let mut content: Vec<u8> = (1..=251).cycle().take(4 << 20).collect();
    content[1 << 20..3 << 20].fill(0);
    content
}

/// A world, who watches it, and where the certificates go.
struct Stage {
    world: World,
    parties: Parties,
    audience: Audience,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let world = World::with(content()).await;
        let (parties, audience) = (world.parties(), Audience::default());
        Self { world, parties, audience, folder: tempfile::tempdir().unwrap() }
    }

    fn desk(&self) -> Desk<'_, World> {
        Desk {
            parties: &self.parties,
            network: &self.world,
            show: &self.audience,
            began: Instant::now(),
        }
    }

    fn order(&self) -> MigrateOrder {
        MigrateOrder {
            driving: Driving {
                manner: Manner { chunk: LEAF, chunk_max: LEAF, window: 1, chunks_ahead: 2 },
                copier: Copier::Controller,
                bandwidth: None,
                client_p99: None,
                verify: false,
                hold: false,
                certificate: Some(self.folder.path().join("certificate.json")),
            },
            slow_destination: SlowDestination::Pause,
            dry_run: false,
        }
    }

    async fn migrate(&self, order: &MigrateOrder) -> anyhow::Result<()> {
        let desk = self.desk();
        let run = migrate::migrate(&desk, order);
        tokio::time::timeout(PATIENCE, run).await.expect("it hangs")
    }

    async fn resume(&self) -> anyhow::Result<()> {
        let driving = self.order().driving;
        let desk = self.desk();
        let run = resume::resume(&desk, &driving);
        tokio::time::timeout(PATIENCE, run).await.expect("it hangs")
    }

    /// Begins a migration and drops the controller once a write at `address` hangs.
    async fn interrupt_at(&self, address: u64) {
        self.world.state().troubles.push((address, Trouble::WriteHangs));
        let (order, desk) = (self.order(), self.desk());
        let run = migrate::migrate(&desk, &order);
        let hangs = async {
            while !self.world.state().troubles.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = run => panic!("it ended: {ended:?}"),
            () = hangs => {}
        }
    }

    fn calls(&self) -> Vec<String> {
        self.world.state().calls.clone()
    }

    fn assert_moved(&self) {
        assert!(self.world.destination.store().content == content(), "the content differs");
        let state = self.world.state();
        assert_eq!(state.destination_role, Some(VolumeRole::Owner));
        assert_eq!(state.route.as_ref().map(|route| route.generation), Some(2));
    }
}
