//! Logical unit numbers behind which there is nothing (SAM-5 5.11).

use crate::codes::SenseCode;
use crate::command::Command;
use crate::config::Provisioning;
use crate::response::{Response, Transfer};
use crate::sense::{Sense, SenseFormat};
use crate::{inquiry, reports, table};

/// Peripheral qualifier 3 and device type 1Fh: no device can be there (SPC-4 6.6.2).
const NO_DEVICE: u8 = 0x7f;

/// Answers a command to a logical unit number other than 0: who asks hears that nothing is there,
/// and REPORT LUNS says what is.
pub fn answer_absent(cdb: &[u8]) -> Response {
    let nothing = Sense::illegal(SenseCode::LOGICAL_UNIT_NOT_SUPPORTED);
    let command = table::find(cdb, Provisioning::Full)
        .ok()
        .filter(|entry| entry.passes_attentions())
        .map(|entry| Command::decode(entry, cdb));
    let answer = match command {
        Some(Ok(Command::Inquiry { page: None, allocation })) => {
            let mut data = inquiry::standard();
            data[0] = NO_DEVICE;
            Ok(allocation.cut(data))
        }
        Some(Ok(Command::RequestSense { format, allocation })) => {
            Ok(allocation.cut(nothing.encode(format).as_bytes().to_vec()))
        }
        Some(Ok(Command::ReportLuns { select, allocation })) => {
            reports::luns(select, allocation.0).map(|luns| allocation.cut(luns))
        }
        Some(Err(wrong)) => Err(wrong),
        _ => Err(nothing),
    };
    match answer {
        Ok(data) => Response::data(data),
        Err(sense) => Response::check(&sense, SenseFormat::Fixed, Transfer::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    #[test]
    fn an_inquiry_tells_that_no_device_can_be_there() {
        let response = answer_absent(&[0x12, 0, 0, 0, 96, 0]);
        assert_eq!(response.status, Status::Good);
        assert_eq!((response.data_in[0], response.data_in.len()), (0x7f, 96));
    }

    #[test]
    fn report_luns_works_everywhere() {
        let response = answer_absent(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(response.data_in, &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]);
    }

    #[test]
    fn request_sense_says_in_its_data_what_every_other_command_fails_with() {
        let response = answer_absent(&[0x03, 0, 0, 0, 18, 0]);
        assert_eq!((response.data_in[2], response.data_in[12]), (5, 0x25));
        for cdb in [&[0x00, 0, 0, 0, 0, 0][..], &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0xff]] {
            let response = answer_absent(cdb);
            assert_eq!(response.status, Status::CheckCondition);
            let sense = response.sense.unwrap();
            assert_eq!((sense.as_bytes()[2], sense.as_bytes()[12]), (5, 0x25), "{cdb:x?}");
        }
    }
}
