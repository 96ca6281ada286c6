//! The worker's side: what it says, and what of that is still of use.

use std::io::{self, IoSlice};
use std::iter;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{pwritev, retry_on_intr};

use super::half::Half;
use crate::frame::{FrameHeader, Kind};
use crate::retained::{Part, Retained};

/// A half becomes at least so long, in bytes, before the other one is begun. A processor's cache holds
/// both.
const LENGTH_MIN: u64 = 64 << 10;

/// Memory of a half that is no longer in use is given back beyond this, in bytes: several large answers
/// are written into memory that is there.
const KEPT_MAX: u64 = 4 << 20;

/// Writes down what a worker takes from its client's socket, and what it sends.
pub struct Recorder {
    record: OwnedFd,
    half: Half,
    /// Where the client's bytes lie that have no answer yet.
    kept: Retained<Span>,
    /// What the keeper retains of its own begins here in the client's stream ...
    begin: u64,
    /// ... and what the worker has heard by itself here.
    heard_from: u64,
    failed: Option<io::Error>,
}

/// Where a part of the client's stream lies.
struct Span {
    /// In bytes from the beginning of the half; `None` for what the keeper has of its own.
    at: Option<u64>,
    length: u64,
}

impl Part for Span {
    fn length(&self) -> u64 {
        self.length
    }

    fn split_off(&mut self, count: u64) -> Self {
        let rest = self.length - count;
        self.length = count;
        Self { at: self.at.map(|at| at + count), length: rest }
    }
}

impl Recorder {
    /// For a client of whose stream the keeper has told so many bytes, and so many are settled.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(record: OwnedFd, told: u64, settled: u64) -> io::Result<Self> {
        let mut kept = Retained::default();
        kept.push_heard(Span { at: None, length: told }, 0);
        kept.settle(0..settled).map_err(io::Error::other)?;
        let half = Half::new(0)?;
        Ok(Self { record, half, kept, begin: settled, heard_from: told, failed: None })
    }

    /// The keeper has told so many bytes more.
    pub fn told(&mut self, count: u64) {
        self.kept.push_heard(Span { at: None, length: count }, 0);
        self.heard_from = self.kept.end();
    }

    /// Says what is about to be taken from the client's socket. It is said when this returns.
    ///
    /// # Errors
    /// When that cannot be written: nothing may be taken then.
    pub fn hear(&mut self, bytes: &[u8], arrival: u64) -> io::Result<()> {
        let header = frame(Kind::Heard, bytes.len(), arrival..arrival);
        let at = self.half.put(&self.record, &header, iter::once(bytes))?;
        self.kept.push_heard(Span { at: Some(at), length: bytes.len() as u64 }, arrival);
        self.write()
    }

    /// An answer of so many bytes that settles a part of the client's stream. It is said when
    /// [`Self::write`] has returned.
    pub fn answer<'a>(
        &mut self,
        settles: Range<u64>,
        bytes: usize,
        parts: impl Iterator<Item = &'a [u8]>,
    ) {
        let header = frame(Kind::Reply, bytes, settles.clone());
        let put = self.half.put(&self.record, &header, parts);
        let settled = self.kept.settle(settles).map_err(io::Error::other);
        self.failed = self.failed.take().or(put.err()).or(settled.err());
    }

    /// Makes everything that was said reach the keeper, whatever becomes of this process.
    ///
    /// # Errors
    /// When it cannot be written, or could not before: none of it may be acted upon.
    pub fn write(&mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.half.write(&self.record),
        }
    }

    /// Whether much of what was said is of no use any more; so many bytes are still to be sent.
    pub fn is_long(&self, unsent: usize) -> bool {
        let of_use = self.kept.bytes() + unsent as u64;
        self.half.end() > LENGTH_MIN.max(2 * of_use)
    }

    /// Begins the other half with what is of use. The client was sent `given` bytes by this worker, and
    /// `unsent` is what it has still to be sent of what was said; each part is one of an answer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn renew<'a>(
        &mut self,
        given: u64,
        unsent: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        self.write()?;
        let mut next = Half::new(1 - self.half.number)?;
        next.put(&self.record, &frame(Kind::Given, 0, given..given), iter::empty())?;
        let moved = self.copy_kept(&mut next)?;
        for part in unsent {
            let header = frame(Kind::Reply, part.len(), 0..0);
            next.put(&self.record, &header, iter::once(part))?;
        }
        next.write(&self.record)?;
        let number = next.number.to_be_bytes();
        retry_on_intr(|| pwritev(self.record.as_fd(), &[IoSlice::new(&number)], 0))?;
        let old = std::mem::replace(&mut self.half, next);
        self.kept = moved;
        if old.end() > KEPT_MAX {
            let (from, length) = (old.place() + KEPT_MAX, old.end() - KEPT_MAX);
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where that is refused it takes more memory than it must, and nothing else.
            let _ = fallocate(self.record.as_fd(), flags, from, length);
        }
        Ok(())
    }

    /// Says again what has no answer, and passes over what has one; tells where it lies now.
    fn copy_kept(&self, next: &mut Half) -> io::Result<Retained<Span>> {
        let mut moved = Retained::default();
        moved.push_heard(Span { at: None, length: self.begin }, 0);
        moved.settle(0..self.begin).map_err(io::Error::other)?;
        for (start, arrival, span) in self.kept.from(0) {
            self.pass_over(next, &mut moved, start)?;
            let mut at = None;
            if let Some(old) = span.at {
                let bytes = self.read(old, span.length)?;
                let header = frame(Kind::Heard, bytes.len(), arrival..arrival);
                at = Some(next.put(&self.record, &header, iter::once(&bytes[..]))?);
            }
            moved.push_heard(Span { at, length: span.length }, arrival);
        }
        self.pass_over(next, &mut moved, self.kept.end())?;
        Ok(moved)
    }

    /// What lies before `until` and was not said again has its answer.
    fn pass_over(&self, next: &mut Half, moved: &mut Retained<Span>, until: u64) -> io::Result<()> {
        // What the keeper has of its own it lets go of; of the rest it has nothing yet.
        for until in [until.min(self.heard_from), until] {
            let settled = moved.end()..until;
            if settled.start < settled.end {
                let header = frame(Kind::Past, 0, settled.clone());
                next.put(&self.record, &header, iter::empty())?;
                moved.pass_over(settled).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    fn read(&self, at: u64, length: u64) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let bytes = super::read(&self.record, self.half.place() + at, length)?;
        bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn frame(kind: Kind, bytes: usize, settles: Range<u64>) -> FrameHeader {
    FrameHeader { kind, pass: 0, bytes, settles }
}
