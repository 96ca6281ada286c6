//! Login Request and Login Response (RFC 7143 sections 11.12 and 11.13).

use std::fmt;

use super::{CONTINUE, FINAL, when};
use crate::header::Header;
use crate::numbers::{Cid, Isid, Itt, Sequence, Serial, Tsih};
use crate::opcode::Opcode;

/// A stage of a connection (RFC 7143 section 11.12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Who is who.
    Security,
    /// What holds for the session.
    Operational,
    /// The reserved value.
    Reserved,
    /// The login is over.
    FullFeature,
}

impl Stage {
    const fn decode(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Security,
            1 => Self::Operational,
            2 => Self::Reserved,
            _ => Self::FullFeature,
        }
    }

    const fn encode(self) -> u8 {
        match self {
            Self::Security => 0,
            Self::Operational => 1,
            Self::Reserved => 2,
            Self::FullFeature => 3,
        }
    }
}

/// A Login Request. Its data is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// The initiator is ready for the next stage (T).
    pub transit: bool,
    /// The text goes on in the next request (C).
    pub continued: bool,
    /// The current stage (CSG).
    pub current: Stage,
    /// The next stage (NSG); means something only with `transit`.
    pub next: Stage,
    /// The highest version that the initiator speaks.
    pub version_max: u8,
    /// The lowest one.
    pub version_min: u8,
    /// The initiator's part of the session's identity.
    pub isid: Isid,
    /// The session to join; 0 for a new one.
    pub tsih: Tsih,
    /// The tag of the whole login.
    pub itt: Itt,
    /// The connection's number.
    pub cid: Cid,
    /// The number of the first command.
    pub cmd_sn: Serial,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
}

impl LoginRequest {
    /// The only request of a login that skips the security stage and wants nothing more than its text says:
    /// connection 0 of a new session.
    pub const fn straight(isid: Isid, itt: Itt, cmd_sn: Serial) -> Self {
        Self {
            transit: true,
            continued: false,
            current: Stage::Operational,
            next: Stage::FullFeature,
            version_max: 0,
            version_min: 0,
            isid,
            tsih: Tsih(0),
            itt,
            cid: Cid(0),
            cmd_sn,
            expected_stat_sn: Serial(0),
        }
    }

    /// Reads the fields.
    pub fn decode(header: &Header) -> Self {
        let flags = header.flags();
        Self {
            transit: flags & FINAL != 0,
            continued: flags & CONTINUE != 0,
            current: Stage::decode(flags >> 2),
            next: Stage::decode(flags),
            version_max: header.0[2],
            version_min: header.0[3],
            isid: isid(header),
            tsih: Tsih(header.u16(14)),
            itt: header.itt(),
            cid: Cid(header.u16(20)),
            cmd_sn: header.cmd_sn(),
            expected_stat_sn: header.expected_stat_sn(),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        let flags = flags(self.transit, self.continued, self.current, self.next);
        Header::new(Opcode::LOGIN_REQUEST)
            .immediate(true)
            .put(1, [flags, self.version_max, self.version_min])
            .put(8, self.isid.0)
            .put_u16(14, self.tsih.0)
            .put_u32(16, self.itt.0)
            .put_u16(20, self.cid.0)
            .put_u32(24, self.cmd_sn.0)
            .put_u32(28, self.expected_stat_sn.0)
    }
}

/// How a login stands: class and detail (RFC 7143 section 11.13.5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoginStatus(pub u16);

impl LoginStatus {
    /// It goes on, or has succeeded.
    pub const SUCCESS: Self = Self(0x0000);
    /// The target is elsewhere for now.
    pub const MOVED_TEMPORARILY: Self = Self(0x0101);
    /// The target is elsewhere for good.
    pub const MOVED_PERMANENTLY: Self = Self(0x0102);
    /// The initiator broke the protocol.
    pub const INITIATOR_ERROR: Self = Self(0x0200);
    /// The initiator has not proved who it is.
    pub const AUTHENTICATION_FAILED: Self = Self(0x0201);
    /// The initiator may not use the target.
    pub const NOT_ALLOWED: Self = Self(0x0202);
    /// There is no such target.
    pub const NOT_FOUND: Self = Self(0x0203);
    /// The target has been removed.
    pub const REMOVED: Self = Self(0x0204);
    /// No common version.
    pub const UNSUPPORTED_VERSION: Self = Self(0x0205);
    /// Too many connections of the session.
    pub const TOO_MANY_CONNECTIONS: Self = Self(0x0206);
    /// A key is missing that has to be there.
    pub const MISSING_PARAMETER: Self = Self(0x0207);
    /// The session type is not known.
    pub const SESSION_TYPE: Self = Self(0x0209);
    /// There is no such session.
    pub const NO_SUCH_SESSION: Self = Self(0x020a);
    /// Not a request that a login may have.
    pub const INVALID_REQUEST: Self = Self(0x020b);
    /// The target cannot serve now.
    pub const SERVICE_UNAVAILABLE: Self = Self(0x0301);
    /// The target has not enough of something.
    pub const OUT_OF_RESOURCES: Self = Self(0x0302);

