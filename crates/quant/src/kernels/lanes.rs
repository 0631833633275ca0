//! Vectors of [`LANES`] numbers in the instructions that processors have.

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

use super::LANES;
use super::tiled::Words;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// None in particular.
    Portable,
    /// AVX2 with fused products and half precision.
    Avx2,
    /// AVX-512 F.
    Avx512,
}

impl Instructions {
    /// The widest that this processor has.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// All that this processor has, the widest last.
    pub fn available() -> Vec<Self> {
        let mut available = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                available.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f") {
                    available.push(Self::Avx512);
                }
            }
        }
        available
    }
}

/// [`LANES`] fp32 numbers, one of each output of a tile.
///
/// Functions are compiled into their caller, which must be compiled for the instructions.
pub(super) trait Lanes: Copy {
    /// Words as they lie in registers.
    type Words: Copy;

    fn zero() -> Self;

    /// `self + factor · number`
    fn add_scaled(self, factor: Self, number: f32) -> Self;

    /// `self + left · right`
    fn add_product(self, left: Self, right: Self) -> Self;

    fn add(self, other: Self) -> Self;

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
        Self::of(std::array::from_fn(|lane| f32::from(middle) - f32::from(zeros[lane])))
    }

    fn of(numbers: [f32; LANES]) -> Self;

    fn store(self, numbers: &mut [f32; LANES]);
}

impl Lanes for [f32; LANES] {
    type Words = [u32; LANES];

    #[inline(always)]
    fn zero() -> Self {
        [0.0; LANES]
    }

    #[inline(always)]
    fn add_scaled(self, factor: Self, number: f32) -> Self {
        std::array::from_fn(|lane| self[lane] + factor[lane] * number)
    }

    #[inline(always)]
    fn add_product(self, left: Self, right: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + left[lane] * right[lane])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }

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

    #[inline(always)]
    fn of(numbers: [f32; LANES]) -> Self {
        numbers
    }

    #[inline(always)]
    fn store(self, numbers: &mut [f32; LANES]) {
        *numbers = self;
    }
}

/// AVX-512: one register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Wide(__m512);

// SAFETY of all blocks: values of this type are made only within functions compiled for
// AVX-512 F, which run only where the processor has it; loads and stores are of whole arrays.
#[cfg(target_arch = "x86_64")]
impl Lanes for Wide {
    type Words = __m512i;

    #[inline(always)]
    fn zero() -> Self {
        Self(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    fn add_scaled(self, factor: Self, number: f32) -> Self {
        Self(unsafe { _mm512_fmadd_ps(factor.0, _mm512_set1_ps(number), self.0) })
    }

    #[inline(always)]
    fn add_product(self, left: Self, right: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(left.0, right.0, self.0) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

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

    #[inline(always)]
    fn of(numbers: [f32; LANES]) -> Self {
        Self(unsafe { _mm512_loadu_ps(numbers.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, numbers: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(numbers.as_mut_ptr(), self.0) }
    }
}

/// AVX2: two registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Pair(__m256, __m256);

#[cfg(target_arch = "x86_64")]
impl Pair {
    #[inline(always)]
    fn map(words: (__m256i, __m256i), number: impl Fn(__m256i) -> __m256) -> Self {
        Self(number(words.0), number(words.1))
    }
}

// SAFETY of all blocks: as of `Wide`, for AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
impl Lanes for Pair {
    type Words = (__m256i, __m256i);

    #[inline(always)]
    fn zero() -> Self {
        unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    fn add_scaled(self, factor: Self, number: f32) -> Self {
        unsafe {
            let number = _mm256_set1_ps(number);
            Self(
                _mm256_fmadd_ps(factor.0, number, self.0),
                _mm256_fmadd_ps(factor.1, number, self.1),
            )
        }
    }

    #[inline(always)]
    fn add_product(self, left: Self, right: Self) -> Self {
        unsafe {
            Self(_mm256_fmadd_ps(left.0, right.0, self.0), _mm256_fmadd_ps(left.1, right.1, self.1))
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

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
        Self::of(std::array::from_fn(|lane| bf16::from_bits(bits[lane]).to_f32()))
    }

    #[inline(always)]
    fn of(numbers: [f32; LANES]) -> Self {
        unsafe {
            let start = numbers.as_ptr();
            Self(_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8)))
        }
    }

    #[inline(always)]
    fn store(self, numbers: &mut [f32; LANES]) {
        unsafe {
            let start = numbers.as_mut_ptr();
            _mm256_storeu_ps(start, self.0);
            _mm256_storeu_ps(start.add(8), self.1);
        }
    }
}
