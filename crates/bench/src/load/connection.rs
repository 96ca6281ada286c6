//! One connection of a load. Its requests lie ready in slots, header and payload in one piece, of
//! which only the header's changing fields are written again.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use blockferry_nbd_wire::constants as c;

use super::pattern::Requests;
use super::{Course, Load, handshake};
use crate::image::Noise;

/// A compact request's header, in bytes.
const REQUEST_BYTES: usize = 28;
/// A simple reply's header, in bytes.
const REPLY_BYTES: usize = 16;
/// Bytes taken in at once, at most.
const RECEIVE_BYTES: usize = 512 << 10;
/// Slices given to one system call, at most (`UIO_MAXIOV`).
const SLICES_MAX: usize = 1024;

/// See the module.
pub(super) struct Connection {
    stream: TcpStream,
    requests: Requests,
    block: usize,
    slots: Vec<Slot>,
    idle: Vec<usize>,
    /// Slots that have not left, the first perhaps in part.
    sending: VecDeque<usize>,
    sent_of_first: usize,
    input: Box<[u8]>,
    filled: usize,
    /// Bytes of the present reply's payload that have not come.
    payload_left: usize,
    /// Requests that were answered.
    pub(super) answered: u64,
}

struct Slot {
    bytes: Box<[u8]>,
    length: usize,
    is_write: bool,
    began: Duration,
}

impl Connection {
    pub(super) fn open(load: &Load, number: u64) -> Result<Self> {
        let (stream, size) = handshake::join(load.server, &load.export)?;
        ensure!(load.block > 0 && load.depth > 0, "a load needs a block size and a depth");
        ensure!(size >= u64::from(load.block), "the volume is smaller than a request");
        let block = load.block as usize;
        let mut payload = vec![0; REQUEST_BYTES + block];
        Noise(number + 1).fill(&mut payload);
        let slot = |cookie| Slot::new(&payload, cookie, load.block);
        Ok(Self {
            stream,
            requests: Requests::new(load.pattern, load.block, size, number),
            block,
            slots: (0..load.depth as u64).map(slot).collect(),
            idle: (0..load.depth).rev().collect(),
            sending: VecDeque::with_capacity(load.depth),
            sent_of_first: 0,
            input: vec![0; RECEIVE_BYTES].into(),
            filled: 0,
            payload_left: 0,
            answered: 0,
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.len() == self.slots.len()
    }

    /// Whether something waits to leave.
    pub(super) fn is_sending(&self) -> bool {
        !self.sending.is_empty()
    }

    /// Begins as many requests as there are slots and the course grants.
    pub(super) fn begin(&mut self, course: &mut Course, stopped: bool) {
        if stopped || self.idle.is_empty() {
            return;
        }
        let now = course.now();
        for _ in 0..course.grant(self.idle.len() as u64, now) {
            let Some(index) = self.idle.pop() else { return };
            let (is_write, offset) = self.requests.next();
            self.slots[index].prepare(is_write, offset, now);
            self.sending.push_back(index);
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn send(&mut self) -> Result<()> {
        while !self.sending.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            let mut skip = self.sent_of_first;
            for (slice, index) in slices.iter_mut().zip(&self.sending) {
                let slot = &self.slots[*index];
                *slice = IoSlice::new(&slot.bytes[skip..slot.length]);
                skip = 0;
                count += 1;
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(sent) => self.left(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn left(&mut self, mut sent: usize) {
        while let Some(first) = self.sending.front() {
            let rest = self.slots[*first].length - self.sent_of_first;
            if sent < rest {
                self.sent_of_first += sent;
                return;
            }
            sent -= rest;
            self.sent_of_first = 0;
            self.sending.pop_front();
        }
    }

    /// Takes in what has come, once.
    pub(super) fn receive(&mut self, course: &mut Course) -> Result<()> {
        let count = match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.take_in(self.filled + count, course)
    }

    /// Takes the replies out of the first `end` bytes; the beginning of a header stays.
    fn take_in(&mut self, end: usize, course: &mut Course) -> Result<()> {
        let now = course.now();
        let mut at = 0;
        loop {
            let skipped = self.payload_left.min(end - at);
            self.payload_left -= skipped;
            at += skipped;
            if self.payload_left > 0 || end - at < REPLY_BYTES {
                break;
            }
            let header = self.input[at..].first_chunk::<REPLY_BYTES>().copied();
            at += REPLY_BYTES;
            self.reply(header.unwrap_or_default(), course, now)?;
        }
        self.input.copy_within(at..end, 0);
        self.filled = end - at;
        Ok(())
    }

    /// A reply counts when its header has come: a payload follows at once.
    fn reply(&mut self, header: [u8; 16], course: &mut Course, now: Duration) -> Result<()> {
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        ensure!(word(0) == c::SIMPLE_REPLY_MAGIC, "expected a simple reply, got {:#x}", word(0));
        ensure!(word(4) == 0, "the server answers with error {}", word(4));
        let index = word(12) as usize;
        let slot = self.slots.get(index).filter(|slot| word(8) == 0 && slot.length > 0);
        let Some(slot) = slot else { bail!("the server answers what was not asked") };
        self.payload_left = if slot.is_write { 0 } else { self.block };
        course.answered(slot.began, now);
        self.slots[index].length = 0;
        self.idle.push(index);
        self.answered += 1;
        Ok(())
    }

    /// Says good-bye. A server that has gone already does not mind.
    pub(super) fn leave(&mut self) {
        let mut header = [0; REQUEST_BYTES];
        header[..4].copy_from_slice(&c::REQUEST_MAGIC.to_be_bytes());
        header[6..8].copy_from_slice(&c::CMD_DISC.to_be_bytes());
        let _ = self.stream.write_all(&header);
    }
}

impl Slot {
    fn new(payload: &[u8], cookie: u64, block: u32) -> Self {
        let mut bytes: Box<[u8]> = payload.into();
        bytes[..4].copy_from_slice(&c::REQUEST_MAGIC.to_be_bytes());
        bytes[4..8].fill(0);
        bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
        bytes[24..28].copy_from_slice(&block.to_be_bytes());
        Self { bytes, length: 0, is_write: false, began: Duration::ZERO }
    }

    fn prepare(&mut self, is_write: bool, offset: u64, now: Duration) {
        let command = if is_write { c::CMD_WRITE } else { c::CMD_READ };
        self.bytes[6..8].copy_from_slice(&command.to_be_bytes());
        self.bytes[16..24].copy_from_slice(&offset.to_be_bytes());
        self.length = if is_write { self.bytes.len() } else { REQUEST_BYTES };
        self.is_write = is_write;
        self.began = now;
    }
}
