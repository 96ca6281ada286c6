//! A limit on everything an initiator can ask for, with its unit and its reason.

/// Data of one read, write or verification, in bytes: what this project's devices take at once.
/// Told in the Block Limits page, and held to.
pub const TRANSFER_BYTES_MAX: u64 = 32 << 20;

/// Blocks that COMPARE AND WRITE compares, and writes, at once: the Block Limits page has one byte
/// for it.
pub const COMPARE_BLOCKS_MAX: u8 = u8::MAX;

/// Extent of one WRITE SAME, in bytes: even written out it ends within the seconds that initiators
/// wait for a command.
pub const WRITE_SAME_BYTES_MAX: u64 = 256 << 20;

/// Blocks that one UNMAP gives back, over all its descriptors.
pub const UNMAP_BLOCKS_MAX: u32 = 1 << 20;

/// Descriptors of one UNMAP.
pub const UNMAP_DESCRIPTORS_MAX: u16 = 256;

/// Longest parameter list, in bytes: that of an UNMAP with all its descriptors, and room.
pub const PARAMETER_BYTES_MAX: u32 = 8 << 10;

/// Descriptors in the answer to one GET LBA STATUS; an initiator asks again for the rest.
pub const LBA_STATUS_DESCRIPTORS_MAX: usize = 256;

/// Nexuses of one unit. Each costs some hundred bytes.
pub const NEXUSES_MAX: usize = 1024;

/// Unit attentions that wait for one nexus. There are fewer kinds.
pub const ATTENTIONS_MAX: usize = 16;

/// Registered reservation keys of one unit.
pub const REGISTRATIONS_MAX: usize = 256;

/// Longest name of an initiator, in bytes (RFC 7143 section 4.2.7.1).
pub const INITIATOR_NAME_BYTES_MAX: usize = 223;

/// Longest TransportID, in bytes: its header, the longest name, the session identifier and the
/// padding (SPC-4 7.6.4.6).
pub const TRANSPORT_ID_BYTES_MAX: usize = 4 + 244;

/// Longest encoding of a unit's state, in bytes: every registration with the longest TransportID.
pub const STATE_BYTES_MAX: usize = 64 + REGISTRATIONS_MAX * (10 + TRANSPORT_ID_BYTES_MAX);
