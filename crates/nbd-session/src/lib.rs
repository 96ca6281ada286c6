//! NBD sessions over real sockets: the serving side and the client side.
//!
//! [`serve_all`] puts a [`blockferry_device::Device`] on the network; [`connect`] gives a
//! [`Link`], which is a device whose blocks are elsewhere. The protocol itself lives in
//! `blockferry-nbd-wire`; what an export is, who may open it and what a fence does is decided by the
//! [`Exports`] that a program brings.
//!
//! Architecture invariant: a request that was begun at a device is answered or waited for, never
//! dropped: [`serve`] returns only when nothing of its connection executes any more.

mod borrowed;
mod calls;
mod connect;
mod driver;
mod engine;
mod exports;
mod flow;
mod greet;
mod kept;
mod link;
mod parked;
mod replay;
mod serve;
mod slots;
mod split;
mod uri;

pub use blockferry_nbd_wire::{
    ExportEntry, FenceRequest, Negotiated, OptionCode, Purpose, ReplyCode, Role, RoleClaim, Style,
};
pub use borrowed::Borrowed;
pub use connect::{ConnectError, ConnectOptions, FenceOutcome, connect, fence, list};
pub use exports::{Exports, Held, Hello, Hold, Kept, OpenError, Opened, Order, Pass, Turn};
pub use flow::{Flow, FlowSender};
pub use link::{CallError, Content, Link, LinkEnd};
pub use replay::Replay;
pub use serve::{KeptEnd, KeptLine, Resumed, resume, serve, serve_all, serve_kept};
pub use uri::{BadUri, NbdUri};
