//! An adaptive binary arithmetic coder, and numbers written with it.
//!
//! Encoder and decoder walk the same code: a [`Coder`] is told a bit and answers with the
//! bit that stands there. The encoder answers with what it was told, the decoder does not
//! look at it. What is written and what is read cannot drift apart.
//!
//! The coder is the carry-free one of Mahoney's lpaq (2007): the interval `[low, high]` is
//! cut in proportion to the probability, and leading bytes that agree are output.

/// One side of the coding.
pub(super) trait Coder {
    /// Codes a bit that is set with `probability` / 65536.
    fn code(&mut self, bit: bool, probability: u32) -> bool;

    /// Codes a bit by what was seen in its place before, and remembers it.
    fn bit(&mut self, bit: bool, model: &mut Bit) -> bool {
        let bit = self.code(bit, model.probability.clamp(MIN_PROBABILITY, ONE - MIN_PROBABILITY));
        model.update(bit);
        bit
    }
}

const ONE: u32 = 1 << 16;
const MIN_PROBABILITY: u32 = 32;
/// Observations after which a probability follows new ones at a constant rate.
const SLOWEST: usize = 60;
/// 65536 / (observations + 1.5).
const RATES: [u32; SLOWEST + 1] = {
    let mut rates = [0; SLOWEST + 1];
    let mut seen = 0;
    while seen <= SLOWEST {
        rates[seen] = 2 * ONE / (2 * seen as u32 + 3);
        seen += 1;
    }
    rates
};

/// The probability that a bit is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bit {
    probability: u32,
    seen: usize,
}

impl Bit {
    const NEW: Self = Self { probability: ONE / 2, seen: 0 };

    fn update(&mut self, bit: bool) {
        // The mean of what was seen, with a start at one half.
        let rate = RATES[self.seen];
        if bit {
            self.probability += ((ONE - self.probability) * rate) >> 16;
        } else {
            self.probability -= (self.probability * rate) >> 16;
        }
        self.seen = SLOWEST.min(self.seen + 1);
    }
}

/// Writes bits.
#[derive(Debug)]
pub(super) struct Encoder {
    low: u32,
    high: u32,
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { low: 0, high: u32::MAX, bytes }
    }

    /// The bytes, complete.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // Any number of the interval will do, and the decoder reads zeros past the end:
        // the first byte beyond `low` names one, unless the interval begins at 0.
        if self.low > 0 {
            let first = self.low.to_be_bytes()[0];
            if u32::from(first) < self.high >> 24 {
                self.bytes.push(first + 1);
            } else {
                self.bytes.extend(self.low.to_be_bytes());
            }
        }
        self.bytes
    }
}

impl Coder for Encoder {
    fn code(&mut self, bit: bool, probability: u32) -> bool {
        narrow(&mut self.low, &mut self.high, probability, |_| bit);
        while (self.low ^ self.high) >> 24 == 0 {
            self.bytes.push((self.high >> 24) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 0xFF;
        }
        bit
    }
}

/// Reads bits; beyond the end of its bytes there are zeros.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    low: u32,
    high: u32,
    value: u32,
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { low: 0, high: u32::MAX, value: 0, bytes: bytes.iter() };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    fn shift(&mut self) {
        self.value = self.value << 8 | u32::from(self.bytes.next().copied().unwrap_or(0));
    }
}

impl Coder for Decoder<'_> {
    fn code(&mut self, _bit: bool, probability: u32) -> bool {
        let value = self.value;
        let bit = narrow(&mut self.low, &mut self.high, probability, |middle| value <= middle);
        while (self.low ^ self.high) >> 24 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xFF;
            self.shift();
        }
        bit
    }
}

/// Cuts the interval in proportion and keeps the lower part for a set bit.
fn narrow(
    low: &mut u32,
    high: &mut u32,
    probability: u32,
    choose: impl FnOnce(u32) -> bool,
) -> bool {
    let width = u64::from(*high - *low);
    let middle = *low + ((width * u64::from(probability)) >> 16) as u32;
    let bit = choose(middle);
    if bit {
        *high = middle;
    } else {
        *low = middle + 1;
    }
    bit
}

/// The distribution of a number below 2³¹ − 1: its magnitude and the digits after its
/// first are modelled, the rest is written as it is.
#[derive(Debug, Clone)]
pub(super) struct Number {
    modelled: u32,
    magnitude: [Bit; 32],
    digits: Vec<[Bit; 16]>,
}

impl Number {
    /// `modelled` binary digits after the first, at most 4.
    pub(super) fn new(modelled: u32) -> Self {
        Self { modelled, magnitude: [Bit::NEW; 32], digits: vec![[Bit::NEW; 16]; 32] }
    }

    /// Codes a number.
    pub(super) fn code(&mut self, coder: &mut impl Coder, value: u32) -> u32 {
        let value = u64::from(value) + 1;
        let magnitude = tree(coder, &mut self.magnitude, u64::from(value.ilog2()), 5) as u32;
        let modelled = self.modelled.min(magnitude);
        let rest = magnitude - modelled;
        let digits = &mut self.digits[magnitude as usize];
        let mut result = 1 << modelled | tree(coder, digits, value >> rest, modelled);
        for place in (0..rest).rev() {
            let bit = coder.code(value >> place & 1 == 1, ONE / 2);
            result = result << 1 | u64::from(bit);
        }
        (result - 1) as u32
    }
}

/// Codes the last `count` binary digits of a value, each by those before it.
fn tree(coder: &mut impl Coder, models: &mut [Bit], value: u64, count: u32) -> u64 {
    let mut node = 1;
    for place in (0..count).rev() {
        let bit = coder.bit(value >> place & 1 == 1, &mut models[node]);
        node = node << 1 | usize::from(bit);
    }
    node as u64 - (1 << count)
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    fn round_trip(values: &[u32], modelled: u32) -> usize {
        let mut encoder = Encoder::new(Vec::new());
        let mut model = Number::new(modelled);
        for &value in values {
            model.code(&mut encoder, value);
        }
        let bytes = encoder.finish();
        let mut decoder = Decoder::new(&bytes);
        let mut model = Number::new(modelled);
        for &value in values {
            assert_eq!(model.code(&mut decoder, 0), value);
        }
        bytes.len()
    }

    #[test]
    fn numbers_of_every_size_round_trip() {
        round_trip(&[], 2);
        let edges = (0..31).flat_map(|place| [(1 << place) - 1, 1 << place, (1 << place) + 1]);
        let edges: Vec<u32> = edges.chain([u32::MAX / 2 - 1]).collect();
        for modelled in 0..=4 {
            round_trip(&edges, modelled);
            for &edge in &edges {
                round_trip(&[edge], modelled);
            }
        }
        let mut rng = CounterRng::new(1);
        for length in 0..200 {
            let values: Vec<u32> = (0..length)
                .map(|_| {
                    let places = rng.below(31);
                    (rng.next_u64() as u32) >> (32 - places.max(1))
                })
                .collect();
            round_trip(&values, 3);
        }
    }

    #[test]
    fn what_repeats_costs_next_to_nothing_and_noise_what_it_holds() {
        assert!(round_trip(&vec![5; 10_000], 3) < 30);
        let mut rng = CounterRng::new(2);
        let noise: Vec<u32> = (0..10_000).map(|_| 255 + (rng.next_u64() % 256) as u32).collect();
        let bytes = round_trip(&noise, 3);
        assert!((10_000..10_300).contains(&bytes), "{bytes}");
    }
}
