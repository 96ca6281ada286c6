//! The durable records of one volume, and what they say after a restart.

use blockferry_block::{Attempt, Generation};
use serde::{Deserialize, Serialize};

/// Where a storage program is reached, as a record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// NBD URI without export.
    pub nbd: String,
    /// Control address.
    pub control: String,
    /// Where iSCSI initiators are served, HOST:PORT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iscsi: Option<String>,
}

/// What a volume is as a disk of SCSI initiators, beyond its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// Its identity, drawn once: 32 hexadecimal digits.
    pub uuid: String,
    /// Grows with every change.
    pub serial: u64,
    /// What initiators have set, reservations among it, hexadecimal.
    pub state: String,
}

/// One durable step in the life of a volume at one storage program. Each is written before it is
/// acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum VolumeRecord {
    /// The volume is here and this program owns it.
    Owner {
        /// Generation of the ownership.
        generation: u64,
        /// Size in bytes.
        size: u64,
        /// What backs it: a path, `mem:SIZE` or an NBD URI.
        backing: String,
    },
    /// This program migrates the volume away.
    Sending {
        /// Identity of the migration, hexadecimal.
        migration: String,
        /// Its secret.
        token: String,
        /// The destination.
        destination: Party,
        /// Whether a destination that cannot follow throttles the clients.
        throttle: bool,
    },
    /// This program receives the volume.
    Receiving {
        /// Identity of the migration, hexadecimal.
        migration: String,
        /// Its secret.
        token: String,
        /// The source.
        source: Party,
        /// Size in bytes.
        size: u64,
        /// Generation of the present owner.
        generation: u64,
        /// What backs it here.
        backing: String,
        /// Whether the backing was there before, prepared for the volume: an abort leaves it.
        #[serde(default)]
        prepared: bool,
    },
    /// A controller took the migration over.
    Term {
        /// Its term.
        term: u64,
    },
    /// `W_durable`, after both sides have flushed.
    Durable {
        /// The address in bytes.
        address: u64,
        /// The stream's digest state there.
        stream: String,
    },
    /// An attempt to commit has begun at the source.
    Attempt {
        /// Its number.
        attempt: u64,
    },
    /// The destination is complete and durable for this attempt.
    Ready {
        /// Number of the attempt.
        attempt: u64,
        /// Generation that it will own with.
        generation: u64,
    },
    /// The point of no return, at the source.
    Committed {
        /// Number of the attempt.
        attempt: u64,
        /// Generation of the new owner.
        generation: u64,
    },
    /// The destination owns the volume.
    Owned {
        /// Generation of the ownership.
        generation: u64,
    },
    /// The migration ended before its commit.
    Aborted,
    /// The former owner serves nobody any more.
    Retired,
    /// What the volume is as a disk.
    Disk(DiskRecord),
    /// Requests of the session older than the generation never execute here again.
    Fence {
        /// The session, hexadecimal.
        session: String,
        /// First generation that may execute.
        generation: u64,
    },
}

/// Which part the volume plays at this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Owner without a migration.
    Owner,
    /// Owner that migrates it away.
    Source,
    /// Former owner; the destination owns it.
    Forwarding,
    /// Destination, before it owns it.
    Destination,
    /// Former owner that serves nobody.
    Retired,
}

/// The migration that the records tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// Identity, hexadecimal.
    pub migration: String,
    /// Secret, hexadecimal.
    pub token: String,
    /// The other storage program.
    pub peer: Party,
    /// Whether a slow destination throttles clients.
    pub throttle: bool,
    /// Highest controller term.
    pub term: u64,
    /// Last attempt to commit.
    pub attempt: Attempt,
    /// `W_durable` in bytes.
    pub durable: u64,
    /// Digest state at `W_durable`.
    pub stream: String,
    /// The attempt that the destination is ready for.
    pub ready: Option<Attempt>,
}

/// What the records of a volume say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeState {
    /// The part it plays.
    pub part: Part,
    /// Generation of the owner.
    pub generation: Generation,
    /// Size in bytes.
    pub size: u64,
    /// What backs it.
    pub backing: String,
    /// Whether the volume came into a backing that was prepared for it, and not made for it here.
    pub prepared: bool,
    /// The migration under way, or the one that ended the ownership.
    pub migration: Option<MigrationState>,
    /// Migration and token of those that brought the volume here: their sources may still forward.
    pub former: Vec<(String, String)>,
    /// Fences: session (hexadecimal) and first generation that may execute.
    pub fences: Vec<(String, u64)>,
    /// What it is as a disk, once it was one.
    pub disk: Option<DiskRecord>,
}

