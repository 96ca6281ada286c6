//! A path to the owner of a volume that survives it: a [`Device`](blockferry_device::Device) whose
//! requests outlive the connection that carries them.
//!
//! The switch gives each client connection one, and the source each client session for which it
//! forwards after a commit. A [`Path`] keeps its unanswered requests; when its upstream is lost it
//! goes to wherever the owner is then, has the older generation of its session fenced there, and
//! sends them again ("Sessions and replay" in the design). Told to, it moves to another upstream
//! without holding a request ("Commit", step 4).
//!
//! It does not know where owners are, nor what a session may claim: that is the [`Fabric`]'s. The one
//! over real sockets is [`NbdFabric`].

mod delivery;
mod driver;
mod fabric;
mod fit;
mod generations;
pub mod machine;
mod nbd;
mod order;
mod path;
mod queue;
mod shared;
#[cfg(test)]
mod simulation;
mod table;

pub use delivery::{DeliveryOrder, Missing};
pub use fabric::{CallError, Fabric, FenceOutcome, Link, Opening, UpstreamError};
pub use fit::{Misfit, fits};
pub use generations::Generations;
pub use machine::NOT_THE_OWNER;
pub use nbd::{Locate, NbdFabric, NbdLink};
pub use order::WriteOrder;
pub use path::{Path, PathOptions, PathState, PathStatus, PrepareError};
pub use table::RequestId;
