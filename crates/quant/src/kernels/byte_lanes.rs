//! Vectors of sums of products of bytes: codes with activations of 8 bits.

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

use limbeck_core::lanes::LANES;
#[cfg(target_arch = "x86_64")]
use limbeck_core::lanes::{Pair, Wide};

use super::code_lanes::CodeLanes;

/// A whole number of each output of a tile; four codes of each are a word.
///
/// Functions are compiled into their caller, which must be compiled for the instructions.
pub(super) trait ByteLanes: CodeLanes {
    /// Whole numbers as they lie in registers.
    type Sums: Copy;

    /// The even codes of 4 bits, a byte each: those at places 0, 2, 4 and 6 of each word.
    fn even_nibbles(words: Self::Words) -> Self::Words;

    /// The odd codes of 4 bits, a byte each: those at places 1, 3, 5 and 7 of each word.
    fn odd_nibbles(words: Self::Words) -> Self::Words;

    /// `−zero · sum` of each output.
    fn without_zeros(zeros: &[i32; LANES], sum: i32) -> Self::Sums;

    /// The same number everywhere.
    fn same(number: i32) -> Self::Sums;

    /// Adds the products of the four unsigned bytes of each word with those of `four`, signed;
    /// bytes are below 16 where `NIBBLES`.
    fn add_products<const NIBBLES: bool>(
        sums: Self::Sums,
        words: Self::Words,
        four: [i8; 4],
    ) -> Self::Sums;

    /// Both together.
    fn add_sums(left: Self::Sums, right: Self::Sums) -> Self::Sums;

    /// As numbers.
    fn numbers(sums: Self::Sums) -> Self;
}

impl ByteLanes for [f32; LANES] {
    type Sums = [i32; LANES];

    #[inline(always)]
    fn even_nibbles(words: Self::Words) -> Self::Words {
        words.map(|word| word & 0x0f0f_0f0f)
    }

    #[inline(always)]
    fn odd_nibbles(words: Self::Words) -> Self::Words {
        words.map(|word| word >> 4 & 0x0f0f_0f0f)
    }

    #[inline(always)]
    fn without_zeros(zeros: &[i32; LANES], sum: i32) -> Self::Sums {
        zeros.map(|zero| -zero * sum)
    }

    #[inline(always)]
    fn same(number: i32) -> Self::Sums {
        [number; LANES]
    }

    #[inline(always)]
    fn add_products<const NIBBLES: bool>(
        sums: Self::Sums,
        words: Self::Words,
        four: [i8; 4],
    ) -> Self::Sums {
        std::array::from_fn(|lane| {
            let codes = words[lane].to_le_bytes();
            let products = codes.iter().zip(four).map(|(&code, x)| i32::from(code) * i32::from(x));
            sums[lane] + products.sum::<i32>()
        })
    }

    #[inline(always)]
    fn add_sums(left: Self::Sums, right: Self::Sums) -> Self::Sums {
        std::array::from_fn(|lane| left[lane] + right[lane])
    }

    #[inline(always)]
    fn numbers(sums: Self::Sums) -> Self {
        sums.map(|sum| sum as f32)
    }
}

// SAFETY of all blocks: as of `CodeLanes` for `Wide`, for AVX-512 F with VNNI.
#[cfg(target_arch = "x86_64")]
impl ByteLanes for Wide {
    type Sums = __m512i;

