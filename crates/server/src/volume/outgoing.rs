//! A migration as its source knows it: who the destination is, how it is reached, what happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use blockferry_block::{BootId, ClaimEpoch, Generation, MigrationId, SessionId, Token};
use blockferry_control::ControlClient;
use blockferry_control::api::DigestStatus;
use blockferry_migration::digest::ALGORITHM;
use blockferry_migration::record::MigrationState;
use blockferry_migration::source::{Comparison, Counters, Sweep};
use blockferry_nbd_session::{
    ConnectError, ConnectOptions, FenceOutcome, FenceRequest, Link, NbdUri, Role, RoleClaim,
};
use tokio_util::sync::CancellationToken;

use super::governor::Governor;
use super::setbacks::Setbacks;
use crate::program::Context;

/// A connection to the destination has to be open within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A destination has so long to confirm a fence; then it is asked again.
const FENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// A migration away from here.
pub(crate) struct Outgoing {
    pub(crate) migration: MigrationId,
    pub(crate) token: Token,
    pub(crate) control: ControlClient,
    pub(crate) throttle: bool,
    /// Ends the migration's tasks: it was aborted, or committed.
    pub(crate) stop: CancellationToken,
    data: NbdUri,
    source_boot: BootId,
    destination_boot: AtomicU64,
    longest_request_us: AtomicU64,
    /// Holds the copy back for the clients' sake.
    pub(super) governor: Governor,
    copied: AtomicU64,
    zeroes: AtomicU64,
    trouble: Mutex<Option<String>>,
    pub(super) setbacks: Setbacks,
    last: Mutex<Last>,
}

/// What the machine knew of the migration when it was committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Last {
    pub(crate) counters: Counters,
    pub(crate) comparison: Option<Comparison>,
    pub(crate) digest: Option<DigestStatus>,
}

impl Last {
    /// What is known of a migration under way.
    pub(crate) fn of(sweep: &Sweep) -> Self {
        let (address, digest) = sweep.digest();
        let digest = DigestStatus {
            algorithm: ALGORITHM.to_owned(),
            address,
            value: digest.to_string(),
            matches: sweep.digest_agreed(),
        };
        Self { counters: sweep.counters(), comparison: sweep.comparison(), digest: Some(digest) }
    }
}

impl Outgoing {
    /// The migration that the records tell of.
    pub(crate) fn new(program: &Context, export: &str, state: &MigrationState) -> Result<Self> {
        let destination = &state.peer;
        let mut data: NbdUri = destination
            .nbd
            .parse()
            .with_context(|| format!("the destination's data address {:?}", destination.nbd))?;
        export.clone_into(&mut data.export);
        Ok(Self {
            migration: state.migration.parse().context("the migration's identity")?,
            token: state.token.parse().context("the migration's token")?,
            control: program.control_client(&destination.control)?,
            throttle: state.throttle,
            stop: CancellationToken::new(),
            data,
            source_boot: program.boot,
            destination_boot: AtomicU64::new(0),
            longest_request_us: AtomicU64::new(0),
            governor: Governor::new(Instant::now()),
            copied: AtomicU64::new(0),
            zeroes: AtomicU64::new(0),
            trouble: Mutex::new(None),
            setbacks: Setbacks::default(),
            last: Mutex::default(),
        })
    }

    /// What a connection to the destination says of itself.
    pub(crate) fn claim(
        &self,
        role: Role,
        session: SessionId,
        generation: Generation,
        claim_epoch: ClaimEpoch,
    ) -> RoleClaim {
        RoleClaim {
            role,
            standby: false,
            migration: self.migration,
            token: self.token,
            session,
            generation,
            source_boot: self.source_boot,
            destination_boot: self.destination_boot(),
            claim_epoch,
            arrangement: String::new(),
        }
    }

    /// The volume's export at the destination.
    pub(crate) fn data(&self) -> &NbdUri {
        &self.data
    }

    /// Opens a connection to the destination.
    pub(crate) async fn connect(&self, claim: RoleClaim) -> Result<Link, ConnectError> {
        let options = ConnectOptions {
            role: Some(claim),
            timeout: CONNECT_TIMEOUT,
            ..ConnectOptions::new(self.data.address.clone(), self.data.export.clone())
        };
        blockferry_nbd_session::connect(&options).await
    }

    /// Has the destination fence a session; true once it is certain.
    pub(crate) async fn fence(&self, request: &FenceRequest) -> bool {
        let asked = blockferry_nbd_session::fence(&self.data.address, request, FENCE_TIMEOUT);
        match asked.await {
            Ok(outcome) => outcome == FenceOutcome::Confirmed,
            Err(error) => {
                tracing::debug!(%error, "the destination did not confirm a fence");
                false
            }
        }
    }

    pub(crate) fn destination_boot(&self) -> BootId {
        BootId(self.destination_boot.load(Ordering::Relaxed))
    }

    pub(crate) fn set_destination_boot(&self, boot: u64) {
        self.destination_boot.store(boot, Ordering::Relaxed);
    }

    pub(crate) fn source_boot(&self) -> BootId {
        self.source_boot
    }

    pub(crate) fn saw_request(&self, took: Duration) {
        self.governor.saw_request(took);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest_request_us.fetch_max(took, Ordering::Relaxed);
    }

    pub(crate) fn longest_request_ms(&self) -> f64 {
        Duration::from_micros(self.longest_request_us.load(Ordering::Relaxed)).as_secs_f64() * 1e3
    }

    pub(crate) fn count_copied(&self, data: u64, zeroes: u64) {
        self.copied.fetch_add(data, Ordering::Relaxed);
        self.zeroes.fetch_add(zeroes, Ordering::Relaxed);
    }

    pub(crate) fn copied(&self) -> (u64, u64) {
        (self.copied.load(Ordering::Relaxed), self.zeroes.load(Ordering::Relaxed))
    }

    /// What keeps the migration from going on, in one line; `None` when nothing does.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        let mut now = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_ref().filter(|trouble| now.as_ref() != Some(trouble)) {
            tracing::warn!(migration = %self.migration, %trouble, "the migration waits");
        }
        *now = trouble;
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        let paused = self.setbacks.paused_because();
        paused.or_else(|| self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Keeps what the machine counted beyond the commit, when it forgets the migration.
    pub(crate) fn remember(&self, sweep: &Sweep) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last::of(sweep);
    }

    pub(crate) fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
