//! Memory for what is read, used again and again: to ask for new memory costs more than to read a page
//! that is cached, and new memory would have to be zeroed first.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers come in powers of two, from this many bytes.
const SMALLEST: usize = 4 << 10;

/// Largest buffer that is kept, in bytes: as long as a copy's reads mostly are.
const LARGEST: usize = 2 << 20;

const SIZES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

/// Bytes of one size that are kept while nobody uses them: of 256 KiB as many as a copy
/// reads ahead.
const KEPT_MAX: usize = 6 << 20;

/// Buffers of one size that nobody uses.
type Kept = Mutex<Vec<Box<[u8]>>>;

/// Buffers to take from.
#[derive(Clone)]
pub(super) struct Buffers(Arc<[Kept; SIZES]>);

/// A buffer that goes back where it came from when it is dropped.
pub(super) struct Buffer {
    memory: Box<[u8]>,
    length: usize,
    home: Buffers,
}

impl Buffers {
    /// Those of all stores of the process: what one has given back serves another, and however many
    /// stores there are, no more is kept.
    pub(super) fn shared() -> Self {
        static SHARED: LazyLock<Buffers> = LazyLock::new(Buffers::new);
        SHARED.clone()
    }

    fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Mutex::default())))
    }

    /// A buffer for so many bytes; it holds what others have left in it.
    pub(super) fn take(&self, length: usize) -> Buffer {
        let size = size_of(length);
        let memory = match self.0.get(size) {
            Some(kept) => lock(kept).pop().unwrap_or_else(|| vec![0; SMALLEST << size].into()),
            None => vec![0; length].into(),
        };
        Buffer { memory, length, home: self.clone() }
    }

    /// The buffer that [`Buffer::lend`] has taken apart.
    pub(super) fn returned(&self, memory: Box<[u8]>, length: usize) -> Buffer {
        Buffer { memory, length, home: self.clone() }
    }

    fn keep(&self, memory: Box<[u8]>) {
        let length = memory.len();
        if length == 0 {
            return;
        }
        let Some(kept) = self.0.get(size_of(length)) else { return };
        let mut kept = lock(kept);
        if kept.len() < KEPT_MAX / length {
            kept.push(memory);
        }
    }
}

impl Buffer {
    /// What can be filled.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.length]
    }

    /// Its memory, at least as long as it; [`Buffers::returned`] makes it a buffer again.
    pub(super) fn lend(mut self) -> Box<[u8]> {
        std::mem::take(&mut self.memory)
    }

    /// The content, without a copy.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.keep(std::mem::take(&mut self.memory));
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buffers")
    }
}

/// Which of the sizes holds so many bytes.
fn size_of(length: usize) -> usize {
    length.div_ceil(SMALLEST).max(1).next_power_of_two().ilog2() as usize
}

fn lock(kept: &Kept) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_content_is_dropped_and_not_before() {
        let buffers = Buffers::new();
        let mut first = buffers.take(5000);
        first.bytes_mut().fill(1);
        let content = first.into_bytes();
        let place = content.as_ptr();
        let second = buffers.take(8192);
        assert_ne!(second.as_ref().as_ptr(), place);
        assert_eq!(content, vec![1; 5000]);
        drop(content);
        assert_eq!(buffers.take(6000).as_ref().as_ptr(), place);
    }

    #[test]
    fn every_length_fits_into_its_size_and_no_more_than_that_is_kept() {
        let buffers = Buffers::new();
        for length in [0, 1, 4096, 4097, 65536, LARGEST] {
            assert_eq!(buffers.take(length).as_ref().len(), length);
        }
        let longer = buffers.take(LARGEST + 1);
        assert_eq!(longer.memory.len(), LARGEST + 1, "no more than is read into it");
        drop(longer);
        let many: Vec<_> = (0..2 * KEPT_MAX / LARGEST).map(|_| buffers.take(LARGEST)).collect();
        drop(many);
        assert_eq!(lock(&buffers.0[SIZES - 1]).len(), KEPT_MAX / LARGEST);
    }
}
