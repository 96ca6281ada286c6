//! iSCSI: what initiators send to our target.

mod login;
mod pdus;
mod seeds;
mod session;

pub use login::iscsi_login;
pub use pdus::iscsi_pdus;
pub use seeds::iscsi_seeds;
pub use session::iscsi_session;

use blockferry_iscsi::pdu::{LoginRequest, Stage};
use blockferry_iscsi::{Cid, Isid, Itt, Serial, Tsih};

/// Key=value pairs as a text.
fn text(pairs: &[&str]) -> Vec<u8> {
    pairs.iter().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect()
}

/// A request that goes from the stage to the next one.
fn request(current: Stage, next: Stage) -> LoginRequest {
    LoginRequest {
        transit: true,
        continued: false,
        current,
        next,
        version_max: 0,
        version_min: 0,
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        tsih: Tsih(0),
        itt: Itt(1),
        cid: Cid(0),
        cmd_sn: Serial(1),
        expected_stat_sn: Serial(1),
    }
}
