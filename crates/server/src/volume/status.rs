//! What a volume tells of itself.

use std::os::unix::fs::MetadataExt;

use blockferry_control::api::{
    DigestStatus, MigrationStatus, PartyAddress, VolumeRole, VolumeStatus,
};
use blockferry_device::Features;
use blockferry_migration::destination::{Destination, Phase};
use blockferry_migration::digest::ALGORITHM;
use blockferry_migration::record::{MigrationState, Part, Party};
use blockferry_migration::source::{Attachment, PhaseName, Source};

use super::outgoing::{Last, Outgoing};
use super::{Stage, Volume};

impl Volume {
    /// The status, as `GET /v1/volumes/NAME` gives it.
    pub(crate) fn status(&self) -> VolumeStatus {
        let state = self.state();
        let mut status = VolumeStatus {
            name: self.name.to_string(),
            size: self.info.size,
            allocated_bytes: allocated(&state.backing).unwrap_or(self.info.size),
            role: VolumeRole::Owner,
            generation: state.generation.0,
            reserved_address: 0,
            durable_address: 0,
            read_cursor: 0,
            dirty_bytes: 0,
            in_flight_updates: 0,
            sessions: self.sessions.clients(),
            features: features(&self.info.features),
            migration: state.migration.as_ref().map(migration_status),
        };
        match self.stage() {
            Stage::Owner(owner) => {
                let outgoing = self.outgoing();
                owner.with(|source| {
                    of_source(&mut status, source, state.part, outgoing.as_deref());
                });
            }
            Stage::Receiver(receiver) => {
                receiver.read(|destination| of_destination(&mut status, destination));
            }
            Stage::Retired | Stage::Gone => status.role = VolumeRole::Retired,
        }
        status
    }
}

/// Bytes that a file has allocated; `None` for what is no file.
fn allocated(backing: &str) -> Option<u64> {
    const BLOCK: u64 = 512;
    let metadata = std::fs::metadata(backing).ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.blocks() * BLOCK)
}

/// What a volume offers its clients, by name.
pub(crate) fn features(features: &Features) -> Vec<String> {
    let named = [
        ("flush", features.flush),
        ("fua", features.fua),
        ("trim", features.trim),
        ("write_zeroes", features.write_zeroes),
        ("fast_zero", features.fast_zero),
        ("cache", features.cache),
        ("block_status", features.block_status),
        ("read_only", features.read_only),
    ];
    named.into_iter().filter(|(_, offered)| *offered).map(|(name, _)| name.to_owned()).collect()
}

/// A party of a record, as others are told of it.
pub(super) fn party_address(party: &Party) -> PartyAddress {
    let Party { nbd, control, iscsi } = party.clone();
    PartyAddress { nbd, control, iscsi }
}

/// And the other way around.
pub(crate) fn party(address: PartyAddress) -> Party {
    let PartyAddress { nbd, control, iscsi } = address;
    Party { nbd, control, iscsi }
}

fn migration_status(state: &MigrationState) -> MigrationStatus {
    MigrationStatus {
        id: state.migration.clone(),
        term: state.term,
        attempt: state.attempt.0,
        epoch: 0,
        peer: party_address(&state.peer),
        attached: false,
        paused: false,
        copied_bytes: 0,
        zero_bytes: 0,
        mirrored_bytes: 0,
        resynced_bytes: 0,
        rewinds: 0,
        longest_request_ms: 0.0,
        client_p99_ms: None,
        held_to_bytes_per_second: None,
        digest: None,
        trouble: None,
        paused_because: None,
        verified_bytes: 0,
        mismatched_bytes: 0,
    }
}

fn of_source(status: &mut VolumeStatus, source: &Source, part: Part, outgoing: Option<&Outgoing>) {
    status.in_flight_updates = source.in_flight() as u64;
    status.role = match (source.phase(), part) {
        (PhaseName::Sweeping | PhaseName::Settling, _) => VolumeRole::Migrating,
        (PhaseName::Committing, _) => VolumeRole::Committing,
        (PhaseName::Forwarding, _) => VolumeRole::Forwarding,
        (PhaseName::Owner, Part::Source) => VolumeRole::Migrating,
        (PhaseName::Owner, _) => VolumeRole::Owner,
    };
    if let (Some(migration), Some(outgoing)) = (&mut status.migration, outgoing) {
        (migration.copied_bytes, migration.zero_bytes) = outgoing.copied();
        migration.longest_request_ms = outgoing.longest_request_ms();
        migration.client_p99_ms = outgoing.governor.client_p99().map(|p99| p99.as_secs_f64() * 1e3);
        migration.held_to_bytes_per_second = outgoing.governor.limit();
        migration.trouble = outgoing.trouble();
        migration.paused_because = outgoing.setbacks.paused_because();
    }
    let told = source.sweep().map(Last::of).or_else(|| outgoing.map(Outgoing::last));
    if let (Some(migration), Some(last)) = (&mut status.migration, told) {
        tell(migration, last);
    }
    let Some(sweep) = source.sweep() else { return };
    status.reserved_address = sweep.reserved();
    status.durable_address = sweep.durable();
    status.read_cursor = sweep.read_cursor();
    status.dirty_bytes = sweep.dirty_bytes();
    if let Some(migration) = &mut status.migration {
        migration.paused = sweep.is_paused();
        // The reason is there a moment sooner.
        migration.paused_because.take_if(|_| !sweep.is_paused());
        if let Attachment::Attached { epoch } = sweep.attachment() {
            migration.attached = true;
            migration.epoch = epoch;
        }
    }
}

fn tell(migration: &mut MigrationStatus, last: Last) {
    let Last { counters, comparison, digest } = last;
    migration.mirrored_bytes = counters.mirrored_bytes;
    migration.resynced_bytes = counters.resynced_bytes;
    migration.rewinds = counters.rewinds;
    migration.verified_bytes = comparison.map_or(0, |pass| pass.address());
    migration.mismatched_bytes = comparison.map_or(0, |pass| pass.mismatched());
    migration.digest = digest;
}

fn of_destination(status: &mut VolumeStatus, destination: &Destination) {
    status.role = match destination.phase() {
        Phase::Receiving => VolumeRole::Receiving,
        Phase::Ready(_) => VolumeRole::Ready,
    };
    status.reserved_address = destination.reserved();
    status.durable_address = destination.durable();
    if let Some(migration) = &mut status.migration {
        migration.epoch = destination.epoch();
        migration.attached = destination.source_boot().is_some();
        migration.digest = Some(DigestStatus {
            algorithm: ALGORITHM.to_owned(),
            address: destination.stream().len(),
            value: destination.stream().digest().to_string(),
            matches: None,
        });
    }
}
