//! What kind of load is put on a volume.

use std::time::Duration;

use blockferry_block::{Extent, KIB, MIB};
use blockferry_device::DeviceInfo;

use crate::content::Tearing;

/// How often each kind of request is sent, as parts of their sum. What the volume does not offer is
/// left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Reads.
    pub read: u32,
    /// Writes.
    pub write: u32,
    /// Zeroings (`WRITE_ZEROES`).
    pub write_zeroes: u32,
    /// Trims. A trimmed extent must read as zeroes, which not every server promises.
    pub trim: u32,
    /// Flushes.
    pub flush: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { read: 45, write: 45, write_zeroes: 4, trim: 4, flush: 2 }
    }
}

impl Mix {
    /// Only what the device offers.
    pub(crate) fn offered_by(self, info: &DeviceInfo) -> Self {
        let features = &info.features;
        let writable = !features.read_only;
        let keep = |part: u32, offered: bool| if offered { part } else { 0 };
        Self {
            read: self.read,
            write: keep(self.write, writable),
            write_zeroes: keep(self.write_zeroes, writable && features.write_zeroes),
            trim: keep(self.trim, writable && features.trim),
            flush: keep(self.flush, features.flush),
        }
    }

    pub(crate) fn total(self) -> u64 {
        [self.read, self.write, self.write_zeroes, self.trim, self.flush]
            .into_iter()
            .map(u64::from)
            .sum()
    }
}

/// What is on the volume when the load begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Initial {
    /// Anything; but what was read once must stay until it is written.
    #[default]
    Unknown,
    /// Zeroes.
    Zero,
}

/// A load. The defaults suit a small volume that is to be moved while it is busy.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadConfig {
    /// The same seed gives every writer the same requests in the same order.
    pub seed: u64,
    /// Tells this run's writes from those of others; drawn at random where it is not given.
    pub run: Option<u64>,
    /// Requests under way on each connection.
    pub depth: u32,
    /// The part of the volume that is used; all of it where it is not given.
    pub span: Option<Extent>,
    /// Bytes of a block: what is read and written in one piece, if alone. A power of two.
    pub block_size: u32,
    /// Smallest and largest request in bytes.
    pub request_bytes: (u64, u64),
    /// Requests begin and end at any byte, not at blocks' edges.
    pub unaligned: bool,
    /// Kinds of requests.
    pub mix: Mix,
    /// Of a thousand writes, zeroings and trims, how many ask to be durable before the answer.
    pub fua_per_mille: u32,
    /// Of a thousand requests, how many go to the hot spot, where they meet.
    pub hot_per_mille: u32,
    /// Length of the hot spot, in the middle of the span, in bytes.
    pub hot_bytes: u64,
    /// Write every byte of the span once before anything else is sent.
    pub fill: bool,
    /// What is on the volume at first.
    pub initial: Initial,
    /// Whether reads may be torn by writes that they run into.
    pub tearing: Tearing,
    /// Requests a second over all connections; as fast as possible where it is not given.
    pub rate: Option<u32>,
    /// End by itself after so many requests.
    pub operations: Option<u64>,
    /// After this time a request counts as failed. Far above what any client waits for.
    pub request_timeout: Duration,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            run: None,
            depth: 8,
            span: None,
            block_size: 4096,
            request_bytes: (4 * KIB, 64 * KIB),
            unaligned: false,
            mix: Mix::default(),
            fua_per_mille: 20,
            hot_per_mille: 300,
            hot_bytes: MIB,
            fill: false,
            initial: Initial::Unknown,
            tearing: Tearing::BesideWrites,
            rate: None,
            operations: None,
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// Connections of one load: each has its own writer number.
pub const CONNECTIONS_MAX: usize = 1024;
/// Requests under way on one connection.
pub const DEPTH_MAX: u32 = 1024;
/// Largest request in bytes: the largest payload of this project's servers.
pub const REQUEST_BYTES_MAX: u64 = 32 * MIB;

/// A load that cannot be put on this volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No connection, or too many.
    #[error("a load needs 1 to {CONNECTIONS_MAX} connections, not {0}")]
    Connections(usize),
    /// The connections are not to one volume.
    #[error("the connections are to volumes of {0} and {1} bytes; all must be to the same one")]
    Sizes(u64, u64),
    /// No request under way, or too many.
    #[error("the queue depth is 1 to {DEPTH_MAX}, not {0}")]
    Depth(u32),
    /// Blocks that cannot be told apart.
    #[error("the block size is a power of two from 512 to 65536 bytes, not {0}")]
    BlockSize(u32),
    /// The volume wants larger requests.
    #[error("the volume accepts no requests below {0} bytes; use larger blocks, and aligned ones")]
    Alignment(u32),
    /// Sizes that are none.
    #[error(
        "requests of {0} to {1} bytes: the first must be at least 1 and at most the second, that at \
         most {REQUEST_BYTES_MAX}"
    )]
    RequestBytes(u64, u64),
    /// Nothing to work on.
    #[error("the span {0} holds no whole block of the volume's {1} bytes")]
    Span(Extent, u64),
    /// Nothing to send.
    #[error("the volume offers none of the requests in the mix")]
    Mix,
    /// Requests would never be sent.
    #[error("the rate must be at least 1 request a second")]
    Rate,
    /// No randomness to be had.
    #[error("the operating system gives no random number for the run: {0}")]
    Random(String),
}

impl LoadConfig {
    /// Checks the load against a volume and its connections, and returns the span that it uses.
    ///
    /// # Errors
    /// What does not fit, and what would.
    pub fn check(&self, infos: &[DeviceInfo]) -> Result<Extent, ConfigError> {
        let Some(info) = infos.first().filter(|_| infos.len() <= CONNECTIONS_MAX) else {
            return Err(ConfigError::Connections(infos.len()));
        };
        if let Some(other) = infos.iter().find(|other| other.size != info.size) {
            return Err(ConfigError::Sizes(info.size, other.size));
        }
        if !(1..=DEPTH_MAX).contains(&self.depth) {
            return Err(ConfigError::Depth(self.depth));
        }
        if !self.block_size.is_power_of_two() || !(512..=65536).contains(&self.block_size) {
            return Err(ConfigError::BlockSize(self.block_size));
        }
        let (least, most) = self.request_bytes;
        if least == 0 || least > most || most > REQUEST_BYTES_MAX {
            return Err(ConfigError::RequestBytes(least, most));
        }
        if self.rate == Some(0) {
            return Err(ConfigError::Rate);
        }
        if infos.iter().any(|info| self.mix.offered_by(info).total() == 0) {
            return Err(ConfigError::Mix);
        }
        self.span_on(infos, info.size)
    }

    /// The span, cut at both ends to what the volume can address.
    fn span_on(&self, infos: &[DeviceInfo], size: u64) -> Result<Extent, ConfigError> {
        let least = infos.iter().map(|info| info.block_size_min).max().unwrap_or(1);
        if least > if self.unaligned { 1 } else { self.block_size } {
            return Err(ConfigError::Alignment(least));
        }
        let asked = self.span.unwrap_or(Extent::whole(size));
        let within = asked.intersection(Extent::whole(size)).unwrap_or(Extent::whole(0));
        let start = match self.unaligned {
            true => within.start(),
            false => within.start().next_multiple_of(u64::from(self.block_size)),
        };
        let end = within.end() - within.end() % u64::from(least);
        match Extent::between(start, end) {
            span if span.is_empty() => Err(ConfigError::Span(asked, size)),
            span => Ok(span),
        }
    }
}
