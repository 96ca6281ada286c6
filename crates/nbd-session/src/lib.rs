//! NBD sessions over real sockets: the serving side and the client side.
//!
//! [`serve`] and [`Listener`] put a [`blockferry_device::Device`] on the network; [`connect`] gives a
//! [`Link`], which is a device whose blocks are elsewhere. The protocol itself lives in
//! `blockferry-nbd-wire`; what an export is, who may open it and what a fence does is decided by the
//! [`Exports`] that a program brings.
//!
//! Architecture invariant: a request that was begun at a device is answered or waited for, never
//! dropped: [`serve`] returns only when nothing of its connection executes any more.

mod address;
mod borrowed;
mod calls;
mod census;
mod connect;
mod deadline;
mod driver;
mod engine;
mod exports;
mod greet;
mod kept;
mod limits;
mod link;
mod listener;
mod parked;
mod replay;
mod room;
mod serve;
mod slots;
mod split;
mod stream;
mod threads;

pub use address::{Address, BadAddress, BadUri, NbdUri};
pub use blockferry_nbd_wire::{
    ExportEntry, FenceRequest, Negotiated, OptionCode, Purpose, ReplyCode, Role, RoleClaim, Style,
};
pub use borrowed::Borrowed;
pub use census::{Census, PlaceTaken};
pub use connect::{ConnectError, ConnectOptions, FenceOutcome, connect, fence, list};
pub use exports::{Exports, Held, Hello, Hold, Kept, OpenError, Opened, Order, Pass, Turn};
pub use limits::Limits;
pub use link::{CallError, Link, LinkEnd};
pub use listener::{BindError, Listener};
pub use replay::Replay;
pub use serve::{KeptEnd, KeptLine, Resumed, resume, serve, serve_kept};
pub use stream::{Peer, Stream};
pub use threads::{Place, Threads};
