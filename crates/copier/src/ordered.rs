//! The ordered, address-checked copy (D2.2 to D2.5): reads ahead, writes strictly in address order.
//!
//! One loop owns everything: it starts what may be started and waits for whatever ends first. It
//! ends with the last byte written or with a [`Halt`]; what to do about a halt is its caller's
//! decision, and so is where to begin: always at the destination's reserved address.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blockferry_block::Extent;
use blockferry_device::{Segment, SegmentState};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesOrdered;
use tokio::time;

use crate::chunk::{self, Chunk};
use crate::end::End;
use crate::halt::Halt;
use crate::pace::Pace;
use crate::pieces::{LEAF, Ledger, Piece, Step, ZEROES_MAX, append, steps};
use crate::requests::{Brought, describe, read, skip, write};

/// Pieces read or under way but not sent, at most: small reads between holes are many, and each is a
/// claim at the source.
const PIECES_AHEAD_MAX: usize = 64;

/// Chunks read ahead of the write under way.
const CHUNKS_AHEAD: u64 = 2;

/// Where this part or less of what was described is data, the next question may reach farther: else a
/// sparse volume would be described in as many questions as a dense one.
const SPARSE: u64 = 64;

/// Where more than this part is data, a question is for one chunk again.
const DENSE: u64 = 16;

/// How the copy proceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Longest read and longest write of data at first, in bytes, a multiple of [`LEAF`].
    pub chunk: u64,
    /// The same where the way to the destination needs it; no less.
    pub chunk_max: u64,
    /// Writes sent without waiting for the completion of the one before; 1 is D2.4 to the letter.
    pub window: usize,
    /// Chunks read ahead of the writes.
    pub chunks_ahead: u64,
}

impl Manner {
    /// Chunks from `chunk` to `chunk_max` bytes, and so many writes under way; no less than one of each.
    pub fn new(chunk: u64, chunk_max: u64, window: u32) -> Self {
        let (chunk, window) = (chunk.max(LEAF) / LEAF * LEAF, window.max(1));
        Self {
            chunk,
            chunk_max: chunk_max.max(chunk),
            window: window as usize,
            chunks_ahead: CHUNKS_AHEAD.max(u64::from(window)),
        }
    }
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            chunk: chunk::SHORTEST,
            chunk_max: chunk::LONGEST,
            window: 1,
            chunks_ahead: CHUNKS_AHEAD,
        }
    }
}

/// One run over the volume, from an address to the end.
pub struct OrderedCopy<'a, S, D> {
    source: &'a S,
    destination: &'a D,
    manner: Manner,
    chunk: Chunk,
    size: u64,
    pace: Option<&'a mut Pace>,
    written: &'a AtomicU64,

    /// Up to here the steps are known.
    planned: u64,
    /// How much to ask the source to describe: a chunk, and more while it answers mostly with holes.
    span: u64,
    describing: Option<BoxFuture<'a, Result<VecDeque<Step>, Halt>>>,
    todo: VecDeque<Step>,
    reading: FuturesOrdered<BoxFuture<'a, Result<Brought, Halt>>>,
    /// Bytes being read, and bytes of data in `ready`.
    ahead: u64,
    ready: VecDeque<Piece>,
    ledger: Ledger,
    writing: FuturesOrdered<BoxFuture<'a, Result<Written, Halt>>>,
}

impl<'a, S: End, D: End> OrderedCopy<'a, S, D> {
    /// A copy of everything from `start`, the destination's reserved address, on. `written` follows
    /// the address up to which the destination has acknowledged.
    pub fn new(
        (source, destination): (&'a S, &'a D),
        start: u64,
        manner: Manner,
        pace: Option<&'a mut Pace>,
        written: &'a AtomicU64,
    ) -> Self {
        let payload_max = source.info().payload_max.min(destination.info().payload_max);
        let at_most = |chunk: u64| chunk.min(u64::from(payload_max) / LEAF * LEAF).max(LEAF);
        let (shortest, longest) = (at_most(manner.chunk), at_most(manner.chunk_max));
        written.store(start, Ordering::Relaxed);
        Self {
            source,
            destination,
            manner,
            chunk: Chunk::new(shortest, longest, destination.round_trip()),
            size: source.info().size,
            pace,
            written,
            planned: start,
            span: shortest,
            describing: None,
            todo: VecDeque::new(),
            reading: FuturesOrdered::new(),
            ahead: 0,
            ready: VecDeque::new(),
            ledger: Ledger::starting_at(start),
            writing: FuturesOrdered::new(),
        }
    }

