//! Every command as its standard draws it.

use super::*;
use crate::codes::SenseCode;
use crate::config::Provisioning;
use crate::mode::PageControl;
use crate::sense::Sense;
use crate::table;

/// A command descriptor block in hexadecimal, blanks ignored.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn decode(hex: &str) -> Result<Command, Sense> {
    let bytes = bytes(hex);
    Command::decode(table::find(&bytes, Provisioning::Thin)?, &bytes)
}

fn range(lba: u64, blocks: u32) -> Range {
    Range { lba: Lba(lba), blocks }
}

#[test]
fn reads_and_writes_of_every_form_are_understood() {
    let small = range(0x1f_0203, 0x04);
    assert_eq!(decode("08 1f0203 04 00"), Ok(Command::Read { range: small, fua: false }));
    assert_eq!(decode("0a 1f0203 04 00"), Ok(Command::Write { range: small, fua: false }));
    let ten = range(0x8102_0304, 0x0506);
    assert_eq!(decode("28 08 81020304 00 0506 00"), Ok(Command::Read { range: ten, fua: true }));
    assert_eq!(decode("2a 12 81020304 1f 0506 00"), Ok(Command::Write { range: ten, fua: false }));
    let twelve = range(0x8102_0304, 0x0506_0708);
    assert_eq!(
        decode("a8 10 81020304 05060708 00 00"),
        Ok(Command::Read { range: twelve, fua: false })
    );
    assert_eq!(
        decode("aa 08 81020304 05060708 00 00"),
        Ok(Command::Write { range: twelve, fua: true })
    );
    let sixteen = range(0x8102_0304_0506_0708, 0x090a_0b0c);
    assert_eq!(
        decode("88 08 8102030405060708 090a0b0c 00 00"),
        Ok(Command::Read { range: sixteen, fua: true })
    );
    assert_eq!(
        decode("8a 00 8102030405060708 090a0b0c 1f 00"),
        Ok(Command::Write { range: sixteen, fua: false })
    );
}

#[test]
fn verifications_tell_what_they_compare_with() {
    let sixteen = range(1, 2);
    for (bits, check) in
        [("00", ByteCheck::Medium), ("12", ByteCheck::Bytes), ("06", ByteCheck::Block)]
    {
        let verify = Command::Verify { range: sixteen, check };
        assert_eq!(decode(&format!("8f {bits} 0000000000000001 00000002 00 00")), Ok(verify));
        let verify = Command::Verify { range: sixteen, check };
        assert_eq!(decode(&format!("2f {bits} 00000001 00 0002 00")), Ok(verify));
        let verify = Command::Verify { range: sixteen, check };
        assert_eq!(decode(&format!("af {bits} 00000001 00000002 00 00")), Ok(verify));
    }
    for (bits, compare) in [("00", false), ("02", true)] {
        let verify = Command::WriteVerify { range: sixteen, compare };
        assert_eq!(decode(&format!("8e {bits} 0000000000000001 00000002 00 00")), Ok(verify));
        let verify = Command::WriteVerify { range: sixteen, compare };
        assert_eq!(decode(&format!("2e {bits} 00000001 00 0002 00")), Ok(verify));
        let verify = Command::WriteVerify { range: sixteen, compare };
        assert_eq!(decode(&format!("ae {bits} 00000001 00000002 00 00")), Ok(verify));
    }
}

#[test]
fn comparisons_that_the_standard_reserves_are_refused() {
    let refused = Err(Sense::cdb_field(1, Some(2)));
    assert_eq!(decode("8f 04 0000000000000001 00000002 00 00"), refused);
    assert_eq!(decode("8e 04 0000000000000001 00000002 00 00"), refused);
    assert_eq!(decode("8e 06 0000000000000001 00000002 00 00"), refused);
}

