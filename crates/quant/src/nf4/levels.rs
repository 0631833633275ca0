//! The 16 levels, and a block of weights as codes of them.

use half::{bf16, f16};

use crate::elements::Float;

/// Weights that share a scale, their largest magnitude.
pub const BLOCK: usize = 64;
/// Bytes of a block's codes: two a byte, the first in the high bits.
pub const BLOCK_BYTES: usize = BLOCK / 2;

/// What the codes stand for, as shares of the block's largest magnitude: quantiles of the
/// normal distribution, eight on the negative side and nine on the positive, both with 0
/// (ibid., appendix E).
#[expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "as published, digit by digit"
)]
pub const LEVELS: [f32; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

/// The code of 0.
const ZERO: u8 = 7;

/// A weight above `BORDERS[i]` is nearer to level `i + 1` than to level `i`.
const BORDERS: [f32; 15] = {
    let mut borders = [0.0; 15];
    let mut index = 0;
    while index < 15 {
        borders[index] = f32::midpoint(LEVELS[index], LEVELS[index + 1]);
        index += 1;
    }
    borders
};

/// The code of the nearest level.
fn nearest(share: f32) -> u8 {
    // Comparisons without branches: a processor makes eight or sixteen weights at once.
    BORDERS.iter().map(|&border| u8::from(share > border)).sum()
}

/// Writes the codes of up to [`BLOCK`] weights and returns their largest magnitude; `None`
/// where a weight is not finite.
///
/// # Shapes
/// `codes` has [`BLOCK_BYTES`]; those past the weights become codes of 0.
pub fn quantize_block(weights: &[f32], codes: &mut [u8]) -> Option<f32> {
    if !weights.iter().all(|weight| weight.is_finite()) {
        return None;
    }
    let absmax = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    let scale = 1.0 / absmax.max(f32::MIN_POSITIVE);
    let mut pairs = weights.chunks(2);
    for byte in codes {
        let pair = pairs.next().unwrap_or_default();
        let code = |place: usize| pair.get(place).map_or(ZERO, |weight| nearest(weight * scale));
        *byte = code(0) << 4 | code(1);
    }
    Some(absmax)
}

/// A dtype that blocks are dequantised to.
pub(crate) trait Level: Float {
    /// The weights of a whole block.
    fn dequantize(codes: &[u8; BLOCK_BYTES], absmax: f32, weights: &mut [Self; BLOCK]) {
        let levels = scaled(absmax);
        lookup(codes, &levels, weights);
    }
}

impl Level for f32 {
    fn dequantize(codes: &[u8; BLOCK_BYTES], absmax: f32, weights: &mut [Self; BLOCK]) {
        lookup_block(codes, &scaled(absmax), weights);
    }
}

impl Level for bf16 {
    fn dequantize(codes: &[u8; BLOCK_BYTES], absmax: f32, weights: &mut [Self; BLOCK]) {
        // The rounded levels looked up as float32, of which bfloat16 is the upper half.
        let levels = scaled::<Self>(absmax).map(Self::to_f32);
        let mut wide = [0.0; BLOCK];
        lookup_block(codes, &levels, &mut wide);
        for (weight, wide) in weights.iter_mut().zip(wide) {
            *weight = Self::from_bits((wide.to_bits() >> 16) as u16);
        }
    }
}

impl Level for f16 {}

/// The first weights of a block.
pub(crate) fn dequantize_block<T: Level>(codes: &[u8], absmax: f32, weights: &mut [T]) {
    if let (Ok(codes), Ok(weights)) = (codes.try_into(), weights.try_into()) {
        return T::dequantize(codes, absmax, weights);
    }
    lookup(codes, &scaled(absmax), weights);
}

/// A block's own 16 weights: rounded once, and not at each place.
fn scaled<T: Float>(absmax: f32) -> [T; 16] {
    LEVELS.map(|level| T::round(level * absmax))
}

fn lookup<T: Copy>(codes: &[u8], levels: &[T; 16], weights: &mut [T]) {
    for (pair, &byte) in weights.chunks_mut(2).zip(codes) {
        pair[0] = levels[usize::from(byte >> 4)];
        if let Some(second) = pair.get_mut(1) {
            *second = levels[usize::from(byte & 15)];
        }
    }
}

/// [`lookup`] of a whole block, with vector instructions where there are any.
fn lookup_block(codes: &[u8; BLOCK_BYTES], levels: &[f32; 16], weights: &mut [f32; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        #[expect(unsafe_code, reason = "instructions that not every processor has")]
        return unsafe { lookup_avx2(codes, levels, weights) };
    }
    lookup(codes, levels, weights);
}

/// Eight weights at a time: the codes' low three bits choose within each half of the levels,
/// their high bit between the halves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn lookup_avx2(codes: &[u8; BLOCK_BYTES], levels: &[f32; 16], weights: &mut [f32; BLOCK]) {
    use std::arch::x86_64::{
        _mm_and_si128, _mm_cvtsi32_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_unpacklo_epi8,
        _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_cvtepu8_epi32, _mm256_loadu_ps,
        _mm256_permutevar8x32_ps, _mm256_slli_epi32, _mm256_storeu_ps,
    };
    // SAFETY: loads and stores stay within the arrays: 2 × 8 levels, and 8 weights for each
    // 4 bytes of codes.
    #[expect(unsafe_code, reason = "vector loads and stores take pointers")]
    let (lower, upper) =
        unsafe { (_mm256_loadu_ps(levels.as_ptr()), _mm256_loadu_ps(levels[8..].as_ptr())) };
    let low_bits = _mm_set1_epi8(15);
    for (bytes, weights) in codes.chunks_exact(4).zip(weights.chunks_exact_mut(8)) {
        let word = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let bytes = _mm_cvtsi32_si128(word);
        let first = _mm_and_si128(_mm_srli_epi16(bytes, 4), low_bits);
        let second = _mm_and_si128(bytes, low_bits);
        let places = _mm256_cvtepu8_epi32(_mm_unpacklo_epi8(first, second));
        let negative = _mm256_permutevar8x32_ps(lower, places);
        let positive = _mm256_permutevar8x32_ps(upper, places);
        // Bit 3 of the code becomes the sign bit, which is what the blend looks at.
        let side = _mm256_castsi256_ps(_mm256_slli_epi32(places, 28));
        let chosen = _mm256_blendv_ps(negative, positive, side);
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "vector loads and stores take pointers")]
        unsafe {
            _mm256_storeu_ps(weights.as_mut_ptr(), chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    #[test]
    fn levels_ascend_from_minus_one_to_one_through_zero() {
        assert!(LEVELS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((LEVELS[0], LEVELS[usize::from(ZERO)], LEVELS[15]), (-1.0, 0.0, 1.0));
        for (code, level) in LEVELS.iter().enumerate() {
            assert_eq!(usize::from(nearest(*level)), code);
        }
        assert_eq!((nearest(-9.0), nearest(9.0)), (0, 15));
    }

    #[test]
    fn each_weight_gets_the_nearest_level() {
        let weights = CounterRng::new(1).normals(BLOCK);
        let mut codes = [0; BLOCK_BYTES];
        let absmax = quantize_block(&weights, &mut codes).unwrap();
        let mut rounded = [0.0; BLOCK];
        dequantize_block(&codes, absmax, &mut rounded);
        for (&weight, &rounded) in weights.iter().zip(&rounded) {
            let least = LEVELS.map(|level| (level * absmax - weight).abs());
            let least = least.into_iter().fold(f32::INFINITY, f32::min);
            assert!((weight - rounded).abs() <= least * 1.000_01, "{weight} became {rounded}");
        }
    }

    #[test]
    fn a_short_block_and_one_of_zeros_come_back() {
        let mut codes = [255; BLOCK_BYTES];
        let absmax = quantize_block(&[2.0, -2.0, 0.0], &mut codes).unwrap();
        assert_eq!(codes[..3], [0xf0, 0x77, 0x77]);
        let mut weights = [9.0_f32; 3];
        dequantize_block(&codes, absmax, &mut weights);
        assert_eq!(weights, [2.0, -2.0, 0.0]);
        assert_eq!(quantize_block(&[0.0; BLOCK], &mut codes), Some(0.0));
        assert_eq!(codes, [0x77; BLOCK_BYTES]);
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(quantize_block(&[1.0, bad], &mut codes), None);
        }
    }

    #[test]
    fn the_vector_code_gives_the_same_weights() {
        let mut rng = CounterRng::new(2);
        let codes: [u8; BLOCK_BYTES] = std::array::from_fn(|_| rng.below(256) as u8);
        let (mut vector, mut plain) = ([0.0; BLOCK], [0.0; BLOCK]);
        dequantize_block(&codes, 1.7, &mut vector);
        lookup(&codes, &scaled(1.7), &mut plain);
        assert_eq!(vector, plain);
        let mut narrow = [bf16::ZERO; BLOCK];
        dequantize_block(&codes, 1.7, &mut narrow);
        assert_eq!(narrow.map(bf16::to_f32), plain.map(|weight| bf16::from_f32(weight).to_f32()));
    }
}
