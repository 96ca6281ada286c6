//! CDB usage maps: for each byte of a command descriptor block the bits that may be set (SPC-4
//! 6.35.3). A bit outside is refused: RDPROTECT and WRPROTECT, since there is no protection
//! information; ANCHOR, since nothing is anchored; NACA, and whatever is reserved. The group
//! number, DPO and FUA_NV may be set and mean nothing here.

pub(crate) const TEST_UNIT_READY: &[u8] = &[0x00, 0, 0, 0, 0, 0];
/// DESC; allocation length.
pub(crate) const REQUEST_SENSE: &[u8] = &[0x03, 0x01, 0, 0, 0xff, 0];
/// Address of 21 bits; transfer length.
pub(crate) const READ_6: &[u8] = &[0x08, 0x1f, 0xff, 0xff, 0xff, 0];
pub(crate) const WRITE_6: &[u8] = &[0x0a, 0x1f, 0xff, 0xff, 0xff, 0];
/// EVPD; page code; allocation length.
pub(crate) const INQUIRY: &[u8] = &[0x12, 0x01, 0xff, 0xff, 0xff, 0];
/// PF, SP; parameter list length.
pub(crate) const MODE_SELECT_6: &[u8] = &[0x15, 0x11, 0, 0, 0xff, 0];
/// No third party, no extents.
pub(crate) const RESERVE_6: &[u8] = &[0x16, 0, 0, 0, 0, 0];
pub(crate) const RELEASE_6: &[u8] = &[0x17, 0, 0, 0, 0, 0];
/// DBD; page control and code; subpage code; allocation length.
pub(crate) const MODE_SENSE_6: &[u8] = &[0x1a, 0x08, 0xff, 0xff, 0xff, 0];
/// IMMED; NO_FLUSH, START. There are no power conditions and nothing to eject.
pub(crate) const START_STOP_UNIT: &[u8] = &[0x1b, 0x01, 0, 0, 0x05, 0];
/// SELFTEST.
pub(crate) const SEND_DIAGNOSTIC: &[u8] = &[0x1d, 0x04, 0, 0, 0, 0];
/// PREVENT.
pub(crate) const PREVENT_ALLOW: &[u8] = &[0x1e, 0, 0, 0, 0x03, 0];
pub(crate) const READ_CAPACITY_10: &[u8] = &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// DPO, FUA, FUA_NV; address; group number; transfer length.
pub(crate) const READ_10: &[u8] = &[0x28, 0x1a, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
pub(crate) const WRITE_10: &[u8] = &[0x2a, 0x1a, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
/// DPO, BYTCHK; address; group number; transfer length.
pub(crate) const WRITE_AND_VERIFY_10: &[u8] =
    &[0x2e, 0x16, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
pub(crate) const VERIFY_10: &[u8] = &[0x2f, 0x16, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
/// IMMED; address; group number; length.
pub(crate) const PRE_FETCH_10: &[u8] = &[0x34, 0x02, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
/// SYNC_NV, IMMED; address; group number; length.
pub(crate) const SYNCHRONIZE_CACHE_10: &[u8] =
    &[0x35, 0x06, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
/// REQ_PLIST, REQ_GLIST, format; allocation length.
pub(crate) const READ_DEFECT_DATA_10: &[u8] = &[0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0];
/// UNMAP; address; group number; length.
pub(crate) const WRITE_SAME_10: &[u8] = &[0x41, 0x08, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
/// Group number; parameter list length.
pub(crate) const UNMAP: &[u8] = &[0x42, 0, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0];
pub(crate) const MODE_SELECT_10: &[u8] = &[0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff, 0];
pub(crate) const RESERVE_10: &[u8] = &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(crate) const RELEASE_10: &[u8] = &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// LLBAA, DBD; page control and code; subpage code; allocation length.
pub(crate) const MODE_SENSE_10: &[u8] = &[0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0];
/// Service action; allocation length.
pub(crate) const PERSISTENT_RESERVE_IN: &[u8] = &[0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, 0];
/// Service action; scope and type; parameter list length.
pub(crate) const PERSISTENT_RESERVE_OUT: &[u8] =
    &[0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0];
/// DPO, FUA, FUA_NV; address; transfer length; group number.
pub(crate) const READ_16: &[u8] = &sixteen(0x88, 0x1a);
/// DPO, FUA, FUA_NV; address; number of blocks; group number.
pub(crate) const COMPARE_AND_WRITE: &[u8] =
    &[0x89, 0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0x1f, 0];
pub(crate) const WRITE_16: &[u8] = &sixteen(0x8a, 0x1a);
pub(crate) const ORWRITE_16: &[u8] = &sixteen(0x8b, 0x1a);
/// DPO, BYTCHK; address; transfer length; group number.
pub(crate) const WRITE_AND_VERIFY_16: &[u8] = &sixteen(0x8e, 0x16);
pub(crate) const VERIFY_16: &[u8] = &sixteen(0x8f, 0x16);
/// IMMED; address; length; group number.
pub(crate) const PRE_FETCH_16: &[u8] = &sixteen(0x90, 0x02);
/// SYNC_NV, IMMED; address; length; group number.
pub(crate) const SYNCHRONIZE_CACHE_16: &[u8] = &sixteen(0x91, 0x06);
/// UNMAP, NDOB; address; length; group number.
pub(crate) const WRITE_SAME_16: &[u8] = &sixteen(0x93, 0x09);
/// Service action; allocation length.
pub(crate) const READ_CAPACITY_16: &[u8] =
    &[0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
/// Service action; starting address; allocation length.
pub(crate) const GET_LBA_STATUS: &[u8] =
    &[0x9e, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
/// Select report; allocation length.
pub(crate) const REPORT_LUNS: &[u8] = &[0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
/// Service action; RCTD, options; operation code; service action; allocation length.
pub(crate) const REPORT_SUPPORTED_OPERATION_CODES: &[u8] =
    &[0xa3, 0x1f, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
/// Service action; REPD; allocation length.
pub(crate) const REPORT_TASK_MANAGEMENT: &[u8] =
    &[0xa3, 0x1f, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
/// DPO, FUA, FUA_NV; address; transfer length; group number.
pub(crate) const READ_12: &[u8] = &twelve(0xa8, 0x1a);
pub(crate) const WRITE_12: &[u8] = &twelve(0xaa, 0x1a);
/// DPO, BYTCHK; address; transfer length; group number.
pub(crate) const WRITE_AND_VERIFY_12: &[u8] = &twelve(0xae, 0x16);
pub(crate) const VERIFY_12: &[u8] = &twelve(0xaf, 0x16);
/// REQ_PLIST, REQ_GLIST, format; address descriptor index; allocation length.
pub(crate) const READ_DEFECT_DATA_12: &[u8] =
    &[0xb7, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];

/// Flags, an address of four bytes, a length of four bytes, a group number.
const fn twelve(opcode: u8, flags: u8) -> [u8; 12] {
    [opcode, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0]
}

/// Flags, an address of eight bytes, a length of four bytes, a group number.
const fn sixteen(opcode: u8, flags: u8) -> [u8; 16] {
    [opcode, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0]
}
