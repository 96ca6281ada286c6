//! The numbers of options and option replies, with the names that a person knows.

use std::fmt;

use crate::constants as c;

/// The number of an option.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OptionCode(pub u32);

/// The number of an option reply.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyCode(pub u32);

impl ReplyCode {
    /// Whether it is an error.
    pub const fn is_error(self) -> bool {
        self.0 & c::REP_FLAG_ERROR != 0
    }
}

impl fmt::Display for OptionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            c::OPT_EXPORT_NAME => "NBD_OPT_EXPORT_NAME",
            c::OPT_ABORT => "NBD_OPT_ABORT",
            c::OPT_LIST => "NBD_OPT_LIST",
            c::OPT_STARTTLS => "NBD_OPT_STARTTLS",
            c::OPT_INFO => "NBD_OPT_INFO",
            c::OPT_GO => "NBD_OPT_GO",
            c::OPT_STRUCTURED_REPLY => "NBD_OPT_STRUCTURED_REPLY",
            c::OPT_LIST_META_CONTEXT => "NBD_OPT_LIST_META_CONTEXT",
            c::OPT_SET_META_CONTEXT => "NBD_OPT_SET_META_CONTEXT",
            c::OPT_EXTENDED_HEADERS => "NBD_OPT_EXTENDED_HEADERS",
            c::OPT_BLOCKFERRY_ROLE => "OPT_BLOCKFERRY_ROLE",
            c::OPT_BLOCKFERRY_FENCE => "OPT_BLOCKFERRY_FENCE",
            other => return write!(f, "option {other:#x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            c::REP_ACK => "NBD_REP_ACK",
            c::REP_SERVER => "NBD_REP_SERVER",
            c::REP_INFO => "NBD_REP_INFO",
            c::REP_META_CONTEXT => "NBD_REP_META_CONTEXT",
            c::REP_ERR_UNSUP => "NBD_REP_ERR_UNSUP",
            c::REP_ERR_POLICY => "NBD_REP_ERR_POLICY",
            c::REP_ERR_INVALID => "NBD_REP_ERR_INVALID",
            c::REP_ERR_PLATFORM => "NBD_REP_ERR_PLATFORM",
            c::REP_ERR_TLS_REQD => "NBD_REP_ERR_TLS_REQD",
            c::REP_ERR_UNKNOWN => "NBD_REP_ERR_UNKNOWN",
            c::REP_ERR_SHUTDOWN => "NBD_REP_ERR_SHUTDOWN",
            c::REP_ERR_BLOCK_SIZE_REQD => "NBD_REP_ERR_BLOCK_SIZE_REQD",
            c::REP_ERR_TOO_BIG => "NBD_REP_ERR_TOO_BIG",
            c::REP_ERR_EXT_HEADER_REQD => "NBD_REP_ERR_EXT_HEADER_REQD",
            other => return write!(f, "reply {other:#x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for OptionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
