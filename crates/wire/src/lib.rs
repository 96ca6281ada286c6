//! What the codecs of every protocol share: bytes on their way to a peer, and fields of bytes that came
//! from one.

mod fields;
mod outbox;

pub use fields::{Fields, TooShort};
pub use outbox::Outbox;
