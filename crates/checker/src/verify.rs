//! Proves on a volume at rest that every block holds what the journal says.

use blockferry_block::Extent;
use blockferry_device::{Device, Failure, Request};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::event::Fault;
use crate::joined::joined;
use crate::journal::{Entry, Journal};
use crate::registers::Finding;
use crate::value::Value;
use crate::violation::{Violation, Violations};

/// Longest read, in bytes, where the volume allows it.
const READ_BYTES: u64 = 1 << 20;

/// Reads under way.
const READS: usize = 8;

/// A volume that could not be compared with a journal.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is another volume.
    #[error("the volume has {volume} bytes, the journal is of one with {journal}")]
    Size {
        /// Size of the volume in bytes.
        volume: u64,
        /// Size of the journal's volume in bytes.
        journal: u64,
    },
    /// A read failed.
    #[error("cannot read {extent}: {failure}")]
    Read {
        /// What was read.
        extent: Extent,
        /// Why not.
        failure: Failure,
    },
    /// A read was answered with something else.
    #[error("the answer to a read of {0} is not that much content")]
    Answer(Extent),
}

/// Pieces that follow one another, and are read together.
struct Batch<'a> {
    extent: Extent,
    pieces: Vec<(Extent, &'a [Value])>,
}

impl Journal {
    /// Reads everything that the journal speaks of, and returns what is not there. Nothing may write
    /// to the volume meanwhile.
    ///
    /// # Errors
    /// When the volume is of another size or cannot be read.
    pub async fn verify<D: Device + ?Sized>(&self, device: &D) -> Result<Violations, VerifyError> {
        let info = device.info();
        if info.size != self.size {
            return Err(VerifyError::Size { volume: info.size, journal: self.size });
        }
        let block = u64::from(self.block_size);
        let length = READ_BYTES.min(u64::from(info.payload_max)).max(block);
        let reads = stream::iter(self.batches(length)).map(|batch| async {
            let bytes = read(device, batch.extent).await?;
            Ok::<_, VerifyError>((batch, bytes))
        });
        let mut violations = Violations::default();
        let mut reads = std::pin::pin!(reads.buffered(READS));
        while let Some((batch, bytes)) = reads.try_next().await? {
            self.compare(&batch, &bytes, &mut violations);
        }
        Ok(violations)
    }

    /// The journal's pieces, none across a block's edge, gathered to reads of at most `length` bytes.
    fn batches(&self, length: u64) -> impl Iterator<Item = Batch<'_>> {
        let mut pieces = self.entries.iter().flat_map(|entry| self.pieces(entry)).peekable();
        std::iter::from_fn(move || {
            let first = pieces.next()?;
            let mut batch = Batch { extent: first.0, pieces: vec![first] };
            while let Some(next) = pieces.next_if(|(piece, _)| {
                piece.start() == batch.extent.end() && piece.end() - batch.extent.start() <= length
            }) {
                batch.extent = Extent::between(batch.extent.start(), next.0.end());
                batch.pieces.push(next);
            }
            Some(batch)
        })
    }

    fn pieces<'a>(
        &self,
        entry: &'a Entry,
    ) -> impl Iterator<Item = (Extent, &'a [Value])> + use<'a> {
        let block = u64::from(self.block_size);
        let first = entry.start / block * block;
        let blocks = Extent::between(first, entry.end).pieces(block);
        blocks.filter_map(|block| Some((block.intersection(entry.extent())?, &*entry.values)))
    }

    fn compare(&self, batch: &Batch<'_>, bytes: &[u8], violations: &mut Violations) {
        let mut rest = bytes;
        for (piece, values) in &batch.pieces {
            let length = usize::try_from(piece.len()).unwrap_or(usize::MAX).min(rest.len());
            let (bytes, after) = rest.split_at(length);
            rest = after;
            if !values.iter().any(|value| value.is(*piece, bytes)) {
                let (fault, legal) = (Fault::NoCandidate, values.to_vec());
                let finding = Finding { piece: *piece, fault, newer_was_seen: false, legal };
                violations.push(Violation::new(&finding, bytes, self.run, "at rest".to_owned()));
            }
        }
    }
}

async fn read<D: Device + ?Sized>(device: &D, extent: Extent) -> Result<Bytes, VerifyError> {
    let reply = device.call(Request::Read { extent, dont_fragment: false }).await;
    let reply = reply.map_err(|failure| VerifyError::Read { extent, failure })?;
    joined(reply, extent).ok_or(VerifyError::Answer(extent))
}
