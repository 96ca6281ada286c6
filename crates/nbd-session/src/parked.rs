//! Requests of a served connection whose answers are not ready.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use blockferry_device::{Answer, Failure, Reply, Request};
use blockferry_nbd_wire::RequestHeader;

use crate::kept::Origin;

/// One of them.
pub(crate) struct Parked {
    pub(crate) header: RequestHeader,
    /// Bytes that it holds, or will hold when it is answered.
    pub(crate) charge: u64,
    pub(crate) origin: Origin,
    pub(crate) answer: Answer,
}

/// What became of one.
pub(crate) struct Answered {
    pub(crate) header: RequestHeader,
    pub(crate) charge: u64,
    pub(crate) origin: Origin,
    pub(crate) outcome: Result<Reply, Failure>,
}

impl Future for Parked {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let outcome = ready!(Pin::new(&mut self.answer).poll(cx));
        let origin = std::mem::take(&mut self.origin);
        Poll::Ready(Answered { header: self.header, charge: self.charge, origin, outcome })
    }
}

/// The bytes that a request holds, or will hold when it is answered.
pub(crate) fn charge(request: &Request) -> u64 {
    match request {
        Request::Read { extent, .. } => extent.len(),
        Request::Write { data, .. } => data.len() as u64,
        _ => 0,
    }
}
