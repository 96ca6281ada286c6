//! What can go wrong with a request to a control server, each in one line.

use std::io;
use std::time::Duration;

use hyper::StatusCode;

use crate::ControlAddress;

/// A control request that failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no connection, or it broke. Whether a request that changes something was carried
    /// out is unknown then.
    #[error("cannot reach {address}: {source}; is the program there running?")]
    Unreachable {
        /// The server.
        address: ControlAddress,
        /// Why.
        source: io::Error,
    },
    /// No answer in time. Whether a request that changes something was carried out is unknown.
    #[error("{address} did not answer {path} within {after:?}; is it overloaded or cut off?")]
    TimedOut {
        /// The server.
        address: ControlAddress,
        /// What was asked for.
        path: String,
        /// How long it had.
        after: Duration,
    },
    /// The server understood and refused.
    #[error("{address} refused {path}: {message} ({status})")]
    Refused {
        /// The server.
        address: ControlAddress,
        /// What was asked for.
        path: String,
        /// HTTP's status.
        status: StatusCode,
        /// The server's line.
        message: String,
    },
    /// The answer, or the request, is not one of this protocol.
    #[error(
        "{address} and this program do not understand each other at {path}: {reason}; are they of the same version?"
    )]
    Protocol {
        /// The server.
        address: ControlAddress,
        /// What was asked for.
        path: String,
        /// What was unexpected.
        reason: String,
    },
}

impl ControlError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anything being changed: the server is
    /// away, slow, or said so (429, 502, 503, 504).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Protocol { .. } => false,
        }
    }
}
