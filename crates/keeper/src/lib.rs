//! Keeps clients' sockets while the process that serves them dies, is upgraded and comes back.
//!
//! A switch is two processes. The *keeper* owns the listener and the clients' sockets, and knows
//! nothing of what is said over them; the *worker* is its child and does everything else. Between
//! them each client has a socket of its own:
//!
//! ```text
//!   client ◀── TCP ──▶ keeper ── the client's bytes ──▶ worker ◀── NBD ──▶ storage
//!                             ◀── whole answers ───────
//! ```
//!
//! The keeper retains what a client has sent until the worker settles it with an answer, and passes
//! an answer on only when it is there whole. Once a TCP client is through its handshake its worker reads
//! and writes the client's socket by itself, and leaves a record of it in memory that the two processes
//! share ([`Recorder`]), so that no request's way leads through two processes: the worker writes down what
//! it will take or send before it does, and at its death the kernel tells how far it has come. So when a worker dies, no client notices: the
//! next one is told what has no answer yet, and how each connection stands ([`Talk`]). What it must do
//! to make that right is the worker's business: fence what its predecessor sent, and keep the order.
//!
//! The keeper has nothing to fail on: it runs on one thread, parses nothing of a client's, and every
//! limit is a constant. An error of one connection ends that connection.

mod arrivals;
mod channel;
mod clock;
mod door;
mod estate;
mod frame;
mod keeper;
mod message;
mod outgoing;
mod pump;
mod record;
mod retained;
mod seat;
mod seats;
mod supervision;
mod talk;
mod worker;

pub use arrivals::{Arrivals, TooMany};
pub use channel::{Channel, Packet};
pub use clock::Clock;
pub use door::{Admitted, Door, Handover, Outcome, Wish};
pub use estate::{BadEstate, Estate};
pub use frame::{
    FRAME_BYTES_MAX, Frame, FrameDecoder, FrameError, FrameHeader, HEADER_BYTES, Kind,
    PASS_BYTES_MAX,
};
pub use keeper::Keeper;
pub use message::{
    ALIVE_EVERY, BadMessage, ClientId, MESSAGE_BYTES_MAX, PROTOCOL, ToKeeper, ToWorker,
};
pub use record::{Recorder, new_record, read_record};
pub use retained::{NotKept, PIECES_MAX, RETAINED_BYTES_MAX};
pub use seat::ClientSocket;
pub use supervision::Program;
pub use talk::{Fault, INCARNATION_MAX, Lost, Next, Resume, Talk};
