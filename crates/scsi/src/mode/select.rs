//! MODE SELECT: changes mode pages (SPC-4 6.11, 6.12). All of a parameter list is good, or nothing
//! of it comes into force.

use blockferry_wire::Fields;

use super::{Page, Settings};
use crate::geometry::Geometry;
use crate::sense::Sense;

/// The addresses of the block descriptors have eight bytes, in byte 4 of the long header.
const LONG_LBA: u8 = 0x01;

/// What the parameter list makes of the settings. `long` tells the header of MODE SELECT (10).
///
/// # Errors
/// The sense to answer with: a list that is cut, an unknown page, or a change of something that
/// cannot be changed.
pub(crate) fn settings(
    list: &[u8],
    long: bool,
    geometry: &Geometry,
    before: Settings,
) -> Result<Settings, Sense> {
    let mut settings = before;
    if list.is_empty() {
        return Ok(settings);
    }
    let mut fields = Fields::new(list);
    block_descriptor(&mut fields, list, long, geometry)?;
    while !fields.is_empty() {
        page(&mut fields, list, &mut settings)?;
    }
    Ok(settings)
}

/// Reads the header and at most one block descriptor, which may say what is the case and nothing
/// else: neither size nor block length can be changed.
fn block_descriptor(
    fields: &mut Fields<'_>,
    list: &[u8],
    long: bool,
    geometry: &Geometry,
) -> Result<(), Sense> {
    // Length, medium type and device-specific parameter are not the initiator's.
    fields.bytes(if long { 4 } else { 3 })?;
    let (long_lba, length) = if long {
        let flags = fields.u8()?;
        fields.u8()?;
        (flags & LONG_LBA != 0, usize::from(fields.u16()?))
    } else {
        (false, usize::from(fields.u8()?))
    };
    let at = list.len() - fields.len();
    let (blocks, block) = match (length, long_lba) {
        (0, _) => return Ok(()),
        (8, false) => {
            let blocks = u64::from(fields.u32()?);
            // Density code or, in newer standards, a reserved byte; then the length.
            (
                if blocks == u64::from(u32::MAX) { u64::MAX } else { blocks },
                fields.u32()? & 0xff_ffff,
            )
        }
        (16, true) => {
            let blocks = fields.u64()?;
            fields.u32()?;
            (blocks, fields.u32()?)
        }
        _ => return Err(Sense::parameter_field(at - 1)),
    };
    let same_size = [0, u64::MAX, geometry.blocks()].contains(&blocks);
    if same_size && block == geometry.block_bytes() {
        Ok(())
    } else {
        Err(Sense::parameter_field(at))
    }
}

/// Reads one page.
fn page(fields: &mut Fields<'_>, list: &[u8], settings: &mut Settings) -> Result<(), Sense> {
    let at = list.len() - fields.len();
    let code = fields.u8()?;
    let (subpage, length) = if code & 0x40 == 0 {
        (0, usize::from(fields.u8()?))
    } else {
        (fields.u8()?, usize::from(fields.u16()?))
    };
    let page = Page::find(code & 0x3f, subpage).ok_or(Sense::parameter_field(at))?;
    let before = page.build(*settings);
    let header = page.header_bytes();
    if length != before.len() - header {
        return Err(Sense::parameter_field(at + header - 1));
    }
    let body = fields.bytes(length)?;
    let changeable = page.changeable();
    for (index, byte) in body.iter().enumerate() {
        let changed = byte ^ before[header + index];
        if changed & !changeable[header + index] != 0 {
            return Err(Sense::parameter_field(at + header + index));
        }
    }
    page.apply(&list[at..], settings);
    Ok(())
}
