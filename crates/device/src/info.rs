//! What a device is and can do, and the check that a request fits it.

use blockferry_block::Extent;

use crate::{Errno, Failure, Request};

/// Operations that a device may offer beyond reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Features {
    /// Writes are refused with `EPERM`.
    pub read_only: bool,
    /// `flush` makes completed writes durable.
    pub flush: bool,
    /// A write may ask to be durable before it is answered.
    pub fua: bool,
    /// `trim`; a trimmed extent reads as zeroes on devices of this project.
    pub trim: bool,
    /// `write_zeroes`, with `no_hole`.
    pub write_zeroes: bool,
    /// `write_zeroes` with `fast_zero`.
    pub fast_zero: bool,
    /// `cache`.
    pub cache: bool,
    /// `block_status` tells holes from data.
    pub block_status: bool,
    /// A flush on one connection covers what was answered on every other.
    pub multi_conn: bool,
    /// The medium rotates.
    pub rotational: bool,
}

impl Features {
    /// What `other` does not offer of this, by name. How the medium moves is no concern.
    pub fn missing_in(self, other: Self) -> impl Iterator<Item = &'static str> {
        let pairs = [
            ("writing", !self.read_only, !other.read_only),
            ("flush", self.flush, other.flush),
            ("FUA", self.fua, other.fua),
            ("trim", self.trim, other.trim),
            ("write-zeroes", self.write_zeroes, other.write_zeroes),
            ("fast zero", self.fast_zero, other.fast_zero),
            ("cache", self.cache, other.cache),
            ("block status", self.block_status, other.block_status),
            ("consistency over several connections", self.multi_conn, other.multi_conn),
        ];
        pairs.into_iter().filter(|(_, wanted, offered)| *wanted && !offered).map(|(name, ..)| name)
    }
}

/// What a device is: asked once at open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Size in bytes; any number, no multiple of anything.
    pub size: u64,
    /// Offered operations.
    pub features: Features,
    /// Smallest addressable length in bytes, a power of two. 1 for this project's devices.
    pub block_size_min: u32,
    /// Preferred length in bytes, a power of two.
    pub block_size_preferred: u32,
    /// Largest payload of one request in bytes.
    pub payload_max: u32,
}

/// Largest payload that this project's servers accept and advertise, in bytes.
pub const PAYLOAD_MAX: u32 = 32 << 20;

impl DeviceInfo {
    /// A device of `size` bytes with this project's block sizes: 1, 4,096 and 32 MiB.
    pub const fn new(size: u64, features: Features) -> Self {
        Self {
            size,
            features,
            block_size_min: 1,
            block_size_preferred: 4096,
            payload_max: PAYLOAD_MAX,
        }
    }

    /// The volume's extent.
    pub const fn extent(&self) -> Extent {
        Extent::whole(self.size)
    }

    /// Checks that the request lies inside the device and uses only what it offers.
    ///
    /// # Errors
    /// The failure to answer with, as the NBD specification names it: `EPERM` for writes to a
    /// read-only device, `ENOSPC` for writes beyond the end, `EINVAL` for everything else.
    pub fn check(&self, request: &Request) -> Result<(), Failure> {
        let features = &self.features;
        if request.is_write() && features.read_only {
            return Err(Failure::new(Errno::Perm, "the volume is read-only"));
        }
        if !self.offers(request) {
            return Err(Failure::new(Errno::Inval, "the volume does not offer this command"));
        }
        match request.extent() {
            Some(extent) if extent.end() > self.size => Err(self.beyond(request, extent)),
            _ => Ok(()),
        }
    }

    fn offers(&self, request: &Request) -> bool {
        let features = &self.features;
        match request {
            Request::Read { .. } => true,
            Request::Write { fua, .. } => features.fua || !fua,
            Request::WriteZeroes { fua, fast_zero, .. } => {
                features.write_zeroes
                    && (features.fua || !fua)
                    && (features.fast_zero || !fast_zero)
            }
            Request::Trim { fua, .. } => features.trim && (features.fua || !fua),
            Request::Flush => features.flush,
            Request::Cache { .. } => features.cache,
            Request::BlockStatus { .. } => features.block_status,
        }
    }

    fn beyond(&self, request: &Request, extent: Extent) -> Failure {
        let errno = match request {
            Request::Write { .. } | Request::WriteZeroes { .. } => Errno::NoSpc,
            _ => Errno::Inval,
        };
        let size = self.size;
        Failure::new(errno, format!("{extent} reaches beyond the volume's {size} bytes"))
    }
}
