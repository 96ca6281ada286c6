//! iSCSI over real sockets: initiators log in, and their SCSI commands are executed on a device.
//!
//! The protocol lives in `blockferry-iscsi`, what a command means in `blockferry-scsi`; which targets
//! there are, and who may use them, is decided by the [`Targets`] that a program brings. Here they meet:
//! a [`Unit`] is a volume's disk, which all its sessions share, and each session has a [`Medium`] of its
//! own, by which its commands reach the volume.
//!
//! Architecture invariant: a command that was begun at a medium is answered or waited for, never
//! dropped: [`serve`] returns only when nothing of its connection executes any more.

mod execute;
mod login;
mod medium;
mod naming;
mod portals;
mod serve;
mod session;
mod sessions;
mod targets;
#[cfg(test)]
mod testing;
mod unit;

pub use login::{Arrival, Handed, LoginEnd, PORTAL_GROUP, next_pdu};
pub use medium::{Change, ChangeKind, Changed, Medium};
pub use naming::{is_target_of, target_of};
pub use portals::{Advertised, BadPortal};
pub use serve::{serve, serve_all, serve_arrival};
pub use sessions::Sessions;
pub use targets::{Opened, Targets};
pub use unit::{Hushed, KeepState, Unit};
