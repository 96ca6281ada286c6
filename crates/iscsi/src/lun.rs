//! Logical unit numbers on the wire (RFC 7143 section 11.2.1.5, SAM-5 4.7).

use std::fmt;

/// The largest number that a peripheral address can have.
const PERIPHERAL_MAX: u16 = 0xff;
/// The largest number that a flat address can have.
const FLAT_MAX: u16 = 0x3fff;

/// A LUN as its eight bytes, whatever they mean.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lun(pub u64);

impl Lun {
    /// The LUN of the number: by peripheral addressing up to 255, by flat addressing above.
    /// `None` above 16,383.
    pub const fn from_number(number: u16) -> Option<Self> {
        if number <= PERIPHERAL_MAX {
            Some(Self((number as u64) << 48))
        } else if number <= FLAT_MAX {
            Some(Self((0x4000 | number as u64) << 48))
        } else {
            None
        }
    }

    /// The number, where the LUN is a peripheral address of bus 0 or a flat address, and of one level.
    /// Well-known units and hierarchies have none.
    pub const fn number(self) -> Option<u16> {
        if self.0 & 0xffff_ffff_ffff != 0 {
            return None;
        }
        let first = (self.0 >> 48) as u16;
        match first >> 14 {
            0 if first <= PERIPHERAL_MAX => Some(first),
            1 => Some(first & FLAT_MAX),
            _ => None,
        }
    }
}

impl fmt::Debug for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "LUN {number}"),
            None => write!(f, "LUN {:#018x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_up_to_255_are_peripheral_and_larger_ones_flat() {
        assert_eq!(Lun::from_number(0), Some(Lun(0)));
        assert_eq!(Lun::from_number(255), Some(Lun(0x00ff_0000_0000_0000)));
        assert_eq!(Lun::from_number(256), Some(Lun(0x4100_0000_0000_0000)));
        assert_eq!(Lun::from_number(0x3fff), Some(Lun(0x7fff_0000_0000_0000)));
        assert_eq!(Lun::from_number(0x4000), None);
    }

    #[test]
    fn every_number_comes_back() {
        for number in 0..=FLAT_MAX {
            assert_eq!(Lun::from_number(number).and_then(Lun::number), Some(number));
        }
    }

    #[test]
    fn a_small_number_may_be_flat() {
        assert_eq!(Lun(0x4007_0000_0000_0000).number(), Some(7));
    }

    #[test]
    fn well_known_units_other_buses_and_hierarchies_have_no_number() {
        for lun in [0xc101_0000_0000_0000, 0x0100_0000_0000_0000, 0x0001_0002_0000_0000, 1] {
            assert_eq!(Lun(lun).number(), None, "{lun:#x}");
        }
    }
}
