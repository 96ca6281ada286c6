//! Answers about the unit as a whole.

use std::collections::BTreeSet;

use super::*;
use crate::config::Identity;
use crate::geometry::{BlockLength, PhysicalBlock};

fn config(size: u64, provisioning: Provisioning) -> UnitConfig {
    UnitConfig {
        identity: Identity { uuid: [1; 16], name: "vol".parse().unwrap() },
        geometry: Geometry::new(size, BlockLength::B512, PhysicalBlock::B4096).unwrap(),
        provisioning,
        read_only: false,
        rotational: false,
    }
}

#[test]
fn capacity_is_the_last_block_and_the_length_of_one() {
    let config = config(1 << 20, Provisioning::Thin);
    assert_eq!(capacity_10(&config.geometry), [0, 0, 7, 0xff, 0, 0, 2, 0]);
    let mut expected = vec![0, 0, 0, 0, 0, 0, 7, 0xff, 0, 0, 2, 0, 0, 0x03, 0xc0, 0];
    expected.resize(32, 0);
    assert_eq!(capacity_16(&config), expected);
}

#[test]
fn a_unit_too_large_for_the_short_answer_says_so() {
    let large = config(512 << 32, Provisioning::Full);
    assert_eq!(capacity_10(&large.geometry)[..4], [0xff; 4]);
    let just_fits = config(512 * u64::from(u32::MAX), Provisioning::Full);
    assert_eq!(capacity_10(&just_fits.geometry)[..4], [0xff, 0xff, 0xff, 0xfe]);
    let answer = capacity_16(&large);
    assert_eq!(answer[..8], u64::from(u32::MAX).to_be_bytes());
    assert_eq!(answer[14], 0);
}

#[test]
fn there_is_one_unit_and_no_well_known_one() {
    let one = vec![0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(luns(0, 16), Ok(one.clone()));
    assert_eq!(luns(2, 16), Ok(one));
    assert_eq!(luns(1, 16), Ok(vec![0; 8]));
    assert_eq!(luns(3, 16), Err(Sense::cdb_field(2, None)));
    assert_eq!(luns(0, 15), Err(Sense::cdb_field(6, None)));
}

/// The operation code, service action and flags of each descriptor.
fn all(timeouts: bool) -> Vec<(u8, u16, u8, u16)> {
    let answer = commands(CommandQuery::All, timeouts, Provisioning::Thin).unwrap();
    let (length, list) = answer.split_at(4);
    assert_eq!(length, u32::try_from(list.len()).unwrap().to_be_bytes());
    let descriptor = |bytes: &[u8]| {
        let action = u16::from_be_bytes([bytes[2], bytes[3]]);
        (bytes[0], action, bytes[5], u16::from_be_bytes([bytes[6], bytes[7]]))
    };
    list.chunks_exact(if timeouts { 20 } else { 8 }).map(descriptor).collect()
}

#[test]
fn every_command_is_told_once_with_its_length() {
    let all = all(false);
    let distinct: BTreeSet<_> = all.iter().map(|(code, action, ..)| (*code, *action)).collect();
    assert_eq!(distinct.len(), all.len());
    assert!(all.contains(&(0x00, 0, 0, 6)));
    assert!(all.contains(&(0x28, 0, 0, 10)));
    assert!(all.contains(&(0x9e, 0x10, 1, 16)));
    assert!(all.contains(&(0xa3, 0x0c, 1, 12)));
    assert!(all.contains(&(0x5f, 0x06, 1, 10)));
}

#[test]
fn every_command_that_is_told_can_be_asked_for_in_the_way_that_fits_it_and_in_no_other() {
    for (code, action, flags, length) in all(false) {
        let by_code = commands(CommandQuery::Code(code), false, Provisioning::Thin);
        let by_action = commands(CommandQuery::Action(code, action), false, Provisioning::Thin);
        let (fits, other) =
            if flags & 1 == 0 { (by_code, by_action) } else { (by_action, by_code) };
        assert_eq!(other, Err(Sense::cdb_field(2, Some(2))), "{code:#x}, {action:#x}");
        let fits = fits.unwrap();
        assert_eq!(fits[1], 3);
        assert_eq!(fits[2..4], length.to_be_bytes());
        assert_eq!(fits.len(), usize::from(length) + 4);
        assert_eq!(fits[4], code);
        if flags & 1 != 0 {
            assert_eq!(u16::from(fits[5] & 0x1f), action);
        }
        let either = commands(CommandQuery::Either(code, action), false, Provisioning::Thin);
        assert_eq!(either, Ok(fits));
    }
}

#[test]
fn timeouts_are_described_and_named_nowhere() {
    assert!(all(true).iter().all(|(_, _, flags, _)| flags & 2 != 0));
    let one = commands(CommandQuery::Code(0x28), true, Provisioning::Thin).unwrap();
    assert_eq!((one[1], one.len()), (0x83, 4 + 10 + 12));
    assert_eq!(one[14..], [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn unknown_commands_are_told_to_be_unknown() {
    let unknown = Ok(vec![0, 1, 0, 0]);
    for query in [
        CommandQuery::Code(0x04),
        CommandQuery::Action(0x83, 1),
        CommandQuery::Action(0x9e, 0x11),
        CommandQuery::Either(0x28, 1),
    ] {
        assert_eq!(commands(query, false, Provisioning::Thin), unknown, "{query:?}");
    }
    assert_eq!(commands(CommandQuery::Code(0x42), false, Provisioning::Full), unknown);
}

#[test]
fn force_unit_access_is_told_of_the_commands_that_have_it() {
    for code in [0x28, 0x2a, 0x88, 0x89, 0x8a, 0x8b, 0xa8, 0xaa] {
        let one = commands(CommandQuery::Code(code), false, Provisioning::Thin).unwrap();
        assert_eq!(one[5] & 0x18, 0x18, "{code:#x}");
    }
}

#[test]
fn task_management_functions_are_those_of_the_transport() {
    assert_eq!(task_management(false), [0xda, 0, 0, 0]);
    let mut extended = vec![0xda, 0, 0, 12];
    extended.resize(16, 0);
    assert_eq!(task_management(true), extended);
}

#[test]
fn defect_lists_are_empty_whichever_is_asked_for() {
    assert_eq!(defects(false, 0x1d), [0, 0x1d, 0, 0]);
    assert_eq!(defects(true, 0x1d), [0, 0x1d, 0, 0, 0, 0, 0, 0]);
}
