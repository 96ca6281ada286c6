//! Why the ordered copy stopped before the end.

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure};

use crate::end::{EndError, Side};

/// What stopped the copy. Nothing that was not acknowledged counts as written, so every halt is
/// followed by a look at the destination's reserved address, or by the end of the run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A connection is gone.
    #[error("lost the connection to {side} at {extent}: {reason}")]
    Lost {
        /// To whom.
        side: Side,
        /// What was asked for.
        extent: Extent,
        /// Why.
        reason: String,
    },
    /// The storage program does not accept this request from this connection (any more): it names the
    /// expected address (D2.5), an older claim epoch, or is about to leave.
    #[error("{side} refused {extent}: {failure}")]
    Refused {
        /// Who.
        side: Side,
        /// What was asked for.
        extent: Extent,
        /// Its words.
        failure: Failure,
    },
    /// The storage below failed.
    #[error("{extent} failed at {side}: {failure}")]
    Failed {
        /// Whose.
        side: Side,
        /// What was asked for.
        extent: Extent,
        /// Its words.
        failure: Failure,
    },
    /// The answer does not belong to the request.
    #[error("{side} answered a request for {extent} with {what}; is it of the same version?")]
    Malformed {
        /// Who.
        side: Side,
        /// What was asked for.
        extent: Extent,
        /// What came.
        what: String,
    },
}

impl Halt {
    /// The halt for a request that `side` did not carry out.
    pub fn from_end(side: Side, extent: Extent, error: EndError) -> Self {
        match error {
            EndError::Lost(reason) => Self::Lost { side, extent, reason },
            EndError::Refused(failure) => match failure.errno {
                Errno::Inval | Errno::Perm | Errno::Shutdown => {
                    Self::Refused { side, extent, failure }
                }
                _ => Self::Failed { side, extent, failure },
            },
        }
    }
}
