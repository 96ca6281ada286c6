//! Sets of regions: the fixed units in which a volume's dirty and touched parts are tracked.

use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;

use blockferry_block::{Extent, KIB};
use roaring::RoaringBitmap;

/// Smallest region, in bytes.
pub const REGION_MIN: u64 = 64 * KIB;

/// Length of the regions of one set, a power of two, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionSize(u32);

impl RegionSize {
    /// At least `floor` bytes, and so large that a volume of `size` bytes has fewer than 2^32.
    ///
    /// # Panics
    /// When `floor` is no power of two.
    pub fn at_least(floor: u64, size: u64) -> Self {
        assert!(floor.is_power_of_two(), "a region's length is a power of two");
        let mut shift = floor.trailing_zeros();
        while (size >> shift) > u64::from(u32::MAX) {
            shift += 1;
        }
        Self(shift)
    }

    /// Length in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.0
    }

    fn index(self, offset: u64) -> u32 {
        u32::try_from(offset >> self.0).expect("at_least chose a length that fits the volume")
    }

    fn region(self, number: u32, size: u64) -> Extent {
        let start = u64::from(number) << self.0;
        Extent::between(start, start.saturating_add(self.bytes()).min(size))
    }

    fn covering(self, extent: Extent) -> Option<RangeInclusive<u32>> {
        (!extent.is_empty()).then(|| self.index(extent.start())..=self.index(extent.end() - 1))
    }
}

/// Some regions of a volume of a known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    unit: RegionSize,
    size: u64,
    bits: RoaringBitmap,
}

impl Hash for Regions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.unit, self.size, self.bits.len()).hash(state);
        self.bits.iter().for_each(|number| number.hash(state));
    }
}

impl Regions {
    /// No region of a volume of `size` bytes.
    pub fn none(unit: RegionSize, size: u64) -> Self {
        Self { unit, size, bits: RoaringBitmap::new() }
    }

    /// The regions with these numbers; numbers beyond the volume are dropped.
    pub fn from_numbers(
        unit: RegionSize,
        size: u64,
        numbers: impl IntoIterator<Item = u32>,
    ) -> Self {
        let mut regions = Self::none(unit, size);
        regions.bits = numbers.into_iter().filter(|&n| u64::from(n) << unit.0 < size).collect();
        regions
    }

