//! The migration protocol as state machines without clock, socket or disk.
//!
//! [`source::Source`] orders a volume's requests and decides which are mirrored, logged, made dirty,
//! held or forwarded; [`destination::Destination`] is the arbiter of the ordered stream. Both are
//! driven by method calls and answer with what to do next, so that the programs and the simulator
//! run the same decisions. Invariants carry their numbers (`I3`) where they are checked.

pub mod activity;
pub mod destination;
pub mod digest;
mod faults;
pub mod in_flight;
pub mod record;
pub mod regions;
pub mod source;

pub use faults::Faults;
