//! The kinds of requests, for wrappers that treat each differently.

use blockferry_device::Request;

/// A request without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Request::Read`].
    Read,
    /// [`Request::Write`].
    Write,
    /// [`Request::WriteZeroes`].
    WriteZeroes,
    /// [`Request::Trim`].
    Trim,
    /// [`Request::Flush`].
    Flush,
    /// [`Request::Cache`].
    Cache,
    /// [`Request::BlockStatus`].
    BlockStatus,
}

impl Kind {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = 7;

    /// The request's kind.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Read { .. } => Self::Read,
            Request::Write { .. } => Self::Write,
            Request::WriteZeroes { .. } => Self::WriteZeroes,
            Request::Trim { .. } => Self::Trim,
            Request::Flush => Self::Flush,
            Request::Cache { .. } => Self::Cache,
            Request::BlockStatus { .. } => Self::BlockStatus,
        }
    }

    /// Its place in an array of one element for each kind.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}
