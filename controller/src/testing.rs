//! What tests of this program share.

use blockferry_control::api::{MigrationStatus, PartyAddress, VolumeRole, VolumeStatus};

/// A volume of 1 MiB in generation 1.
pub(crate) fn volume(role: VolumeRole) -> VolumeStatus {
    VolumeStatus {
        name: "vol".to_owned(),
        size: 1 << 20,
        role,
        generation: 1,
        reserved_address: 0,
        durable_address: 0,
        read_cursor: 0,
        dirty_bytes: 0,
        in_flight_updates: 0,
        sessions: 0,
        migration: None,
    }
}

/// A migration whose other side is reached at `peer`.
pub(crate) fn migration(id: &str, peer: &str) -> MigrationStatus {
    MigrationStatus {
        id: id.to_owned(),
        term: 1,
        attempt: 0,
        epoch: 1,
        peer: PartyAddress { nbd: "nbd://peer:1".to_owned(), control: peer.to_owned() },
        attached: true,
        paused: false,
        copied_bytes: 0,
        zero_bytes: 0,
        mirrored_bytes: 0,
        resynced_bytes: 0,
        rewinds: 0,
        longest_request_ms: 0.0,
        digest: None,
        trouble: None,
        verified_bytes: 0,
        mismatched_bytes: 0,
    }
}
