//! Codes of 4 or 8 bits in 32-bit words, exactly as GPTQ checkpoints hold them.
//!
//! Both layouts put the first code into the lowest bits. They differ in the axis along
//! which neighbouring codes share a word: weights run down the input features, zeros
//! along the output features.

use rayon::prelude::*;

use crate::bits::Bits;

/// The codes of a weight matrix, packed along the input features: word `[r, n]` holds
/// inputs `r·p .. (r + 1)·p` of output `n`, where `p` codes fit a word (`qweight`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeights {
    words: Vec<i32>,
    bits: Bits,
    in_features: usize,
    out_features: usize,
}

impl PackedWeights {
    /// Packs codes `[out, in]`; `None` if the sizes do not fit each other or the input
    /// features do not fill their words.
    pub fn pack(codes: &[u8], bits: Bits, out_features: usize, in_features: usize) -> Option<Self> {
        let per_word = bits.codes_per_word();
        if codes.len() != out_features * in_features || !in_features.is_multiple_of(per_word) {
            return None;
        }
        let mut words = vec![0; in_features / per_word * out_features];
        // An empty matrix has no rows to split by.
        words.par_chunks_mut(out_features.max(1)).enumerate().for_each(|(row, words)| {
            for (output, word) in words.iter_mut().enumerate() {
                let start = output * in_features + row * per_word;
                *word = pack_word(&codes[start..start + per_word], bits);
            }
        });
        Some(Self { words, bits, in_features, out_features })
    }

    /// Takes words `[in / p, out]` as read from a file; `None` if their number is wrong.
    pub fn from_words(
        words: Vec<i32>,
        bits: Bits,
        out_features: usize,
        in_features: usize,
    ) -> Option<Self> {
        let per_word = bits.codes_per_word();
        let fits = in_features.is_multiple_of(per_word)
            && words.len() == in_features / per_word * out_features;
        fits.then_some(Self { words, bits, in_features, out_features })
    }

    /// The words, `[in / p, out]`.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// The codes, `[out, in]`.
    pub fn unpack(&self) -> Vec<u8> {
        let per_word = self.bits.codes_per_word();
        let mut codes = vec![0; self.out_features * self.in_features];
        codes.par_chunks_mut(self.in_features.max(1)).enumerate().for_each(|(output, codes)| {
            for (row, codes) in codes.chunks_mut(per_word).enumerate() {
                unpack_word(self.words[row * self.out_features + output], self.bits, codes);
            }
        });
        codes
    }
}

/// The zeros of all groups, packed along the output features: word `[g, c]` holds outputs
/// `c·p .. (c + 1)·p` of group `g` (`qzeros`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedZeros {
    words: Vec<i32>,
    bits: Bits,
}

impl PackedZeros {
    /// Packs codes `[groups, out]`; `None` if the outputs do not fill their words.
    pub fn pack(codes: &[u8], bits: Bits, out_features: usize) -> Option<Self> {
        let per_word = bits.codes_per_word();
        if out_features == 0
            || !out_features.is_multiple_of(per_word)
            || !codes.len().is_multiple_of(out_features)
        {
            return None;
        }
        let words = codes.chunks(per_word).map(|codes| pack_word(codes, bits)).collect();
        Some(Self { words, bits })
    }

    /// Takes words `[groups, out / p]` as read from a file.
    pub fn from_words(words: Vec<i32>, bits: Bits) -> Self {
        Self { words, bits }
    }

    /// The words, `[groups, out / p]`.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// The codes, `[groups, out]`.
    pub fn unpack(&self) -> Vec<u8> {
        let mut codes = vec![0; self.words.len() * self.bits.codes_per_word()];
        for (word, codes) in self.words.iter().zip(codes.chunks_mut(self.bits.codes_per_word())) {
            unpack_word(*word, self.bits, codes);
        }
        codes
    }
}

fn pack_word(codes: &[u8], bits: Bits) -> i32 {
    codes
        .iter()
        .enumerate()
        .fold(0_u32, |word, (place, &code)| {
            debug_assert!(code <= bits.max_code(), "code {code} has more than {bits:?} bits");
            word | u32::from(code) << (bits.width() * place as u32)
        })
        .cast_signed()
}

fn unpack_word(word: i32, bits: Bits, codes: &mut [u8]) {
    for (place, code) in codes.iter_mut().enumerate() {
        *code = (word.cast_unsigned() >> (bits.width() * place as u32)) as u8 & bits.max_code();
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    const BOTH: [Bits; 2] = [Bits::Four, Bits::Eight];

    #[test]
    fn every_shape_comes_back_from_its_words() {
        let mut rng = CounterRng::new(4);
        for bits in BOTH {
            let per_word = bits.codes_per_word();
            for outputs in [1, 2, 3, 8, 13, 64] {
                for rows in [1, 2, 5, 16] {
                    let inputs = rows * per_word;
                    let levels = usize::from(bits.max_code()) + 1;
                    let codes: Vec<u8> =
                        (0..outputs * inputs).map(|_| rng.below(levels) as u8).collect();
                    let packed = PackedWeights::pack(&codes, bits, outputs, inputs).unwrap();
                    assert_eq!(packed.words().len(), rows * outputs);
                    assert_eq!(packed.unpack(), codes);
                    let words = packed.words().to_vec();
                    assert_eq!(
                        PackedWeights::from_words(words, bits, outputs, inputs),
                        Some(packed)
                    );
                    // The same codes as zeros: `inputs` outputs of `outputs` groups.
                    let zeros = PackedZeros::pack(&codes, bits, inputs).unwrap();
                    assert_eq!(zeros.unpack(), codes);
                    assert_eq!(PackedZeros::from_words(zeros.words().to_vec(), bits), zeros);
                }
            }
        }
    }

    #[test]
    fn the_first_code_has_the_lowest_bits() {
        let codes: Vec<u8> = (1..=8).chain([15; 8]).collect();
        let packed = PackedWeights::pack(&codes, Bits::Four, 2, 8).unwrap();
        assert_eq!(packed.words(), [0x8765_4321_u32.cast_signed(), -1]);
        let codes: Vec<u8> = (0..16).map(|index| index * 16).collect();
        let packed = PackedWeights::pack(&codes, Bits::Eight, 2, 8).unwrap();
        // Words of the two outputs alternate.
        let expected: [u32; 4] = [0x3020_1000, 0xb0a0_9080, 0x7060_5040, 0xf0e0_d0c0];
        assert_eq!(packed.words(), expected.map(u32::cast_signed));
        let zeros = PackedZeros::pack(&[8; 16], Bits::Four, 8).unwrap();
        assert_eq!(zeros.words(), [0x8888_8888_u32.cast_signed(); 2]);
    }

    #[test]
    fn sizes_that_do_not_fill_words_are_refused() {
        assert_eq!(PackedWeights::pack(&[0; 12], Bits::Four, 1, 12), None);
        assert_eq!(PackedWeights::pack(&[0; 15], Bits::Four, 1, 16), None);
        assert_eq!(PackedZeros::pack(&[0; 12], Bits::Four, 12), None);
        assert_eq!(PackedZeros::pack(&[0; 6], Bits::Eight, 6), None);
        assert_eq!(PackedWeights::from_words(vec![0; 3], Bits::Eight, 2, 8), None);
    }
}
