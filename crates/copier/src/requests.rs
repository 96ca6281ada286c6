//! The three requests of the copy: describe and read at the source, write at the destination. Every
//! completion is checked here, and what was not read is never handed on (CVE-2022-0485).

use std::collections::VecDeque;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{Reply, Request};
use blockferry_nbd_session::Content;
use tokio::time::sleep;

use crate::end::{End, EndError, Side};
use crate::halt::Halt;
use crate::pieces::{Piece, Step, pieces, steps};

/// How often a read that failed at the source is tried before the copy halts.
const READ_TRIES: u32 = 4;

/// The pause after a failed read, multiplied by the number of tries.
const READ_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What a step brought: pieces in order, and how many bytes were read for them.
pub(crate) struct Brought {
    /// Bytes that were read.
    pub(crate) read: u64,
    /// What they become.
    pub(crate) pieces: Vec<Piece>,
}

/// Asks what `asked` holds, which claims as much of it as the source describes.
pub(crate) async fn describe(
    source: &impl End,
    asked: Extent,
    chunk: u64,
) -> Result<VecDeque<Step>, Halt> {
    let request = Request::BlockStatus { extent: asked, one: false };
    let reply = patiently(asked, || source.request(request.clone())).await?;
    blockferry_label::reached("copier.described");
    match reply {
        Reply::BlockStatus(segments) => Ok(steps(asked, &segments, chunk)),
        other => Err(malformed(Side::Source, asked, &other)),
    }
}

/// A hole brings zeroes without being read.
pub(crate) async fn skip(hole: Extent) -> Result<Brought, Halt> {
    Ok(Brought { read: 0, pieces: vec![Piece::Zeroes(hole.len())] })
}

/// Reads all of the extent, or nothing; what flows has its length, and may still break off.
pub(crate) async fn read(source: &impl End, extent: Extent) -> Result<Brought, Halt> {
    let content = patiently(extent, || source.read(extent)).await?;
    blockferry_label::reached("copier.read");
    let pieces = match content {
        Content::Flow(flow) => vec![Piece::Flow(flow)],
        Content::Whole(Reply::Read(parts)) => pieces(extent, parts).map_err(|wrong| {
            Halt::Malformed { side: Side::Source, extent, what: wrong.to_string() }
        })?,
        Content::Whole(other) => return Err(malformed(Side::Source, extent, &other)),
    };
    Ok(Brought { read: extent.len(), pieces })
}

/// Asks the source, again when its storage failed: a sector may be readable the next time.
async fn patiently<T, F>(extent: Extent, mut ask: impl FnMut() -> F) -> Result<T, Halt>
where
    F: Future<Output = Result<T, EndError>>,
{
    let mut tries = 1;
    loop {
        let error = match ask().await {
            Ok(reply) => return Ok(reply),
            Err(error) => Halt::from_end(Side::Source, extent, error),
        };
        if tries == READ_TRIES || !matches!(error, Halt::Failed { .. }) {
            return Err(error);
        }
        tracing::warn!(%error, tries, "will be tried again");
        sleep(READ_RETRY_PAUSE * tries).await;
        tries += 1;
    }
}

/// Sends one write to its address (D2.3); gives its end once the destination has acknowledged it.
pub(crate) async fn write(destination: &impl End, address: u64, piece: Piece) -> Result<u64, Halt> {
    let extent = Extent::between(address, address + piece.len());
    blockferry_label::reached("copier.writing");
    let answer = match piece {
        Piece::Data(data) => {
            destination.request(Request::Write { offset: address, data, fua: false }).await
        }
        Piece::Zeroes(_) => {
            let (no_hole, fast_zero) = (false, false);
            destination
                .request(Request::WriteZeroes { extent, fua: false, no_hole, fast_zero })
                .await
        }
        Piece::Flow(flow) => {
            let answer = destination.write_flowing(extent, flow.clone()).await;
            if matches!(answer, Err(EndError::Lost(_))) && flow.broke_off() {
                let reason = "it went away in the middle of the data".to_owned();
                return Err(Halt::Lost { side: Side::Source, extent, reason });
            }
            answer
        }
    };
    blockferry_label::reached("copier.written");
    match answer {
        Ok(Reply::Done) => Ok(extent.end()),
        Ok(other) => Err(malformed(Side::Destination, extent, &other)),
        Err(error) => Err(Halt::from_end(Side::Destination, extent, error)),
    }
}

fn malformed(side: Side, extent: Extent, reply: &Reply) -> Halt {
    let what = match reply {
        Reply::Done => "a completion",
        Reply::Read(_) => "content",
        Reply::BlockStatus(_) => "a block status",
    };
    Halt::Malformed { side, extent, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use blockferry_nbd_session::Flow;
    use bytes::Bytes;

    use super::*;
    use crate::fake::FakeEnd;

    #[tokio::test]
    async fn a_source_that_breaks_off_in_mid_payload_is_named_and_moves_no_address() {
        let destination = FakeEnd::new(vec![0; 10]);
        let (mut sender, flow) = Flow::channel(10);
        sender.send(Bytes::from_static(b"12345"));
        drop(sender);
        let halt = write(&destination, 0, Piece::Flow(flow)).await.unwrap_err();
        assert!(matches!(halt, Halt::Lost { side: Side::Source, .. }), "{halt:?}");
        let store = destination.store();
        assert_eq!((store.cursor, store.writes.len()), (0, 0));
    }

    #[tokio::test]
    async fn what_flows_is_refused_with_the_destinations_words() {
        let destination = FakeEnd::new(vec![0; 10]);
        destination.store().cursor = 7;
        let (mut sender, flow) = Flow::channel(5);
        sender.send(Bytes::from_static(b"12345"));
        let halt = write(&destination, 0, Piece::Flow(flow)).await.unwrap_err();
        assert!(halt.to_string().contains("expected address 7"), "{halt}");
    }
}
