//! Units and sets that every other crate speaks in: extents of a volume, and the identities that
//! the migration protocol compares.
//!
//! Nothing here does I/O, and nothing here depends on another crate.

mod extent;
mod identity;
mod size;

pub use extent::{Extent, ExtentError};
pub use identity::{
    Attempt, BootId, ClaimEpoch, Generation, MigrationId, ParseIdentityError, SessionId, Token,
    VolumeName, VolumeNameError,
};
pub use size::{GIB, KIB, MIB};
