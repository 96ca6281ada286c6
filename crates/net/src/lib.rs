//! What servers over sockets share, whatever they speak: addresses, listeners with bounds on who is let
//! in, threads that connections stay on, memory to receive into, and waiting for what comes next.
//!
//! It knows no protocol. What becomes of a connection that was let in is decided by whoever serves it.

mod address;
mod awake;
mod census;
mod deadline;
mod limits;
mod listener;
mod room;
mod splice;
mod stream;
mod threads;

pub use address::{Address, BadAddress};
pub use awake::Awake;
pub use census::{Census, PlaceTaken};
pub use deadline::Deadline;
pub use limits::{Attention, BufferedPart, BufferedTotal, Limits};
pub use listener::{BindError, Listener};
pub use room::receive_into;
pub use splice::join;
pub use stream::{Peer, Stream};
pub use threads::{Place, Threads};
