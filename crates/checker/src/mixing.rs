//! Reproducible randomness: a 64-bit permutation, and the generator that is made of it (splitmix64,
//! Steele, Lea and Flood, 2014). Not for secrets.

/// The golden ratio's fraction: consecutive multiples are spread evenly.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Scatters the bits; every output has exactly one input.
pub(crate) const fn scatter(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The input of [`scatter`] that gives this output.
pub(crate) const fn gather(value: u64) -> u64 {
    let value = (value ^ (value >> 31) ^ (value >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    let value = (value ^ (value >> 27) ^ (value >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    value ^ (value >> 30) ^ (value >> 60)
}

/// A stream of numbers that depends on nothing but its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of this seed for one of many takers.
    pub(crate) const fn new(seed: u64, taker: u64) -> Self {
        Self(scatter(seed ^ scatter(taker.wrapping_add(STEP))))
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        scatter(self.0)
    }

    /// A number below `bound`; 0 when there is none.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        let product = self.next() as u128 * bound as u128;
        (product >> 64) as u64
    }

    /// `true` so many times in a thousand.
    pub(crate) const fn per_mille(&mut self, times: u32) -> bool {
        self.below(1000) < times as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_undoes_scattering() {
        let mut random = Random::new(1, 2);
        for value in (0..1000).chain((0..1000).map(|_| random.next())) {
            assert_eq!(gather(scatter(value)), value);
        }
    }

    #[test]
    fn a_number_below_a_bound_reaches_every_number_and_no_other() {
        let mut random = Random::new(0, 0);
        let mut reached = [false; 7];
        for _ in 0..1000 {
            reached[usize::try_from(random.below(7)).unwrap()] = true;
        }
        assert_eq!(reached, [true; 7]);
        assert_eq!(random.below(0), 0);
    }
}
