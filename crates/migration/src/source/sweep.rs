//! What the source knows of a migration under way.

use std::collections::{BTreeMap, BTreeSet};

use blockferry_block::Extent;

use super::SessionKey;
use super::claim::{CHECKPOINT_LAG_MAX, CLAIM_AHEAD_MAX, Claim, ClaimId};
use super::compare::Comparison;
use super::data_claimed::DataClaimed;
use crate::activity::ActivityLog;
use crate::digest::{Digest, Frontier, Ledger};
use crate::in_flight::OpId;
use crate::regions::{REGION_MIN, RegionSize, Regions};

/// Whether the source is attached to a running destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attachment {
    /// Never yet, or the destination went away.
    Detached,
    /// Copy and mirror connections of this epoch are valid.
    Attached {
        /// What the destination answered to the attach.
        epoch: u64,
    },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of client writes that the destination executed.
    pub mirrored_bytes: u64,
    /// Bytes that resync sent.
    pub resynced_bytes: u64,
    /// Attaches that found the read cursor beyond the address to go on from.
    pub rewinds: u64,
}

/// State of one migration at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    pub(super) read_cursor: u64,
    pub(super) reserved: u64,
    pub(super) durable: u64,
    pub(super) attachment: Attachment,
    pub(super) recovering: bool,
    pub(super) paused: bool,
    /// The record that the migration has ended is being made durable.
    pub(super) ending: bool,
    /// Once every read takes a lock: operations that arrived before this may have been seen by reads
    /// that took none.
    pub(super) reads_locked: Option<OpId>,
    pub(super) dirty: Regions,
    pub(super) unflushed: Regions,
    pub(super) flushing: Option<Regions>,
    pub(super) log: ActivityLog,
    pub(super) ledger: Ledger,
    pub(super) digest_agreed: Option<bool>,
    pub(super) mirrors: BTreeSet<SessionKey>,
    pub(super) unfenced: BTreeSet<SessionKey>,
    pub(super) claims: BTreeMap<ClaimId, Claim>,
    pub(super) data_claimed: DataClaimed,
    pub(super) next_claim: u64,
    pub(super) resync_cursor: u64,
    pub(super) resyncing: usize,
    pub(super) comparison: Option<Comparison>,
    pub(super) counters: Counters,
}

impl Sweep {
    pub(super) fn new(size: u64) -> Self {
        let unit = RegionSize::at_least(REGION_MIN, size);
        Self {
            read_cursor: 0,
            reserved: 0,
            durable: 0,
            attachment: Attachment::Detached,
            recovering: false,
            paused: false,
            ending: false,
            reads_locked: None,
            dirty: Regions::none(unit, size),
            unflushed: Regions::none(unit, size),
            flushing: None,
            log: ActivityLog::new(size),
            ledger: Ledger::default(),
            digest_agreed: None,
            mirrors: BTreeSet::new(),
            unfenced: BTreeSet::new(),
            claims: BTreeMap::new(),
            data_claimed: DataClaimed::default(),
            next_claim: 0,
            resync_cursor: 0,
            resyncing: 0,
            comparison: None,
            counters: Counters::default(),
        }
    }

    /// After a restart of the source `R = S` until it has attached: every write is logged and dirty.
    pub(super) fn recovering(size: u64, logged: impl IntoIterator<Item = u32>) -> Self {
        let mut sweep = Self::new(size);
        sweep.read_cursor = size;
        sweep.recovering = true;
        sweep.log = ActivityLog::from_numbers(size, logged);
        sweep
    }

    /// `R`.
    pub fn read_cursor(&self) -> u64 {
        self.read_cursor
    }

    /// `W`, as far as the source has heard.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// `W_durable`.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether it is attached, and with which epoch.
    pub fn attachment(&self) -> Attachment {
        self.attachment
    }

    /// Whether an operator paused the sweep.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Bytes that only a resync makes equal again.
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty.bytes()
    }

    /// Whether a part of the extent is dirty.
    pub fn is_dirty(&self, extent: Extent) -> bool {
        self.dirty.overlaps(extent)
    }

    /// How far the comparison of both sides is; `None` when nobody asked for one.
    pub fn comparison(&self) -> Option<Comparison> {
        self.comparison
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the digests were equal at the last checkpoint; unknown before the first, and when the
    /// copier read leaves in parts.
    pub fn digest_agreed(&self) -> Option<bool> {
        self.digest_agreed
    }

    /// The stream's digest state at the last checkpoint, as text.
    pub fn digest_state(&self) -> String {
        self.ledger.base_state().to_text()
    }

    /// The digest of the stream up to the last checkpoint, and that address in bytes.
    pub fn digest(&self) -> (u64, Digest) {
        (self.ledger.base(), self.ledger.base_state().digest())
    }

    /// Bytes of data claimed since the last checkpoint.
    pub fn lag(&self) -> u64 {
        self.data_claimed.since_checkpoint()
    }

    /// Bytes of data that may be claimed at the moment. With nothing under way a claim of any length
    /// may begin.
    pub(super) fn claim_budget(&self) -> u64 {
        let left = |limit: u64, used: u64| match used {
            0 => u64::MAX,
            used => limit.saturating_sub(used),
        };
        let ahead = self.data_claimed.beyond(self.reserved);
        left(CLAIM_AHEAD_MAX, ahead).min(left(CHECKPOINT_LAG_MAX, self.lag()))
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attachment != Attachment::Detached
    }

    pub(super) fn can_mirror(&self, session: SessionKey) -> bool {
        self.is_attached() && self.mirrors.contains(&session)
    }

    /// Everything that the destination may have lost in a crash is dirty from now on, or above the
    /// address to go on from (I9).
    pub(super) fn attach(&mut self, epoch: u64, reserved: u64, digest: Frontier) {
        self.dirty.insert_all(&self.unflushed);
        if let Some(flushing) = self.flushing.take() {
            self.dirty.insert_all(&flushing);
        }
        if self.recovering {
            self.dirty.insert_all(self.log.durable());
        } else if self.read_cursor > reserved {
            self.counters.rewinds += 1;
        }
        self.recovering = false;
        self.read_cursor = reserved;
        self.reserved = reserved;
        self.durable = reserved;
        self.attachment = Attachment::Attached { epoch };
        self.ledger = Ledger::resume(digest);
        self.digest_agreed = None;
        if let Some(comparison) = &mut self.comparison {
            comparison.take_back(reserved);
        }
        self.data_claimed = DataClaimed::default();
        self.mirrors.clear();
        self.unfenced.clear();
    }
}
