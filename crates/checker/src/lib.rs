//! A checked load: a client that keeps a volume busy over several connections and proves every
//! answer. Each block is a register: a read returns the last acknowledged write or one that was in
//! flight with it, never an older value after a newer one, on whichever connection and path (I15).
//!
//! - [`Registers`] is the pure core: told what is written and read, and when, it finds what no order
//!   of the operations explains. Simulators use it with values of their own.
//! - [`Load`] sends requests to devices, made so that they meet, and proves the answers with it.
//! - [`Journal`] is what a load leaves behind, to be proved again later, on whichever server.
//!
//! It proves what clients see. Whether acknowledged writes survive a power loss it does not know.

mod config;
mod content;
mod event;
mod image;
mod joined;
mod journal;
mod load;
mod mixing;
mod pace;
mod plan;
mod proof;
mod register;
mod registers;
mod report;
mod stamp;
mod statistics;
mod value;
mod verify;
mod violation;
mod writer;

pub use config::{
    CONNECTIONS_MAX, ConfigError, DEPTH_MAX, Initial, LoadConfig, Mix, REQUEST_BYTES_MAX,
};
pub use content::Tearing;
pub use event::{Content, Fault, Outcome, Tick};
pub use image::ImageFile;
pub use journal::{Entry, Journal, JournalError};
pub use load::{Load, LoadHandle};
pub use registers::{Finding, ReadUnderWay, Registers, WriteUnderWay};
pub use report::{Report, Snapshot};
pub use stamp::{CELL, Stamp};
pub use statistics::{Counts, ERRORS_KEPT_MAX, Errors, Latency, Longest};
pub use value::Value;
pub use verify::VerifyError;
pub use violation::{KEPT_MAX, Violation, ViolationKind, Violations};
