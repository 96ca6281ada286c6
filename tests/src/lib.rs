//! What the tests of the whole project share: the real programs, and the tree they were built from.
//!
//! The promises themselves are in `tests/tests`, one file each.

pub mod program;
pub mod promises;
pub mod tree;
pub mod workspace;
