//! What a worker that has its client's socket says: frames in memory that it shares with the keeper, so
//! that nobody is woken for them. The keeper reads them when the worker is gone.
//!
//! ```text
//!   half in use: u64 | half 0 | half 1
//!   half:  salt: u64 | (frame | seal: u64)*
//! ```
//!
//! Big-endian. A frame counts when its seal is there, which says where it ends, and which nothing can
//! imitate that was here before, since the salt is new and random each time a half is begun. So a worker
//! that dies in the middle of a frame has not said it. When a half has become long, what is still of use
//! is written into the other one, and then that is put in use by a single small write.

mod half;
mod write;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{pread, retry_on_intr};

pub use self::write::Recorder;

use self::half::{SEAL_BYTES, place_of, seal};
use crate::frame::{Frame, FrameHeader, HEADER_BYTES};

/// Memory for a worker's words about one client, which the two processes share.
///
/// # Errors
/// What the operating system says.
pub fn new_record() -> io::Result<OwnedFd> {
    Ok(memfd_create("blockferry-record", MemfdFlags::CLOEXEC)?)
}

/// All that the worker has said. It must be gone.
///
/// # Errors
/// When the memory cannot be read.
pub fn read_record(record: &OwnedFd) -> io::Result<Vec<Frame>> {
    let half = read(record, 0, 8)?.map_or(0, number);
    let place = place_of(half);
    let Some(salt) = read(record, place, 8)?.map(number) else { return Ok(Vec::new()) };
    let (mut frames, mut end) = (Vec::new(), 8);
    while let Some((frame, next)) = read_frame(record, place, end, salt)? {
        frames.push(frame);
        end = next;
    }
    Ok(frames)
}

/// The frame that begins here, with where it ends; `None` where none was said.
fn read_frame(
    record: &OwnedFd,
    place: u64,
    at: u64,
    salt: u64,
) -> io::Result<Option<(Frame, u64)>> {
    let Some(header) = read(record, place + at, HEADER_BYTES)? else { return Ok(None) };
    let Ok(FrameHeader { kind, pass, bytes: length, settles }) = FrameHeader::decode(&header)
    else {
        return Ok(None);
    };
    let from = at + HEADER_BYTES as u64;
    let Some(mut bytes) = read(record, place + from, pass + length + SEAL_BYTES)? else {
        return Ok(None);
    };
    let end = from + bytes.len() as u64;
    let sealed = number(bytes.split_off(pass + length)) == seal(salt, end);
    let pass = bytes.split_to(pass);
    Ok(sealed.then_some((Frame { kind, settles, pass, bytes }, end)))
}

/// So many bytes; `None` where the memory ends before.
fn read(record: &OwnedFd, at: u64, count: usize) -> io::Result<Option<Bytes>> {
    let (mut bytes, mut done) = (vec![0; count], 0);
    while done < count {
        let read = retry_on_intr(|| pread(record.as_fd(), &mut bytes[done..], at + done as u64));
        match read? {
            0 => return Ok(None),
            more => done += more,
        }
    }
    Ok(Some(bytes.into()))
}

fn number(bytes: Bytes) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
