//! SCSI of one disk (a direct-access logical unit), without transport and without storage: what a
//! command descriptor block means, what is answered, and what the unit remembers.
//!
//! Everything here is pure: there is no clock, no randomness and no I/O. A transport (iSCSI) brings
//! commands and data; whoever has the medium does the [`Work`] that a command needs. What an
//! initiator sends is refused with sense data, never asserted, and each limit of [`limits`] is
//! checked before a byte is kept.
//!
//! [`LogicalUnit`] is the whole of it: [`LogicalUnit::begin`] takes a command, and says in a
//! [`Step`] what is next. Whatever of the unit has to survive its server, and to travel with the
//! volume, is one value, [`UnitState`]; a command that changes it says so before it is answered.
//!
//! The standards are SAM-5, SPC-4 and SBC-3, and SPC-2 for RESERVE and RELEASE. Section numbers in
//! the comments are theirs.
//!
//! Not here: protection information, third-party copies, sanitizing, formatting, power conditions,
//! asymmetric access, and units that can be ejected. Their commands are refused as unknown, or
//! their fields as invalid.

mod absent;
mod attention;
mod cdb;
mod codes;
mod command;
mod config;
mod geometry;
mod inquiry;
mod lba_status;
pub mod limits;
mod mode;
mod nexus;
mod port;
mod reports;
mod reservations;
mod response;
mod sense;
mod state;
mod status;
mod table;
mod unit;
mod unmap;
mod usage;
mod work;

pub use absent::answer_absent;
pub use codes::SenseCode;
pub use config::{Identity, PRODUCT, Provisioning, REVISION, UnitConfig, VENDOR};
pub use geometry::{BadGeometry, BlockLength, Geometry, Lba, PhysicalBlock};
pub use mode::{Modes, Settings};
pub use nexus::{ConnectError, NexusId};
pub use port::{BadPort, InitiatorPort};
pub use reservations::{Access, ReservationType, Reservations};
pub use response::{Response, Transfer};
pub use sense::{FieldPointer, Sense, SenseData, SenseFormat, SenseKey};
pub use state::{BadState, UnitState};
pub use status::Status;
pub use unit::{Begun, LogicalUnit, Step};
pub use work::{Compare, Failure, Medium, Outcome, Pattern, Run, Work};
