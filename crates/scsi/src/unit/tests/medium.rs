//! Commands on the medium: which bytes they mean, and which data fit them.

use super::*;
use crate::work::{Compare, Pattern};

const BEYOND: (u8, u8, u8) = (5, 0x21, 0x00);
const INVALID: (u8, u8, u8) = (5, 0x24, 0x00);
const UNFIT: (u8, u8, u8) = (5, 0x0e, 0x03);
const PROTECTED: (u8, u8, u8) = (7, 0x27, 0x00);

fn extent(lba: u64, blocks: u64) -> Extent {
    Extent::between(lba * 512, (lba + blocks) * 512)
}

#[test]
fn reads_and_writes_mean_the_bytes_of_their_blocks() {
    let mut unit = unit();
    let medium = work(&mut unit, A, &sixteen(0x88, 0x08, 8, 16), 0);
    assert_eq!(medium.work, Work::Read { extent: extent(8, 16), fua: true });
    assert_eq!(medium.transfer, Transfer::back(8192));
    let medium = work(&mut unit, A, &sixteen(0x8a, 0, 8, 16), 8192);
    assert_eq!(medium.work, Work::Write { extent: extent(8, 16), fua: false });
    assert_eq!(medium.transfer, Transfer::out(8192));
    let medium = work(&mut unit, A, &[0x08, 0, 0, 1, 0, 0], 0);
    assert_eq!(medium.work, Work::Read { extent: extent(1, 256), fua: false });
}

/// Every command with an address, its length in blocks, and the data that it would take.
fn with_addresses(lba: u64, blocks: u32) -> Vec<([u8; 16], u64)> {
    let bytes = u64::from(blocks) * 512;
    let mut compare = sixteen(0x89, 0, lba, 0);
    compare[13] = u8::try_from(blocks).unwrap();
    vec![
        (sixteen(0x88, 0, lba, blocks), 0),
        (sixteen(0x8a, 0, lba, blocks), bytes),
        (sixteen(0x8b, 0, lba, blocks), bytes),
        (sixteen(0x8e, 0, lba, blocks), bytes),
        (sixteen(0x8f, 0x02, lba, blocks), bytes),
        (sixteen(0x90, 0, lba, blocks), 0),
        (sixteen(0x91, 0, lba, blocks), 0),
        (compare, 2 * bytes),
    ]
}

#[test]
fn the_last_block_is_reached_and_nothing_beyond_it() {
    let mut unit = unit();
    for (cdb, data) in with_addresses(BLOCKS - 1, 1) {
        let extent = work(&mut unit, A, &cdb, data).work.extent();
        assert_eq!(extent.map(Extent::end), Some(SIZE), "{:#x}", cdb[0]);
    }
    for lba in [BLOCKS - 1, BLOCKS, 1 << 63, u64::MAX] {
        for (cdb, data) in with_addresses(lba, 2) {
            let response = answer_with(&mut unit, A, &cdb, data);
            assert_eq!(sense(&response), BEYOND, "{:#x} at {lba}", cdb[0]);
        }
        let response = answer_with(&mut unit, A, &sixteen(0x93, 0, lba, 2), 512);
        assert_eq!(sense(&response), BEYOND);
    }
}

#[test]
fn no_blocks_are_nothing_to_do_wherever_a_block_could_be() {
    let mut unit = unit();
    for lba in [0, BLOCKS] {
        for (cdb, _) in with_addresses(lba, 0) {
            let begun = unit.begin(A, &cdb, 0);
            let flushes_the_rest = lba == 0 && matches!(cdb[0], 0x90 | 0x91);
            match begun.step {
                Step::Answer(response) => assert_eq!(response.status, Status::Good),
                Step::Medium(medium) if flushes_the_rest => {
                    assert_eq!(medium.work.extent(), Some(Extent::whole(SIZE)));
                }
                other => panic!("{:#x}: {other:?}", cdb[0]),
            }
        }
    }
    for (cdb, _) in with_addresses(BLOCKS + 1, 0) {
        assert_eq!(sense(&answer(&mut unit, A, &cdb)), BEYOND, "{:#x}", cdb[0]);
    }
}

#[test]
fn transfers_beyond_the_limit_that_is_told_are_refused() {
    let mut unit = unit();
    let most = u32::try_from(config().geometry.transfer_blocks_max()).unwrap();
    for opcode in [0x88, 0x8a, 0x8b, 0x8e, 0x8f] {
        let bytes = u64::from(most) * 512;
        let medium = work(&mut unit, A, &sixteen(opcode, 0, 0, most), bytes);
        assert_eq!(medium.work.extent(), Some(extent(0, most.into())));
        let response = answer_with(&mut unit, A, &sixteen(opcode, 0, 0, most + 1), bytes + 512);
        assert_eq!(sense(&response), INVALID, "{opcode:#x}");
    }
}

