//! A migration in three steps, so that a test can look at each.

use blockferry_control::api::VolumeRole;

use super::cluster::{Cluster, VOLUME};

/// Where a migration is. They come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Before,
    /// All is copied, every write is mirrored, and the source is still the owner.
    During,
    /// The destination is the owner and every client goes there directly.
    After,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];
}

impl Cluster {
    /// Goes on from the phase before to this one.
    pub async fn enter(&self, phase: Phase) {
        match phase {
            Phase::Before => (),
            Phase::During => {
                self.migrate(&["--hold-at-ready", "--chunk", "1M"]).await;
                let status = self.source.status(VOLUME).await.expect("an answer of the source");
                assert_eq!(status.role, VolumeRole::Migrating);
            }
            Phase::After => {
                self.controller("commit", &[]).done().await;
                self.until_moved().await;
            }
        }
    }
}
