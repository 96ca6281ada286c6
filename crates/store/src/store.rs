//! What a backing store is beyond a device.

use std::sync::Arc;

use blockferry_device::Device;

/// A device that keeps what it is given, and never calls a write durable that may be lost.
///
/// Once it may have lost a write that it had answered, every flush fails: a second success would be
/// a lie about the first one's writes. Only who still has those writes can end that.
pub trait Store: Device {
    /// Its user promises to write everything again that no flush has covered, so flushes are about
    /// what is written from now on.
    fn forget_losses(&self);
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn forget_losses(&self) {
        (**self).forget_losses();
    }
}