    #[inline(always)]
    fn even_nibbles(words: Self::Words) -> Self::Words {
        unsafe { _mm512_and_si512(words, _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn odd_nibbles(words: Self::Words) -> Self::Words {
        unsafe { _mm512_and_si512(_mm512_srli_epi32::<4>(words), _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn without_zeros(zeros: &[i32; LANES], sum: i32) -> Self::Sums {
        unsafe {
            let zeros = _mm512_loadu_si512(zeros.as_ptr().cast());
            _mm512_mullo_epi32(zeros, _mm512_set1_epi32(-sum))
        }
    }

    #[inline(always)]
    fn same(number: i32) -> Self::Sums {
        unsafe { _mm512_set1_epi32(number) }
    }

    #[inline(always)]
    fn add_products<const NIBBLES: bool>(
        sums: Self::Sums,
        words: Self::Words,
        four: [i8; 4],
    ) -> Self::Sums {
        unsafe { _mm512_dpbusd_epi32(sums, words, _mm512_set1_epi32(word_of(four))) }
    }

    #[inline(always)]
    fn add_sums(left: Self::Sums, right: Self::Sums) -> Self::Sums {
        unsafe { _mm512_add_epi32(left, right) }
    }

    #[inline(always)]
    fn numbers(sums: Self::Sums) -> Self {
        Self(unsafe { _mm512_cvtepi32_ps(sums) })
    }
}

// SAFETY of all blocks: as of `CodeLanes` for `Pair`.
#[cfg(target_arch = "x86_64")]
impl ByteLanes for Pair {
    type Sums = (__m256i, __m256i);

    #[inline(always)]
    fn even_nibbles(words: Self::Words) -> Self::Words {
        let half = |words| unsafe { _mm256_and_si256(words, _mm256_set1_epi8(15)) };
        (half(words.0), half(words.1))
    }

    #[inline(always)]
    fn odd_nibbles(words: Self::Words) -> Self::Words {
        let half = |words| unsafe {
            _mm256_and_si256(_mm256_srli_epi32::<4>(words), _mm256_set1_epi8(15))
        };
        (half(words.0), half(words.1))
    }

    #[inline(always)]
    fn without_zeros(zeros: &[i32; LANES], sum: i32) -> Self::Sums {
        unsafe {
            let start: *const __m256i = zeros.as_ptr().cast();
            let half = |zeros| _mm256_mullo_epi32(zeros, _mm256_set1_epi32(-sum));
            (half(_mm256_loadu_si256(start)), half(_mm256_loadu_si256(start.add(1))))
        }
    }

    #[inline(always)]
    fn same(number: i32) -> Self::Sums {
        unsafe { (_mm256_set1_epi32(number), _mm256_set1_epi32(number)) }
    }

    #[inline(always)]
    fn add_products<const NIBBLES: bool>(
        sums: Self::Sums,
        words: Self::Words,
        four: [i8; 4],
    ) -> Self::Sums {
        // Products of bytes are added in pairs to 16 bits, where two of a whole byte's may not
        // fit (2 · 255 · 127): of its halves they do (2 · 15 · 127).
        let half = |sums, words| unsafe {
            let (four, fifteen) = (_mm256_set1_epi32(word_of(four)), _mm256_set1_epi8(15));
            let ones = _mm256_set1_epi16(1);
            let products = |codes| _mm256_madd_epi16(_mm256_maddubs_epi16(codes, four), ones);
            if NIBBLES {
                return _mm256_add_epi32(sums, products(words));
            }
            let low = products(_mm256_and_si256(words, fifteen));
            let high = products(_mm256_and_si256(_mm256_srli_epi16::<4>(words), fifteen));
            _mm256_add_epi32(_mm256_add_epi32(sums, low), _mm256_slli_epi32::<4>(high))
        };
        (half(sums.0, words.0), half(sums.1, words.1))
    }

    #[inline(always)]
    fn add_sums(left: Self::Sums, right: Self::Sums) -> Self::Sums {
        unsafe { (_mm256_add_epi32(left.0, right.0), _mm256_add_epi32(left.1, right.1)) }
    }

    #[inline(always)]
    fn numbers(sums: Self::Sums) -> Self {
        Self::map(sums, |sums| unsafe { _mm256_cvtepi32_ps(sums) })
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn word_of(four: [i8; 4]) -> i32 {
    i32::from_le_bytes(four.map(i8::cast_unsigned))
}
