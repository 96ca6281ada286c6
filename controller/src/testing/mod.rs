//! What tests of this program share.

pub(crate) mod audience;
mod handlers;
pub(crate) mod network;
pub(crate) mod world;

use blockferry_control::api::{
    MigrationStatus, PartyAddress, ProgramStatus, VolumeRole, VolumeStatus,
};

use crate::survey::{StorageSeen, Survey};

/// A volume of 1 MiB in generation 1.
pub(crate) fn volume(role: VolumeRole) -> VolumeStatus {
    VolumeStatus {
        name: "vol".to_owned(),
        size: 1 << 20,
        allocated_bytes: 1 << 20,
        role,
        generation: 1,
        reserved_address: 0,
        durable_address: 0,
        read_cursor: 0,
        dirty_bytes: 0,
        in_flight_updates: 0,
        sessions: 0,
        features: Vec::new(),
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
        peer: PartyAddress {
            nbd: "nbd://peer:1".to_owned(),
            control: peer.to_owned(),
            iscsi: None,
        },
        attached: true,
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

/// A source and a destination that can be asked, and no switch.
pub(crate) fn survey_of(source: Option<VolumeStatus>, destination: Option<VolumeStatus>) -> Survey {
    let source = StorageSeen { program: program("target-src", 1), volume: source };
    let destination = StorageSeen { program: program("target-dst", 2), volume: destination };
    Survey { source: Ok(source), destination: Ok(destination), switches: Vec::new() }
}

fn program(name: &str, boot: u64) -> ProgramStatus {
    ProgramStatus {
        program: name.to_owned(),
        version: "0".to_owned(),
        protocol: 1,
        boot,
        address: PartyAddress {
            nbd: format!("nbd://h:{boot}"),
            control: format!("http://h:{boot}"),
            iscsi: None,
        },
    }
}
