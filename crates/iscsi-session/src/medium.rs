//! What a session's commands are executed on: a device, and the one thing more that disks can do.

use blockferry_block::Extent;
use blockferry_device::{Device, Failure};
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A device whose content can be changed depending on what it is, in one step.
pub trait Medium: Device {
    /// Executes the change so that no update by anybody comes between what it reads and what it writes.
    /// The extent lies inside the device, and is not empty.
    fn change(
        &self,
        extent: Extent,
        change: Change,
    ) -> BoxFuture<'static, Result<Changed, Failure>>;
}

/// What is to be changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Durable before it is answered.
    pub fua: bool,
}

/// How an extent is changed. All data is as long as the extent.
#[derive(Clone, Debug)]
pub enum ChangeKind {
    /// Written if the extent holds `expected`; nothing otherwise (COMPARE AND WRITE, SBC-3 5.3).
    CompareAndWrite {
        /// What has to be there.
        expected: Bytes,
        /// What is written then.
        data: Bytes,
    },
    /// Or'ed with what is there (ORWRITE, SBC-3 5.5).
    Or {
        /// The bits to set.
        data: Bytes,
    },
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Made,
    /// The extent holds something else than was expected.
    Differs {
        /// The first byte that differs, from the extent's start.
        at: u64,
    },
    /// Nobody can tell whether it was made: its initiator has to look.
    Unknown,
}

impl ChangeKind {
    /// What the change makes of what is there.
    ///
    /// # Errors
    /// The first byte that is not what was expected, from the extent's start.
    pub fn of(&self, found: &[u8]) -> Result<Bytes, u64> {
        match self {
            Self::CompareAndWrite { expected, data } => match first_difference(found, expected) {
                Some(at) => Err(at),
                None => Ok(data.clone()),
            },
            Self::Or { data } => {
                Ok(found.iter().zip(data).map(|(one, other)| one | other).collect())
            }
        }
    }
}

/// Where two texts of the same length differ first.
pub(crate) fn first_difference(one: &[u8], other: &[u8]) -> Option<u64> {
    if one == other {
        return None;
    }
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    Some(differs.unwrap_or_else(|| one.len().min(other.len())) as u64)
}
