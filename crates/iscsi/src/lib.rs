//! iSCSI without sockets: PDUs of both sides, and the target's login, discovery and sessions.
//!
//! Everything here is a pure state machine: PDUs go in, events and PDUs come out. There is no clock,
//! no randomness and no I/O, so that a whole conversation can be tested and fuzzed in memory. What a
//! SCSI command means is not known here: it is a block of bytes that transfers data one way.
//!
//! A connection begins with a [`Login`], which makes a [`Session`]. Bytes become PDUs with a
//! [`Decoder`]; PDUs become bytes in an [`Outbox`]. A session has one connection and error recovery
//! level 0: whatever is lost, the session is lost with it, and its initiator logs in again.
//!
//! What a peer sends is refused, never asserted: each limit of [`limits`] is checked before a byte is
//! kept. Data stays slices of the buffer it arrived in ([`bytes::Bytes`]), and leaves as it is given.
//!
//! Section numbers in the comments are those of RFC 7143, unless they say otherwise.

mod binary;
mod cdb;
mod chap;
mod digest;
mod frame;
mod header;
pub mod limits;
mod login;
mod lun;
mod name;
mod negotiation;
mod numbers;
mod opcode;
mod outbox;
mod parameters;
mod parts;
pub mod pdu;
mod portal;
mod session;
mod text;

pub use cdb::Cdb;
pub use chap::{Account, BadSecret, Challenge, Chap, ChapFailure, SameSecret, Secret};
pub use digest::Digests;
pub use frame::{Begun, Decoder, FrameError, Pdu};
pub use header::Header;
pub use login::{Admission, Established, Inquiry, Login, LoginStep, Refusal, SessionKey, redirect};
pub use lun::Lun;
pub use name::{BadName, IscsiName};
pub use numbers::{Cid, Isid, Itt, PortalGroup, Sequence, Serial, Tsih, Ttt};
pub use opcode::Opcode;
pub use outbox::Outbox;
pub use parameters::{DigestPolicy, Offer, Parameters, SessionType};
pub use parts::{DataPart, Pieces};
pub use portal::{BadAddress, PortalAddress};
pub use session::{
    Command, Delivery, Event, Fault, ManagementId, Notice, Outcome, QueryId, Reconnect, Session,
    SessionLimits, TargetEntry, TargetQuery, TaskId,
};
pub use text::BadText;