#[test]
fn a_write_with_fewer_data_writes_the_whole_blocks_of_them() {
    let mut unit = unit();
    for opcode in [0x8a, 0x8e] {
        let cdb = sixteen(opcode, 0, 8, 2);
        let medium = work(&mut unit, A, &cdb, 512);
        assert_eq!(medium.work.extent(), Some(extent(8, 1)));
        assert_eq!((medium.work.data_out(), medium.transfer), (512, Transfer::out(1024)));
        let medium = work(&mut unit, A, &cdb, 10_000);
        assert_eq!((medium.work.data_out(), medium.transfer), (1024, Transfer::out(1024)));
        let response = answer_with(&mut unit, A, &cdb, 0);
        assert_eq!((response.status, response.transfer), (Status::Good, Transfer::out(1024)));
    }
}

#[test]
fn a_write_with_part_of_a_block_writes_nothing_and_tells_what_is_missing() {
    let mut unit = unit();
    for data_out in [200, 513, 1023] {
        let response = answer_with(&mut unit, A, &sixteen(0x8a, 0, 8, 2), data_out);
        assert_eq!((sense(&response), response.transfer), (UNFIT, Transfer::out(1024)));
    }
}

#[test]
fn verifications_take_what_they_compare_with() {
    let mut unit = unit();
    for (flags, compare, data) in [
        (0x00, Compare::Nothing, 0),
        (0x02, Compare::Bytes, 1024),
        (0x06, Compare::Block { bytes: 512 }, 512),
    ] {
        let cdb = sixteen(0x8f, flags, 8, 2);
        let medium = work(&mut unit, A, &cdb, data);
        assert_eq!(medium.work, Work::Verify { extent: extent(8, 2), compare });
        assert_eq!((medium.work.data_out(), medium.transfer), (data, Transfer::out(data)));
        assert!(!medium.work.is_write());
        if data > 0 {
            assert_eq!(sense(&answer_with(&mut unit, A, &cdb, data - 1)), UNFIT);
        }
    }
}

#[test]
fn a_compare_and_write_has_exactly_two_halves() {
    let mut unit = unit();
    let mut cdb = sixteen(0x89, 0, 8, 0);
    // The last has a count of 256, of which its byte holds 0.
    for (blocks, data_out, fits) in [
        (1, 1024, true),
        (1, 2048, false),
        (3, 2048, false),
        (3, 3072, true),
        (1, 0, false),
        (0, 2 * 256 * 512, false),
    ] {
        cdb[13] = blocks;
        if fits {
            let medium = work(&mut unit, A, &cdb, data_out);
            let half = extent(8, blocks.into());
            assert_eq!(medium.work, Work::CompareAndWrite { extent: half, fua: false });
            assert_eq!(medium.work.data_out(), data_out);
        } else {
            let response = answer_with(&mut unit, A, &cdb, data_out);
            assert_eq!(sense(&response), INVALID, "{blocks} blocks with {data_out} bytes");
        }
    }
}

#[test]
fn an_or_write_needs_all_its_data() {
    let mut unit = unit();
    let cdb = sixteen(0x8b, 0x08, 8, 2);
    let medium = work(&mut unit, A, &cdb, 1024);
    assert_eq!(medium.work, Work::OrWrite { extent: extent(8, 2), fua: true });
    assert_eq!(sense(&answer_with(&mut unit, A, &cdb, 512)), UNFIT);
}

#[test]
fn a_write_same_has_one_block_of_data_or_none() {
    let mut unit = unit();
    let fua = false;
    let block = Pattern::Block { bytes: 512 };
    for (flags, data_out, pattern, unmap) in [
        (0x00, 512, block, false),
        (0x08, 512, block, true),
        (0x01, 0, Pattern::Zeroes, false),
        (0x09, 0, Pattern::Zeroes, true),
    ] {
        let medium = work(&mut unit, A, &sixteen(0x93, flags, 1, 7), data_out);
        let extent = extent(1, 7);
        assert_eq!(medium.work, Work::WriteSame { extent, pattern, unmap, fua });
        assert_eq!(medium.work.data_out(), data_out);
    }
    for data_out in [0, 256, 1024] {
        let response = answer_with(&mut unit, A, &sixteen(0x93, 0x08, 0, 1), data_out);
        assert_eq!(sense(&response), UNFIT);
    }
}

#[test]
fn a_write_same_of_no_blocks_or_too_many_is_refused() {
    let mut unit = unit();
    let most = u32::try_from(config().geometry.write_same_blocks_max()).unwrap();
    let medium = work(&mut unit, A, &sixteen(0x93, 0x09, 0, most), 0);
    assert_eq!(medium.work.extent(), Some(extent(0, most.into())));
    for blocks in [0, most + 1] {
        let response = answer(&mut unit, A, &sixteen(0x93, 0x09, 0, blocks));
        assert_eq!(sense(&response), INVALID);
    }
}

