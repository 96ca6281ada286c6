//! Which requests a load sends.

use clap::ValueEnum;

use crate::image::Noise;

/// Kind and order of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Reads anywhere.
    RandomRead,
    /// Writes anywhere.
    RandomWrite,
    /// Both, half and half.
    RandomMixed,
    /// Reads one behind the other.
    Read,
    /// Writes one behind the other.
    Write,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    pattern: Pattern,
    block: u64,
    blocks: u64,
    next: u64,
    noise: Noise,
}

impl Requests {
    /// For a volume of `size` bytes; connections with different numbers send different ones.
    pub(super) fn new(pattern: Pattern, block: u32, size: u64, number: u64) -> Self {
        let block = u64::from(block);
        let seed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { pattern, block, blocks: size / block, next: 0, noise: Noise(seed) }
    }

    /// Whether the next is a write, and its offset.
    pub(super) fn next(&mut self) -> (bool, u64) {
        let random = self.noise.next();
        let block = match self.pattern {
            Pattern::Read | Pattern::Write => {
                self.next = (self.next + 1) % self.blocks;
                self.next
            }
            _ => (random >> 1) % self.blocks,
        };
        let is_write = match self.pattern {
            Pattern::Read | Pattern::RandomRead => false,
            Pattern::Write | Pattern::RandomWrite => true,
            Pattern::RandomMixed => random & 1 == 1,
        };
        (is_write, block * self.block)
    }
}
