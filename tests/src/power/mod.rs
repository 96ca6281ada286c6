//! Losses of power, from the logs that a kernel's dm-log-writes keeps of its disks' writes: what a disk
//! holds when its power goes at a flush, with more or less of what was written after it, and whether
//! that is enough.

mod disk;
mod ext4;
mod log;
mod outage;
mod side;
mod trial;

pub use outage::Tail;
pub use trial::{Logs, Survived};
