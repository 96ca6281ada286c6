//! Where a login is sent instead (RFC 7143 section 11.13.5), as an initiator reads it.

use crate::frame::Pdu;
use crate::opcode::Opcode;
use crate::pdu::{LoginResponse, LoginStatus};
use crate::portal::PortalAddress;
use crate::text;

/// Where a Login Response sends the initiator; `None` when it does not.
pub fn redirect(response: &Pdu) -> Option<PortalAddress> {
    let moved = [LoginStatus::MOVED_TEMPORARILY, LoginStatus::MOVED_PERMANENTLY];
    let is_response = response.header.opcode() == Opcode::LOGIN_RESPONSE;
    if !is_response || !moved.contains(&LoginResponse::decode(&response.header).status) {
        return None;
    }
    let pairs = text::parse(&response.data).ok()?;
    let (_, address) = pairs.into_iter().find(|(key, _)| *key == "TargetAddress")?;
    address.parse().ok()
}
