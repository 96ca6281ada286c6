//! Pings of both sides (RFC 7143 sections 11.18 and 11.19).

use super::{Event, Session};
use crate::frame::Pdu;
use crate::lun::Lun;
use crate::numbers::{Itt, Ttt};
use crate::pdu::{NopIn, NopOut};

impl Session {
    /// Asks the initiator whether it is there; [`Event::Pong`] follows if it is. False when the last
    /// question has not been answered: then nothing is sent.
    pub fn ping(&mut self) -> bool {
        if self.ping.is_some() {
            return false;
        }
        let ttt = self.new_ttt();
        self.ping = Some(ttt);
        let sequence = self.window.sequence();
        let ping = NopIn { lun: Lun(0), itt: Itt::NONE, ttt, sequence };
        self.output.put_pdu(ping.encode(), &[], &[]);
        true
    }

    pub(super) fn nop_out(&mut self, pdu: &Pdu) {
        let nop = NopOut::decode(&pdu.header);
        if nop.ttt != Ttt::NONE && self.ping == Some(nop.ttt) {
            self.ping = None;
            self.events.push_back(Event::Pong);
        }
        if nop.itt == Itt::NONE {
            return;
        }
        let sequence = self.window.status();
        let answer = NopIn { lun: Lun(0), itt: nop.itt, ttt: Ttt::NONE, sequence };
        let length = pdu.data.len().min(self.parameters.initiator_segment_max as usize);
        let data = pdu.data.slice(..length);
        self.output.put_data_pdu(answer.encode(), length, std::iter::once(data));
    }
}
