//! Whole commands against a unit, as a transport brings them.

use blockferry_block::Extent;

use super::*;
use crate::config::{Identity, Provisioning};
use crate::geometry::{BlockLength, Geometry, PhysicalBlock};
use crate::response::Transfer;
use crate::status::Status;
use crate::work::Work;

mod attentions;
mod conflicts;
mod hostile;
mod medium;
mod modes;
mod outcomes;
mod persistent;

/// Blocks of the unit.
const BLOCKS: u64 = 1 << 20;
/// Its size in bytes.
const SIZE: u64 = BLOCKS * 512;

const A: NexusId = NexusId(1);
const B: NexusId = NexusId(2);
const C: NexusId = NexusId(3);

fn config() -> UnitConfig {
    UnitConfig {
        identity: Identity { uuid: [7; 16], name: "vol".parse().unwrap() },
        geometry: Geometry::new(SIZE, BlockLength::B512, PhysicalBlock::B4096).unwrap(),
        provisioning: Provisioning::Thin,
        read_only: false,
        rotational: false,
    }
}

fn port(nexus: NexusId) -> InitiatorPort {
    let number = u8::try_from(nexus.0).unwrap();
    InitiatorPort::iscsi("iqn.2026-01.test:initiator", [0, 0, 0, 0, 0, number]).unwrap()
}

/// A unit with three sessions of three initiators, all of which have heard that they are new.
fn unit() -> LogicalUnit {
    unit_of(config())
}

fn unit_of(config: UnitConfig) -> LogicalUnit {
    let mut unit = LogicalUnit::new(config, UnitState::new());
    for nexus in [A, B, C] {
        unit.connect(nexus, port(nexus)).unwrap();
        let heard = answer(&mut unit, nexus, &TEST_UNIT_READY);
        assert_eq!(sense(&heard), (6, 0x29, 0x00));
    }
    unit
}

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const RESERVE_6: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const RELEASE_6: [u8; 6] = [0x17, 0, 0, 0, 0, 0];

/// A command descriptor block of 16 bytes.
fn sixteen(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[opcode, flags]);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// Begins a command, and expects that it ends at once.
fn answer(unit: &mut LogicalUnit, nexus: NexusId, cdb: &[u8]) -> Response {
    answer_with(unit, nexus, cdb, 0)
}

fn answer_with(unit: &mut LogicalUnit, nexus: NexusId, cdb: &[u8], data_out: u64) -> Response {
    match unit.begin(nexus, cdb, data_out).step {
        Step::Answer(response) => response,
        other => panic!("{cdb:x?} is not answered at once: {other:?}"),
    }
}

/// Begins a command, and expects that it needs the medium.
fn work(unit: &mut LogicalUnit, nexus: NexusId, cdb: &[u8], data_out: u64) -> Medium {
    match unit.begin(nexus, cdb, data_out).step {
        Step::Medium(medium) => medium,
        other => panic!("{cdb:x?} does not need the medium: {other:?}"),
    }
}

/// Begins a command, and gives it its parameter list.
fn with_list(unit: &mut LogicalUnit, nexus: NexusId, cdb: &[u8], list: &[u8]) -> Begun {
    let begun = unit.begin(nexus, cdb, list.len() as u64);
    let bytes = u32::try_from(list.len()).unwrap();
    if begun.step == (Step::Parameters { bytes }) {
        unit.parameters(nexus, cdb, list)
    } else {
        begun
    }
}

/// PERSISTENT RESERVE OUT.
fn reserve_out(
    unit: &mut LogicalUnit,
    nexus: NexusId,
    (action, kind): (u8, u8),
    (key, action_key): (u64, u64),
) -> Begun {
    let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    let mut list = [key.to_be_bytes(), action_key.to_be_bytes()].concat();
    list.resize(24, 0);
    with_list(unit, nexus, &cdb, &list)
}

fn status(begun: &Begun) -> Status {
    match &begun.step {
        Step::Answer(response) => response.status,
        other => panic!("not answered: {other:?}"),
    }
}