    /// Whether the login goes on.
    pub const fn is_success(self) -> bool {
        self.0 >> 8 == 0
    }
}

impl fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::SUCCESS => "success",
            Self::MOVED_TEMPORARILY => "target moved temporarily",
            Self::MOVED_PERMANENTLY => "target moved permanently",
            Self::INITIATOR_ERROR => "initiator error",
            Self::AUTHENTICATION_FAILED => "authentication failure",
            Self::NOT_ALLOWED => "authorization failure",
            Self::NOT_FOUND => "target not found",
            Self::REMOVED => "target removed",
            Self::UNSUPPORTED_VERSION => "unsupported version",
            Self::TOO_MANY_CONNECTIONS => "too many connections",
            Self::MISSING_PARAMETER => "missing parameter",
            Self::SESSION_TYPE => "session type not supported",
            Self::NO_SUCH_SESSION => "session does not exist",
            Self::INVALID_REQUEST => "invalid during login",
            Self::SERVICE_UNAVAILABLE => "service unavailable",
            Self::OUT_OF_RESOURCES => "out of resources",
            Self(other) => return write!(f, "login status {other:#06x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A Login Response. Its data is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// The target is ready for the next stage, too (T).
    pub transit: bool,
    /// The text goes on in the next response (C).
    pub continued: bool,
    /// The current stage (CSG).
    pub current: Stage,
    /// The next stage (NSG).
    pub next: Stage,
    /// The highest version that the target speaks.
    pub version_max: u8,
    /// The version in use.
    pub version_active: u8,
    /// As in the request.
    pub isid: Isid,
    /// The session, in the last response; until then as in the request.
    pub tsih: Tsih,
    /// As in the request.
    pub itt: Itt,
    /// The target's numbers.
    pub sequence: Sequence,
    /// How the login stands.
    pub status: LoginStatus,
}

impl LoginResponse {
    /// Reads the fields.
    pub fn decode(header: &Header) -> Self {
        let flags = header.flags();
        Self {
            transit: flags & FINAL != 0,
            continued: flags & CONTINUE != 0,
            current: Stage::decode(flags >> 2),
            next: Stage::decode(flags),
            version_max: header.0[2],
            version_active: header.0[3],
            isid: isid(header),
            tsih: Tsih(header.u16(14)),
            itt: header.itt(),
            sequence: header.sequence(),
            status: LoginStatus(header.u16(36)),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        let flags = flags(self.transit, self.continued, self.current, self.next);
        Header::new(Opcode::LOGIN_RESPONSE)
            .put(1, [flags, self.version_max, self.version_active])
            .put(8, self.isid.0)
            .put_u16(14, self.tsih.0)
            .put_u32(16, self.itt.0)
            .put_sequence(self.sequence)
            .put_u16(36, self.status.0)
    }
}

const fn flags(transit: bool, continued: bool, current: Stage, next: Stage) -> u8 {
    when(transit, FINAL) | when(continued, CONTINUE) | current.encode() << 2 | next.encode()
}

fn isid(header: &Header) -> Isid {
    let mut isid = [0; 6];
    isid.copy_from_slice(&header.0[8..14]);
    Isid(isid)
}
