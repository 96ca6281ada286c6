//! Does on a medium what a command wants of it.

use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure, ReadPart, Reply, Request};
use blockferry_iscsi::{DataPart, Pieces};
use blockferry_scsi::{Compare, Failure as WorkFailure, Outcome, Pattern, Run, Work};
use bytes::{Bytes, BytesMut};

use crate::medium::{Change, ChangeKind, Changed, Medium, first_difference};

/// What is read to be compared, or written again and again, goes in pieces of so many bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// What came of some work, and what it read for the initiator.
pub(crate) struct Executed {
    pub(crate) outcome: Outcome,
    pub(crate) data: Vec<DataPart>,
}

impl Executed {
    const fn without_data(outcome: Outcome) -> Self {
        Self { outcome, data: Vec::new() }
    }
}

/// Does work that the medium can do without waiting; gives its data back where it cannot.
pub(crate) fn execute_now(
    medium: &dyn Medium,
    work: &Work,
    data: Pieces,
) -> Result<Executed, Pieces> {
    let request = match *work {
        Work::Read { extent, .. } if extent.is_empty() => {
            return Ok(Executed::without_data(Outcome::Done));
        }
        Work::Read { extent, fua: false } => Request::Read { extent, dont_fragment: false },
        Work::Write { extent, fua: false } if data.iter().count() == 1 => {
            Request::Write { offset: extent.start(), data: data.clone().into_bytes(), fua: false }
        }
        _ => return Err(data),
    };
    medium.call_now(&request).map(executed).ok_or(data)
}

/// Does any work.
pub(crate) async fn execute(medium: Arc<dyn Medium>, work: Work, data: Pieces) -> Executed {
    match work {
        Work::Read { extent, fua } => {
            if fua && let Err(failure) = flush(&*medium).await {
                return Executed::without_data(failed(&failure));
            }
            executed(medium.call(Request::Read { extent, dont_fragment: false }).await)
        }
        work => Executed::without_data(match change(&*medium, &work, data).await {
            Ok(outcome) => outcome,
            Err(failure) => failed(&failure),
        }),
    }
}

async fn change(medium: &dyn Medium, work: &Work, data: Pieces) -> Result<Outcome, Failure> {
    match work {
        Work::Read { .. } => Ok(Outcome::Failed(WorkFailure::Internal)),
        Work::Write { extent, fua } => write(medium, *extent, data, *fua).await,
        Work::WriteVerify { extent, compare } => {
            let written = data.clone();
            write(medium, *extent, data, true).await?;
            let with = if *compare { Compare::Bytes } else { Compare::Nothing };
            verify(medium, *extent, with, &written.into_bytes()).await
        }
        Work::Verify { extent, compare } => {
            verify(medium, *extent, *compare, &data.into_bytes()).await
        }
        Work::WriteSame { extent, pattern, unmap, fua } => {
            write_same(medium, *extent, *pattern, (*unmap, *fua), data.into_bytes()).await
        }
        Work::CompareAndWrite { extent, fua } => {
            let mut expected = data.into_bytes();
            let data = expected.split_off(expected.len() / 2);
            let kind = ChangeKind::CompareAndWrite { expected, data };
            changed(medium.change(*extent, Change { kind, fua: *fua }).await?)
        }
        Work::OrWrite { extent, fua } => {
            let kind = ChangeKind::Or { data: data.into_bytes() };
            changed(medium.change(*extent, Change { kind, fua: *fua }).await?)
        }
        Work::Unmap { extents, fua } => {
            for extent in extents {
                medium.call(unmapping(medium, *extent, *fua)).await?;
            }
            Ok(Outcome::Done)
        }
        Work::Flush { .. } => flush(medium).await.map(|()| Outcome::Done),
        Work::PreFetch { extent } => {
            // Nobody waits for it, and it may fail.
            if medium.info().features.cache {
                drop(medium.call(Request::Cache { extent: *extent }));
            }
            Ok(Outcome::Done)
        }
        Work::LbaStatus { extent, runs_max, .. } => lba_status(medium, *extent, *runs_max).await,
    }
}

/// Writes each piece where it lies: they are one write to the initiator, and need not be one here, since
/// nobody may count on more than a block's being written whole.
async fn write(
    medium: &dyn Medium,
    extent: Extent,
    data: Pieces,
    fua: bool,
) -> Result<Outcome, Failure> {
    let mut offset = extent.start();
    let writes: Vec<_> = data
        .iter()
        .map(|piece| {
            let request = Request::Write { offset, data: piece.clone(), fua };
            offset += piece.len() as u64;
            medium.call(request)
        })
        .collect();
    // Each is waited for, whatever becomes of the others.
    let written = futures_util::future::join_all(writes).await;
    written.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Outcome::Done)
}

async fn verify(
    medium: &dyn Medium,
    extent: Extent,
    compare: Compare,
    data: &[u8],
) -> Result<Outcome, Failure> {
    let (mut at, piece) = (0, piece_of(data.len(), compare));
    while at < extent.len() {
        let length = piece.min(extent.len() - at);
        let from = extent.start() + at;
        let found = read(medium, Extent::between(from, from + length)).await?;
        if let Some(differs) = differs(&found, compare, at, data) {
            return Ok(Outcome::Miscompare { at: at + differs });
        }
        at += length;
    }
    Ok(Outcome::Done)
}

/// How much is compared at once: where a block is repeated, whole blocks.
fn piece_of(data: usize, compare: Compare) -> u64 {
    match compare {
        Compare::Block { .. } => PIECE_BYTES / data.max(1) as u64 * data.max(1) as u64,
        Compare::Nothing | Compare::Bytes => PIECE_BYTES,
    }
    .max(1)
}

