//! Which command a reservation of another holds back: the tables of SPC-4 5.13.1 and SBC-3 4.17,
//! and for RESERVE those of SPC-2 5.5.1 and its annex B, written down a second time.

use super::*;

/// A command, and what becomes of it: under another's RESERVE; under another's write exclusive and
/// exclusive access; from a registered nexus under a type that admits registrants; from another
/// nexus under such a type for writes, and for all accesses. `A` is allowed, `C` a conflict.
type Row = (&'static [u8], &'static str);

const ROWS: [Row; 45] = [
    (&[0x00, 0, 0, 0, 0, 0], "CAAAAA"),
    (&[0x03, 0, 0, 0, 18, 0], "AAAAAA"),
    (&[0x08, 0, 0, 0, 1, 0], "CACAAC"),
    (&[0x0a, 0, 0, 0, 1, 0], "CCCACC"),
    (&[0x12, 0, 0, 0, 36, 0], "AAAAAA"),
    (&[0x15, 0x10, 0, 0, 0, 0], "CCCACC"),
    (&[0x1a, 0, 0x3f, 0, 255, 0], "CACAAC"),
    (&[0x1b, 0, 0, 0, 0, 0], "CCCACC"),
    (&[0x1b, 0, 0, 0, 1, 0], "AAAAAA"),
    (&[0x1d, 4, 0, 0, 0, 0], "CCCACC"),
    (&[0x1e, 0, 0, 0, 0, 0], "AAAAAA"),
    (&[0x1e, 0, 0, 0, 1, 0], "CCCACC"),
    (&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], "AAAAAA"),
    (&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], "CACAAC"),
    (&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], "CCCACC"),
    (&[0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0], "CCCACC"),
    (&[0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0], "CACAAC"),
    (&[0x34, 0, 0, 0, 0, 0, 0, 0, 1, 0], "CACAAC"),
    (&[0x35, 0, 0, 0, 0, 0, 0, 0, 1, 0], "CCCACC"),
    (&[0x37, 0, 0, 0, 0, 0, 0, 0, 4, 0], "CACAAC"),
    (&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0], "CCCACC"),
    (&[0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0], "CCCACC"),
    (&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], "CCCACC"),
    (&[0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0], "CACAAC"),
    (&[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], "CAAAAA"),
    (&[0x5e, 3, 0, 0, 0, 0, 0, 0, 8, 0], "CAAAAA"),
    (&[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CACAAC"),
    (&[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0x8b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CACAAC"),
    (&[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CACAAC"),
    (&[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], "AAAAAA"),
    (&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0], "CACAAC"),
    (&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], "AAAAAA"),
    (&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], "CACAAC"),
    (&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0], "CACAAC"),
    (&[0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CACAAC"),
    (&[0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0xae, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CCCACC"),
    (&[0xaf, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "CACAAC"),
    (&[0xb7, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0], "CACAAC"),
];

/// The key under which a session registers.
fn key(nexus: NexusId) -> u64 {
    nexus.0 + 100
}

/// A unit on which A, and whoever else is named, is registered, and A holds a reservation.
fn reserved(kind: u8, others: &[NexusId]) -> LogicalUnit {
    let mut unit = unit();
    for nexus in [A].iter().chain(others) {
        assert_eq!(status(&reserve_out(&mut unit, *nexus, (0, 0), (0, key(*nexus)))), Status::Good);
    }
    assert_eq!(status(&reserve_out(&mut unit, A, (1, kind), (key(A), 0))), Status::Good);
    unit
}

fn is_conflict(unit: &mut LogicalUnit, nexus: NexusId, cdb: &[u8]) -> bool {
    match unit.begin(nexus, cdb, 512).step {
        Step::Answer(response) => response.status == Status::ReservationConflict,
        _ => false,
    }
}

#[test]
fn every_command_of_others_is_held_back_as_the_standards_have_it() {
    for (cdb, expected) in ROWS {
        let mut by_reserve = unit();
        assert_eq!(answer(&mut by_reserve, A, &RESERVE_6).status, Status::Good);
        let units = [
            vec![by_reserve],
            vec![reserved(1, &[]), reserved(1, &[B])],
            vec![reserved(3, &[]), reserved(3, &[B])],
            [5, 6, 7, 8].map(|kind| reserved(kind, &[B])).into(),
            [5, 7].map(|kind| reserved(kind, &[])).into(),
            [6, 8].map(|kind| reserved(kind, &[])).into(),
        ];
        for (column, (units, expected)) in units.into_iter().zip(expected.chars()).enumerate() {
            for mut unit in units {
                let conflict = is_conflict(&mut unit, B, cdb);
                assert_eq!(conflict, expected == 'C', "{cdb:x?} in column {column}");
            }
        }
    }
}

#[test]
fn the_holder_is_held_back_from_nothing() {
    for (cdb, _) in ROWS {
        for kind in [1, 3, 5, 6, 7, 8] {
            assert!(!is_conflict(&mut reserved(kind, &[B]), A, cdb), "{cdb:x?}, type {kind}");
        }
        let mut by_reserve = unit();
        answer(&mut by_reserve, A, &RESERVE_6);
        let is_persistent = cdb[0] == 0x5e;
        assert_eq!(is_conflict(&mut by_reserve, A, cdb), is_persistent, "{cdb:x?}");
    }
}

#[test]
fn every_command_but_those_on_reservations_is_in_the_table() {
    let listed: Vec<u8> = ROWS.iter().map(|(cdb, _)| cdb[0]).collect();
    for entry in crate::table::commands(Provisioning::Thin) {
        let own = [0x16, 0x17, 0x56, 0x57, 0x5f].contains(&entry.opcode());
        assert!(own || listed.contains(&entry.opcode()), "{:#x} is missing", entry.opcode());
    }
}

/// PERSISTENT RESERVE OUT while another holds a reservation (SPC-4 table of service actions): from
/// a registered nexus, and from one that is not.
#[test]
fn service_actions_of_others_are_held_back_as_the_standard_has_it() {
    for (action, registered, stranger) in [
        (0, 'A', 'A'),
        (1, 'C', 'C'),
        (2, 'A', 'C'),
        (3, 'A', 'C'),
        (4, 'A', 'C'),
        (5, 'A', 'C'),
        (6, 'A', 'A'),
    ] {
        for kind in [1, 3, 5, 6] {
            for (others, expected) in [(&[B][..], registered), (&[], stranger)] {
                let mut unit = reserved(kind, others);
                let is_registered = !others.is_empty();
                let claimed = if is_registered { key(B) } else { 0 };
                let action_key = if matches!(action, 4 | 5) { key(A) } else { 0 };
                let begun = reserve_out(&mut unit, B, (action, kind), (claimed, action_key));
                let conflict = status(&begun) == Status::ReservationConflict;
                assert_eq!(conflict, expected == 'C', "action {action}, type {kind}, {others:?}");
            }
        }
    }
}

#[test]
fn reserve_and_release_conflict_with_every_registration() {
    for cdb in [&RESERVE_6[..], &RELEASE_6, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut unit = unit();
        reserve_out(&mut unit, A, (0, 0), (0, 5));
        for nexus in [A, B] {
            assert!(is_conflict(&mut unit, nexus, cdb), "{cdb:x?}");
        }
    }
}

#[test]
fn reserve_is_its_holders_until_it_releases_it() {
    let mut unit = unit();
    assert_eq!(answer(&mut unit, A, &RESERVE_6).status, Status::Good);
    assert_eq!(answer(&mut unit, A, &RESERVE_6).status, Status::Good);
    assert!(is_conflict(&mut unit, B, &RESERVE_6));
    assert_eq!(answer(&mut unit, B, &RELEASE_6).status, Status::Good);
    assert!(is_conflict(&mut unit, B, &RESERVE_6));
    assert!(is_conflict(&mut unit, A, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0]));
    assert_eq!(answer(&mut unit, A, &RELEASE_6).status, Status::Good);
    assert_eq!(answer(&mut unit, B, &RESERVE_6).status, Status::Good);
}
