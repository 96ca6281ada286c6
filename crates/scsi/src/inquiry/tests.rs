//! Pages byte for byte.

use super::*;
use crate::codes::SenseCode;
use crate::geometry::{BlockLength, PhysicalBlock};

fn config(provisioning: Provisioning) -> UnitConfig {
    UnitConfig {
        identity: Identity {
            uuid: *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10",
            name: "vol".parse().unwrap(),
        },
        geometry: Geometry::new(1 << 30, BlockLength::B512, PhysicalBlock::B4096).unwrap(),
        provisioning,
        read_only: false,
        rotational: false,
    }
}

fn body(code: u8, config: &UnitConfig) -> Vec<u8> {
    let page = page(code, config).unwrap();
    let length = u16::try_from(page.len() - 4).unwrap();
    assert_eq!(page[..2], [0, code]);
    assert_eq!(page[2..4], length.to_be_bytes());
    page[4..].to_vec()
}

#[test]
fn standard_data_says_what_the_unit_is() {
    let data = standard();
    assert_eq!(data.len(), 96);
    assert_eq!(data[..8], [0x00, 0x00, 0x06, 0x12, 91, 0x00, 0x00, 0x02]);
    assert_eq!(data[8..36], *b"BLKFERRYVOLUME          0001");
    assert_eq!(data[36..58], [0; 22]);
    assert_eq!(data[58..66], [0x00, 0xa0, 0x04, 0x60, 0x04, 0xc0, 0x09, 0x60]);
    assert_eq!(data[66..], [0; 30]);
}

#[test]
fn the_list_of_pages_is_sorted_and_every_page_of_it_exists() {
    let config = config(Provisioning::Thin);
    let pages = body(0x00, &config);
    assert_eq!(pages, [0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2]);
    for code in 0..=u8::MAX {
        let exists = page(code, &config).map_err(|sense| sense.code);
        let unknown = SenseCode::INVALID_FIELD_IN_CDB;
        assert_eq!(exists.err(), (!pages.contains(&code)).then_some(unknown), "{code:#x}");
    }
}

#[test]
fn the_serial_number_is_the_volumes_own() {
    let serial = body(0x80, &config(Provisioning::Thin));
    assert_eq!(serial, b"0102030405060708090a0b0c0d0e0f10");
}

#[test]
fn the_unit_is_named_in_every_way_that_initiators_know() {
    let expected: [&[u8]; 10] = [
        // Locally assigned NAA name: 3h and both halves of the number laid over each other.
        &[0x01, 0x03, 0, 8],
        &[0x38, 0x08, 0x08, 0x08, 0x08, 0x08, 0x08, 0x18],
        // Vendor and serial number.
        &[0x02, 0x01, 0, 40],
        b"BLKFERRY0102030405060708090a0b0c0d0e0f10",
        // UUID.
        &[0x01, 0x0a, 0, 18],
        b"\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10",
        // The volume's name.
        &[0x02, 0x00, 0, 3],
        b"vol",
        // Relative target port.
        &[0x51, 0x94, 0, 4],
        &[0, 0, 0, 1],
    ];
    assert_eq!(body(0x83, &config(Provisioning::Thin)), expected.concat());
}

#[test]
fn extended_data_tells_of_task_attributes_and_of_the_cache() {
    let mut expected = vec![0x00, 0x07, 0x01, 0x01];
    expected.resize(60, 0);
    assert_eq!(body(0x86, &config(Provisioning::Thin)), expected);
}

#[test]
fn limits_are_told_in_blocks() {
    let mut expected = vec![0x01, 0xff, 0x00, 0x08];
    expected.extend(65_536_u32.to_be_bytes());
    expected.extend(2048_u32.to_be_bytes());
    expected.extend(0_u32.to_be_bytes());
    expected.extend((1_u32 << 20).to_be_bytes());
    expected.extend(256_u32.to_be_bytes());
    expected.extend(8_u32.to_be_bytes());
    expected.extend(0x8000_0000_u32.to_be_bytes());
    expected.extend(524_288_u64.to_be_bytes());
    expected.resize(60, 0);
    assert_eq!(body(0xb0, &config(Provisioning::Thin)), expected);
}

#[test]
fn limits_of_larger_blocks_are_the_same_bytes() {
    let geometry = Geometry::new(1 << 30, BlockLength::B4096, PhysicalBlock::B4096).unwrap();
    let limits = body(0xb0, &UnitConfig { geometry, ..config(Provisioning::Thin) });
    assert_eq!(limits[2..4], [0, 1]);
    assert_eq!(limits[4..8], 8192_u32.to_be_bytes());
    assert_eq!(limits[8..12], 256_u32.to_be_bytes());
    assert_eq!(limits[32..40], 65_536_u64.to_be_bytes());
}

#[test]
fn a_unit_that_cannot_give_space_back_promises_nothing_of_it() {
    let config = config(Provisioning::Full);
    assert_eq!(body(0xb0, &config)[16..32], [0; 16]);
    assert_eq!(body(0xb2, &config), [0, 0, 0, 0]);
}

#[test]
fn a_thin_unit_tells_how_space_is_given_back() {
    assert_eq!(body(0xb2, &config(Provisioning::Thin)), [0x00, 0xe4, 0x02, 0x00]);
}

#[test]
fn characteristics_tell_whether_the_medium_rotates() {
    let still = config(Provisioning::Thin);
    let characteristics = body(0xb1, &still);
    assert_eq!((characteristics.len(), &characteristics[..2]), (60, &[0, 1][..]));
    let rotating = UnitConfig { rotational: true, ..still };
    assert_eq!(body(0xb1, &rotating)[..2], 7200_u16.to_be_bytes());
}
