//! What a keeper is told from outside, and what it gives back at its end.

use std::net::SocketAddr;
use std::process::ExitStatus;

use crate::estate::Estate;
use crate::message::ClientId;
use crate::seat::ClientSocket;

/// Where clients come in.
pub trait Door: Send + Sync + 'static {
    /// Their sockets.
    type Socket: ClientSocket;

    /// Where it is, as clients find it.
    fn address(&self) -> String;

    /// Why nobody can come in, in one line; `None` when everybody can.
    fn shut(&self) -> Option<String>;

    /// Waits until one that is shut is open, and does what there is to do for that. Cancelling the
    /// wait gives nothing up.
    fn opened(&self) -> impl Future<Output = ()> + Send;

    /// The next client at an open door, within whatever bounds there are. Cancelling the wait loses
    /// none.
    fn admit(&self) -> impl Future<Output = Admitted<Self::Socket>> + Send;
}

/// A client that came in.
pub struct Admitted<S> {
    /// Its socket.
    pub socket: S,
    /// Who it is, over a network.
    pub peer: Option<SocketAddr>,
    /// Its place within the bounds; dropped when it has gone.
    pub place: Box<dyn Send>,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Another worker, from the program that there is now.
    Reload,
    /// The end, in order.
    ShutDown,
    /// The end of this process alone: another keeper goes on with the clients.
    Leave,
}

/// How a keeper ended.
pub enum Outcome<D: Door> {
    /// As it was told to.
    Ended,
    /// As it was told to, with all that another keeper needs.
    Left(Box<Handover<D>>),
    /// No worker was ever able to serve; the last ended so, if it could be started at all.
    NeverServed(Option<ExitStatus>),
}

/// What a keeper leaves to another.
pub struct Handover<D: Door> {
    /// Where clients come in.
    pub door: D,
    /// How each conversation stands.
    pub estate: Estate,
    /// The clients' sockets.
    pub sockets: Vec<(ClientId, D::Socket)>,
}
