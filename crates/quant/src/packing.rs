//! Codes in 32-bit words, exactly as GPTQ checkpoints hold them.
//!
//! A run of codes is a stream of bits whose first code has the lowest ones; 3-bit codes may lie
//! across the border of two words. Weights and zeros differ in the axis that a run goes along:
//! weights run down the input features, zeros along the output features.

use rayon::prelude::*;

use crate::bits::Bits;

/// The codes of a weight matrix, packed along the input features: word `[r, n]` is the `r`-th
/// of the run of output `n` (`qweight`).
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
        let (per_unit, rows) = (bits.codes_per_unit(), bits.words_per_unit());
        if codes.len() != out_features * in_features || !in_features.is_multiple_of(per_unit) {
            return None;
        }
        let mut words = vec![0; in_features / per_unit * rows * out_features];
        // An empty matrix has no rows to split by.
        words.par_chunks_mut((rows * out_features).max(1)).enumerate().for_each(|(unit, words)| {
            let mut packed = [0; 3];
            for output in 0..out_features {
                let start = output * in_features + unit * per_unit;
                pack_unit(&codes[start..start + per_unit], bits, &mut packed[..rows]);
                for (row, &word) in packed[..rows].iter().enumerate() {
                    words[row * out_features + output] = word;
                }
            }
        });
        Some(Self { words, bits, in_features, out_features })
    }

    /// Takes words `[in · bits / 32, out]` as read from a file; `None` if their number is
    /// wrong.
    pub fn from_words(
        words: Vec<i32>,
        bits: Bits,
        out_features: usize,
        in_features: usize,
    ) -> Option<Self> {
        let per_unit = bits.codes_per_unit();
        let fits = in_features.is_multiple_of(per_unit)
            && words.len() == in_features / per_unit * bits.words_per_unit() * out_features;
        fits.then_some(Self { words, bits, in_features, out_features })
    }

    /// The words, `[in · bits / 32, out]`.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// The codes, `[out, in]`.
    pub fn unpack(&self) -> Vec<u8> {
        let (per_unit, rows) = (self.bits.codes_per_unit(), self.bits.words_per_unit());
        let mut codes = vec![0; self.out_features * self.in_features];
        codes.par_chunks_mut(self.in_features.max(1)).enumerate().for_each(|(output, codes)| {
            let mut packed = [0; 3];
            for (unit, codes) in codes.chunks_mut(per_unit).enumerate() {
                for (row, word) in packed[..rows].iter_mut().enumerate() {
                    *word = self.words[(unit * rows + row) * self.out_features + output];
                }
                unpack_unit(&packed[..rows], self.bits, codes);
            }
        });
        codes
    }
}

/// Rows of codes, each packed along itself: the zeros of all groups along the output features
/// (`qzeros`), for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedRows {
    words: Vec<i32>,
    bits: Bits,
}

impl PackedRows {
    /// Packs codes `[rows, width]`; `None` if a row does not fill its words.
    pub fn pack(codes: &[u8], bits: Bits, width: usize) -> Option<Self> {
        let per_unit = bits.codes_per_unit();
        if width == 0 || !width.is_multiple_of(per_unit) || !codes.len().is_multiple_of(width) {
            return None;
        }
        let per_unit_words = bits.words_per_unit();
        let mut words = vec![0; codes.len() / per_unit * per_unit_words];
        words
            .par_chunks_mut(per_unit_words)
            .zip(codes.par_chunks(per_unit))
            .for_each(|(words, codes)| pack_unit(codes, bits, words));
        Some(Self { words, bits })
    }

    /// Takes words `[rows, width · bits / 32]` as read from a file.
    pub fn from_words(words: Vec<i32>, bits: Bits) -> Self {
        Self { words, bits }
    }

