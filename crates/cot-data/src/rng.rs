//! Counter-based random numbers: Philox4x32-10 of Salmon et al. (2011), "Parallel
//! Random Numbers: As Easy as 1, 2, 3".
//!
//! Each record has its own key, a hash of everything that names it, so a record does
//! not depend on which others were generated before it: shards agree by construction.

/// Hash of a byte string: FNV-1a with the finaliser of `SplitMix64`, so that near
/// inputs differ in all bits. Stable for ever: splits rest on it.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in bytes {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Whether a record belongs to a sample of this share, from 0 to 1, whatever its place in a
/// file; samples of other purposes are drawn apart.
pub(crate) fn falls_in(purpose: &str, id: &str, share: f64) -> bool {
    (stable_hash(format!("{purpose}/{id}").as_bytes()) as f64) < share * u64::MAX as f64
}

/// One Philox4x32-10 block.
fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    let (mut key, mut state) = (key, counter);
    for _ in 0..10 {
        let first = MULTIPLIERS[0] * u64::from(state[0]);
        let second = MULTIPLIERS[1] * u64::from(state[2]);
        state = [
            (second >> 32) as u32 ^ state[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ state[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    state
}

/// A stream of random numbers that its key determines.
#[derive(Clone, Debug)]
pub(crate) struct CounterRng {
    key: [u32; 2],
    counter: u64,
    block: [u32; 4],
    used: usize,
}

impl CounterRng {
    /// A stream for a 64-bit key.
    pub(crate) fn new(key: u64) -> Self {
        Self { key: [key as u32, (key >> 32) as u32], counter: 0, block: [0; 4], used: 4 }
    }

    /// The stream of one record.
    pub(crate) fn for_record(version: u32, family: &str, level: u8, seed: u64, index: u64) -> Self {
        Self::new(stable_hash(format!("{version}/{family}/{level}/{seed}/{index}").as_bytes()))
    }

    /// The next 32 bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.key, [self.counter as u32, (self.counter >> 32) as u32, 0, 0]);
            self.counter += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// A number in `0..bound`; 0 where `bound` is 0. The multiply-shift bias is below
    /// 2^-26 for the bounds used here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.next_u32()) * bound as u64) >> 32) as usize
    }

    /// A number in `low..=high`; `low` where the range is empty.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(0) as usize) as i64
    }

    /// True with probability `numerator / denominator`.
    pub(crate) fn chance(&mut self, numerator: usize, denominator: usize) -> bool {
        self.below(denominator) < numerator
    }

    /// An element of an array.
    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, items: &[T; N]) -> T {
        items[self.below(N)]
    }

    /// Shuffles in place (Fisher–Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_about_its_share() {
        let count =
            |share| (0..10_000).filter(|id| falls_in("test", &format!("r{id}"), share)).count();
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        assert!((80..120).contains(&count(0.01)), "{}", count(0.01));
    }

    #[test]
    fn philox_gives_the_published_vectors() {
        // kat_vectors of Random123 1.14.
        assert_eq!(
            philox([0, 0], [0, 0, 0, 0]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = CounterRng::new(7);
        let mut counts = [0_usize; 10];
        for _ in 0..10_000 {
            counts[rng.below(10)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.between(5, 4), 5);
    }

    #[test]
    fn neighbouring_records_have_unrelated_streams() {
        let mut first = CounterRng::for_record(1, "arith", 1, 0, 0);
        let mut second = CounterRng::for_record(1, "arith", 1, 0, 1);
        let equal = (0..1000).filter(|_| first.next_u32() == second.next_u32()).count();
        assert_eq!(equal, 0);
    }
}
