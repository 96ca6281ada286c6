//! MODE SENSE: tells mode pages (SPC-4 6.13, 6.14).

use super::{ModeQuery, Modes, PAGES, Page, PageControl, Settings};
use crate::geometry::Geometry;
use crate::sense::Sense;

/// All pages.
const ALL_PAGES: u8 = 0x3f;
/// All subpages.
const ALL_SUBPAGES: u8 = 0xff;
/// Write protected, in the device-specific parameter.
const WP: u8 = 0x80;
/// DPO and FUA may be used, in the device-specific parameter.
const DPOFUA: u8 = 0x10;

/// The answer, not yet cut to the room there is.
///
/// # Errors
/// The sense to answer with, when there is no such page.
pub(crate) fn answer(
    query: &ModeQuery,
    modes: &Modes,
    geometry: &Geometry,
    write_protected: bool,
) -> Result<Vec<u8>, Sense> {
    let pages = pages(query)?;
    let descriptor = match (query.block_descriptor, query.long_lba) {
        (false, _) => Vec::new(),
        (true, false) => short_descriptor(geometry),
        (true, true) => long_descriptor(geometry),
    };
    let specific = DPOFUA | if write_protected { WP } else { 0 };
    let mut answer = header(query, specific, descriptor.len());
    answer.extend(descriptor);
    for page in pages {
        answer.extend(values(page, query.control, modes));
    }
    put_length(query, &mut answer);
    Ok(answer)
}

fn pages(query: &ModeQuery) -> Result<Vec<Page>, Sense> {
    let asked = |(page, subpage): (u8, u8)| {
        let of_page = query.page == ALL_PAGES || page == query.page;
        of_page && (query.subpage == ALL_SUBPAGES || subpage == query.subpage)
    };
    let pages: Vec<_> = PAGES.into_iter().filter(|page| asked(page.code())).collect();
    let all_but_some = query.page == ALL_PAGES && !matches!(query.subpage, 0 | ALL_SUBPAGES);
    if all_but_some {
        return Err(Sense::cdb_field(3, None));
    }
    if pages.is_empty() {
        let known = PAGES.iter().any(|page| page.code().0 == query.page);
        return Err(if known { Sense::cdb_field(3, None) } else { Sense::cdb_field(2, Some(5)) });
    }
    Ok(pages)
}

fn values(page: Page, control: PageControl, modes: &Modes) -> Vec<u8> {
    match control {
        PageControl::Current => page.build(modes.current),
        PageControl::Changeable => page.changeable(),
        PageControl::Default => page.build(Settings::DEFAULT),
        PageControl::Saved => page.build(modes.saved),
    }
}

/// The header, with its length still zero (SPC-4 7.5.5).
fn header(query: &ModeQuery, specific: u8, descriptor: usize) -> Vec<u8> {
    let descriptor = u8::try_from(descriptor).unwrap_or(u8::MAX);
    let long_lba = u8::from(query.long_lba && descriptor > 0);
    if query.long {
        vec![0, 0, 0, specific, long_lba, 0, 0, descriptor]
    } else {
        vec![0, 0, specific, descriptor]
    }
}

/// The length counts what follows it.
fn put_length(query: &ModeQuery, answer: &mut [u8]) {
    if query.long {
        let length = u16::try_from(answer.len() - 2).unwrap_or(u16::MAX);
        answer[..2].copy_from_slice(&length.to_be_bytes());
    } else {
        answer[0] = u8::try_from(answer.len() - 1).unwrap_or(u8::MAX);
    }
}

/// Blocks and their length, in eight bytes.
fn short_descriptor(geometry: &Geometry) -> Vec<u8> {
    let blocks = u32::try_from(geometry.blocks()).unwrap_or(u32::MAX);
    [blocks.to_be_bytes(), geometry.block_bytes().to_be_bytes()].concat()
}

/// Blocks and their length, in sixteen bytes.
fn long_descriptor(geometry: &Geometry) -> Vec<u8> {
    let mut descriptor = geometry.blocks().to_be_bytes().to_vec();
    descriptor.extend([0; 4]);
    descriptor.extend(geometry.block_bytes().to_be_bytes());
    descriptor
}
