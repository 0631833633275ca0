//! Every random stream of a run is derived from one seed, a label and a counter, so
//! that streams do not overlap and none depends on how often another was used.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of `SplitMix64` (Steele, Lea and Flood 2014): a bijection on 64 bits.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The seed of the stream `label` at position `counter`.
pub fn derive(seed: u64, label: &str, counter: u64) -> u64 {
    let mut state = mix(seed ^ GOLDEN);
    for byte in label.bytes() {
        state = mix(state ^ u64::from(byte)).wrapping_add(GOLDEN);
    }
    mix(state ^ mix(counter.wrapping_add(GOLDEN)))
}

/// A generator whose n-th output depends only on its key and n.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterRng {
    key: u64,
    counter: u64,
}

impl CounterRng {
    /// The stream of this key, from its start.
    pub fn new(key: u64) -> Self {
        Self { key, counter: 0 }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        mix(self.key.wrapping_add(self.counter.wrapping_mul(GOLDEN)))
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0. Lemire's multiply-shift, whose bias is
    /// below 2^-32 for bounds below 2^32.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }

    /// Standard normal samples by Box–Muller, in `f32`.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        let mut samples = Vec::with_capacity(count + 1);
        while samples.len() < count {
            let radius = (-2.0 * (1.0 - self.next_f64()).ln()).sqrt();
            let angle = std::f64::consts::TAU * self.next_f64();
            samples.push((radius * angle.cos()) as f32);
            samples.push((radius * angle.sin()) as f32);
        }
        samples.truncate(count);
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_label_and_counter() {
        let base = derive(1, "order", 0);
        assert_ne!(base, derive(2, "order", 0));
        assert_ne!(base, derive(1, "orders", 0));
        assert_ne!(base, derive(1, "order", 1));
        assert_eq!(base, derive(1, "order", 0));
    }

    #[test]
    fn shuffling_permutes() {
        let mut items: Vec<usize> = (0..100).collect();
        CounterRng::new(7).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn normals_have_the_moments_of_a_standard_normal() {
        let samples = CounterRng::new(3).normals(100_001);
        assert_eq!(samples.len(), 100_001);
        let mean = samples.iter().sum::<f32>() / samples.len() as f32;
        let variance = samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