/// Key, code and qualifier of sense data in fixed format.
fn sense(response: &Response) -> (u8, u8, u8) {
    assert_eq!(response.status, Status::CheckCondition);
    let sense = response.sense.expect("sense data");
    let bytes = sense.as_bytes();
    assert_eq!(bytes[0] & 0x7f, 0x70, "not in fixed format");
    (bytes[2] & 0xf, bytes[12], bytes[13])
}

#[test]
fn a_unit_that_is_asked_answers_with_data_and_its_length() {
    let mut unit = unit();
    let response = answer(&mut unit, A, &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!((response.status, response.data_in.len()), (Status::Good, 36));
    assert_eq!(response.transfer, Transfer { data_out: 0, data_in: 36 });
    let response = answer(&mut unit, A, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(response.data_in, &[0, 0x0f, 0xff, 0xff, 0, 0, 2, 0][..]);
    let response = answer(&mut unit, A, &sixteen(0x9e, 0x10, 0, 12));
    assert_eq!(response.data_in.len(), 12);
}

#[test]
fn every_vital_page_that_is_told_is_answered() {
    let mut unit = unit();
    let pages = answer(&mut unit, A, &[0x12, 1, 0, 0, 255, 0]).data_in;
    for page in &pages[4..] {
        let response = answer(&mut unit, A, &[0x12, 1, *page, 0, 255, 0]);
        assert_eq!((response.status, response.data_in[1]), (Status::Good, *page));
    }
    let response = answer(&mut unit, A, &[0x12, 1, 0xb3, 0, 255, 0]);
    assert_eq!(sense(&response), (5, 0x24, 0x00));
}

#[test]
fn a_session_that_is_gone_is_answered_that_its_command_is_given_up() {
    let mut unit = unit();
    unit.disconnect(A);
    assert!(!unit.is_connected(A));
    assert_eq!(answer(&mut unit, A, &TEST_UNIT_READY).status, Status::TaskAborted);
    let cdb = [0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    let begun = unit.parameters(A, &cdb, &[0; 24]);
    assert_eq!(status(&begun), Status::TaskAborted);
}

#[test]
fn a_state_moves_from_one_unit_to_another() {
    let mut here = unit();
    let begun = reserve_out(&mut here, A, (0, 0), (0, 5));
    assert!(begun.changed);
    assert!(reserve_out(&mut here, A, (1, 3), (5, 0)).changed);
    let mut there = unit();
    there.restore(here.state());
    assert_eq!(there.state(), here.state());
    assert_eq!(answer(&mut there, B, &sixteen(0x88, 0, 0, 1)).status, Status::ReservationConflict);
    assert_eq!(work(&mut there, A, &sixteen(0x88, 0, 0, 1), 0).transfer, Transfer::back(512));
}

#[test]
fn a_list_for_a_command_without_parameters_is_refused() {
    let mut unit = unit();
    let begun = unit.parameters(A, &sixteen(0x8a, 0, 0, 1), &[0; 512]);
    assert_eq!(status(&begun), Status::CheckCondition);
    assert!(!begun.changed);
}

#[test]
fn commands_of_other_protocols_are_bound_by_every_kind_of_reservation() {
    let mut unit = unit();
    let admitted =
        |unit: &LogicalUnit| [Access::Read, Access::Write].map(|a| unit.admits_stranger(a));
    assert_eq!(admitted(&unit), [true, true]);
    answer(&mut unit, A, &RESERVE_6);
    assert_eq!(admitted(&unit), [false, false]);
    answer(&mut unit, A, &RELEASE_6);
    reserve_out(&mut unit, A, (0, 0), (0, 5));
    reserve_out(&mut unit, A, (1, 1), (5, 0));
    assert_eq!(admitted(&unit), [true, false]);
    let read_only = unit_of(UnitConfig { read_only: true, ..config() });
    assert_eq!(admitted(&read_only), [true, false]);
}
