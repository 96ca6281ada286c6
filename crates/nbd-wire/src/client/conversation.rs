//! What a client wants of a handshake, and what comes of it.

use blockferry_device::DeviceInfo;
use blockferry_wire::TooShort;

use crate::codes::{OptionCode, ReplyCode};
use crate::fence::FenceRequest;
use crate::limits::EXPORT_BYTES_MAX;
use crate::request::Negotiated;
use crate::role::RoleClaim;
use crate::server::ExportEntry;

/// What the connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To use an export.
    Join {
        /// Its name; empty for the default export.
        export: String,
        /// Ask for `base:allocation`.
        block_status: bool,
        /// The role to claim.
        role: Option<RoleClaim>,
    },
    /// To list the exports.
    List,
    /// To fence a session.
    Fence(FenceRequest),
}

/// How much of the protocol is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// All of it.
    Full,
    /// Only `EXPORT_NAME`, for servers that close the connection at an option they do not know.
    Plain,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the connection is for.
    pub goal: Goal,
    /// How much of the protocol is tried.
    pub manners: Manners,
}

/// An export that was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What it is and can do.
    pub device: DeviceInfo,
    /// The framing.
    pub negotiated: Negotiated,
    /// Reads may ask for an answer in one piece.
    pub dont_fragment: bool,
    /// The server knows roles and accepted the claim.
    pub role_accepted: bool,
}

/// What came of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutcome {
    /// The transmission begins; bytes that are left in the input belong to it.
    Joined(Joined),
    /// The exports.
    Listed(Vec<ExportEntry>),
    /// The session is fenced, and durably so.
    Fenced,
    /// The server does not know fences.
    FenceUnsupported,
}

/// What the caller has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Send the output, then give more bytes.
    ReadMore,
    /// Send the output; the handshake is over.
    Finished(ClientOutcome),
}

/// Why the handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server refused an option that is needed. The output holds a good-bye to send.
    #[error("the server refused {option} with {code}: {message}")]
    Refused {
        /// The option.
        option: OptionCode,
        /// The error.
        code: ReplyCode,
        /// The server's text; may be empty.
        message: String,
    },
    /// The peer is no NBD server.
    #[error("expected an NBD server's greeting, got {0:#018x}")]
    NotNbd(u64),
    /// The server speaks the oldstyle negotiation, which has no names for exports.
    #[error("the server speaks the oldstyle negotiation, which is not supported")]
    Oldstyle,
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Broken(&'static str),
    /// The export's size cannot be.
    #[error("the server tells an export size of {0} bytes, more than {EXPORT_BYTES_MAX}")]
    Size(u64),
    /// Block sizes that the protocol does not allow.
    #[error("the server tells block sizes that cannot be: minimum {minimum}, maximum {maximum}")]
    BlockSizes {
        /// The minimum in bytes.
        minimum: u32,
        /// The maximum payload in bytes.
        maximum: u32,
    },
}

impl From<TooShort> for ClientError {
    fn from(_: TooShort) -> Self {
        Self::Broken("a reply ends early")
    }
}
