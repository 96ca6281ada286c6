//! What the tests of the whole project share: the tree they were built from, and how to read it; and
//! the cast, which is the real programs and what stands around them;
//! trials of that cast by the hundred; and losses of power, at every flush.
//!
//! The promises themselves are in `tests/tests`, one file each.

pub mod cast;
pub mod openapi;
pub mod power;
pub mod promises;
pub mod tree;
pub mod trials;
pub mod workspace;
