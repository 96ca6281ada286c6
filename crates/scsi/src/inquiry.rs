//! INQUIRY: what the unit is, in standard data (SPC-4 6.6.2) and vital product data pages (SPC-4
//! 7.8, SBC-3 6.6).

use crate::config::{Identity, PRODUCT, Provisioning, REVISION, UnitConfig, VENDOR};
use crate::geometry::Geometry;
use crate::limits::{COMPARE_BLOCKS_MAX, UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX};
use crate::sense::Sense;

/// Standards that the unit claims: SAM-5, SPC-4, SBC-3 and iSCSI, no version of any (SPC-4 annex
/// E).
const VERSIONS: [u16; 4] = [0x00a0, 0x0460, 0x04c0, 0x0960];
/// Where standard data has them.
const VERSIONS_AT: usize = 58;
/// Length of standard data, in bytes.
const STANDARD_BYTES: usize = 96;
/// SPC-4.
const VERSION: u8 = 6;
/// Response data format 2, and LUNs in the hierarchical format (HISUP).
const FORMAT: u8 = 0x12;
/// Commands may be queued.
const CMDQUE: u8 = 0x02;

/// Pages, in ascending order.
const SUPPORTED_PAGES: u8 = 0x00;
const SERIAL_NUMBER: u8 = 0x80;
const DEVICE_IDENTIFICATION: u8 = 0x83;
const EXTENDED_INQUIRY: u8 = 0x86;
const BLOCK_LIMITS: u8 = 0xb0;
const BLOCK_CHARACTERISTICS: u8 = 0xb1;
const BLOCK_PROVISIONING: u8 = 0xb2;
const PAGES: [u8; 7] = [
    SUPPORTED_PAGES,
    SERIAL_NUMBER,
    DEVICE_IDENTIFICATION,
    EXTENDED_INQUIRY,
    BLOCK_LIMITS,
    BLOCK_CHARACTERISTICS,
    BLOCK_PROVISIONING,
];

/// Preferred length of a transfer, in bytes.
const TRANSFER_BYTES_PREFERRED: u32 = 1 << 20;

/// Standard data.
pub(crate) fn standard() -> Vec<u8> {
    let mut data = vec![0; STANDARD_BYTES];
    data[2] = VERSION;
    data[3] = FORMAT;
    data[4] = u8::try_from(STANDARD_BYTES - 5).unwrap_or(u8::MAX);
    data[7] = CMDQUE;
    data[8..16].copy_from_slice(&padded::<8>(VENDOR));
    data[16..32].copy_from_slice(&padded::<16>(PRODUCT));
    data[32..36].copy_from_slice(&padded::<4>(REVISION));
    for (index, version) in VERSIONS.into_iter().enumerate() {
        let at = VERSIONS_AT + 2 * index;
        data[at..at + 2].copy_from_slice(&version.to_be_bytes());
    }
    data
}

/// A page of vital product data.
///
/// # Errors
/// The sense to answer with, when there is no such page.
pub(crate) fn page(code: u8, config: &UnitConfig) -> Result<Vec<u8>, Sense> {
    let body = match code {
        SUPPORTED_PAGES => PAGES.to_vec(),
        SERIAL_NUMBER => config.identity.serial().into_bytes(),
        DEVICE_IDENTIFICATION => designators(&config.identity),
        EXTENDED_INQUIRY => extended(),
        BLOCK_LIMITS => limits(&config.geometry, config.provisioning),
        BLOCK_CHARACTERISTICS => characteristics(config.rotational),
        BLOCK_PROVISIONING => provisioning(config.provisioning),
        _ => return Err(Sense::cdb_field(2, None)),
    };
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut page = vec![0, code];
    page.extend(length.to_be_bytes());
    page.extend(body);
    Ok(page)
}

