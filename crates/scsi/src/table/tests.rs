//! The table against itself, and the bits that a command may not carry.

use super::*;

fn cdb(opcode: u8, bytes: &[(usize, u8)]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    bytes.iter().for_each(|(index, byte)| cdb[*index] = *byte);
    cdb
}

fn check(cdb: &[u8]) -> Result<(), Sense> {
    find(cdb, Provisioning::Thin)?.check(cdb)
}

#[test]
fn rows_ascend_by_operation_code_and_service_action() {
    for pair in COMMANDS.windows(2) {
        let [a, b] = pair else { unreachable!("windows of two") };
        assert!((a.opcode(), a.action) < (b.opcode(), b.action), "{a:?} before {b:?}");
    }
}

#[test]
fn a_command_is_as_long_as_its_operation_code_says() {
    for entry in &COMMANDS {
        let length = match entry.opcode() >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            _ => 0,
        };
        assert_eq!(entry.usage.len(), length, "{entry:?}");
        assert_eq!(entry.usage.last(), Some(&0), "{entry:?} has control bits");
    }
}

#[test]
fn a_service_action_stands_in_the_usage_map_of_its_command() {
    for entry in COMMANDS.iter().filter(|entry| entry.action.is_some()) {
        assert_eq!(entry.usage[1], 0x1f, "{entry:?}");
    }
}

#[test]
fn what_is_not_in_the_table_is_an_invalid_operation_code() {
    let known: Vec<u8> = COMMANDS.iter().map(Entry::opcode).collect();
    for opcode in 0..=u8::MAX {
        let found = find(&cdb(opcode, &[(1, 0x10)]), Provisioning::Thin);
        let unknown = Sense::illegal(SenseCode::INVALID_OPERATION_CODE);
        assert_eq!(found.err() == Some(unknown), !known.contains(&opcode), "{opcode:#x}");
    }
    assert!(find(&[], Provisioning::Thin).is_err());
}

#[test]
fn third_party_copies_formats_and_sanitizing_are_unknown() {
    for opcode in [0x04, 0x48, 0x83, 0x84, 0x9c, 0xa4] {
        let found = find(&cdb(opcode, &[]), Provisioning::Thin);
        assert_eq!(found.err(), Some(Sense::illegal(SenseCode::INVALID_OPERATION_CODE)));
    }
}

#[test]
fn an_unknown_service_action_is_an_invalid_field() {
    for (opcode, known) in [(0x5e, 0..4), (0x5f, 0..7)] {
        for action in 0..0x20 {
            let found = find(&cdb(opcode, &[(1, action)]), Provisioning::Thin);
            let wrong = Sense::cdb_field(1, Some(4));
            assert_eq!(found.err(), (!known.contains(&action)).then_some(wrong), "{action:#x}");
        }
    }
}

#[test]
fn a_unit_without_thin_provisioning_knows_neither_unmap_nor_lba_status() {
    for (bytes, unknown) in [
        (cdb(0x42, &[]), Sense::illegal(SenseCode::INVALID_OPERATION_CODE)),
        (cdb(0x9e, &[(1, 0x12)]), Sense::cdb_field(1, Some(4))),
    ] {
        assert!(find(&bytes, Provisioning::Thin).is_ok());
        assert_eq!(find(&bytes, Provisioning::Full).err(), Some(unknown));
    }
}

#[test]
fn protection_bits_and_anchors_are_invalid_fields() {
    let protected = [0x28, 0x2a, 0x2e, 0x2f, 0x41, 0x88, 0x89, 0x8a, 0x8b, 0x8e, 0x8f, 0x93, 0xa8];
    for opcode in protected {
        for protect in 1..8 {
            let refused = check(&cdb(opcode, &[(1, protect << 5)])).unwrap_err();
            assert_eq!(refused.code, SenseCode::INVALID_FIELD_IN_CDB, "{opcode:#x}");
        }
    }
    for opcode in [0x41, 0x93] {
        assert_eq!(check(&cdb(opcode, &[(1, 0x18)])), Err(Sense::cdb_field(1, Some(4))));
    }
    assert_eq!(check(&cdb(0x42, &[(1, 0x01)])), Err(Sense::cdb_field(1, Some(0))));
}

#[test]
fn naca_is_refused_and_vendor_bits_of_the_control_byte_are_ignored() {
    for entry in &COMMANDS {
        let control = entry.usage.len() - 1;
        let action = entry.action.unwrap_or_default();
        let naca = cdb(entry.opcode(), &[(1, action), (control, 0x04)]);
        let byte = u16::try_from(control).unwrap();
        assert_eq!(check(&naca), Err(Sense::cdb_field(byte, Some(2))), "{entry:?}");
        let vendor = cdb(entry.opcode(), &[(1, action), (control, 0xc0)]);
        assert_eq!(check(&vendor), Ok(()), "{entry:?}");
    }
}

#[test]
fn every_bit_outside_the_usage_map_is_refused_and_every_bit_inside_is_not() {
    for entry in &COMMANDS {
        let first = if entry.action.is_some() { 2 } else { 1 };
        for (index, usage) in entry.usage.iter().enumerate().skip(first) {
            let is_control = index + 1 == entry.usage.len();
            let usage = if is_control { CONTROL_VENDOR } else { *usage };
            for bit in 0..8 {
                let action = entry.action.unwrap_or_default();
                let bytes = cdb(entry.opcode(), &[(1, action), (index, 1 << bit)]);
                assert_eq!(
                    check(&bytes).is_ok(),
                    usage & 1 << bit != 0,
                    "{entry:?}, {index}.{bit}"
                );
            }
        }
    }
}

#[test]
fn a_descriptor_block_that_is_cut_is_refused() {
    for entry in &COMMANDS {
        let whole = cdb(entry.opcode(), &[(1, entry.action.unwrap_or_default())]);
        for length in 2..entry.usage.len() {
            assert!(check(&whole[..length]).is_err(), "{entry:?} cut to {length}");
        }
        assert_eq!(check(&whole[..entry.usage.len()]), Ok(()), "{entry:?}");
    }
}
