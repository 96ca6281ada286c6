//! Reads of a file over an `io_uring`: the kernel fills buffers while no thread waits for it.
//!
//! It reads and nothing else, and decides nothing: what a short read or an error means is its user's
//! affair. Who asks and who takes what has ended may be different threads.

mod reaper;
mod sys;

use std::io;

pub use reaper::Reaper;
pub use sys::Ring;

/// A read that has ended.
#[derive(Debug)]
pub struct Ended<T> {
    /// What was given along with it.
    pub token: T,
    /// The memory that it was given.
    pub memory: Box<[u8]>,
    /// How many bytes were read into the memory's beginning: fewer than were asked for at the file's end,
    /// and where the kernel was interrupted. An error may say nothing about the file: the kernel cannot
    /// end a read well whose thread has gone meanwhile.
    pub count: io::Result<usize>,
}

/// A read that was not begun.
#[derive(Debug)]
pub struct Refused<T> {
    /// What was given along with it.
    pub token: T,
    /// The memory that it was given.
    pub memory: Box<[u8]>,
}

#[cfg(test)]
mod tests;
