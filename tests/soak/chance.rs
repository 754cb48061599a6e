//! Choices that a seed makes: the same for the same call, whichever thread makes it.

/// What decides of one call.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn of(seed: u32, call: u32) -> Self {
        Self(u64::from(seed) << 32 | u64::from(call))
    }

    /// A number below another. SplitMix64 (Steele, Lea and Flood, 2014).
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