    /// The numbers of the regions, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.bits.iter()
    }

    /// Adds every region that the extent touches.
    pub fn insert(&mut self, extent: Extent) {
        if let Some(range) = self.unit.covering(extent) {
            self.bits.insert_range(range);
        }
    }

    /// Removes every region that lies wholly in the extent; the volume's last one may be short.
    pub fn remove_within(&mut self, extent: Extent) {
        let first = extent.start().div_ceil(self.unit.bytes());
        let end = if extent.end() >= self.size {
            self.size.div_ceil(self.unit.bytes())
        } else {
            extent.end() >> self.unit.0
        };
        if let (Ok(first), Ok(end)) = (u32::try_from(first), u32::try_from(end)) {
            self.bits.remove_range(first..end);
        }
    }

    /// Adds every region of the other set, whose unit may be larger or smaller.
    pub fn insert_all(&mut self, other: &Self) {
        if other.unit == self.unit {
            self.bits |= &other.bits;
        } else {
            other.extents().for_each(|extent| self.insert(extent));
        }
    }

    /// Keeps only regions that `keep` accepts and gives the numbers of the others.
    pub fn retain(&mut self, mut keep: impl FnMut(Extent) -> bool) -> Vec<u32> {
        let dropped: Vec<u32> = self.bits.iter().filter(|&n| !keep(self.region(n))).collect();
        for number in &dropped {
            self.bits.remove(*number);
        }
        dropped
    }

    /// The regions, in the set or not, that the extent touches.
    pub fn units_of(&self, extent: Extent) -> impl Iterator<Item = Extent> + use<> {
        let (unit, size) = (self.unit, self.size);
        let numbers = unit.covering(extent).into_iter().flatten();
        numbers.map(move |number| unit.region(number, size))
    }

    /// Empties the set and gives what it held.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let empty = Self::none(self.unit, self.size);
        std::mem::replace(self, empty)
    }

    /// Whether any region of the set shares a byte with the extent.
    pub fn overlaps(&self, extent: Extent) -> bool {
        let Some(range) = self.unit.covering(extent) else { return false };
        self.bits.range_cardinality(range) > 0
    }

    /// Whether every region that the extent touches is in the set.
    pub fn covers(&self, extent: Extent) -> bool {
        self.unit.covering(extent).is_none_or(|range| self.bits.contains_range(range))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// Bytes in all regions of the set; an upper bound by less than a region at the volume's end.
    pub fn bytes(&self) -> u64 {
        (self.bits.len() * self.unit.bytes()).min(self.size)
    }

    /// The first run of consecutive regions that begins at or after `from` and ends at or below
    /// `below`, of at most `length_max` bytes (but at least one region).
    pub fn run(&self, from: u64, below: u64, length_max: u64) -> Option<Extent> {
        let from = u32::try_from(from.div_ceil(self.unit.bytes())).ok()?;
        let mut numbers = self.bits.range(from..);
        let first = self.region(numbers.next()?);
        if first.end() > below {
            return None;
        }
        let mut run = first;
        for next in numbers.map(|number| self.region(number)) {
            let grown = Extent::between(run.start(), next.end());
            if next.start() != run.end() || next.end() > below || grown.len() > length_max {
                break;
            }
            run = grown;
        }
        Some(run)
    }

    fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.bits.iter().map(|number| self.region(number))
    }

    fn region(&self, number: u32) -> Extent {
        self.unit.region(number, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(size: u64) -> Regions {
        Regions::none(RegionSize::at_least(REGION_MIN, size), size)
    }

    #[test]
    fn a_byte_makes_its_whole_region_dirty_and_only_the_whole_region_makes_it_clean() {
        let mut dirty = set(10 * REGION_MIN);
        dirty.insert(Extent::between(REGION_MIN, REGION_MIN + 1));
        dirty.remove_within(Extent::between(REGION_MIN, 2 * REGION_MIN - 1));
        assert!(dirty.overlaps(Extent::between(2 * REGION_MIN - 1, 2 * REGION_MIN)));
        dirty.remove_within(Extent::between(REGION_MIN, 2 * REGION_MIN));
        assert!(dirty.is_empty());
    }

    #[test]
    fn the_last_region_may_be_short() {
        let size = REGION_MIN + 1;
        let mut dirty = set(size);
        dirty.insert(Extent::whole(size));
        assert_eq!(dirty.run(0, size, u64::MAX), Some(Extent::whole(size)));
        dirty.remove_within(Extent::whole(size));
        assert!(dirty.is_empty());
    }

    #[test]
    fn a_run_ends_below_the_limit_and_at_gaps() {
        let mut dirty = set(10 * REGION_MIN);
        dirty.insert(Extent::between(0, 3 * REGION_MIN));
        dirty.insert(Extent::between(4 * REGION_MIN, 5 * REGION_MIN));
        let run = |from, below, max| dirty.run(from, below, max);
        assert_eq!(run(0, 10 * REGION_MIN, u64::MAX), Some(Extent::between(0, 3 * REGION_MIN)));
        assert_eq!(run(0, 2 * REGION_MIN + 1, u64::MAX), Some(Extent::between(0, 2 * REGION_MIN)));
        assert_eq!(run(0, 10 * REGION_MIN, 1), Some(Extent::between(0, REGION_MIN)));
        assert_eq!(run(0, REGION_MIN - 1, u64::MAX), None);
        let second = Extent::between(4 * REGION_MIN, 5 * REGION_MIN);
        assert_eq!(run(3 * REGION_MIN, 10 * REGION_MIN, u64::MAX), Some(second));
    }

    #[test]
    fn regions_of_an_exbibyte_volume_still_have_32_bit_numbers() {
        let size = 8 << 60;
        let mut dirty = set(size);
        dirty.insert(Extent::between(size - 1, size));
        assert_eq!(dirty.run(0, size, u64::MAX).map(Extent::end), Some(size));
    }
}
