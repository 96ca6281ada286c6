//! The real programs as child processes, in a folder of their own, with clients, other people's
//! servers and files around them.
//!
//! Everything waits for conditions ([`until`]) and is bounded. What was started is ended by its
//! process id when it is dropped, also when a test fails; then what the programs logged is printed.

mod binaries;
mod block_device;
mod cluster;
mod controller;
mod disks;
mod files;
mod foreign;
mod guest;
mod load;
mod nbdsh;
mod phase;
mod prepared;
mod process;
mod qemu_io;
mod raw;
mod recorder;
mod service;
mod small_disk;
mod steps;
mod storage;
mod switch;
mod until;
mod wire;

pub use binaries::binary;
pub use block_device::LoopDevice;
pub use cluster::{Cluster, ClusterSpec, Transport, VOLUME};
pub use controller::{Controller, Outcome};
pub use disks::{TARGET, disk, iscsi};
pub use files::{Scratch, allocated, compare, fill_random, sparse};
pub use foreign::{NbdKit, QemuNbd};
pub use guest::{Guest, check_file_system};
pub use load::{busy, connect, ends_clean, load, moves_on, read, write};
pub use nbdsh::{Script, nbdsh, run_tool};
pub use phase::Phase;
pub use process::{Process, keeping_logs};
pub use qemu_io::QemuIo;
pub use raw::{RawClient, RawRequest, Replies};
pub use recorder::{RECORDED_HOST, Recorder};
pub use small_disk::SmallDisk;
pub use steps::Steps;
pub use storage::{Storage, StorageSpec};
pub use switch::{Switch, SwitchSpec};
pub use until::{until, until_within};
pub use wire::{Command, Passing};
