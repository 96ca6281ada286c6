//! Which requests are sent: a stream of them for each writer, from nothing but the seed.

use std::fmt;

use blockferry_block::Extent;
use blockferry_device::DeviceInfo;

use crate::config::{LoadConfig, Mix};
use crate::mixing::Random;

/// One request in so many goes to the first bytes of the span, and one to the last: that is where
/// addresses go wrong.
const EDGES: u64 = 100;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Read(Extent),
    Write { extent: Extent, fua: bool },
    WriteZeroes { extent: Extent, fua: bool, no_hole: bool },
    Trim { extent: Extent, fua: bool },
    Flush,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durable = |fua: bool| if fua { " with FUA" } else { "" };
        match self {
            Self::Read(extent) => write!(f, "read of {extent}"),
            Self::Write { extent, fua } => write!(f, "write of {extent}{}", durable(*fua)),
            Self::WriteZeroes { extent, fua, .. } => {
                write!(f, "zeroing of {extent}{}", durable(*fua))
            }
            Self::Trim { extent, fua } => write!(f, "trim of {extent}{}", durable(*fua)),
            Self::Flush => f.write_str("flush"),
        }
    }
}

/// The steps of one writer.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    random: Random,
    mix: Mix,
    fua_per_mille: u32,
    hot_per_mille: u32,
    span: Extent,
    hot: Extent,
    /// Requests begin and end at multiples of this.
    unit: u64,
    units_min: u64,
    units_max: u64,
}

impl Plan {
    /// The steps of one of many writers on a device, in a span that fits it.
    pub(crate) fn new(config: &LoadConfig, info: &DeviceInfo, span: Extent, writer: u64) -> Self {
        let unit = if config.unaligned { 1 } else { u64::from(config.block_size) };
        let (least, most) = config.request_bytes;
        let most = most.min(u64::from(info.payload_max).max(unit));
        Self {
            random: Random::new(config.seed, writer),
            mix: config.mix.offered_by(info),
            fua_per_mille: if info.features.fua { config.fua_per_mille } else { 0 },
            hot_per_mille: config.hot_per_mille,
            span,
            hot: middle(span, config.hot_bytes, unit),
            unit,
            units_min: (least / unit).max(1),
            units_max: (most / unit).max(1),
        }
    }

    /// The next step.
    pub(crate) fn next(&mut self) -> Step {
        let fua = self.random.per_mille(self.fua_per_mille);
        let mut choice = self.random.below(self.mix.total());
        let mut is = |part: u32| match choice.checked_sub(u64::from(part)) {
            None => true,
            Some(rest) => {
                choice = rest;
                false
            }
        };
        if is(self.mix.flush) {
            Step::Flush
        } else if is(self.mix.read) {
            Step::Read(self.extent())
        } else if is(self.mix.write) {
            Step::Write { extent: self.extent(), fua }
        } else if is(self.mix.trim) {
            Step::Trim { extent: self.extent(), fua }
        } else {
            let no_hole = self.random.per_mille(500);
            Step::WriteZeroes { extent: self.extent(), fua, no_hole }
        }
    }

    /// Short requests are as frequent as long ones in every power of two.
    fn extent(&mut self) -> Extent {
        let within = match self.random.per_mille(self.hot_per_mille) {
            true => self.hot,
            false => self.span,
        };
        let doublings = u64::from((self.units_max / self.units_min.min(self.units_max)).ilog2());
        let shortest = self.units_min << self.random.below(doublings + 1);
        let units = shortest + self.random.below(shortest);
        let units = units.min(self.units_max);
        let places = within.len().div_ceil(self.unit);
        let last = places.saturating_sub(units);
        let place = match self.random.below(EDGES) {
            0 => 0,
            1 => last,
            _ => self.random.below(last + 1),
        };
        let start = within.start() + place * self.unit;
        Extent::between(start, within.end().min(start + units * self.unit))
    }
}

/// So many bytes in the middle of the span, in whole units.
fn middle(span: Extent, bytes: u64, unit: u64) -> Extent {
    let bytes = bytes.next_multiple_of(unit).max(unit).min(span.len());
    let start = span.start() + (span.len() - bytes) / 2 / unit * unit;
    Extent::between(start, span.end().min(start + bytes))
}

#[cfg(test)]
mod tests {
    use blockferry_device::Features;

    use super::*;

    fn plan(config: &LoadConfig, size: u64) -> Plan {
        let features = Features { flush: true, fua: true, ..Features::default() };
        let info = DeviceInfo::new(size, features);
        let span = config.check(&[info]).unwrap();
        Plan::new(config, &info, span, 0)
    }

    fn extent(step: Step) -> Option<Extent> {
        match step {
            Step::Flush => None,
            Step::Read(extent)
            | Step::Write { extent, .. }
            | Step::WriteZeroes { extent, .. }
            | Step::Trim { extent, .. } => Some(extent),
        }
    }

    #[test]
    fn every_step_lies_in_the_span_and_both_ends_are_reached() {
        for (size, unaligned) in [(100_001, false), (100_001, true), (1, false), (4096, false)] {
            let config = LoadConfig { unaligned, ..LoadConfig::default() };
            let mut plan = plan(&config, size);
            let extents: Vec<_> = (0..10_000).filter_map(|_| extent(plan.next())).collect();
            assert!(extents.iter().all(|extent| !extent.is_empty() && extent.end() <= size));
            assert!(unaligned || extents.iter().all(|extent| extent.start() % 4096 == 0));
            assert!(extents.iter().any(|extent| extent.start() == 0), "{size} {unaligned}");
            assert!(extents.iter().any(|extent| extent.end() == size), "{size} {unaligned}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_steps() {
        let config = LoadConfig::default();
        let (mut a, mut b) = (plan(&config, 1 << 20), plan(&config, 1 << 20));
        let other = LoadConfig { seed: 1, ..config };
        let mut c = self::plan(&other, 1 << 20);
        let steps: Vec<_> = (0..100).map(|_| a.next()).collect();
        assert_eq!(steps, (0..100).map(|_| b.next()).collect::<Vec<_>>());
        assert_ne!(steps, (0..100).map(|_| c.next()).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_offered_is_not_sent() {
        let mut plan = plan(&LoadConfig::default(), 1 << 20);
        let steps: Vec<_> = (0..10_000).map(|_| plan.next()).collect();
        let zeroing = |step: &Step| matches!(step, Step::Trim { .. } | Step::WriteZeroes { .. });
        assert!(!steps.iter().any(zeroing));
        assert!(steps.iter().any(|step| matches!(step, Step::Write { fua: true, .. })));
    }
}
