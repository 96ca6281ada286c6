//! What the fuzz targets do with their bytes.
//!
//! Each target runs the same bytes twice, whole and cut into pieces: a peer decides how its bytes
//! are cut, and it must not matter. The first byte of an input picks the variant.

mod frames;
mod handshakes;
mod iscsi;
mod options;
mod pieces;
mod replies;
mod requests;
mod roundtrip;
mod scsi;

pub use frames::keeper_frames;
pub use handshakes::{client_handshake, server_handshake};
pub use iscsi::{iscsi_login, iscsi_pdus, iscsi_seeds, iscsi_session};
pub use options::private_options;
pub use replies::{asked, reply_parser, style};
pub use requests::{device, request_parser};
pub use roundtrip::roundtrip;
pub use scsi::{scsi_commands, scsi_seeds, scsi_state};
