//! Python's `random.Random(seed).sample`, number for number, which lm-eval draws its examples
//! with: only so are the prompts of a task the same here and there.
//!
//! The generator is MT19937 (Matsumoto and Nishimura 1998), seeded by `init_by_array` as
//! `CPython` does for an integer.

const LENGTH: usize = 624;
const PERIOD: usize = 397;

/// Python's generator.
#[derive(Debug, Clone)]
pub(crate) struct PythonRandom {
    state: [u32; LENGTH],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)` of an integer from 0 to 2³² − 1.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0_u32; LENGTH];
        state[0] = 19_650_218;
        for place in 1..LENGTH {
            let before = state[place - 1];
            state[place] =
                1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(place as u32);
        }
        let mut place = 1;
        let mut advance = |state: &mut [u32; LENGTH]| {
            place += 1;
            if place == LENGTH {
                state[0] = state[LENGTH - 1];
                place = 1;
            }
            place
        };
        // The key is one word long, so its index is always 0.
        let mut at = 1;
        for _ in 0..LENGTH {
            let before = state[at - 1];
            state[at] =
                (state[at] ^ (before ^ (before >> 30)).wrapping_mul(1_664_525)).wrapping_add(seed);
            at = advance(&mut state);
        }
        for _ in 1..LENGTH {
            let before = state[at - 1];
            state[at] = (state[at] ^ (before ^ (before >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(at as u32);
            at = advance(&mut state);
        }
        state[0] = 0x8000_0000;
        Self { state, next: LENGTH }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == LENGTH {
            self.twist();
        }
        let mut value = self.state[self.next];
        self.next += 1;
        value ^= value >> 11;
        value ^= (value << 7) & 0x9d2c_5680;
        value ^= (value << 15) & 0xefc6_0000;
        value ^ (value >> 18)
    }

    fn twist(&mut self) {
        for place in 0..LENGTH {
            let high = self.state[place] & 0x8000_0000;
            let joined = high | (self.state[(place + 1) % LENGTH] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[place] = self.state[(place + PERIOD) % LENGTH] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// `_randbelow`: uniform in `0..bound`, by rejection.
    fn below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        if bits == 0 || bits > 32 {
            return 0;
        }
        loop {
            let value = (self.next_u32() >> (32 - bits)) as usize;
            if value < bound {
                return value;
            }
        }
    }

    /// The places that `sample(population, count)` takes from a population of `size`, in its
    /// order; all of them, drawn, if there are no more than `count`.
    pub(crate) fn sample(&mut self, size: usize, count: usize) -> Vec<usize> {
        let count = count.min(size);
        // From here on a set of what was taken needs less memory than a list of what is left.
        let mut set_size = 21;
        if count > 5 {
            set_size += 4_usize.pow((3.0 * count as f64).log(4.0).ceil() as u32);
        }
        if size <= set_size {
            let mut pool: Vec<usize> = (0..size).collect();
            return (0..count)
                .map(|drawn| {
                    let at = self.below(size - drawn);
                    let taken = pool[at];
                    pool[at] = pool[size - drawn - 1];
                    taken
                })
                .collect();
        }
        let mut taken: Vec<usize> = Vec::with_capacity(count);
        while taken.len() < count {
            let at = self.below(size);
            if !taken.contains(&at) {
                taken.push(at);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values of `CPython` 3.11: `r = random.Random(1234)`, then the calls in this order.
    #[test]
    fn draws_are_pythons() {
        let mut random = PythonRandom::new(1234);
        assert_eq!(random.sample(7473, 5), [6374, 3610, 957, 61, 742]);
        assert_eq!(random.sample(7473, 5), [7462, 6610, 4769, 286, 5501]);
        assert_eq!(random.sample(10, 4), [1, 9, 5, 8]);
        assert_eq!(random.sample(100, 8), [2, 3, 44, 82, 79, 61, 78, 59]);
        assert_eq!(PythonRandom::new(0).sample(3, 3), [1, 2, 0]);
    }
}