#[test]
fn a_unit_without_thin_provisioning_unmaps_nothing() {
    let mut unit = unit_of(UnitConfig { provisioning: Provisioning::Full, ..config() });
    let response = answer_with(&mut unit, A, &sixteen(0x93, 0x08, 0, 1), 512);
    assert_eq!(sense(&response), INVALID);
    let response = answer(&mut unit, A, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
    assert_eq!(sense(&response), (5, 0x20, 0x00));
    work(&mut unit, A, &sixteen(0x93, 0, 0, 1), 512);
}

/// UNMAP with these blocks.
fn unmap(unit: &mut LogicalUnit, ranges: &[(u64, u32)]) -> Step {
    let length = u16::try_from(ranges.len() * 16).unwrap();
    let mut list = (length + 6).to_be_bytes().to_vec();
    list.extend(length.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    let [high, low] = (length + 8).to_be_bytes();
    with_list(unit, A, &[0x42, 0, 0, 0, 0, 0, 0, high, low, 0], &list).step
}

#[test]
fn an_unmap_names_every_extent_that_is_not_empty() {
    let mut unit = unit();
    let Step::Medium(medium) = unmap(&mut unit, &[(8, 8), (BLOCKS, 0), (0, 1)]) else {
        panic!("nothing to unmap");
    };
    let extents = vec![extent(8, 8), extent(0, 1)];
    assert_eq!(medium.work, Work::Unmap { extents, fua: false });
    assert_eq!(medium.transfer, Transfer::out(56));
    for nothing in [&[][..], &[(BLOCKS, 0)]] {
        let Step::Answer(response) = unmap(&mut unit, nothing) else { panic!("{nothing:?}") };
        assert_eq!(response.status, Status::Good);
    }
}

#[test]
fn an_unmap_beyond_the_end_gives_nothing_back() {
    let mut unit = unit();
    for ranges in [[(0, 8), (BLOCKS - 1, 2)], [(u64::MAX, 1), (0, 8)]] {
        let Step::Answer(response) = unmap(&mut unit, &ranges) else { panic!("{ranges:?}") };
        assert_eq!(sense(&response), BEYOND);
    }
}

#[test]
fn a_status_is_asked_from_a_block_to_the_end_in_the_room_there_is() {
    let mut unit = unit();
    for (room, runs_max) in [(24, 1), (8, 1), (0, 1), (40, 2), (1 << 20, 256)] {
        let medium = work(&mut unit, A, &sixteen(0x9e, 0x12, 8, room), 0);
        let extent = Extent::between(4096, SIZE);
        let room = usize::try_from(room).unwrap();
        assert_eq!(medium.work, Work::LbaStatus { extent, runs_max, room });
    }
    for lba in [BLOCKS, BLOCKS + 1, 1 << 63, u64::MAX] {
        assert_eq!(sense(&answer(&mut unit, A, &sixteen(0x9e, 0x12, lba, 24))), BEYOND);
    }
}

#[test]
fn a_protected_volume_refuses_every_write_and_no_read() {
    let mut unit = unit_of(UnitConfig { read_only: true, ..config() });
    let mut compare = sixteen(0x89, 0, 0, 0);
    compare[13] = 1;
    let writes = [
        (sixteen(0x8a, 0, 0, 1), 512),
        (sixteen(0x8b, 0, 0, 1), 512),
        (sixteen(0x8e, 0, 0, 1), 512),
        (sixteen(0x93, 0x08, 0, 1), 512),
        (sixteen(0x93, 0x08, 0, 1), 0),
        (compare, 1024),
    ];
    for (cdb, data_out) in writes {
        let response = answer_with(&mut unit, A, &cdb, data_out);
        assert_eq!(sense(&response), PROTECTED, "{:#x}", cdb[0]);
    }
    let response = answer_with(&mut unit, A, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24);
    assert_eq!(sense(&response), PROTECTED);
    work(&mut unit, A, &sixteen(0x88, 0, 0, 1), 0);
    work(&mut unit, A, &sixteen(0x8f, 0, 0, 1), 0);
}

#[test]
fn a_unit_that_stops_flushes_everything_and_stays_ready() {
    let mut unit = unit();
    let medium = work(&mut unit, A, &[0x1b, 0, 0, 0, 0, 0], 0);
    assert_eq!(medium.work, Work::Flush { extent: Extent::whole(SIZE) });
    assert_eq!(answer(&mut unit, A, &[0x1b, 0, 0, 0, 1, 0]).status, Status::Good);
    assert_eq!(answer(&mut unit, A, &TEST_UNIT_READY).status, Status::Good);
}
