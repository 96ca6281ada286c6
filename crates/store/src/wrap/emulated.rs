//! A device that does by other requests what it cannot do by itself, as far as nobody can tell.
//!
//! Zeroes are written as data, a write that has to be durable is followed by a flush, a hint is
//! dropped. To give space back, and to flush, is beyond it.

use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Reply, Request};
use bytes::Bytes;

use crate::Store;

/// Zeroes that are written at once, in bytes.
const ZEROES: u64 = 1 << 20;

/// The same as a length in memory.
const ZEROES_LENGTH: usize = 1 << 20;

/// A device that offers FUA (where it can flush), WRITE_ZEROES (fast where it is) and CACHE whatever
/// the inner one does. One that cannot be changed stays as it is. Its requests are to be made inside a
/// tokio runtime.
#[derive(Debug)]
pub struct Emulated<D> {
    inner: Arc<D>,
    info: DeviceInfo,
}

impl<D: Device> Emulated<D> {
    /// Adds to `inner` what can be made of what it has.
    pub fn new(inner: D) -> Self {
        let mut info = *inner.info();
        let features = &mut info.features;
        if !features.read_only {
            features.fua |= features.flush;
            features.write_zeroes = true;
            features.fast_zero = true;
            features.cache = true;
        }
        Self { inner: Arc::new(inner), info }
    }
}

impl<D: Device> Device for Emulated<D> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        if let Err(failure) = self.info.check(&request) {
            return Answer::ready(Err(failure));
        }
        if self.inner.info().check(&request).is_ok() {
            return self.inner.call(request);
        }
        let inner = Arc::clone(&self.inner);
        // On its own task, since dropping the answer must not cancel the request.
        let executed = tokio::spawn(async move { emulate(&*inner, request).await });
        Answer::later(async move {
            executed.await.unwrap_or_else(|error| Err(Failure::new(Errno::Io, error.to_string())))
        })
    }
}

impl<D: Store> Store for Emulated<D> {
    fn forget_losses(&self) {
        self.inner.forget_losses();
    }
}

/// Executes a request that the device does not offer.
async fn emulate(inner: &dyn Device, request: Request) -> Result<Reply, Failure> {
    let through = request.fua();
    let flushes = through && !inner.info().features.fua;
    let fua = through && !flushes;
    match request {
        Request::Cache { .. } => return Ok(Reply::Done),
        Request::WriteZeroes { fast_zero: true, .. } if !inner.info().features.fast_zero => {
            return Err(Failure::new(Errno::NotSup, "zeroes may have to be written"));
        }
        Request::WriteZeroes { extent, .. } if !inner.info().features.write_zeroes => {
            write_zeroes(inner, extent, fua).await?;
        }
        Request::WriteZeroes { extent, no_hole, fast_zero, .. } => {
            inner.call(Request::WriteZeroes { extent, fua, no_hole, fast_zero }).await?;
        }
        Request::Write { offset, data, .. } => {
            inner.call(Request::Write { offset, data, fua }).await?;
        }
        Request::Trim { extent, .. } => {
            inner.call(Request::Trim { extent, fua }).await?;
        }
        other => return inner.call(other).await,
    }
    if flushes {
        return inner.call(Request::Flush).await;
    }
    Ok(Reply::Done)
}

async fn write_zeroes(inner: &dyn Device, extent: Extent, fua: bool) -> Result<(), Failure> {
    let zeroes = Bytes::from(vec![0; ZEROES_LENGTH]);
    for piece in extent.pieces(ZEROES) {
        let data = zeroes.slice(..usize::try_from(piece.len()).unwrap_or(ZEROES_LENGTH));
        inner.call(Request::Write { offset: piece.start(), data, fua }).await?;
    }
    Ok(())
}
