//! Vectors of [`LANES`] numbers in the instructions that processors have, and the way into
//! code that is compiled for them.

#![expect(
    clippy::inline_always,
    unsafe_code,
    reason = "compiled into callers that are compiled for the instructions"
)]

#[cfg(target_arch = "x86_64")]
#[allow(
    clippy::wildcard_imports,
    reason = "dozens of intrinsics, all with a prefix of their own"
)]
use std::arch::x86_64::*;

/// Numbers of a vector.
pub const LANES: usize = 16;

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

    /// Runs a kernel compiled for these instructions, or for none in particular where this
    /// processor lacks them.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        if Self::available().contains(&self) {
            match self {
                // SAFETY: the processor has the instructions.
                Self::Avx512 => return unsafe { run_avx512(kernel) },
                // SAFETY: likewise.
                Self::Avx2 => return unsafe { run_avx2(kernel) },
                Self::Portable => {}
            }
        }
        kernel.run::<[f32; LANES]>()
    }
}

/// Code that is compiled once for each set of instructions.
pub trait Kernel {
    /// What it computes.
    type Output;

    /// Computes it; to be marked `#[inline(always)]`, as what it calls with `L`.
    fn run<L: Lanes>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Wide>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Pair>()
}

/// [`LANES`] fp32 numbers.
///
/// Functions are compiled into their caller, which must be compiled for the instructions: that
/// is what [`Instructions::run`] sees to.
pub trait Lanes: Copy {
    /// Zeros.
    fn zero() -> Self;

    /// The same number everywhere.
    #[inline(always)]
    fn all(number: f32) -> Self {
        Self::of(&[number; LANES])
    }

    /// `self + factor · number`
    fn add_scaled(self, factor: Self, number: f32) -> Self;

    /// `self + left · right`
    fn add_product(self, left: Self, right: Self) -> Self;

    /// `self + other`
    fn add(self, other: Self) -> Self;

    /// `self · number`
    fn scale(self, number: f32) -> Self;

    /// The larger of each two.
    fn max(self, other: Self) -> Self;

    /// These numbers.
    fn of(numbers: &[f32; LANES]) -> Self;

    /// 8-bit codes as numbers.
    fn of_codes(codes: &[i8; LANES]) -> Self;

    /// Writes them.
    fn store(self, numbers: &mut [f32; LANES]);

    /// `2^n` where `self` is `n + 1.5·2²³`, for whole n from -126 to 127: the number that
    /// adding so much rounds to holds n in its lowest bits.
    fn power_of_two(self) -> Self;

    /// `e^x` to 2 units in the last place for x from -87 to 88; what is below becomes `e^-87`,
    /// `1.6e-38`.
    #[inline(always)]
    fn exp(self) -> Self {
        const ROUND: f32 = 12_582_912.0; // 1.5·2²³
        // ln 2 in two parts, so that n·ln 2 is exact (Cody and Waite).
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        let x = self.max(Self::all(-87.0));
        let shifted = Self::all(ROUND).add_scaled(x, std::f32::consts::LOG2_E);
        let n = shifted.add(Self::all(-ROUND));
        let rest = x.add_scaled(n, -LN2_HIGH).add_scaled(n, -LN2_LOW);
        // Taylor's terms, each lowered to the interval |rest| ≤ ln 2 / 2.
        let mut sum = Self::all(1.0 / 5040.0);
        for term in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            sum = Self::all(term).add_product(sum, rest);
        }
        Self::zero().add_product(sum, shifted.power_of_two())
    }
}

impl Lanes for [f32; LANES] {
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
    fn scale(self, number: f32) -> Self {
        self.map(|value| value * number)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane].max(other[lane]))
    }

    #[inline(always)]
    fn of(numbers: &[f32; LANES]) -> Self {
        *numbers
    }

    #[inline(always)]
    fn of_codes(codes: &[i8; LANES]) -> Self {
        codes.map(f32::from)
    }

    #[inline(always)]
    fn store(self, numbers: &mut [f32; LANES]) {
        *numbers = self;
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        self.map(|number| f32::from_bits((number.to_bits() << 23).wrapping_add(127 << 23)))
    }
}

/// AVX-512: one register.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub struct Wide(pub __m512);

