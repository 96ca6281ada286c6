//! What the tests of the whole project share: the tree they were built from, and how to read it.
//!
//! The promises themselves are in `tests/tests`, one file each.

pub mod promises;
pub mod tree;
pub mod workspace;
