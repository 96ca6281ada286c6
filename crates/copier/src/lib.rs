//! The ordered, address-checked copy between two ends. It knows nothing of the control API:
//! where to begin, and what to do when it halts, is decided by whoever has it run.

mod chunk;
mod end;
mod halt;
mod link;
mod local;
mod ordered;
mod pace;
mod pieces;
mod requests;

#[cfg(any(test, feature = "fake"))]
pub mod fake;

pub use end::{End, EndError, Side};
pub use halt::Halt;
pub use local::LocalEnd;
pub use ordered::{Manner, OrderedCopy};
pub use pace::Pace;
pub use pieces::LEAF;
