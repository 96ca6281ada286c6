//! Errors in NBD's terms: the closed set of values that a client can be told.

use std::borrow::Cow;
use std::fmt;

/// The error values of the NBD protocol ("Error values" in its specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errno {
    /// Operation not permitted: a write to a read-only export.
    Perm,
    /// Input/output error.
    Io,
    /// Cannot allocate memory.
    NoMem,
    /// Invalid argument.
    Inval,
    /// No space left on device, or a write beyond its end.
    NoSpc,
    /// Value too large.
    Overflow,
    /// Operation not supported: only for `FAST_ZERO`.
    NotSup,
    /// Server is in the process of being shut down.
    Shutdown,
}

impl Errno {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::Perm => 1,
            Self::Io => 5,
            Self::NoMem => 12,
            Self::Inval => 22,
            Self::NoSpc => 28,
            Self::Overflow => 75,
            Self::NotSup => 95,
            Self::Shutdown => 108,
        }
    }

    /// The value for a number from the wire; an unknown one counts as `EINVAL`, as the protocol asks.
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Perm,
            5 => Self::Io,
            12 => Self::NoMem,
            28 => Self::NoSpc,
            75 => Self::Overflow,
            95 => Self::NotSup,
            108 => Self::Shutdown,
            _ => Self::Inval,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Perm => "EPERM",
            Self::Io => "EIO",
            Self::NoMem => "ENOMEM",
            Self::Inval => "EINVAL",
            Self::NoSpc => "ENOSPC",
            Self::Overflow => "EOVERFLOW",
            Self::NotSup => "ENOTSUP",
            Self::Shutdown => "ESHUTDOWN",
        })
    }
}

/// A refused or failed request: what a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The error value.
    pub errno: Errno,
    /// One line for a person, carried in structured error chunks. May be empty.
    pub message: Cow<'static, str>,
}

impl Failure {
    /// A failure with a line that says what was expected.
    pub fn new(errno: Errno, message: impl Into<Cow<'static, str>>) -> Self {
        Self { errno, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.errno)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    /// Maps the operating system's error as the protocol asks: `EDQUOT` and `EFBIG` are `ENOSPC`;
    /// what has no NBD value is `EIO`.
    fn from(error: std::io::Error) -> Self {
        const ENOSPC: i32 = 28;
        const EFBIG: i32 = 27;
        const EDQUOT: i32 = 122;
        const EPERM: i32 = 1;
        const EROFS: i32 = 30;
        const ENOMEM: i32 = 12;
        let errno = match error.raw_os_error() {
            Some(ENOSPC | EFBIG | EDQUOT) => Errno::NoSpc,
            Some(EPERM | EROFS) => Errno::Perm,
            Some(ENOMEM) => Errno::NoMem,
            _ => Errno::Io,
        };
        Self::new(errno, error.to_string())
    }
}