    /// The words.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// The codes, `[rows, width]`.
    pub fn unpack(&self) -> Vec<u8> {
        let (per_unit, rows) = (self.bits.codes_per_unit(), self.bits.words_per_unit());
        let mut codes = vec![0; self.words.len() / rows * per_unit];
        codes
            .par_chunks_mut(per_unit)
            .zip(self.words.par_chunks(rows))
            .for_each(|(codes, words)| unpack_unit(words, self.bits, codes));
        codes
    }
}

/// As many codes as fill whole words.
fn pack_unit(codes: &[u8], bits: Bits, words: &mut [i32]) {
    let width = bits.width();
    let mut packed = [0_u32; 3];
    for (place, &code) in codes.iter().enumerate() {
        debug_assert!(code <= bits.max_code(), "code {code} has more than {bits:?} bits");
        let (word, shift) = position(place, width);
        packed[word] |= u32::from(code) << shift;
        if shift + width > 32 {
            packed[word + 1] |= u32::from(code) >> (32 - shift);
        }
    }
    for (word, packed) in words.iter_mut().zip(packed) {
        *word = packed.cast_signed();
    }
}

fn unpack_unit(words: &[i32], bits: Bits, codes: &mut [u8]) {
    let width = bits.width();
    for (place, code) in codes.iter_mut().enumerate() {
        let (word, shift) = position(place, width);
        let mut stream = words[word].cast_unsigned() >> shift;
        if shift + width > 32 {
            stream |= words[word + 1].cast_unsigned() << (32 - shift);
        }
        *code = stream as u8 & bits.max_code();
    }
}

/// The word that a code begins in, and at which bit.
fn position(place: usize, width: u32) -> (usize, u32) {
    let bit = place as u32 * width;
    ((bit / 32) as usize, bit % 32)
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    #[test]
    fn every_shape_comes_back_from_its_words() {
        let mut rng = CounterRng::new(4);
        for bits in Bits::ALL {
            let per_unit = bits.codes_per_unit();
            for outputs in [1, 2, 3, 8, 13, 64] {
                for rows in [1, 2, 5, 16] {
                    let inputs = rows * per_unit;
                    let levels = usize::from(bits.max_code()) + 1;
                    let codes: Vec<u8> =
                        (0..outputs * inputs).map(|_| rng.below(levels) as u8).collect();
                    let packed = PackedWeights::pack(&codes, bits, outputs, inputs).unwrap();
                    assert_eq!(packed.words().len() * 32, inputs * outputs * bits.width() as usize);
                    assert_eq!(packed.unpack(), codes);
                    let words = packed.words().to_vec();
                    assert_eq!(
                        PackedWeights::from_words(words, bits, outputs, inputs),
                        Some(packed)
                    );
                    // The same codes as zeros: `inputs` outputs of `outputs` groups.
                    let zeros = PackedRows::pack(&codes, bits, inputs).unwrap();
                    assert_eq!(zeros.unpack(), codes);
                    assert_eq!(PackedRows::from_words(zeros.words().to_vec(), bits), zeros);
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
        // AutoGPTQ's three words: the codes 10 and 21 lie across their borders.
        let mut codes = [0; 32];
        (codes[10], codes[21]) = (0b101, 0b110);
        let packed = PackedWeights::pack(&codes, Bits::Three, 1, 32).unwrap();
        assert_eq!(packed.words(), [1 << 30, 1, 0b11].map(|word: i32| word));
        let zeros = PackedRows::pack(&[8; 16], Bits::Four, 8).unwrap();
        assert_eq!(zeros.words(), [0x8888_8888_u32.cast_signed(); 2]);
    }

    #[test]
    fn sizes_that_do_not_fill_words_are_refused() {
        assert_eq!(PackedWeights::pack(&[0; 12], Bits::Four, 1, 12), None);
        assert_eq!(PackedWeights::pack(&[0; 15], Bits::Four, 1, 16), None);
        assert_eq!(PackedRows::pack(&[0; 12], Bits::Four, 12), None);
        assert_eq!(PackedRows::pack(&[0; 6], Bits::Eight, 6), None);
        assert_eq!(PackedWeights::from_words(vec![0; 3], Bits::Eight, 2, 8), None);
    }
}
