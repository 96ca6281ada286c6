//! What holds for a session once the login is over, and what a target offers for it (RFC 7143
//! section 13).

use crate::digest::Digests;
use crate::limits::{LOGIN_SEGMENT_BYTES_MAX, SEGMENT_BYTES_MAX};

/// What is default where nobody says anything, in bytes (RFC 7143 sections 13.13 and 13.14).
const MAX_BURST_DEFAULT: u32 = 262_144;
const FIRST_BURST_DEFAULT: u32 = 65_536;

/// What a session is: for SCSI commands, or only to find targets (RFC 7143 section 13.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionType {
    /// For SCSI commands.
    Normal,
    /// Only to find targets.
    Discovery,
}

/// What was negotiated, or is default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `HeaderDigest` and `DataDigest`.
    pub digests: Digests,
    /// `InitialR2T`: no data without an R2T but what a command carries itself.
    pub initial_r2t: bool,
    /// `ImmediateData`: a command may carry the beginning of its data.
    pub immediate_data: bool,
    /// `MaxRecvDataSegmentLength` of the initiator: what one of our PDUs may carry, in bytes.
    pub initiator_segment_max: u32,
    /// `MaxRecvDataSegmentLength` of the target: what one of the initiator's PDUs may carry, in bytes.
    pub target_segment_max: u32,
    /// `MaxBurstLength`: data of one R2T, or of Data-Ins up to one with the final flag, in bytes.
    pub max_burst: u32,
    /// `FirstBurstLength`: data of one command without any R2T, in bytes.
    pub first_burst: u32,
    /// `MaxOutstandingR2T`: R2Ts of one task at a time.
    pub max_outstanding_r2t: u16,
    /// `DefaultTime2Wait`: seconds to wait before a new connection.
    pub time2wait: u16,
    /// `DefaultTime2Retain`: seconds after these until tasks are given up.
    pub time2retain: u16,
}

impl Default for Parameters {
    /// Where nobody says anything.
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            initial_r2t: true,
            immediate_data: true,
            initiator_segment_max: LOGIN_SEGMENT_BYTES_MAX,
            target_segment_max: LOGIN_SEGMENT_BYTES_MAX,
            max_burst: MAX_BURST_DEFAULT,
            first_burst: FIRST_BURST_DEFAULT,
            max_outstanding_r2t: 1,
            time2wait: 2,
            time2retain: 20,
        }
    }
}

/// Whether digests are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestPolicy {
    /// Never.
    Never,
    /// When the initiator likes that best.
    AsTheInitiatorLikes,
    /// Always; who does not want them is refused.
    Always,
}

/// What this target says when a key is negotiated. It negotiates only what the initiator begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `HeaderDigest`
    pub header_digest: DigestPolicy,
    /// `DataDigest`
    pub data_digest: DigestPolicy,
    /// `InitialR2T`: whether data without an R2T is unwelcome.
    pub initial_r2t: bool,
    /// `ImmediateData`: whether data in a command is welcome.
    pub immediate_data: bool,
    /// `MaxRecvDataSegmentLength`, in bytes; declared to every initiator that negotiates.
    pub segment_max: u32,
    /// `MaxBurstLength`, in bytes.
    pub max_burst: u32,
    /// `FirstBurstLength`, in bytes.
    pub first_burst: u32,
    /// `MaxOutstandingR2T`
    pub max_outstanding_r2t: u16,
    /// `DefaultTime2Wait`: seconds at least.
    pub time2wait: u16,
    /// `DefaultTime2Retain`: seconds at most.
    pub time2retain: u16,
}

impl Default for Offer {
    /// What makes writes fast: all data of common lengths comes without an R2T, or with one.
    fn default() -> Self {
        Self {
            header_digest: DigestPolicy::AsTheInitiatorLikes,
            data_digest: DigestPolicy::AsTheInitiatorLikes,
            initial_r2t: false,
            immediate_data: true,
            segment_max: 262_144,
            max_burst: 1 << 20,
            first_burst: 262_144,
            max_outstanding_r2t: 4,
            time2wait: 0,
            time2retain: 0,
        }
    }
}

impl Offer {
    /// The offer with every value inside the bounds that its key has.
    #[must_use]
    pub fn within_bounds(self) -> Self {
        let length = |bytes: u32| bytes.clamp(512, SEGMENT_BYTES_MAX);
        Self {
            segment_max: length(self.segment_max),
            max_burst: length(self.max_burst),
            first_burst: length(self.first_burst.min(self.max_burst)),
            max_outstanding_r2t: self.max_outstanding_r2t.max(1),
            time2wait: self.time2wait.min(3600),
            time2retain: self.time2retain.min(3600),
            ..self
        }
    }
}
