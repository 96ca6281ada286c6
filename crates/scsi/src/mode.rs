//! Mode pages: how the unit behaves, and what of it an initiator can change (SPC-4 7.5, SBC-3 mode
//! parameters).

use crate::cdb::Allocation;

pub(crate) mod select;
pub(crate) mod sense;

/// What initiators can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Writes may be answered before they are durable (WCE of the caching page).
    pub write_cache: bool,
    /// Sense data has descriptor format (D_SENSE of the control page).
    pub descriptor_sense: bool,
    /// Nothing may be written (SWP of the control page).
    pub write_protect: bool,
}

/// The settings, and those to which a reset goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modes {
    /// In force.
    pub current: Settings,
    /// Saved with SP.
    pub saved: Settings,
}

/// What MODE SENSE asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModeQuery {
    /// The longer header, of MODE SENSE (10).
    pub(crate) long: bool,
    pub(crate) block_descriptor: bool,
    /// The block descriptor may have addresses of eight bytes.
    pub(crate) long_lba: bool,
    pub(crate) control: PageControl,
    pub(crate) page: u8,
    pub(crate) subpage: u8,
    pub(crate) allocation: Allocation,
}

/// Which values are asked for (SPC-4 6.13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageControl {
    Current,
    /// A bit is set where it can be changed.
    Changeable,
    Default,
    Saved,
}

/// A page with its subpage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    ErrorRecovery,
    DisconnectReconnect,
    Caching,
    Control,
    ControlExtension,
    InformationalExceptions,
}

/// Every page, in the order in which they are told.
pub(crate) const PAGES: [Page; 6] = [
    Page::ErrorRecovery,
    Page::DisconnectReconnect,
    Page::Caching,
    Page::Control,
    Page::ControlExtension,
    Page::InformationalExceptions,
];

/// Write cache enable, in byte 2 of the caching page.
const WCE: u8 = 0x04;
/// Descriptor format sense, in byte 2 of the control page.
const D_SENSE: u8 = 0x04;
/// Do not keep logged parameters over a power loss; there are none. Byte 2 of the control page.
const GLTSD: u8 = 0x02;
/// Commands may be reordered: they are executed side by side. Byte 3 of the control page.
const UNRESTRICTED_REORDERING: u8 = 0x10;
/// Software write protect, in byte 4 of the control page.
const SWP: u8 = 0x08;
/// The page can be saved, in byte 0.
const PS: u8 = 0x80;
/// The page has a subpage code, in byte 0.
const SPF: u8 = 0x40;
/// There are no informational exceptions, in byte 2 of their page.
const DEXCPT: u8 = 0x08;

impl Settings {
    /// What a new unit has: a write cache, and nothing else.
    pub const DEFAULT: Self =
        Self { write_cache: true, descriptor_sense: false, write_protect: false };

    const NONE: Self = Self { write_cache: false, descriptor_sense: false, write_protect: false };
    const ALL: Self = Self { write_cache: true, descriptor_sense: true, write_protect: true };
}

impl Modes {
    /// What a new unit has.
    pub const DEFAULT: Self = Self { current: Settings::DEFAULT, saved: Settings::DEFAULT };

    /// A reset: what was not saved is gone (SPC-4 5.11).
    pub(crate) const fn reset(&mut self) {
        self.current = self.saved;
    }
}

impl PageControl {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Current,
            1 => Self::Changeable,
            2 => Self::Default,
            _ => Self::Saved,
        }
    }
}

impl Page {
    /// Page code and subpage code.
    pub(crate) const fn code(self) -> (u8, u8) {
        match self {
            Self::ErrorRecovery => (0x01, 0x00),
            Self::DisconnectReconnect => (0x02, 0x00),
            Self::Caching => (0x08, 0x00),
            Self::Control => (0x0a, 0x00),
            Self::ControlExtension => (0x0a, 0x01),
            Self::InformationalExceptions => (0x1c, 0x00),
        }
    }

    /// The page of these codes.
    pub(crate) fn find(page: u8, subpage: u8) -> Option<Self> {
        PAGES.into_iter().find(|known| known.code() == (page, subpage))
    }

    /// Length of its header: page code, and where there is one subpage code; length of the rest.
    pub(crate) const fn header_bytes(self) -> usize {
        if self.code().1 == 0 { 2 } else { 4 }
    }

    /// The page with these settings, header included.
    pub(crate) fn build(self, settings: Settings) -> Vec<u8> {
        let mut page = vec![0; self.header_bytes() + self.body_bytes()];
        let (code, subpage) = self.code();
        page[0] = code;
        if subpage == 0 {
            page[1] = u8::try_from(self.body_bytes()).unwrap_or(u8::MAX);
        } else {
            page[0] |= SPF;
            page[1] = subpage;
            page[3] = u8::try_from(self.body_bytes()).unwrap_or(u8::MAX);
        }
        self.fill(&mut page, settings);
        page
    }

    /// The page with a bit set where it can be changed.
    pub(crate) fn changeable(self) -> Vec<u8> {
        let mut page = self.build(Settings::NONE);
        let header = self.header_bytes();
        let all = self.build(Settings::ALL);
        page.iter_mut().zip(all).skip(header).for_each(|(none, all)| *none ^= all);
        page
    }

    /// What the page, of the right length, makes of the settings.
    pub(crate) fn apply(self, page: &[u8], settings: &mut Settings) {
        let has = |index: usize, mask: u8| page.get(index).is_some_and(|byte| byte & mask != 0);
        match self {
            Self::Caching => settings.write_cache = has(2, WCE),
            Self::Control => {
                settings.descriptor_sense = has(2, D_SENSE);
                settings.write_protect = has(4, SWP);
            }
            _ => {}
        }
    }

    const fn body_bytes(self) -> usize {
        match self {
            Self::ErrorRecovery | Self::Control | Self::InformationalExceptions => 10,
            Self::DisconnectReconnect => 14,
            Self::Caching => 18,
            Self::ControlExtension => 28,
        }
    }

    fn fill(self, page: &mut [u8], settings: Settings) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        match self {
            Self::Caching => {
                page[0] |= PS;
                page[2] = bit(settings.write_cache, WCE);
            }
            Self::Control => {
                page[0] |= PS;
                page[2] = GLTSD | bit(settings.descriptor_sense, D_SENSE);
                page[3] = UNRESTRICTED_REORDERING;
                page[4] = bit(settings.write_protect, SWP);
                // Busy for as long as it takes.
                page[8..10].copy_from_slice(&[0xff, 0xff]);
            }
            Self::InformationalExceptions => page[2] = DEXCPT,
            Self::ErrorRecovery | Self::DisconnectReconnect | Self::ControlExtension => {}
        }
    }
}

#[cfg(test)]
mod tests;
