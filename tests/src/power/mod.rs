//! Losses of power, from the logs that a kernel's dm-log-writes keeps of its disks' writes: what a disk
//! holds when its power goes at a flush, with more or less of what was written after it, and whether
//! that is enough.

mod disk;
mod ext4;
mod log;
mod outage;
mod side;

pub use disk::Disk;
pub use ext4::{Ext4, files_in};
pub use log::{Entry, WriteLog};
pub use outage::{Outage, Replay, Tail};
pub use side::{Records, Side, Survivor};
