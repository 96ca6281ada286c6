//! Mode pages byte for byte, and what can be changed of them.

use super::*;
use crate::codes::SenseCode;
use crate::geometry::{BlockLength, Geometry, PhysicalBlock};
use crate::sense::Sense;

fn geometry() -> Geometry {
    Geometry::new(1 << 20, BlockLength::B512, PhysicalBlock::B4096).unwrap()
}

fn query(page: u8, subpage: u8, control: PageControl) -> ModeQuery {
    ModeQuery {
        long: false,
        block_descriptor: false,
        long_lba: false,
        control,
        page,
        subpage,
        allocation: Allocation(255),
    }
}

fn ask(query: ModeQuery, modes: &Modes) -> Result<Vec<u8>, Sense> {
    sense::answer(&query, modes, &geometry(), modes.current.write_protect)
}

/// The pages without their header.
fn pages(page: u8, subpage: u8, control: PageControl) -> Vec<u8> {
    ask(query(page, subpage, control), &Modes::DEFAULT).unwrap()[4..].to_vec()
}

const CACHING: [u8; 20] = [0x88, 18, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CONTROL: [u8; 12] = [0x8a, 10, 0x02, 0x10, 0, 0, 0, 0, 0xff, 0xff, 0, 0];

#[test]
fn pages_have_the_bytes_of_their_standards() {
    assert_eq!(pages(0x08, 0, PageControl::Current), CACHING);
    assert_eq!(pages(0x0a, 0, PageControl::Current), CONTROL);
    let mut recovery = vec![0x01, 10];
    recovery.resize(12, 0);
    assert_eq!(pages(0x01, 0, PageControl::Current), recovery);
    let mut reconnect = vec![0x02, 14];
    reconnect.resize(16, 0);
    assert_eq!(pages(0x02, 0, PageControl::Current), reconnect);
    let mut extension = vec![0x4a, 0x01, 0, 28];
    extension.resize(32, 0);
    assert_eq!(pages(0x0a, 1, PageControl::Current), extension);
    let mut exceptions = vec![0x1c, 10, 0x08];
    exceptions.resize(12, 0);
    assert_eq!(pages(0x1c, 0, PageControl::Current), exceptions);
}

#[test]
fn what_can_be_changed_is_told_bit_by_bit() {
    let mut caching = [0; 20];
    caching[..3].copy_from_slice(&[0x88, 18, 0x04]);
    assert_eq!(pages(0x08, 0, PageControl::Changeable), caching);
    let control = [0x8a, 10, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(pages(0x0a, 0, PageControl::Changeable), control);
    let mut recovery = vec![0x01, 10];
    recovery.resize(12, 0);
    assert_eq!(pages(0x01, 0, PageControl::Changeable), recovery);
}

#[test]
fn all_pages_are_told_in_order_with_and_without_subpages() {
    let all = pages(0x3f, 0x00, PageControl::Current);
    assert_eq!(all.len(), 12 + 16 + 20 + 12 + 12);
    assert_eq!([all[0], all[12], all[28], all[48], all[60]], [0x01, 0x02, 0x88, 0x8a, 0x1c]);
    let with_subpages = pages(0x3f, 0xff, PageControl::Current);
    assert_eq!(with_subpages.len(), all.len() + 32);
    assert_eq!(with_subpages[60], 0x4a);
    let of_control = pages(0x0a, 0xff, PageControl::Current);
    assert_eq!((of_control.len(), of_control[12]), (44, 0x4a));
}

#[test]
fn pages_that_do_not_exist_are_refused_where_they_are_named() {
    for (page, subpage, byte) in
        [(0x00, 0x00, 2), (0x3e, 0x00, 2), (0x08, 0x01, 3), (0x3f, 0x01, 3), (0x1a, 0xff, 2)]
    {
        let refused = ask(query(page, subpage, PageControl::Current), &Modes::DEFAULT);
        let bit = (byte == 2).then_some(5);
        assert_eq!(refused, Err(Sense::cdb_field(byte, bit)), "{page:#x}/{subpage:#x}");
    }
}

#[test]
fn headers_count_what_follows_them_and_describe_blocks() {
    let short = ModeQuery { block_descriptor: true, ..query(0x0a, 0, PageControl::Current) };
    let answer = ask(short, &Modes::DEFAULT).unwrap();
    assert_eq!(answer[..12], [23, 0, 0x10, 8, 0, 0, 8, 0, 0, 0, 2, 0]);
    assert_eq!(answer[12..], CONTROL);
    let long = ModeQuery { long: true, ..short };
    let answer = ask(long, &Modes::DEFAULT).unwrap();
    assert_eq!(answer[..16], [0, 26, 0, 0x10, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0]);
    let longer = ModeQuery { long_lba: true, ..long };
    let answer = ask(longer, &Modes::DEFAULT).unwrap();
    assert_eq!(answer[..8], [0, 34, 0, 0x10, 1, 0, 0, 16]);
    assert_eq!(answer[8..24], [0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(answer[24..], CONTROL);
}

#[test]
fn a_protected_unit_says_so_in_the_header() {
    let mut modes = Modes::DEFAULT;
    modes.current.write_protect = true;
    let answer = ask(query(0x0a, 0, PageControl::Current), &modes).unwrap();
    assert_eq!((answer[2], answer[8]), (0x90, 0x08));
    let saved = ask(query(0x0a, 0, PageControl::Saved), &modes).unwrap();
    assert_eq!(saved[8], 0);
}

fn select(list: &[u8], long: bool) -> Result<Settings, Sense> {
    select::settings(list, long, &geometry(), Settings::DEFAULT)
}

/// A parameter list of MODE SELECT (6) without block descriptor.
fn list(pages: &[&[u8]]) -> Vec<u8> {
    [&[0; 4], &pages.concat()[..]].concat()
}

#[test]
fn what_mode_sense_tells_mode_select_takes_unchanged() {
    for (long, block_descriptor, long_lba) in [
        (false, false, false),
        (false, true, false),
        (true, false, false),
        (true, true, false),
        (true, true, true),
    ] {
        let all = query(0x3f, 0xff, PageControl::Current);
        let asked = ModeQuery { long, block_descriptor, long_lba, ..all };
        let list = ask(asked, &Modes::DEFAULT).unwrap();
        assert_eq!(select(&list, long), Ok(Settings::DEFAULT), "{asked:?}");
    }
}

#[test]
fn each_setting_can_be_changed_by_its_bit() {
    let mut caching = CACHING;
    caching[2] = 0;
    let mut control = CONTROL;
    control[2] |= 0x04;
    control[4] |= 0x08;
    let changed = Settings { write_cache: false, descriptor_sense: true, write_protect: true };
    assert_eq!(select(&list(&[&caching, &control]), false), Ok(changed));
    let cache_only = Settings { write_cache: false, ..Settings::DEFAULT };
    assert_eq!(select(&list(&[&caching]), false), Ok(cache_only));
    assert_eq!(select(&[], false), Ok(Settings::DEFAULT));
}

#[test]
fn a_change_of_anything_else_is_refused_at_its_byte_and_changes_nothing() {
    let mut caching = CACHING;
    caching[2] = 0;
    for byte in 2..12 {
        for bit in 0..8 {
            let changeable = (byte == 2 && bit == 2) || (byte == 4 && bit == 3);
            let mut control = CONTROL;
            control[byte] ^= 1 << bit;
            let outcome = select(&list(&[&caching, &control]), false);
            let refused = Err(Sense::parameter_field(4 + 20 + byte));
            assert_eq!(outcome == refused, !changeable, "{byte}.{bit}: {outcome:?}");
        }
    }
}

#[test]
fn a_list_that_is_cut_is_refused_wherever_it_is_cut() {
    let whole = list(&[&CACHING, &CONTROL]);
    let between_pages = [4, 24];
    for end in 1..whole.len() {
        let outcome = select(&whole[..end], false).map_err(|sense| sense.code);
        let refused = Err(SenseCode::PARAMETER_LIST_LENGTH);
        assert_eq!(outcome == refused, !between_pages.contains(&end), "cut at {end}");
    }
}

#[test]
fn unknown_pages_and_wrong_lengths_are_refused() {
    assert_eq!(select(&list(&[&[0x3e, 2, 0, 0]]), false), Err(Sense::parameter_field(4)));
    let mut caching = CACHING;
    caching[1] = 17;
    assert_eq!(select(&list(&[&caching]), false), Err(Sense::parameter_field(5)));
    assert_eq!(select(&list(&[&[0x48, 1, 0, 1, 0]]), false), Err(Sense::parameter_field(4)));
}

#[test]
fn neither_size_nor_block_length_can_be_changed() {
    let describe = |blocks: u32, block: u32| {
        let mut list = vec![0, 0, 0, 8];
        list.extend(blocks.to_be_bytes());
        list.extend(block.to_be_bytes());
        select(&list, false)
    };
    for blocks in [0, 2048, u32::MAX] {
        assert_eq!(describe(blocks, 512), Ok(Settings::DEFAULT));
    }
    assert_eq!(describe(2047, 512), Err(Sense::parameter_field(4)));
    assert_eq!(describe(2048, 4096), Err(Sense::parameter_field(4)));
    assert_eq!(select(&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], false), Err(Sense::parameter_field(3)));
}

#[test]
fn a_reset_goes_back_to_what_was_saved() {
    let saved = Settings { write_cache: false, ..Settings::DEFAULT };
    let current = Settings { write_protect: true, ..Settings::DEFAULT };
    let mut modes = Modes { current, saved };
    modes.reset();
    assert_eq!(modes, Modes { current: saved, saved });
}
