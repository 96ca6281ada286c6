//! The ordered, address-checked copy between two connections. It knows nothing of the control API:
//! where to begin, and what to do when it halts, is decided in [`crate::migrate`].

mod chunk;
mod end;
mod halt;
mod ordered;
mod pace;
mod pieces;
mod requests;

#[cfg(test)]
pub(crate) mod fake;

pub(crate) use end::{End, EndError, Side};
pub(crate) use halt::Halt;
pub(crate) use ordered::{Manner, OrderedCopy};
pub(crate) use pace::Pace;
pub(crate) use pieces::LEAF;
