//! Where a migration stands, decided from nothing but what the two storage programs say now.
//!
//! The controller keeps no state that matters; this is how `migrate` continues after any
//! interruption, and how every other command knows what may be done: from each position there is a
//! way to the end (L3).
//!
//! ```text
//! source        owner ---- migrating ---- committing ---- forwarding ---- standby, retired
//! destination   (none) --- receiving ---- ready ------------------------- owner
//! position      Untouched  Sweeping       Committing      Committed       Owned
//! ```

use blockferry_control::api::{MigrationStatus, VolumeRole, VolumeStatus};

/// What is known of a volume at one storage program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known<'a> {
    /// The program cannot be asked.
    Unreachable,
    /// It has no volume of this name.
    Absent,
    /// What it said.
    Volume(&'a VolumeStatus),
}

/// Where a migration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// No migration of the volume between these two.
    Untouched,
    /// The destination waits for a source that knows of no migration: a controller died between its
    /// first two steps, or an abort reached only the source.
    Orphan {
        /// The migration that the destination waits for.
        migration: String,
    },
    /// The source owns the volume and sends it.
    Sweeping {
        /// The migration.
        migration: String,
    },
    /// The source is writing its commit record.
    Committing {
        /// The migration.
        migration: String,
    },
    /// The commit record is durable; the destination may not know yet.
    Committed {
        /// The migration.
        migration: String,
    },
    /// The destination owns the volume.
    Owned {
        /// The migration, as long as one of the two remembers it.
        migration: Option<String>,
    },
}

/// What to do about somebody who is away.
fn way_out(who: &str) -> &'static str {
    match who {
        "the source" => "start it again, or, where it is lost for good, see `promote`",
        _ => "start it again",
    }
}

impl Position {
    /// The position in words, with what comes next.
    pub(crate) const fn text(&self) -> &'static str {
        match self {
            Self::Untouched => "no migration; `migrate` begins one",
            Self::Orphan { .. } => {
                "the destination waits for a source that knows of no migration; `migrate` begins \
                 anew, `abort` cleans up"
            }
            Self::Sweeping { .. } => "the source owns the volume and sends it",
            Self::Committing { .. } => "the source is committing; `resume` finishes",
            Self::Committed { .. } => {
                "committed; the destination has to learn it: `resume` finishes"
            }
            Self::Owned { .. } => {
                "the destination owns the volume; `retire` tells when the source may go"
            }
        }
    }
}

/// Two statuses that no migration between the two explains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// One of them has to be asked first.
    #[error(
        "{0} cannot be asked, and without it nobody knows where the migration stands; {hint}",
        hint = way_out(.0)
    )]
    Unreachable(&'static str),
    /// There is nothing to move.
    #[error("the source has no volume of this name; `--volume NAME=PATH` makes it serve one")]
    NoVolume,
    /// They take part in two different migrations.
    #[error(
        "the source sends migration {at_source}, but the destination {at_destination}; \
         is --to the destination of the migration under way ({peer})?"
    )]
    Strangers {
        /// The source's migration.
        at_source: String,
        /// What is known of the destination.
        at_destination: String,
        /// Where the source sends to.
        peer: String,
    },
    /// The volume is not the source's to give.
    #[error(
        "the volume is {role} at the source; only its owner can send it (are --from and --to exchanged?)"
    )]
    NotTheOwner {
        /// What it is there.
        role: &'static str,
    },
}

/// The word for a role, as the control API spells it.
pub(crate) const fn role_name(role: VolumeRole) -> &'static str {
    match role {
        VolumeRole::Owner => "owner",
        VolumeRole::Migrating => "migrating",
        VolumeRole::Committing => "committing",
        VolumeRole::Forwarding => "forwarding",
        VolumeRole::Receiving => "receiving",
        VolumeRole::Ready => "ready",
        VolumeRole::Standby => "standby",
        VolumeRole::Retired => "retired",
    }
}

