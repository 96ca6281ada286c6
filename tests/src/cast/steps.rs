//! The last steps of a migration one by one, so that a test can do something in between.

use std::time::Duration;

use blockferry_control::api::{
    CommitReply, CommitRequest, OwnReply, OwnRequest, ReadyReply, ReadyRequest, SettleReply,
    SettleRequest, TermReply, TermRequest,
};
use blockferry_control::{ControlClient, ControlError};

use super::cluster::{Cluster, VOLUME};
use super::until::until;

/// A controller by hand, which has taken a migration over that is held at ready.
pub struct Steps {
    source: ControlClient,
    destination: ControlClient,
    migration: String,
    given: TermReply,
}

impl Steps {
    /// Takes the migration over.
    ///
    /// # Panics
    /// When there is none.
    pub async fn take_over(cluster: &Cluster) -> Self {
        let (source, destination) = (cluster.source.client(), cluster.destination.client());
        let status = cluster.source.status(VOLUME).await.expect("an answer of the source");
        let migration = status.migration.expect("a migration").id;
        let request =
            TermRequest { migration: migration.clone(), token: None, client_p99_ms: None };
        let given = source.post(&path("term"), &request).await.expect("a term");
        Self { source, destination, migration, given }
    }

    /// Settles, until there is nothing left to do.
    ///
    /// # Panics
    /// When the source refuses.
    pub async fn settle(&self) -> SettleReply {
        let migration = self.migration.clone();
        let request = SettleRequest { migration, term: self.given.term };
        until("the source is settled", async || {
            let reply: SettleReply =
                self.source.post(&path("settle"), &request).await.expect("an answer");
            reply.settled.then_some(reply)
        })
        .await
    }

    /// Makes the destination ready.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn ready(&self, settled: &SettleReply) -> ReadyReply {
        let request = ReadyRequest {
            migration: self.migration.clone(),
            token: self.given.token.clone(),
            term: self.given.term,
            attempt: settled.attempt,
            epoch: settled.epoch,
        };
        self.destination.post(&path("ready"), &request).await.expect("the destination is ready")
    }

    /// Asks the source to commit.
    ///
    /// # Errors
    /// What the source refuses with.
    pub async fn commit(
        &self,
        settled: &SettleReply,
        ready: &ReadyReply,
    ) -> Result<CommitReply, ControlError> {
        let request = CommitRequest {
            migration: self.migration.clone(),
            term: self.given.term,
            attempt: settled.attempt,
            destination_boot: ready.boot,
        };
        self.source.post_within(&path("commit"), &request, Duration::from_secs(20)).await
    }

    /// Tells the destination that it owns the volume.
    ///
    /// # Errors
    /// What the destination refuses with.
    pub async fn own(&self, generation: u64) -> Result<OwnReply, ControlError> {
        let request = OwnRequest {
            migration: self.migration.clone(),
            token: self.given.token.clone(),
            generation,
        };
        self.destination.post(&path("own"), &request).await
    }
}

fn path(step: &str) -> String {
    format!("/v1/volumes/{VOLUME}/{step}")
}
