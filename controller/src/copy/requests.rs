//! The three requests of the copy: describe and read at the source, write at the destination. Every
//! completion is checked here, and what was not read is never handed on (CVE-2022-0485).

use std::collections::VecDeque;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{Reply, Request};
use tokio::time::sleep;

use super::end::{End, Side};
use super::halt::Halt;
use super::pieces::{Piece, Step, pieces, steps};

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
    let reply = ask_patiently(source, asked, request).await?;
    blockferry_label::reached("controller.copy.described");
    match reply {
        Reply::BlockStatus(segments) => Ok(steps(asked, &segments, chunk)),
        other => Err(malformed(Side::Source, asked, &other)),
    }
}

/// A hole brings zeroes without being read.
pub(crate) async fn skip(hole: Extent) -> Result<Brought, Halt> {
    Ok(Brought { read: 0, pieces: vec![Piece::Zeroes(hole.len())] })
}

/// Reads all of the extent, or nothing.
pub(crate) async fn read(source: &impl End, extent: Extent) -> Result<Brought, Halt> {
    let request = Request::Read { extent, dont_fragment: false };
    let reply = ask_patiently(source, extent, request).await?;
    blockferry_label::reached("controller.copy.read");
    let Reply::Read(parts) = reply else {
        return Err(malformed(Side::Source, extent, &reply));
    };
    let pieces = pieces(extent, parts).map_err(|wrong| Halt::Malformed {
        side: Side::Source,
        extent,
        what: wrong.to_string(),
    })?;
    Ok(Brought { read: extent.len(), pieces })
}

/// Asks the source, again when its storage failed: a sector may be readable the next time.
async fn ask_patiently(source: &impl End, extent: Extent, request: Request) -> Result<Reply, Halt> {
    let mut tries = 1;
    loop {
        let error = match source.request(request.clone()).await {
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
    let request = match piece {
        Piece::Data(data) => Request::Write { offset: address, data, fua: false },
        Piece::Zeroes(_) => {
            Request::WriteZeroes { extent, fua: false, no_hole: false, fast_zero: false }
        }
    };
    blockferry_label::reached("controller.copy.writing");
    let answer = destination.request(request).await;
    blockferry_label::reached("controller.copy.written");
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
