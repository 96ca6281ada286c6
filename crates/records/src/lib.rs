//! What a storage program makes durable of a volume, and how it goes on from there after a restart.
//!
//! A volume has two journals: its records ([`Book`]), which say what part it plays, and while it is
//! migrated away the activity log ([`ActivityFile`]), which says where the two sides may differ.
//! [`restart`] makes of both what goes on. All of it works over the [`Files`] that it is given: those
//! of the operating system in the programs, and simulated ones in the simulation.
//!
//! What it does not do: every call blocks until the disk has done its part; threads, and who waits
//! for whom, belong to the caller.
//!
//! [`Files`]: blockferry_journal::Files

mod activity;
mod book;
mod error;
mod restart;

pub use activity::ActivityFile;
pub use book::Book;
pub use error::RecordsError;
pub use restart::{Restarted, restart};