#[test]
fn the_other_commands_on_the_medium_are_understood() {
    let long = range(0x0102_0304_0506_0708, 0x0000_00ff);
    let short = range(0x0102_0304, 0xff);
    assert_eq!(
        decode("89 08 0102030405060708 000000 ff 00 00"),
        Ok(Command::CompareAndWrite { range: long, fua: true })
    );
    assert_eq!(
        decode("8b 00 0102030405060708 000000ff 00 00"),
        Ok(Command::OrWrite { range: long, fua: false })
    );
    assert_eq!(
        decode("93 09 0102030405060708 000000ff 00 00"),
        Ok(Command::WriteSame { range: long, unmap: true, no_data: true })
    );
    assert_eq!(
        decode("41 08 01020304 00 00ff 00"),
        Ok(Command::WriteSame { range: short, unmap: true, no_data: false })
    );
    assert_eq!(decode("42 00 00000000 00 0018 00"), Ok(Command::Unmap { length: 0x18 }));
    assert_eq!(decode("35 02 01020304 00 00ff 00"), Ok(Command::SynchronizeCache { range: short }));
    assert_eq!(
        decode("91 06 0102030405060708 000000ff 00 00"),
        Ok(Command::SynchronizeCache { range: long })
    );
    assert_eq!(decode("34 02 01020304 03 00ff 00"), Ok(Command::PreFetch { range: short }));
    assert_eq!(
        decode("90 00 0102030405060708 000000ff 00 00"),
        Ok(Command::PreFetch { range: long })
    );
    assert_eq!(
        decode("9e 12 0102030405060708 00000018 00 00"),
        Ok(Command::LbaStatus { from: long.lba, allocation: Allocation(0x18) })
    );
}

#[test]
fn what_asks_about_the_unit_is_understood() {
    let allocation = Allocation(0x0102);
    assert_eq!(decode("12 01 83 0102 00"), Ok(Command::Inquiry { page: Some(0x83), allocation }));
    assert_eq!(decode("12 00 00 0102 00"), Ok(Command::Inquiry { page: None, allocation }));
    assert_eq!(decode("12 00 83 0102 00"), Err(Sense::cdb_field(2, None)));
    let format = SenseFormat::Descriptor;
    let allocation = Allocation(0x12);
    assert_eq!(decode("03 01 0000 12 00"), Ok(Command::RequestSense { format, allocation }));
    assert_eq!(decode("25 00 00000000 00 0000 00"), Ok(Command::ReadCapacity10));
    let allocation = Allocation(0x0102_0304);
    assert_eq!(
        decode("9e 10 0000000000000000 01020304 00 00"),
        Ok(Command::ReadCapacity16 { allocation })
    );
    assert_eq!(
        decode("a0 00 02 000000 01020304 00 00"),
        Ok(Command::ReportLuns { select: 2, allocation })
    );
    assert_eq!(
        decode("a3 0d 80 000000 01020304 00 00"),
        Ok(Command::ReportTaskManagement { extended: true, allocation })
    );
    assert_eq!(
        decode("b7 1d 00000000 01020304 00 00"),
        Ok(Command::ReadDefectData { long: true, lists: 0x1d, allocation })
    );
    let allocation = Allocation(0x0102);
    assert_eq!(
        decode("37 00 1d 00000000 0102 00"),
        Ok(Command::ReadDefectData { long: false, lists: 0x1d, allocation })
    );
}

#[test]
fn commands_can_be_asked_for_in_four_ways() {
    let allocation = Allocation(0x200);
    for (options, query, timeouts) in [
        ("00", CommandQuery::All, false),
        ("80", CommandQuery::All, true),
        ("01", CommandQuery::Code(0x9e), false),
        ("02", CommandQuery::Action(0x9e, 0x0110), false),
        ("83", CommandQuery::Either(0x9e, 0x0110), true),
    ] {
        assert_eq!(
            decode(&format!("a3 0c {options} 9e 0110 00000200 00 00")),
            Ok(Command::ReportCommands { query, timeouts, allocation })
        );
    }
    assert_eq!(decode("a3 0c 04 9e 0110 00000200 00 00"), Err(Sense::cdb_field(2, Some(2))));
}

