use proptest::prelude::*;

use super::*;
use crate::lun::Lun;
use crate::numbers::{Cid, Isid, Itt, Sequence, Serial, Tsih, Ttt};

#[test]
fn a_scsi_command_stands_where_the_rfc_has_it() {
    let command = ScsiCommand {
        immediate: true,
        last: true,
        read: false,
        write: true,
        attribute: Attribute::Simple,
        lun: Lun::from_number(3).unwrap(),
        itt: Itt(0x0102_0304),
        expected_length: 4096,
        cmd_sn: Serial(7),
        expected_stat_sn: Serial(9),
        cdb: [0x2a, 0, 0, 0, 0, 5, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
    };
    let header = command.encode();
    assert_eq!(header.0[..2], [0x41, 0xa1]);
    assert_eq!(header.0[8..16], [0, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(header.0[16..20], [1, 2, 3, 4]);
    assert_eq!(header.0[20..24], [0, 0, 0x10, 0]);
    assert_eq!(header.0[24..32], [0, 0, 0, 7, 0, 0, 0, 9]);
    assert_eq!(header.0[32..34], [0x2a, 0]);
    assert_eq!(ScsiCommand::decode(&header), command);
}

#[test]
fn a_data_in_with_status_stands_where_the_rfc_has_it() {
    let data = DataIn {
        last: true,
        acknowledge: false,
        end: Some((Status::GOOD, Residual::Underflow(512))),
        lun: Lun(0),
        itt: Itt(5),
        ttt: Ttt::NONE,
        sequence: sequence(),
        data_sn: 2,
        offset: 1024,
    };
    let header = data.encode();
    assert_eq!(header.0[..4], [0x25, 0x83, 0, 0]);
    assert_eq!(header.0[20..24], [0xff; 4]);
    assert_eq!(header.0[24..36], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    assert_eq!(header.0[36..48], [0, 0, 0, 2, 0, 0, 4, 0, 0, 0, 2, 0]);
}

#[test]
fn a_login_request_stands_where_the_rfc_has_it() {
    let request = LoginRequest {
        transit: true,
        continued: false,
        current: Stage::Operational,
        next: Stage::FullFeature,
        version_max: 0,
        version_min: 0,
        isid: Isid([0x80, 1, 2, 3, 4, 5]),
        tsih: Tsih(0),
        itt: Itt(6),
        cid: Cid(1),
        cmd_sn: Serial(8),
        expected_stat_sn: Serial(0),
    };
    let header = request.encode();
    assert_eq!(header.0[..4], [0x43, 0x87, 0, 0]);
    assert_eq!(header.0[8..16], [0x80, 1, 2, 3, 4, 5, 0, 0]);
    assert_eq!(header.0[20..24], [0, 1, 0, 0]);
}

#[test]
fn residuals_compare_what_is_expected_with_what_is_transferred() {
    let table = [
        (512, 512, Residual::None),
        (0, 0, Residual::None),
        (0, 512, Residual::Overflow(512)),
        (200, 512, Residual::Overflow(312)),
        (1024, 512, Residual::Underflow(512)),
        (10_000, 0, Residual::Underflow(10_000)),
        (1, 1 << 40, Residual::Overflow(u32::MAX)),
    ];
    for (expected, transfers, residual) in table {
        assert_eq!(Residual::of(expected, transfers), residual, "{expected} {transfers}");
    }
}

fn sequence() -> Sequence {
    Sequence { stat_sn: Serial(1), expected_cmd_sn: Serial(2), max_cmd_sn: Serial(3) }
}

fn header() -> impl Strategy<Value = Header> {
    (any::<[u8; 24]>(), any::<[u8; 24]>()).prop_map(|(first, second)| {
        let mut bytes = [0; Header::BYTES];
        bytes[..24].copy_from_slice(&first);
        bytes[24..].copy_from_slice(&second);
        Header(bytes)
    })
}

proptest! {
    #[test]
    fn what_is_understood_of_any_header_survives_being_written(header in header()) {
        if let Some(request) = Request::decode(&header) {
            prop_assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        if let Some(response) = Response::decode(&header) {
            prop_assert_eq!(Response::decode(&response.encode()), Some(response));
        }
    }

    #[test]
    fn an_operation_belongs_to_one_side_at_most(header in header()) {
        prop_assert!(Request::decode(&header).is_none() || Response::decode(&header).is_none());
    }
}
