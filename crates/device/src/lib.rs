//! The one narrow trait that everything which holds blocks implements: a file, memory, a remote NBD
//! server, a volume under migration, the switch's path to an upstream. Behaviour is added by small
//! wrappers that implement it over another device.
//!
//! It owns no memory but what passes through: data is [`bytes::Bytes`], so that a request can be
//! kept for replay, mirrored and written locally without a copy.

mod answer;
mod failure;
mod inflow;
mod info;
mod request;
mod zeroes;

use std::sync::Arc;

pub use answer::{Answer, Outcome};
use blockferry_block::Extent;
pub use failure::{Errno, Failure};
pub use inflow::{Inflow, PieceSink};
pub use info::{DeviceInfo, Features, PAYLOAD_MAX};
pub use request::{ReadPart, Reply, Request, Segment, SegmentState};
pub use zeroes::{ZERO_BLOCK, ZeroRun, zero_runs};

/// Something that holds `info().size` bytes and answers requests for them.
///
/// A caller sends only requests that fit: inside the size, with features that `info` offers
/// ([`DeviceInfo::check`] tells). Requests may be under way at the same time and be answered in any
/// order; a caller that needs an order between overlapping ones waits for the answers.
pub trait Device: Send + Sync + 'static {
    /// What the device is and can do; asked once at open, constant afterwards.
    fn info(&self) -> &DeviceInfo;

    /// Executes the request. Work may begin before the answer is first polled; dropping the answer
    /// does not cancel it.
    fn call(&self, request: Request) -> Answer;

    /// Executes the request if that takes no waiting; where there is no outcome it was not begun, and is
    /// for [`Device::call`].
    fn call_now(&self, _request: &Request) -> Option<Outcome> {
        None
    }

    /// Begins a write, not a durable one, whose data comes in pieces; `None` where the device wants it
    /// whole.
    fn begin_write(&self, _extent: Extent) -> Option<Inflow> {
        None
    }
}

impl<D: Device + ?Sized> Device for Arc<D> {
    fn info(&self) -> &DeviceInfo {
        (**self).info()
    }

    fn call(&self, request: Request) -> Answer {
        (**self).call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Outcome> {
        (**self).call_now(request)
    }

    fn begin_write(&self, extent: Extent) -> Option<Inflow> {
        (**self).begin_write(extent)
    }
}
