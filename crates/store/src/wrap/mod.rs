//! Devices over another device, each adding one behaviour.

mod counted;
mod delay;
mod emulated;
mod faulty;
mod gate;
mod read_only;

pub use counted::{Count, Counted};
pub use delay::Delay;
pub use emulated::Emulated;
pub use faulty::Faulty;
pub use gate::Gate;
pub use read_only::ReadOnly;
