//! Numbers that the two sides count and tag with.

/// A number that wraps around, compared as RFC 1982 has it (RFC 7143 section 4.2.2.1): `CmdSN`,
/// `StatSN` and what is expected of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Serial(pub u32);

impl Serial {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The number `count` further on.
    #[must_use]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The number `count` before this one.
    #[must_use]
    pub const fn minus(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// Whether it comes before the other. Two numbers half the circle apart have no order; this says
    /// yes.
    pub const fn precedes(self, other: Self) -> bool {
        let ahead = other.0.wrapping_sub(self.0);
        ahead != 0 && ahead <= 1 << 31
    }
}

/// What a target tells of its numbers in every PDU that is no mere piece of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// `StatSN`: the number of this status, or of the next one where the PDU carries none.
    pub stat_sn: Serial,
    /// `ExpCmdSN`: the next command that is expected.
    pub expected_cmd_sn: Serial,
    /// `MaxCmdSN`: the last command that will be taken.
    pub max_cmd_sn: Serial,
}

/// The Initiator Task Tag, by which an initiator knows a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Itt(pub u32);

impl Itt {
    /// The reserved value: no task.
    pub const NONE: Self = Self(u32::MAX);
}

/// The Target Transfer Tag, by which a target knows a transfer that it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ttt(pub u32);

impl Ttt {
    /// The reserved value: nothing was asked for.
    pub const NONE: Self = Self(u32::MAX);
}

/// The initiator's part of a session's identity (RFC 7143 section 11.12.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Isid(pub [u8; 6]);

/// The target's part of a session's identity; 0 asks for a new session (RFC 7143 section 11.12.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tsih(pub u16);

/// A connection of a session (RFC 7143 section 11.12.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cid(pub u16);

/// A target portal group tag: which of a target's addresses belong together (RFC 7143 section 13.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortalGroup(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_have_their_order_across_the_wrap() {
        assert!(Serial(1).precedes(Serial(2)));
        assert!(Serial(u32::MAX).precedes(Serial(0)));
        assert!(Serial(u32::MAX - 5).precedes(Serial(5)));
        assert!(!Serial(5).precedes(Serial(u32::MAX - 5)));
        assert!(!Serial(7).precedes(Serial(7)));
        assert_eq!(Serial(u32::MAX).next(), Serial(0));
        assert_eq!(Serial(0).minus(1), Serial(u32::MAX));
    }
}
