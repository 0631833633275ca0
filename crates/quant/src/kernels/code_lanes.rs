//! Vectors of numbers that codes stand for.

#![expect(
    clippy::inline_always,
    reason = "compiled into callers that are compiled for the instructions"
)]

#[cfg(target_arch = "x86_64")]
#[allow(
    clippy::wildcard_imports,
    reason = "dozens of intrinsics, all with a prefix of their own"
)]
use std::arch::x86_64::*;

use half::{bf16, f16};
use limbeck_core::lanes::{LANES, Lanes};
#[cfg(target_arch = "x86_64")]
use limbeck_core::lanes::{Pair, Wide};

use super::tiled::Words;

/// One number of each output of a tile.
///
/// Functions are compiled into their caller, which must be compiled for the instructions.
pub(super) trait CodeLanes: Lanes {
    /// Words as they lie in registers.
    type Words: Copy;

    fn load(words: &Words) -> Self::Words;

    /// Has the processor fetch what will be loaded soon; any address will do.
    #[inline(always)]
    fn prefetch(_: *const Words) {}

    /// The 4 bits from bit `shift` on, less 8.
    fn nibbles(words: Self::Words, shift: u32) -> Self;

    /// The 8 bits from bit `shift` on, less 128.
    fn bytes(words: Self::Words, shift: u32) -> Self;

    /// Numbers in half precision.
    fn halves(bits: &[u16; LANES]) -> Self;

    /// Numbers in bfloat16.
    fn brains(bits: &[u16; LANES]) -> Self;

    /// `middle − zero` for each zero.
    #[inline(always)]
    fn below(middle: u8, zeros: &[u8; LANES]) -> Self {
        Self::of(&std::array::from_fn(|lane| f32::from(middle) - f32::from(zeros[lane])))
    }
}

impl CodeLanes for [f32; LANES] {
    type Words = [u32; LANES];

    #[inline(always)]
    fn load(words: &Words) -> Self::Words {
        words.0
    }

    #[inline(always)]
    fn nibbles(words: Self::Words, shift: u32) -> Self {
        words.map(|word| ((word >> shift & 15).cast_signed() - 8) as f32)
    }

    #[inline(always)]
    fn bytes(words: Self::Words, shift: u32) -> Self {
        words.map(|word| ((word >> shift & 255).cast_signed() - 128) as f32)
    }

    #[inline(always)]
    fn halves(bits: &[u16; LANES]) -> Self {
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn brains(bits: &[u16; LANES]) -> Self {
        bits.map(|bits| bf16::from_bits(bits).to_f32())
    }
}

// SAFETY of all blocks: values of this type are made only within functions compiled for
// AVX-512 F, which run only where the processor has it; loads and stores are of whole arrays.
#[cfg(target_arch = "x86_64")]
impl CodeLanes for Wide {
    type Words = __m512i;

    #[inline(always)]
    fn load(words: &Words) -> Self::Words {
        unsafe { _mm512_load_si512(words.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn prefetch(words: *const Words) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(words.cast()) }
    }

    #[inline(always)]
    fn nibbles(words: Self::Words, shift: u32) -> Self {
        // The permutation takes the low 4 bits of each word for the place in the table.
        unsafe {
            let table = _mm512_setr_ps(
                -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0,
                7.0,
            );
            let places = _mm512_srlv_epi32(words, _mm512_set1_epi32(shift.cast_signed()));
            Self(_mm512_permutexvar_ps(places, table))
        }
    }

    #[inline(always)]
    fn bytes(words: Self::Words, shift: u32) -> Self {
        unsafe {
            let shifted = _mm512_srlv_epi32(words, _mm512_set1_epi32(shift.cast_signed()));
            let codes = _mm512_and_si512(shifted, _mm512_set1_epi32(255));
            Self(_mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(128))))
        }
    }

    #[inline(always)]
    fn halves(bits: &[u16; LANES]) -> Self {
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) })
    }

    #[inline(always)]
    fn brains(bits: &[u16; LANES]) -> Self {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bits.as_ptr().cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
}

// SAFETY of all blocks: as of `Wide`, for AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
impl CodeLanes for Pair {
    type Words = (__m256i, __m256i);

    #[inline(always)]
    fn load(words: &Words) -> Self::Words {
        unsafe {
            let start: *const __m256i = words.0.as_ptr().cast();
            (_mm256_load_si256(start), _mm256_load_si256(start.add(1)))
        }
    }

    #[inline(always)]
    fn prefetch(words: *const Words) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(words.cast()) }
    }

    #[inline(always)]
    fn nibbles(words: Self::Words, shift: u32) -> Self {
        Self::map(words, |words| unsafe {
            let shifted = _mm256_srlv_epi32(words, _mm256_set1_epi32(shift.cast_signed()));
            let codes = _mm256_and_si256(shifted, _mm256_set1_epi32(15));
            _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(8)))
        })
    }

    #[inline(always)]
    fn bytes(words: Self::Words, shift: u32) -> Self {
        Self::map(words, |words| unsafe {
            let shifted = _mm256_srlv_epi32(words, _mm256_set1_epi32(shift.cast_signed()));
            let codes = _mm256_and_si256(shifted, _mm256_set1_epi32(255));
            _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(128)))
        })
    }

    #[inline(always)]
    fn halves(bits: &[u16; LANES]) -> Self {
        unsafe {
            let start: *const __m128i = bits.as_ptr().cast();
            Self(
                _mm256_cvtph_ps(_mm_loadu_si128(start)),
                _mm256_cvtph_ps(_mm_loadu_si128(start.add(1))),
            )
        }
    }

    #[inline(always)]
    fn brains(bits: &[u16; LANES]) -> Self {
        Self::of(&std::array::from_fn(|lane| bf16::from_bits(bits[lane]).to_f32()))
    }
}
