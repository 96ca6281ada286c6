//! Requests that are longer than a server takes in one piece.

use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{Reply, Request};
use blockferry_nbd_wire::{Joined, Style, in_one_piece};
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::oneshot;

use crate::calls::Shared;
use crate::link::CallError;

/// Largest effect of a compact request without payload, in bytes: 32 bits, rounded down so that
/// pieces stay aligned to any block size.
const COMPACT_EFFECT_MAX: u64 = 2 << 30;
/// Pieces of one request under way at one time.
const PIECES_IN_FLIGHT: usize = 8;

/// The request's pieces; `None` when it goes as it is.
pub(crate) fn pieces(request: &Request, joined: &Joined) -> Option<Vec<Extent>> {
    let payload_max = u64::from(joined.device.payload_max);
    let extent = request.extent()?;
    let piece = match request {
        Request::Read { .. } | Request::Write { .. } => payload_max,
        _ if joined.negotiated.style == Style::Extended => return None,
        // An answer to these two may cover less than was asked for.
        Request::BlockStatus { .. } | Request::Cache { .. } => {
            let cut =
                Extent::between(extent.start(), extent.start().saturating_add(COMPACT_EFFECT_MAX));
            return (extent.len() > COMPACT_EFFECT_MAX).then(|| vec![cut]);
        }
        _ => COMPACT_EFFECT_MAX,
    };
    (extent.len() > piece).then(|| extent.pieces(piece).collect())
}

/// Sends the pieces from a task of their own, so that a dropped answer leaves none of them behind.
pub(crate) fn run(
    shared: &Arc<Shared>,
    request: Request,
    pieces: Vec<Extent>,
) -> oneshot::Receiver<Result<Reply, CallError>> {
    let (answer, receiver) = oneshot::channel();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        // Nobody may be waiting any more.
        let _ = answer.send(run_pieces(&shared, &request, pieces).await);
    });
    receiver
}

async fn run_pieces(
    shared: &Shared,
    request: &Request,
    pieces: Vec<Extent>,
) -> Result<Reply, CallError> {
    let mut waiting = pieces.into_iter().map(|extent| shared.call(piece(request, extent)));
    let mut running: FuturesOrdered<_> = waiting.by_ref().take(PIECES_IN_FLIGHT).collect();
    let mut whole = Reply::Done;
    let mut outcome = Ok(());
    while let Some(answer) = running.next().await {
        match answer {
            Ok(reply) => append(&mut whole, reply),
            Err(error) => outcome = outcome.and(Err(error)),
        }
        if outcome.is_ok() {
            running.extend(waiting.next());
        }
    }
    outcome.map(|()| joined(request, whole))
}

/// The part of the request that lies in the extent.
fn piece(request: &Request, extent: Extent) -> Request {
    match *request {
        Request::Read { .. } => Request::Read { extent, dont_fragment: false },
        Request::Write { offset, ref data, fua } => {
            let start = usize::try_from(extent.start() - offset).unwrap_or(usize::MAX);
            let end = usize::try_from(extent.end() - offset).unwrap_or(usize::MAX);
            Request::Write { offset: extent.start(), data: data.slice(start..end), fua }
        }
        Request::WriteZeroes { fua, no_hole, fast_zero, .. } => {
            Request::WriteZeroes { extent, fua, no_hole, fast_zero }
        }
        Request::Trim { fua, .. } => Request::Trim { extent, fua },
        Request::Cache { .. } => Request::Cache { extent },
        Request::BlockStatus { one, .. } => Request::BlockStatus { extent, one },
        Request::Flush => Request::Flush,
    }
}

fn append(whole: &mut Reply, reply: Reply) {
    match (whole, reply) {
        (Reply::Read(parts), Reply::Read(more)) => parts.extend(more),
        (whole, reply) => *whole = reply,
    }
}

/// A read that asked for one piece gets one, also when it came in several.
fn joined(request: &Request, reply: Reply) -> Reply {
    match (request, reply) {
        (Request::Read { dont_fragment: true, .. }, Reply::Read(parts)) => {
            Reply::Read(in_one_piece(parts))
        }
        (_, reply) => reply,
    }
}