/// Names of the unit, and the number of its one target port (SPC-4 7.8.6).
fn designators(identity: &Identity) -> Vec<u8> {
    const BINARY: u8 = 1;
    const ASCII: u8 = 2;
    /// Association with the target port, and the protocol of the port is given: iSCSI.
    const PORT: u8 = 0x90;
    const ISCSI: u8 = 0x50;
    let vendor = [VENDOR.as_bytes(), identity.serial().as_bytes()].concat();
    let uuid = [&[0x10, 0][..], &identity.uuid].concat();
    let mut designators = Vec::new();
    let mut put = |code_set: u8, kind: u8, name: &[u8]| {
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        designators.extend([code_set, kind, 0, length]);
        designators.extend(name);
    };
    put(BINARY, 0x03, &identity.naa());
    put(ASCII, 0x01, &vendor);
    put(BINARY, 0x0a, &uuid);
    put(ASCII, 0x00, identity.name.as_str().as_bytes());
    put(ISCSI | BINARY, PORT | 0x04, &[0, 0, 0, 1]);
    designators
}

/// Extended INQUIRY data (SPC-4 7.8.7).
fn extended() -> Vec<u8> {
    /// Head of queue, ordered and simple tasks are taken.
    const HEADSUP_ORDSUP_SIMPSUP: u8 = 0x07;
    /// There is a volatile cache.
    const V_SUP: u8 = 0x01;
    /// A unit attention is cleared for the nexus alone that was told.
    const LUICLR: u8 = 0x01;
    let mut body = vec![0; 60];
    body[1] = HEADSUP_ORDSUP_SIMPSUP;
    body[2] = V_SUP;
    body[3] = LUICLR;
    body
}

/// Block Limits. WRITE SAME of zero blocks is refused, so that no zero ever means
/// "all that is left".
fn limits(geometry: &Geometry, provisioning: Provisioning) -> Vec<u8> {
    /// WRITE SAME has a number of blocks.
    const WSNZ: u8 = 0x01;
    /// The alignment of unmaps is given, and is zero.
    const UGAVALID: [u8; 4] = [0x80, 0, 0, 0];
    let blocks = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let mut body = vec![0; 60];
    body[0] = WSNZ;
    body[1] = COMPARE_BLOCKS_MAX;
    body[2..4].copy_from_slice(&geometry.preferred_blocks().to_be_bytes());
    body[4..8].copy_from_slice(&blocks(geometry.transfer_blocks_max()));
    let preferred = TRANSFER_BYTES_PREFERRED / geometry.block_bytes();
    body[8..12].copy_from_slice(&preferred.to_be_bytes());
    if provisioning == Provisioning::Thin {
        body[16..20].copy_from_slice(&UNMAP_BLOCKS_MAX.to_be_bytes());
        body[20..24].copy_from_slice(&u32::from(UNMAP_DESCRIPTORS_MAX).to_be_bytes());
        body[24..28].copy_from_slice(&u32::from(geometry.preferred_blocks()).to_be_bytes());
        body[28..32].copy_from_slice(&UGAVALID);
    }
    body[32..40].copy_from_slice(&geometry.write_same_blocks_max().to_be_bytes());
    body
}

/// Block Device Characteristics.
fn characteristics(rotational: bool) -> Vec<u8> {
    const NON_ROTATING: u16 = 1;
    /// What most disks have that rotate; nobody knows of the one below.
    const USUAL_RATE: u16 = 7200;
    let rate = if rotational { USUAL_RATE } else { NON_ROTATING };
    let mut body = vec![0; 60];
    body[..2].copy_from_slice(&rate.to_be_bytes());
    body
}

/// Logical Block Provisioning.
fn provisioning(provisioning: Provisioning) -> Vec<u8> {
    /// UNMAP, and WRITE SAME of both lengths with UNMAP, give space back.
    const LBPU_LBPWS_LBPWS10: u8 = 0xe0;
    /// What has no space reads as zeroes.
    const LBPRZ: u8 = 0x04;
    const THIN: u8 = 2;
    match provisioning {
        Provisioning::Full => vec![0; 4],
        Provisioning::Thin => vec![0, LBPU_LBPWS_LBPWS10 | LBPRZ, THIN, 0],
    }
}

/// ASCII, filled up with blanks.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut padded = [b' '; N];
    padded.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    padded
}

#[cfg(test)]
mod tests;
