//! Initiator ports: who reserves. A port outlives its sessions, and keeps its name when its volume
//! moves to another server.

use std::fmt;
use std::sync::Arc;

use crate::limits::{INITIATOR_NAME_BYTES_MAX, TRANSPORT_ID_BYTES_MAX};

/// An initiator port, as the bytes of its TransportID (SPC-4 7.6.4). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InitiatorPort(Arc<[u8]>);

/// Why bytes or a name do not identify an initiator port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPort {
    /// Too short or too long a name, or one with other than visible ASCII.
    #[error("an initiator's name has 1 to {INITIATOR_NAME_BYTES_MAX} visible ASCII characters")]
    Name,
    /// Not what this crate writes.
    #[error("the bytes are no TransportID of an iSCSI initiator port")]
    TransportId,
}

/// TPID FORMAT 01b (name and session identifier), protocol identifier 5h (iSCSI).
const ISCSI_PORT: u8 = 0x45;
/// Header of a TransportID: the format, a reserved byte, the length of what follows.
const HEADER_BYTES: usize = 4;
/// Least length of what follows the header (SPC-4 7.6.4.6).
const BODY_BYTES_MIN: usize = 20;

impl InitiatorPort {
    /// The port of an iSCSI initiator: its name, normalised, and the session's ISID (SPC-4 7.6.4.6,
    /// RFC 7143 section 4.4.1).
    ///
    /// # Errors
    /// [`BadPort::Name`] when the name is empty, longer than 223 bytes or not visible ASCII.
    pub fn iscsi(name: &str, isid: [u8; 6]) -> Result<Self, BadPort> {
        let fits = (1..=INITIATOR_NAME_BYTES_MAX).contains(&name.len());
        if !fits || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadPort::Name);
        }
        let mut bytes = vec![ISCSI_PORT, 0, 0, 0];
        bytes.extend(name.bytes());
        bytes.extend(b",i,0x");
        let digits = isid.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        bytes.extend(digits.map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        bytes.push(0);
        let padded = bytes.len().next_multiple_of(4).max(HEADER_BYTES + BODY_BYTES_MIN);
        bytes.resize(padded, 0);
        let body = u16::try_from(bytes.len() - HEADER_BYTES).unwrap_or(u16::MAX);
        bytes[2..4].copy_from_slice(&body.to_be_bytes());
        Ok(Self(bytes.into()))
    }

    /// Reads what [`InitiatorPort::transport_id`] gave.
    ///
    /// # Errors
    /// [`BadPort::TransportId`] when the bytes are not such a one, down to the last.
    pub fn from_transport_id(bytes: &[u8]) -> Result<Self, BadPort> {
        if bytes.len() > TRANSPORT_ID_BYTES_MAX {
            return Err(BadPort::TransportId);
        }
        let body = bytes.get(HEADER_BYTES..).ok_or(BadPort::TransportId)?;
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| BadPort::TransportId)?;
        let (name, isid) = text.rsplit_once(",i,0x").ok_or(BadPort::TransportId)?;
        let isid = parse_isid(isid).ok_or(BadPort::TransportId)?;
        let port = Self::iscsi(name, isid).map_err(|_| BadPort::TransportId)?;
        if *port.0 == *bytes { Ok(port) } else { Err(BadPort::TransportId) }
    }

    /// The TransportID, 24 to 248 bytes, a multiple of four.
    pub fn transport_id(&self) -> &[u8] {
        &self.0
    }
}

fn parse_isid(digits: &str) -> Option<[u8; 6]> {
    let is_hex = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    number.to_be_bytes().last_chunk().copied()
}

impl fmt::Display for InitiatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = &self.0[HEADER_BYTES..];
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        f.write_str(&String::from_utf8_lossy(text))
    }
}

impl fmt::Debug for InitiatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISID: [u8; 6] = [0x80, 0x01, 0x02, 0x03, 0x04, 0xff];

    #[test]
    fn a_transport_id_has_the_layout_of_the_standard() {
        let port = InitiatorPort::iscsi("iqn.a:b", ISID).unwrap();
        let mut expected = vec![0x45, 0, 0, 28];
        expected.extend(b"iqn.a:b,i,0x8001020304ff\0\0\0\0");
        assert_eq!(port.transport_id(), expected);
        assert_eq!(port.to_string(), "iqn.a:b,i,0x8001020304ff");
    }

    #[test]
    fn the_longest_name_fits_and_a_longer_one_is_refused() {
        let port = InitiatorPort::iscsi(&"x".repeat(223), ISID).unwrap();
        assert_eq!(port.transport_id().len(), TRANSPORT_ID_BYTES_MAX);
        assert_eq!(InitiatorPort::iscsi(&"x".repeat(224), ISID), Err(BadPort::Name));
        for name in ["", "a b", "a\0b", "ä"] {
            assert_eq!(InitiatorPort::iscsi(name, ISID), Err(BadPort::Name), "{name:?}");
        }
    }

    #[test]
    fn ports_of_one_initiator_differ_by_session_identifier() {
        let one = InitiatorPort::iscsi("iqn.a:b", ISID).unwrap();
        let other = InitiatorPort::iscsi("iqn.a:b", [0; 6]).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn a_transport_id_reads_back_and_a_changed_one_is_refused() {
        let port = InitiatorPort::iscsi("iqn.a,i,0x:b", ISID).unwrap();
        let bytes = port.transport_id();
        assert_eq!(InitiatorPort::from_transport_id(bytes), Ok(port.clone()));
        for index in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[index] = 0xff;
            let read = InitiatorPort::from_transport_id(&changed);
            assert_eq!(read, Err(BadPort::TransportId), "byte {index}");
        }
        for end in 0..bytes.len() {
            let read = InitiatorPort::from_transport_id(&bytes[..end]);
            assert_eq!(read, Err(BadPort::TransportId), "cut at {end}");
        }
    }
}
