//! What is learned on the way, for the report.

use std::time::Instant;

use blockferry_control::api::{DigestStatus, MigrationStatus, SettleReply};

use super::Migration;
use crate::network::Network;
use crate::report::{Tally, Verified};
use crate::survey::{Seen, StorageSeen};

/// What was learned on the way.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When this run began.
    pub(crate) began: Instant,
    /// The last settled attempt.
    pub(crate) settled: Option<SettleReply>,
    /// How often the commit was tried.
    pub(crate) commit_tries: u32,
    /// Bytes on their ways.
    pub(crate) tally: Tally,
    /// Longest client request that anybody saw, in milliseconds.
    pub(crate) longest_request_ms: Option<f64>,
    /// The digest at the end of the sweep.
    pub(crate) digest: Option<DigestStatus>,
    /// The read-back verification.
    pub(crate) verified: Option<Verified>,
    /// What the destination's last flush took, in seconds.
    pub(crate) flush_seconds: Option<f64>,
    /// Unix time of the request to commit, in seconds.
    pub(crate) cutover_start: Option<f64>,
    /// Unix time of the last path's move, in seconds.
    pub(crate) cutover_end: Option<f64>,
    /// Generation of the new owner.
    pub(crate) generation: Option<u64>,
    /// Client connections that were moved.
    pub(crate) moved: u64,
}

impl Record {
    /// Nothing yet.
    pub(crate) fn beginning_at(began: Instant) -> Self {
        Self {
            began,
            settled: None,
            commit_tries: 0,
            tally: Tally::default(),
            longest_request_ms: None,
            digest: None,
            verified: None,
            flush_seconds: None,
            cutover_start: None,
            cutover_end: None,
            generation: None,
            moved: 0,
        }
    }

    /// A client request took as long as this.
    pub(crate) fn longest_request(&mut self, ms: f64) {
        self.longest_request_ms = Some(ms.max(self.longest_request_ms.unwrap_or(0.0)));
    }
}

/// Whether this run of the source has compared the whole volume and found no difference.
pub(super) fn is_compared(migration: &MigrationStatus, size: u64) -> bool {
    migration.verified_bytes >= size && migration.mismatched_bytes == 0
}

impl<N: Network> Migration<'_, N> {
    /// Keeps what the source tells of the migration while it still does.
    pub(super) fn remember(&mut self, source: &Seen<StorageSeen>) {
        let Ok(StorageSeen { program, volume: Some(volume) }) = source else { return };
        let Some(migration) = &volume.migration else { return };
        self.record.tally.take_in(program.boot, migration);
        self.record.longest_request(migration.longest_request_ms);
        if migration.digest.is_some() {
            self.record.digest.clone_from(&migration.digest);
        }
        if self.record.verified.is_none() && is_compared(migration, self.size) && self.size > 0 {
            let bytes = migration.verified_bytes;
            self.record.verified = Some(Verified { bytes, passes: None });
        }
    }
}
