//! What PERSISTENT RESERVE OUT takes and PERSISTENT RESERVE IN tells, byte for byte.

use super::*;

#[test]
fn reports_have_the_layout_of_the_standard() {
    let reservations = reserved(2, Some(ReservationType::WriteExclusiveRegistrantsOnly));
    assert_eq!(
        reservations.report(ReserveReport::Keys),
        [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    );
    assert_eq!(
        reservations.report(ReserveReport::Reservation),
        [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 5, 0, 0]
    );
    let capabilities = [0, 8, 0x05, 0x80, 0xea, 0x01, 0, 0];
    assert_eq!(reservations.report(ReserveReport::Capabilities), capabilities);
    let empty = Reservations::default();
    assert_eq!(empty.report(ReserveReport::Reservation), [0; 8]);
}

#[test]
fn the_key_of_a_reservation_of_all_registrants_is_zero() {
    let reservations = reserved(2, Some(ReservationType::ExclusiveAccessAllRegistrants));
    let report = reservations.report(ReserveReport::Reservation);
    assert_eq!(report[8..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
}

#[test]
fn full_status_names_every_port_and_marks_the_holder() {
    let reservations = reserved(2, Some(ReservationType::WriteExclusive));
    let report = reservations.report(ReserveReport::FullStatus);
    let transport_id = port(1).transport_id().to_vec();
    let length = 24 + transport_id.len();
    assert_eq!(report.len(), 8 + 2 * length);
    let (first, second) = report[8..].split_at(length);
    let id_length = u8::try_from(transport_id.len()).unwrap();
    let head = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, id_length];
    assert_eq!(first, [&head[..], &transport_id].concat());
    assert_eq!(second[12..14], [2, 0]);
}

#[test]
fn parameter_lists_are_24_bytes_and_name_no_other_ports() {
    let parse = |list: &[u8]| ReserveOut::parse(ReserveAction::Register, ScopeAndType(0), list);
    let mut list = vec![0; 24];
    list[7] = 1;
    list[15] = 2;
    list[20] = 0x05;
    let parsed = parse(&list).unwrap();
    assert_eq!((parsed.key, parsed.action_key, parsed.persistent), (Key(1), Key(2), true));
    for length in [0, 23, 25] {
        let mut other = list.clone();
        other.resize(length, 0);
        let refused = parse(&other).unwrap_err();
        assert_eq!(refused.code, SenseCode::PARAMETER_LIST_LENGTH, "{length}");
    }
    for flags in [0x08, 0x10, 0x02] {
        list[20] = flags;
        assert_eq!(parse(&list), Err(Sense::parameter_field(20)), "{flags:#x}");
    }
}
