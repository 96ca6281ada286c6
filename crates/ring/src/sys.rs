//! The ring itself, and the memory that is lent to the kernel.

#![allow(unsafe_code, reason = "the kernel writes into memory that it was lent; see `Lent`")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use io_uring::{IoUring, Probe, opcode, types};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{Ended, Refused};

/// No place in the table.
const NOTHING: u64 = u64::MAX;

/// An `io_uring` that reads one file. All its methods can be called from any thread.
///
/// Dropping it waits for nothing: memory that the kernel may still write into is never freed.
pub struct Ring<T> {
    uring: IoUring,
    file: File,
    table: Mutex<Table<T>>,
}

/// What is under way. It also is the lock of both queues.
struct Table<T> {
    /// A read's place here is what the kernel calls it by.
    places: Box<[Option<Reading<T>>]>,
    free: Vec<usize>,
    /// Reads that were put into the queue and not submitted.
    queued: usize,
}

struct Reading<T> {
    memory: Lent,
    token: T,
}

/// Memory that the kernel may write into until the completion of its read was seen. To drop this frees
/// nothing.
struct Lent(*mut [u8]);

// SAFETY: it is the only owner of that memory, as a box is, and a box of bytes can be sent.
unsafe impl Send for Lent {}

impl<T> Ring<T> {
    /// A ring for so many reads of the file at one time.
    ///
    /// # Errors
    /// When the kernel has no `io_uring`, forbids it, or is older than its reads (Linux 5.6).
    pub fn new(file: File, in_flight_max: u32) -> io::Result<Self> {
        let uring = IoUring::new(in_flight_max)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let free: Vec<usize> = (0..uring.params().sq_entries() as usize).collect();
        let places = free.iter().map(|_| None).collect();
        let ring = Self { uring, file, table: Mutex::new(Table { places, free, queued: 0 }) };
        ring.try_out()?;
        Ok(ring)
    }

    /// Has the kernel do nothing once: it may allow a ring and forbid its use.
    fn try_out(&self) -> io::Result<()> {
        let nothing = opcode::Nop::new().build().user_data(NOTHING);
        let table = self.lock();
        // SAFETY: the table's lock is held, so no other submission queue exists. The entry names no
        // memory.
        let pushed = unsafe { self.uring.submission_shared().push(&nothing) };
        drop(table);
        pushed.expect("the queue is empty");
        self.uring.submit_and_wait(1)?;
        self.reap(&mut Vec::new());
        Ok(())
    }

    /// Puts a read of `length` bytes from `offset` into the queue; [`Ring::submit`] begins it.
    ///
    /// # Errors
    /// When as many as the ring holds have not ended.
    ///
    /// # Panics
    /// When the memory is shorter than the length.
    pub fn read(
        &self,
        offset: u64,
        length: u32,
        memory: Box<[u8]>,
        token: T,
    ) -> Result<(), Refused<T>> {
        assert!(length as usize <= memory.len());
        let mut table = self.lock();
        let Some(place) = table.free.pop() else { return Err(Refused { token, memory }) };
        let memory = Box::into_raw(memory);
        table.places[place] = Some(Reading { memory: Lent(memory), token });
        let read = opcode::Read::new(types::Fd(self.file.as_raw_fd()), memory.cast(), length)
            .offset(offset)
            .build()
            .user_data(place as u64);
        // SAFETY: the table's lock is held, so no other submission queue exists.
        let mut queue = unsafe { self.uring.submission_shared() };
        // SAFETY: the file is open as long as the ring. The memory has the length and is owned by its
        // place, which gives it back only when this read's completion was seen, and else never.
        let pushed = unsafe { queue.push(&read) };
        // The queue has as many entries as the table has places.
        pushed.expect("a place is free, so the queue has room");
        drop(queue);
        table.queued += 1;
        Ok(())
    }

    /// Begins what is in the queue.
    ///
    /// # Errors
    /// When the kernel cannot take it now; it stays in the queue.
    pub fn submit(&self) -> io::Result<()> {
        while self.is_queued() {
            self.uring.submit()?;
        }
        Ok(())
    }

    fn is_queued(&self) -> bool {
        let mut table = self.lock();
        if table.queued > 0 {
            // SAFETY: the table's lock is held, so no other submission queue exists.
            table.queued = unsafe { self.uring.submission_shared() }.len();
        }
        table.queued > 0
    }

    /// Reads whose end nobody has taken.
    pub fn in_flight(&self) -> usize {
        let table = self.lock();
        table.places.len() - table.free.len()
    }

    /// Appends what has ended.
    pub fn reap(&self, ended: &mut Vec<Ended<T>>) {
        let mut table = self.lock();
        // SAFETY: the table's lock is held, so no other completion queue exists.
        for completion in unsafe { self.uring.completion_shared() } {
            let place = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
            let reading = table.places.get_mut(place).and_then(Option::take);
            let Some(Reading { memory, token }) = reading else { continue };
            table.free.push(place);
            // SAFETY: the memory came from a box, of which this was the only owner. The kernel completes
            // a read once, and writes no more into its memory then.
            let memory = unsafe { Box::from_raw(memory.0) };
            ended.push(Ended { token, memory, count: count(completion.result()) });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its descriptor is readable when a read has ended.
impl<T> AsRawFd for Ring<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }
}

/// Has the runtime watch the ring.
pub(crate) fn watch<T>(ring: Arc<Ring<T>>) -> io::Result<AsyncFd<Arc<Ring<T>>>> {
    // SAFETY: the ring has one descriptor, which is open as long as it, and the result owns a part of it.
    Ok(unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?)
}

/// A completion's result: a count, or an error's number below zero.
fn count(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