#[test]
fn mode_commands_of_both_forms_are_understood() {
    let query = ModeQuery {
        long: false,
        block_descriptor: false,
        long_lba: false,
        control: PageControl::Changeable,
        page: 0x0a,
        subpage: 0x01,
        allocation: Allocation(0xff),
    };
    assert_eq!(decode("1a 08 4a 01 ff 00"), Ok(Command::ModeSense(query)));
    let query = ModeQuery {
        long: true,
        block_descriptor: true,
        long_lba: true,
        control: PageControl::Saved,
        page: 0x3f,
        subpage: 0xff,
        allocation: Allocation(0x0102),
    };
    assert_eq!(decode("5a 10 ff ff 000000 0102 00"), Ok(Command::ModeSense(query)));
    assert_eq!(
        decode("15 11 0000 18 00"),
        Ok(Command::ModeSelect { long: false, save: true, length: 0x18 })
    );
    assert_eq!(
        decode("55 10 0000000000 0118 00"),
        Ok(Command::ModeSelect { long: true, save: false, length: 0x0118 })
    );
}

#[test]
fn mode_pages_of_a_vendors_own_format_are_refused() {
    assert_eq!(decode("15 00 0000 18 00"), Err(Sense::cdb_field(1, Some(4))));
}

#[test]
fn reservation_commands_are_understood() {
    let allocation = Allocation(0x0102);
    for (action, report) in [
        ("00", ReserveReport::Keys),
        ("01", ReserveReport::Reservation),
        ("02", ReserveReport::Capabilities),
        ("03", ReserveReport::FullStatus),
    ] {
        let command = Command::ReserveIn { report, allocation };
        assert_eq!(decode(&format!("5e {action} 0000000000 0102 00")), Ok(command));
    }
    for (action, meant) in [
        ("00", ReserveAction::Register),
        ("01", ReserveAction::Reserve),
        ("02", ReserveAction::Release),
        ("03", ReserveAction::Clear),
        ("04", ReserveAction::Preempt),
        ("05", ReserveAction::PreemptAndAbort),
        ("06", ReserveAction::RegisterAndIgnore),
    ] {
        let scope_and_type = ScopeAndType(0x05);
        let command = Command::ReserveOut { action: meant, scope_and_type, length: 24 };
        assert_eq!(decode(&format!("5f {action} 05 0000 00000018 00")), Ok(command));
    }
    for hex in ["16 00 0000 00 00", "56 00 00 0000000000 0000"] {
        assert_eq!(decode(hex), Ok(Command::Reserve));
    }
    for hex in ["17 00 0000 00 00", "57 00 00 0000000000 0000"] {
        assert_eq!(decode(hex), Ok(Command::Release));
    }
}

#[test]
fn a_unit_that_is_stopped_is_flushed_unless_it_need_not_be() {
    assert_eq!(decode("1b 01 0000 00 00"), Ok(Command::StartStop { flush: true }));
    assert_eq!(decode("1b 00 0000 04 00"), Ok(Command::StartStop { flush: false }));
    assert_eq!(decode("1b 00 0000 01 00"), Ok(Command::StartStop { flush: false }));
    for (hex, bit) in [("1b 00 0000 02 00", 1), ("1b 00 0000 31 00", 5)] {
        assert_eq!(decode(hex), Err(Sense::cdb_field(4, Some(bit))), "{hex}");
    }
}

#[test]
fn what_has_nothing_to_say_but_yes_is_understood() {
    assert_eq!(decode("00 00 0000 00 00"), Ok(Command::Ready));
    assert_eq!(decode("1d 04 0000 00 00"), Ok(Command::Ready));
    assert_eq!(decode("1e 00 0000 01 00"), Ok(Command::PreventAllow));
}

#[test]
fn bytes_after_a_descriptor_block_are_padding() {
    let padded = "28 00 00000001 00 0001 00 ffffffffffff";
    assert_eq!(decode(padded), Ok(Command::Read { range: range(1, 1), fua: false }));
}

#[test]
fn unknown_commands_are_refused_as_such() {
    for hex in ["04", "83", "84", "9c", "48", "ff"] {
        let refused = decode(hex).unwrap_err();
        assert_eq!(refused.code, SenseCode::INVALID_OPERATION_CODE, "{hex}");
    }
}
