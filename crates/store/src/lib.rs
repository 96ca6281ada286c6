//! Backing stores: what holds a volume's bytes, as a [`blockferry_device::Device`].
//!
//! A store refuses what does not fit it, completes short reads and writes, and never reports a
//! write durable that may be lost. It orders nothing: overlapping requests are their caller's
//! concern, and it knows nothing of migrations.

mod error;
mod file;
mod kind;
mod memory;
mod pool;
mod remote;
mod segments;
mod spec;
mod store;
pub mod wrap;

pub use error::StoreError;
pub use file::FileStore;
pub use kind::Kind;
pub use memory::MemoryStore;
pub use remote::RemoteStore;
pub use spec::{StoreKind, open};
pub use store::Store;
