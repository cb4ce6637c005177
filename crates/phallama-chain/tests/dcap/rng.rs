//! Pseudo-random numbers that are the same on every machine: SplitMix64.

/// A generator. Equal seeds give equal numbers.
pub(crate) struct Rng(u64);

impl Rng {
    /// The generator of one case of a family.
    pub(crate) fn of(seed: u64, family: &str, index: usize) -> Self {
        let mut rng = Self(seed ^ index as u64);
        for byte in family.bytes() {
            rng.0 = rng.next() ^ u64::from(byte);
        }
        rng.next();
        rng
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = limit as u64;
        usize::try_from(self.next() % limit).expect("less than a usize")
    }

    /// From `low` to `high`, both possible.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Another value than `byte`: one bit more or less, one more, one less, or anything.
    pub(crate) fn other_than(&mut self, byte: u8) -> u8 {
        let other = match self.below(4) {
            0 => byte ^ (1 << self.below(8)),
            1 => byte.wrapping_add(1),
            2 => byte.wrapping_sub(1),
            _ => self.byte(),
        };
        if other == byte { !byte } else { other }
    }
}