    /// Copies to the end.
    ///
    /// # Errors
    /// The first thing that went wrong; nothing after it has been acknowledged.
    pub async fn run(mut self) -> Result<(), Halt> {
        loop {
            self.describe_more();
            let paced = self.read_more();
            self.write_more();
            if self.is_finished() {
                return Ok(());
            }
            tokio::select! {
                biased;
                Some(written) = self.writing.next() => self.note_written(written?),
                Some(brought) = self.reading.next() => self.take_in(brought?),
                steps = described(&mut self.describing) => self.plan(steps?),
                () = until(paced) => {}
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.planned >= self.size
            && self.todo.is_empty()
            && self.reading.is_empty()
            && self.ready.is_empty()
            && self.writing.is_empty()
    }

    fn is_far_ahead(&self) -> bool {
        self.ahead >= self.chunk.len() * self.manner.chunks_ahead
            || self.reading.len() + self.ready.len() >= PIECES_AHEAD_MAX
    }

    /// Asks the source what comes next. The question claims what it describes, and writes to claimed
    /// bytes cost the client more, so it is asked no sooner than the answer can be used.
    fn describe_more(&mut self) {
        let is_needed = self.describing.is_none() && self.todo.is_empty() && !self.is_far_ahead();
        if !is_needed || self.planned >= self.size {
            return;
        }
        let chunk = self.chunk.len();
        let span = self.span.max(chunk);
        let end = self.size.min(self.planned / chunk * chunk + span);
        let asked = Extent::between(self.planned, end);
        if self.source.info().features.block_status {
            self.describing = Some(describe(self.source, asked, chunk).boxed());
        } else {
            let all = [Segment { length: asked.len(), state: SegmentState::DATA }];
            self.plan(steps(asked, &all, chunk));
        }
    }

    fn plan(&mut self, steps: VecDeque<Step>) {
        let begun = self.planned;
        if let Some(Step::Read(last) | Step::Skip(last)) = steps.back() {
            self.planned = last.end();
        }
        let data: u64 = steps.iter().map(data_of_step).sum();
        self.span = match (self.planned - begun) / data.max(1) {
            SPARSE.. => self.span.saturating_mul(2).min(ZEROES_MAX),
            DENSE.. => self.span,
            _ => self.chunk.len(),
        };
        self.todo = steps;
    }

    /// Starts the reads that may be started. Gives the time to wait for when the bandwidth limit
    /// keeps the next one back.
    fn read_more(&mut self) -> Option<Instant> {
        while let Some(step) = self.todo.front().copied() {
            if self.is_far_ahead() {
                return None;
            }
            match step {
                Step::Skip(hole) => self.reading.push_back(skip(hole).boxed()),
                Step::Read(extent) => {
                    if let Some(at) = self.not_before(extent.len()) {
                        return Some(at);
                    }
                    self.ahead += extent.len();
                    self.reading.push_back(read(self.source, extent).boxed());
                }
            }
            self.todo.pop_front();
        }
        None
    }

    /// Spends `bytes` of the bandwidth, or says when that may be tried again.
    fn not_before(&mut self, bytes: u64) -> Option<Instant> {
        let pace = self.pace.as_mut()?;
        let now = time::Instant::now().into_std();
        if pace.next() > now {
            return Some(pace.next());
        }
        pace.spend(now, bytes);
        None
    }

    fn take_in(&mut self, brought: Brought) {
        self.ahead -= brought.read;
        for piece in brought.pieces {
            self.ahead += data_len(&piece);
            append(&mut self.ready, piece);
        }
    }

    fn write_more(&mut self) {
        while self.writing.len() < self.manner.window {
            let Some(piece) = self.ready.pop_front() else { return };
            self.ahead -= data_len(&piece);
            let piece = self.as_offered(piece);
            let address = self.ledger.count(piece.len());
            self.writing.push_back(timed(self.destination, address, piece).boxed());
        }
    }

    fn note_written(&mut self, written: Written) {
        self.written.store(written.end, Ordering::Relaxed);
        // Where several are under way at once, none shows what the way carries.
        if self.manner.window == 1 {
            self.chunk.note(written.data, written.took);
        }
    }

    /// A destination that cannot write zeroes gets them as data, a chunk at a time.
    fn as_offered(&mut self, piece: Piece) -> Piece {
        let Piece::Zeroes(length) = piece else { return piece };
        if self.destination.info().features.write_zeroes {
            return piece;
        }
        let now = length.min(self.chunk.len());
        if now < length {
            self.ready.push_front(Piece::Zeroes(length - now));
        }
        Piece::Data(vec![0; usize::try_from(now).unwrap_or(0)].into())
    }
}

/// A write that was acknowledged.
struct Written {
    end: u64,
    /// Bytes of data, not counting zeroes.
    data: u64,
    took: Duration,
}

async fn timed(destination: &impl End, address: u64, piece: Piece) -> Result<Written, Halt> {
    let (data, begun) = (data_len(&piece), time::Instant::now());
    let end = write(destination, address, piece).await?;
    Ok(Written { end, data, took: begun.elapsed() })
}

fn data_of_step(step: &Step) -> u64 {
    match step {
        Step::Read(extent) => extent.len(),
        Step::Skip(_) => 0,
    }
}

fn data_len(piece: &Piece) -> u64 {
    match piece {
        Piece::Data(_) | Piece::Flow(_) => piece.len(),
        Piece::Zeroes(_) => 0,
    }
}

async fn described(
    describing: &mut Option<BoxFuture<'_, Result<VecDeque<Step>, Halt>>>,
) -> Result<VecDeque<Step>, Halt> {
    let Some(answer) = describing else { return std::future::pending().await };
    let steps = answer.await;
    *describing = None;
    steps
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
