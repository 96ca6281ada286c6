//! What the server's handshake asks its caller, and what it is told.

use blockferry_device::DeviceInfo;

use crate::codes::{OptionCode, ReplyCode};
use crate::constants as c;
use crate::fence::FenceRequest;
use crate::limits::{OPTION_BYTES_MAX, OPTIONS_MAX};
use crate::option_data::BadOption;
use crate::request::Negotiated;
#[cfg(doc)]
use crate::server::ServerHandshake;

/// One line of a list of exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportEntry {
    /// The export's name.
    pub name: String,
    /// A text for a person; may be empty.
    pub description: String,
}

/// What a client is told of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// The canonical name.
    pub name: String,
    /// A text for a person; may be empty.
    pub description: String,
    /// The device behind it.
    pub device: DeviceInfo,
}

/// Why an export is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Only to tell about it: no request will follow.
    Info,
    /// For requests.
    Go,
}

/// An error reply to an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error.
    pub code: ReplyCode,
    /// A line for a person; cut at 4,096 bytes.
    pub message: String,
}

/// What the caller has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerStep {
    /// Send the output, then give more bytes.
    ReadMore,
    /// Answer with [`ServerHandshake::answer_list`].
    List,
    /// Open the export and answer with [`ServerHandshake::answer_open`].
    Open {
        /// As the client spelled it; empty means the default export.
        name: String,
        /// Why.
        purpose: Purpose,
    },
    /// Make the fence durable, then answer with [`ServerHandshake::answer_fence`].
    Fence(FenceRequest),
    /// Send the output; the transmission begins with the export that was opened last. Bytes that
    /// are left in the input belong to it.
    Transmit(Negotiated),
    /// Send the output, then close: the client has said good-bye.
    Ended,
}

/// Why the connection must be dropped: the client's fault, except for
/// [`ServerError::CannotRefuse`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Client flags that were not offered ("Client flags").
    #[error("the client set flags {0:#x}, which were not offered")]
    ClientFlags(u32),
    /// An option that does not begin with `IHAVEOPT`.
    #[error("expected an option's magic, got {0:#x}")]
    OptionMagic(u64),
    /// More than [`OPTION_BYTES_MAX`] bytes of data.
    #[error("{option} announces {length} bytes of data, more than {OPTION_BYTES_MAX}")]
    OptionTooLong {
        /// The option.
        option: OptionCode,
        /// The announced length in bytes.
        length: u32,
    },
    /// More than [`OPTIONS_MAX`] options.
    #[error("the client sent more than {OPTIONS_MAX} options")]
    TooManyOptions,
    /// Without fixed newstyle only `EXPORT_NAME` may be sent.
    #[error("{0} came without fixed newstyle, which leaves no way to answer it")]
    NotFixed(OptionCode),
    /// `EXPORT_NAME` with a bad name or after extended headers, which has no error reply.
    #[error("NBD_OPT_EXPORT_NAME cannot be answered: {0}")]
    ExportName(&'static str),
    /// The export was refused, and `EXPORT_NAME` has no error reply.
    #[error("NBD_OPT_EXPORT_NAME was refused: {0}")]
    CannotRefuse(String),
}

impl Refusal {
    /// `NBD_REP_ERR_UNKNOWN`
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { code: ReplyCode(c::REP_ERR_UNKNOWN), message: message.into() }
    }

    /// `NBD_REP_ERR_POLICY`
    pub fn policy(message: impl Into<String>) -> Self {
        Self { code: ReplyCode(c::REP_ERR_POLICY), message: message.into() }
    }

    /// `NBD_REP_ERR_INVALID`
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: ReplyCode(c::REP_ERR_INVALID), message: message.into() }
    }

    /// `NBD_REP_ERR_SHUTDOWN`
    pub fn shutdown() -> Self {
        Self {
            code: ReplyCode(c::REP_ERR_SHUTDOWN),
            message: "the server is shutting down".to_owned(),
        }
    }

    pub(super) fn unsupported() -> Self {
        Self {
            code: ReplyCode(c::REP_ERR_UNSUP),
            message: "this server does not know the option".to_owned(),
        }
    }
}

impl From<BadOption> for Refusal {
    fn from(bad: BadOption) -> Self {
        let code = match bad {
            BadOption::TooManyQueries => c::REP_ERR_TOO_BIG,
            _ => c::REP_ERR_INVALID,
        };
        Self { code: ReplyCode(code), message: bad.to_string() }
    }
}
