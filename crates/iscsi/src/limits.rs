//! What a peer may make us keep.

/// Additional header segments of one PDU, in bytes. The longest that has a use here is an extended
/// CDB of 260 bytes (RFC 7143 section 11.2.2.3), which takes 248.
pub const AHS_BYTES_MAX: usize = 256;

/// A data segment while the login lasts, in bytes: the default of `MaxRecvDataSegmentLength` (RFC
/// 7143 section 13.12), which nobody has changed yet.
pub const LOGIN_SEGMENT_BYTES_MAX: u32 = 8192;

/// The longest data segment that a header can announce, in bytes: 24 bits.
pub const SEGMENT_BYTES_MAX: u32 = 0xff_ffff;

/// A request's text over all its PDUs, in bytes: two full PDUs of a login.
pub const TEXT_BYTES_MAX: usize = 16 << 10;

/// Key=value pairs in one request. All keys that exist are fewer, and our answers to so many fit
/// into one PDU of a login.
pub const TEXT_KEYS_MAX: usize = 64;

/// A key's name, in bytes (RFC 7143 section 6.1).
pub const KEY_BYTES_MAX: usize = 63;

/// An iSCSI name, in bytes (RFC 7143 section 4.2.7.1).
pub const NAME_BYTES_MAX: usize = 223;

/// A binary value, in bytes (RFC 7143 section 12.1.3 has 1,024 for a CHAP challenge).
pub const BINARY_BYTES_MAX: usize = 1024;

/// Requests of one login. The longest that has a use takes four.
pub const LOGIN_REQUESTS_MAX: u32 = 32;

/// Places for tasks of one session: a task's place is eight bits of its transfer tags, and the last
/// value is left out so that no tag is the reserved one.
pub const TASKS_MAX: u16 = 255;

/// Task management requests of one session that have not been answered. An initiator sends one at a
/// time.
pub const MANAGEMENTS_MAX: usize = 8;

/// Targets in one answer to `SendTargets`, so that the whole text stays below some MiB.
pub const TARGETS_MAX: usize = 4096;
