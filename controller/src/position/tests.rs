//! Every pair of statuses that two storage programs can show, and where it puts the migration.

use VolumeRole::{Committing, Forwarding, Migrating, Owner, Ready, Receiving, Retired, Standby};

use super::*;
use crate::testing::{migration, volume};

const TO: &str = "http://destination:1";

/// A volume in a role and, if named, a migration that goes to `TO`.
fn shown(role: VolumeRole, generation: u64, id: Option<&str>) -> VolumeStatus {
    let migration = id.map(|id| migration(id, TO));
    VolumeStatus { generation, migration, ..volume(role) }
}

fn sweeping() -> Result<Position, Contradiction> {
    Ok(Position::Sweeping { migration: "a".to_owned() })
}

fn committed() -> Result<Position, Contradiction> {
    Ok(Position::Committed { migration: "a".to_owned() })
}

fn owned(id: Option<&str>) -> Result<Position, Contradiction> {
    Ok(Position::Owned { migration: id.map(str::to_owned) })
}

#[test]
fn the_position_follows_from_the_two_statuses_alone() {
    let orphan = Ok(Position::Orphan { migration: "a".to_owned() });
    let committing = Ok(Position::Committing { migration: "a".to_owned() });
    let table = [
        // Before it began.
        (shown(Owner, 1, None), None, Ok(Position::Untouched)),
        (shown(Owner, 1, None), Some(shown(Standby, 1, None)), Ok(Position::Untouched)),
        (shown(Owner, 1, None), Some(shown(Owner, 1, None)), Ok(Position::Untouched)),
        // Between /receive and /send, and after half an abort.
        (shown(Owner, 1, None), Some(shown(Receiving, 1, Some("a"))), orphan.clone()),
        (shown(Owner, 1, None), Some(shown(Ready, 1, Some("a"))), orphan),
        // The sweep, and a Ready that a restart made void.
        (shown(Migrating, 1, Some("a")), Some(shown(Receiving, 1, Some("a"))), sweeping()),
        (shown(Migrating, 1, Some("a")), Some(shown(Ready, 1, Some("a"))), sweeping()),
        // The commit.
        (shown(Committing, 1, Some("a")), Some(shown(Ready, 1, Some("a"))), committing),
        (shown(Forwarding, 2, Some("a")), Some(shown(Ready, 1, Some("a"))), committed()),
        (shown(Forwarding, 2, Some("a")), Some(shown(Receiving, 1, Some("a"))), committed()),
        // The end.
        (shown(Forwarding, 2, Some("a")), Some(shown(Owner, 2, Some("a"))), owned(Some("a"))),
        (shown(Forwarding, 2, None), Some(shown(Owner, 2, None)), owned(None)),
        (shown(Standby, 2, None), Some(shown(Owner, 2, None)), owned(None)),
        (shown(Retired, 2, None), Some(shown(Owner, 2, None)), owned(None)),
        // The destination has begun the next migration.
        (shown(Retired, 2, None), Some(shown(Migrating, 2, Some("b"))), owned(Some("b"))),
    ];
    for (source, destination, expected) in table {
        let destination = destination.as_ref().map_or(Known::Absent, Known::Volume);
        let position = locate(Known::Volume(&source), destination, TO);
        assert_eq!(position, expected, "{source:?} {destination:?}");
    }
}

#[test]
fn a_program_that_is_away_leaves_only_what_the_other_proves() {
    let away = Known::Unreachable;
    let source = |role, id| shown(role, 2, id);
    let locate_source = |status: &VolumeStatus| locate(Known::Volume(status), away, TO);
    assert_eq!(locate_source(&source(Migrating, Some("a"))), sweeping());
    assert_eq!(locate_source(&source(Forwarding, Some("a"))), committed());
    assert_eq!(locate_source(&source(Owner, None)), Ok(Position::Untouched));
    let retired = locate_source(&source(Retired, None));
    assert_eq!(retired, Err(Contradiction::Unreachable("the destination")));

    let owner = shown(Owner, 2, Some("a"));
    assert_eq!(locate(away, Known::Volume(&owner), TO), owned(Some("a")));
    for destination in [Receiving, Ready, Standby] {
        let status = shown(destination, 2, Some("a"));
        let position = locate(away, Known::Volume(&status), TO);
        assert_eq!(position, Err(Contradiction::Unreachable("the source")));
    }
    assert!(locate(away, away, TO).is_err());
}

#[test]
fn a_migration_to_somewhere_else_is_never_taken_for_this_one() {
    let elsewhere = migration("a", "http://elsewhere:1");
    for role in [Migrating, Committing, Forwarding] {
        let source = VolumeStatus { migration: Some(elsewhere.clone()), ..volume(role) };
        let source = Known::Volume(&source);
        for destination in [
            Known::Absent,
            Known::Unreachable,
            Known::Volume(&shown(Receiving, 1, Some("b"))),
            Known::Volume(&shown(Standby, 1, None)),
        ] {
            let error = locate(source, destination, TO).unwrap_err();
            assert!(error.to_string().contains("http://elsewhere:1"), "{error}");
        }
    }
}

#[test]
fn a_volume_that_is_not_the_sources_to_give_is_refused() {
    for role in [Receiving, Ready] {
        let source = shown(role, 1, Some("a"));
        let error = locate(Known::Volume(&source), Known::Absent, TO).unwrap_err();
        assert!(error.to_string().contains("--from and --to"), "{error}");
    }
    for role in [Standby, Retired] {
        let source = shown(role, 2, None);
        let stale = shown(Owner, 1, None);
        assert!(locate(Known::Volume(&source), Known::Absent, TO).is_err());
        assert!(locate(Known::Volume(&source), Known::Volume(&stale), TO).is_err());
    }
    assert_eq!(locate(Known::Absent, Known::Absent, TO), Err(Contradiction::NoVolume));
}