/// Where the migration stands. `to` is the control address that was given for the destination: it
/// tells whether the source sends to the same one while that one is away.
///
/// # Errors
/// [`Contradiction`] when no migration between the two explains what they say.
pub(crate) fn locate(
    source: Known<'_>,
    destination: Known<'_>,
    to: &str,
) -> Result<Position, Contradiction> {
    match source {
        Known::Unreachable => without_source(destination),
        Known::Absent => Err(Contradiction::NoVolume),
        Known::Volume(at_source) => match at_source.role {
            VolumeRole::Owner => Ok(from_owner(at_source, destination)),
            VolumeRole::Migrating => {
                let migration = same_migration(at_source, destination, to)?;
                Ok(Position::Sweeping { migration })
            }
            VolumeRole::Committing => {
                let migration = same_migration(at_source, destination, to)?;
                Ok(Position::Committing { migration })
            }
            VolumeRole::Forwarding | VolumeRole::Standby | VolumeRole::Retired => {
                after_commit(at_source, destination, to)
            }
            role @ (VolumeRole::Receiving | VolumeRole::Ready) => {
                Err(Contradiction::NotTheOwner { role: role_name(role) })
            }
        },
    }
}

/// A source that was switched off after the end is no riddle; before it, it is.
fn without_source(destination: Known<'_>) -> Result<Position, Contradiction> {
    match destination {
        Known::Volume(volume) if owns(volume) => Ok(Position::Owned { migration: id_of(volume) }),
        _ => Err(Contradiction::Unreachable("the source")),
    }
}

fn from_owner(source: &VolumeStatus, destination: Known<'_>) -> Position {
    let Known::Volume(volume) = destination else { return Position::Untouched };
    let waits = matches!(volume.role, VolumeRole::Receiving | VolumeRole::Ready);
    match id_of(volume) {
        Some(migration) if waits && volume.generation <= source.generation.saturating_add(1) => {
            Position::Orphan { migration }
        }
        _ => Position::Untouched,
    }
}

fn after_commit(
    source: &VolumeStatus,
    destination: Known<'_>,
    to: &str,
) -> Result<Position, Contradiction> {
    match destination {
        Known::Volume(volume) if owns(volume) && volume.generation >= source.generation => {
            Ok(Position::Owned { migration: id_of(source).or_else(|| id_of(volume)) })
        }
        _ if source.role == VolumeRole::Forwarding => {
            let migration = same_migration(source, destination, to)?;
            Ok(Position::Committed { migration })
        }
        Known::Unreachable => Err(Contradiction::Unreachable("the destination")),
        _ => Err(Contradiction::NotTheOwner { role: role_name(source.role) }),
    }
}

/// The source's migration, if the destination takes part in it too or may do so.
fn same_migration(
    source: &VolumeStatus,
    destination: Known<'_>,
    to: &str,
) -> Result<String, Contradiction> {
    let Some(migration) = &source.migration else {
        return Err(Contradiction::NotTheOwner { role: role_name(source.role) });
    };
    let at_destination = match destination {
        Known::Volume(volume) => match id_of(volume) {
            Some(id) if id == migration.id => return Ok(id),
            Some(id) => format!("takes part in {id}"),
            None => format!("is {} of a volume of that name", role_name(volume.role)),
        },
        Known::Absent => "knows nothing of the volume".to_owned(),
        Known::Unreachable if migration.peer.control == to => return Ok(migration.id.clone()),
        Known::Unreachable => format!("{to} cannot be asked"),
    };
    Err(strangers(migration, at_destination))
}

fn strangers(migration: &MigrationStatus, at_destination: String) -> Contradiction {
    Contradiction::Strangers {
        at_source: migration.id.clone(),
        at_destination,
        peer: migration.peer.control.clone(),
    }
}

/// Whether the volume is served here on the program's own authority.
pub(crate) fn owns(volume: &VolumeStatus) -> bool {
    matches!(volume.role, VolumeRole::Owner | VolumeRole::Migrating | VolumeRole::Committing)
}

fn id_of(volume: &VolumeStatus) -> Option<String> {
    volume.migration.as_ref().map(|migration| migration.id.clone())
}

#[cfg(test)]
mod tests;
