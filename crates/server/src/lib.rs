//! What both storage programs share: listeners, volumes, and the shell around the migration's state
//! machines.
//!
//! Architecture invariant: everything that decides is in `blockferry-migration`; this crate moves
//! bytes, makes records durable before they are acted upon, and asks the machines what to do.

mod accounts;
mod api;
mod cli;
mod exports;
mod iscsi;
mod metrics;
mod prepared;
mod program;
mod receive;
mod redirects;
mod run;
mod volume;
mod volumes;

pub use cli::{Cli, UsageError};
pub use program::PROTOCOL;
pub use run::{main, run};