/// Where what was found from `at` on differs first, in bytes from there.
fn differs(found: &[u8], compare: Compare, at: u64, data: &[u8]) -> Option<u64> {
    match compare {
        Compare::Nothing => None,
        Compare::Bytes => {
            let from = usize::try_from(at).unwrap_or(usize::MAX);
            let expected = data.get(from..from + found.len()).unwrap_or_default();
            first_difference(found, expected)
        }
        Compare::Block { .. } => {
            let blocks = found.chunks(data.len().max(1)).enumerate();
            blocks
                .filter_map(|(number, block)| {
                    let first = first_difference(block, data)?;
                    Some((number * data.len()) as u64 + first)
                })
                .next()
        }
    }
}

async fn write_same(
    medium: &dyn Medium,
    extent: Extent,
    pattern: Pattern,
    (unmap, fua): (bool, bool),
    block: Bytes,
) -> Result<Outcome, Failure> {
    let zeroes = pattern == Pattern::Zeroes || block.iter().all(|byte| *byte == 0);
    if zeroes && medium.info().features.write_zeroes {
        let request = Request::WriteZeroes { extent, fua, no_hole: !unmap, fast_zero: false };
        medium.call(request).await?;
        return Ok(Outcome::Done);
    }
    let block = if block.is_empty() { Bytes::from_static(&[0; 512]) } else { block };
    let repeated = repeated(&block, extent.len().min(PIECE_BYTES));
    let mut at = extent.start();
    while at < extent.end() {
        let length = (extent.end() - at).min(repeated.len() as u64);
        let data = repeated.slice(..usize::try_from(length).unwrap_or(repeated.len()));
        medium.call(Request::Write { offset: at, data, fua }).await?;
        at += length;
    }
    Ok(Outcome::Done)
}

/// A block again and again, at least once and up to so many bytes.
fn repeated(block: &[u8], bytes: u64) -> Bytes {
    let times = usize::try_from(bytes).unwrap_or(usize::MAX) / block.len();
    let mut all = BytesMut::with_capacity(block.len() * times.max(1));
    (0..times.max(1)).for_each(|_| all.extend_from_slice(block));
    all.freeze()
}

/// What gives space back here.
fn unmapping(medium: &dyn Medium, extent: Extent, fua: bool) -> Request {
    match medium.info().features.trim {
        true => Request::Trim { extent, fua },
        false => Request::WriteZeroes { extent, fua, no_hole: false, fast_zero: false },
    }
}

async fn lba_status(
    medium: &dyn Medium,
    extent: Extent,
    runs_max: usize,
) -> Result<Outcome, Failure> {
    if !medium.info().features.block_status {
        return Ok(Outcome::Runs(vec![Run { length: extent.len(), mapped: true }]));
    }
    let reply = medium.call(Request::BlockStatus { extent, one: false }).await?;
    let Reply::BlockStatus(segments) = reply else { return Err(unfit()) };
    let mut runs: Vec<Run> = Vec::new();
    for segment in segments {
        let mapped = !(segment.state.hole && segment.state.zero);
        let is_full = runs.len() == runs_max;
        match runs.last_mut() {
            Some(last) if last.mapped == mapped => last.length += segment.length,
            _ if is_full => break,
            _ => runs.push(Run { length: segment.length, mapped }),
        }
    }
    Ok(Outcome::Runs(runs))
}

/// The content in one piece.
async fn read(medium: &dyn Medium, extent: Extent) -> Result<Bytes, Failure> {
    let reply = medium.call(Request::Read { extent, dont_fragment: true }).await?;
    let Reply::Read(mut parts) = reply else { return Err(unfit()) };
    match parts.pop() {
        Some(ReadPart::Data(data)) if parts.is_empty() && data.len() as u64 == extent.len() => {
            Ok(data)
        }
        _ => Err(unfit()),
    }
}

async fn flush(medium: &dyn Medium) -> Result<(), Failure> {
    match medium.info().features.flush {
        true => medium.call(Request::Flush).await.map(drop),
        false => Ok(()),
    }
}

fn executed(outcome: Result<Reply, Failure>) -> Executed {
    match outcome {
        Ok(Reply::Read(parts)) => {
            let data = parts.into_iter().map(|part| match part {
                ReadPart::Data(data) => DataPart::Bytes(data),
                ReadPart::Hole(length) => DataPart::Zeroes(length),
            });
            Executed { outcome: Outcome::Done, data: data.collect() }
        }
        Ok(_) => Executed::without_data(Outcome::Done),
        Err(failure) => Executed::without_data(failed(&failure)),
    }
}

const fn changed(changed: Changed) -> Result<Outcome, Failure> {
    Ok(match changed {
        Changed::Made => Outcome::Done,
        Changed::Differs { at } => Outcome::Miscompare { at },
        Changed::Unknown => Outcome::Failed(WorkFailure::Internal),
    })
}

fn unfit() -> Failure {
    Failure::new(Errno::Io, "the device gave an answer that does not fit the request")
}

fn failed(failure: &Failure) -> Outcome {
    Outcome::Failed(match failure.errno {
        Errno::NoSpc => WorkFailure::NoSpace,
        Errno::Perm => WorkFailure::ReadOnly,
        Errno::NoMem | Errno::Shutdown => WorkFailure::Busy,
        Errno::Io => WorkFailure::Medium { at: None },
        Errno::Inval | Errno::Overflow | Errno::NotSup => WorkFailure::Internal,
    })
}

#[cfg(test)]
mod tests;