// SAFETY of all blocks: values of this type are made only within functions compiled for
// AVX-512 F, which run only where the processor has it; loads and stores are of whole arrays.
#[cfg(target_arch = "x86_64")]
impl Lanes for Wide {
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
    fn scale(self, number: f32) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, _mm512_set1_ps(number)) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn of(numbers: &[f32; LANES]) -> Self {
        Self(unsafe { _mm512_loadu_ps(numbers.as_ptr()) })
    }

    #[inline(always)]
    fn of_codes(codes: &[i8; LANES]) -> Self {
        unsafe {
            let codes = _mm_loadu_si128(codes.as_ptr().cast());
            Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)))
        }
    }

    #[inline(always)]
    fn store(self, numbers: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(numbers.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
            Self(_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(127 << 23))))
        }
    }
}

/// AVX2: two registers.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub struct Pair(pub __m256, pub __m256);

#[cfg(target_arch = "x86_64")]
impl Pair {
    /// The same of both halves.
    #[inline(always)]
    pub fn map<T>(halves: (T, T), number: impl Fn(T) -> __m256) -> Self {
        Self(number(halves.0), number(halves.1))
    }
}

// SAFETY of all blocks: as of `Wide`, for AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
impl Lanes for Pair {
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
    fn scale(self, number: f32) -> Self {
        Self::map((self.0, self.1), |half| unsafe { _mm256_mul_ps(half, _mm256_set1_ps(number)) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn of(numbers: &[f32; LANES]) -> Self {
        unsafe {
            let start = numbers.as_ptr();
            Self(_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8)))
        }
    }

    #[inline(always)]
    fn of_codes(codes: &[i8; LANES]) -> Self {
        unsafe {
            let codes = _mm_loadu_si128(codes.as_ptr().cast());
            Self::map((codes, _mm_srli_si128::<8>(codes)), |codes| {
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))
            })
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

    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self::map((self.0, self.1), |half| unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(half));
            _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a [f32; LANES]);

    impl Kernel for Exp<'_> {
        type Output = [f32; LANES];

        #[inline(always)]
        fn run<L: Lanes>(self) -> [f32; LANES] {
            let mut output = [0.0; LANES];
            L::of(self.0).exp().store(&mut output);
            output
        }
    }

    #[test]
    fn exponentials_are_right_to_the_last_places_with_all_instructions() {
        for instructions in Instructions::available() {
            for step in -1400..1400 {
                let numbers: [f32; LANES] =
                    std::array::from_fn(|lane| step as f32 / 16.1 + lane as f32 / 257.0);
                let found = instructions.run(Exp(&numbers));
                for (number, found) in numbers.iter().zip(found) {
                    let expected = f64::from(number.max(-87.0)).exp();
                    let error = (f64::from(found) - expected).abs() / expected;
                    assert!(error < 2.4e-7, "{instructions:?}: e^{number} = {found}, {error:.1e}");
                }
            }
            let ones = instructions.run(Exp(&[0.0; LANES]));
            assert!(ones.iter().all(|number| number.to_bits() == 1.0_f32.to_bits()), "{ones:?}");
            let lowest = instructions.run(Exp(&[f32::NEG_INFINITY; LANES]));
            assert!(lowest.iter().all(|&number| number < 2e-38), "{lowest:?}");
        }
    }

    struct Codes<'a>(&'a [i8; LANES]);

    impl Kernel for Codes<'_> {
        type Output = [f32; LANES];

        #[inline(always)]
        fn run<L: Lanes>(self) -> [f32; LANES] {
            let mut output = [0.0; LANES];
            L::of_codes(self.0).scale(0.5).max(L::all(-60.0)).store(&mut output);
            output
        }
    }

    #[test]
    fn codes_keep_their_sign_and_place() {
        let codes: [i8; LANES] = std::array::from_fn(|lane| (lane as i8 - 8) * 16);
        let expected = codes.map(|code| (f32::from(code) / 2.0).max(-60.0).to_bits());
        for instructions in Instructions::available() {
            let found = instructions.run(Codes(&codes)).map(f32::to_bits);
            assert_eq!(found, expected, "{instructions:?}");
        }
    }
}
