//! What a login negotiates once the target is served, in the security and the operational stage.

use super::security::{self, Security};
use super::{Inquiry, Refusal};
use crate::negotiation::{Negotiation, Outcome, REJECT};
use crate::numbers::{PortalGroup, Tsih};
use crate::pdu::Stage;
use crate::text;

#[derive(Debug)]
pub(super) struct Negotiating {
    pub(super) who: Inquiry,
    pub(super) tsih: Tsih,
    pub(super) stage: Stage,
    pub(super) security: Security,
    pub(super) negotiation: Negotiation,
    pub(super) group_told: bool,
    pub(super) segment_told: bool,
}

impl Negotiating {
    /// What a target tells unasked: its portal group at the beginning, and in the operational stage
    /// how much data a PDU to it may carry.
    pub(super) fn tell(&mut self, group: PortalGroup, answers: &mut Vec<u8>) {
        if !self.group_told {
            text::put(answers, "TargetPortalGroupTag", group.0.to_string());
            self.group_told = true;
        }
        if self.stage == Stage::Operational && !self.segment_told {
            text::put(answers, "MaxRecvDataSegmentLength", self.negotiation.declare());
            self.segment_told = true;
        }
    }

    /// Takes one request's pairs. True when the stage may end.
    pub(super) fn take(
        &mut self,
        pairs: &[(&str, &str)],
        transit: bool,
        answers: &mut Vec<u8>,
    ) -> Result<bool, Refusal> {
        let in_security = self.stage == Stage::Security;
        let ready = self.security.take(pairs, in_security, transit, answers)?;
        for (key, value) in pairs {
            match *key {
                // Who it is was said at the beginning, and does not change.
                "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType" => {}
                "SendTargets" => text::put(answers, key, REJECT),
                key if security::is_key(key) => {}
                key => match self.negotiation.offered(key, value) {
                    Outcome::Agreed(value) => text::put(answers, key, value),
                    Outcome::Refused(word) => text::put(answers, key, word),
                    Outcome::Declared => {}
                },
            }
        }
        Ok(ready)
    }
}
