//! What is carried along but is no part of a state.

use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// A value that two states may differ in and still be the same state: a number that only names
/// something, in whose order nothing but age shows.
#[derive(Clone, Copy, Debug)]
pub struct Skip<T>(pub T);

impl<T> PartialEq for Skip<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Skip<T> {}

impl<T> Hash for Skip<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T> PartialOrd for Skip<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Skip<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<T> Deref for Skip<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