/// So many former migrations are remembered.
const FORMER_MAX: usize = 8;

/// So many fences are remembered; what they stop has been gone for long when they are dropped.
pub const FENCES_MAX: usize = 4096;

/// Records in an order that no run of the programs writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {number} ({record}) does not fit what stands before it; the journal is damaged")]
pub struct ReplayError {
    /// Number of the record, from 1.
    pub number: usize,
    /// The record.
    pub record: String,
}

/// Replays the records of one volume; `None` when they end with nothing left of it.
///
/// # Errors
/// [`ReplayError`]: nothing is guessed.
pub fn replay(records: &[VolumeRecord]) -> Result<Option<VolumeState>, ReplayError> {
    let mut state = None;
    for (index, record) in records.iter().enumerate() {
        state = apply(state, record)
            .ok_or_else(|| ReplayError { number: index + 1, record: format!("{record:?}") })?;
    }
    Ok(state)
}

/// The state after one more record; `None` when it does not fit.
pub fn apply(state: Option<VolumeState>, record: &VolumeRecord) -> Option<Option<VolumeState>> {
    let Some(mut state) = state else { return first(record).map(Some) };
    match (state.part, record) {
        (_, VolumeRecord::Fence { session, generation }) => {
            state.fences.retain(|(fenced, _)| fenced != session);
            state.fences.push((session.clone(), *generation));
            let surplus = state.fences.len().saturating_sub(FENCES_MAX);
            state.fences.drain(..surplus);
        }
        (_, VolumeRecord::Disk(disk)) => state.disk = Some(disk.clone()),
        (Part::Owner, VolumeRecord::Sending { migration, token, destination, throttle }) => {
            state.part = Part::Source;
            if let Some(former) = state.migration.take() {
                state.former.push((former.migration, former.token));
                let surplus = state.former.len().saturating_sub(FORMER_MAX);
                state.former.drain(..surplus);
            }
            let peer = destination.clone();
            state.migration = Some(migration_state(migration, token, peer, *throttle));
        }
        (Part::Source | Part::Destination, VolumeRecord::Term { term }) => {
            let migration = state.migration.as_mut()?;
            migration.term = migration.term.max(*term);
        }
        (Part::Source | Part::Destination, VolumeRecord::Durable { address, stream }) => {
            let migration = state.migration.as_mut()?;
            migration.durable = *address;
            migration.stream.clone_from(stream);
        }
        (Part::Source, VolumeRecord::Attempt { attempt }) => {
            state.migration.as_mut()?.attempt = Attempt(*attempt);
        }
        (Part::Source, VolumeRecord::Committed { generation, .. }) => {
            state.part = Part::Forwarding;
            state.generation = Generation(*generation);
        }
        (Part::Source, VolumeRecord::Aborted) => {
            state.part = Part::Owner;
            state.migration = None;
        }
        (Part::Destination, VolumeRecord::Ready { attempt, .. }) => {
            state.migration.as_mut()?.ready = Some(Attempt(*attempt));
        }
        (Part::Destination, VolumeRecord::Owned { generation }) => {
            state.part = Part::Owner;
            state.generation = Generation(*generation);
        }
        (Part::Destination, VolumeRecord::Aborted) => return Some(None),
        (Part::Forwarding, VolumeRecord::Retired) => state.part = Part::Retired,
        _ => return None,
    }
    Some(Some(state))
}

fn first(record: &VolumeRecord) -> Option<VolumeState> {
    match record {
        VolumeRecord::Owner { generation, size, backing } => Some(VolumeState {
            part: Part::Owner,
            generation: Generation(*generation),
            size: *size,
            backing: backing.clone(),
            prepared: false,
            migration: None,
            former: Vec::new(),
            fences: Vec::new(),
            disk: None,
        }),
        VolumeRecord::Receiving {
            migration,
            token,
            source,
            size,
            generation,
            backing,
            prepared,
        } => Some(VolumeState {
            part: Part::Destination,
            generation: Generation(*generation),
            size: *size,
            backing: backing.clone(),
            prepared: *prepared,
            migration: Some(migration_state(migration, token, source.clone(), false)),
            former: Vec::new(),
            fences: Vec::new(),
            disk: None,
        }),
        _ => None,
    }
}

fn migration_state(migration: &str, token: &str, peer: Party, throttle: bool) -> MigrationState {
    MigrationState {
        migration: migration.to_owned(),
        token: token.to_owned(),
        peer,
        throttle,
        term: 0,
        attempt: Attempt(0),
        durable: 0,
        stream: crate::digest::Frontier::new().to_text(),
        ready: None,
    }
}
