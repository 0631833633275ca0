//! Exact algebra, as far as answers need it: quotients of polynomials over the rationals, in
//! variables and square roots of whole numbers.
//!
//! Two formulas are equal if their cross products have the same terms, which decides it for
//! polynomials in variables, `i` and square roots, as square roots of different square-free
//! numbers are linearly independent over the rationals. `π`, `e`, and functions such as `sin` of
//! something are variables of their own: that `sin²x + cos²x` is 1 is not known here. This is no
//! computer algebra system.

use std::collections::BTreeMap;
use std::fmt::Write;

use num_rational::Ratio;
use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::check::number::{Rational, add, multiply};

/// More terms are no answer.
const MOST_TERMS: usize = 64;

/// Higher powers of sums are no answer.
const MOST_EXPONENT: u32 = 32;

/// The largest number whose square root is sought.
const MOST_RADICAND: i128 = 1_000_000_000_000;

/// A product of powers of variables and at most one square root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Monomial {
    /// By variable, in order; exponents from 1.
    powers: Vec<(String, u32)>,
    /// Square-free, from 1: the number below the root.
    radicand: i128,
}

/// A sum of monomials with their coefficients, none of which is 0.
type Polynomial = BTreeMap<Monomial, Rational>;

/// A quotient of polynomials; the divisor is not 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Formula {
    top: Polynomial,
    bottom: Polynomial,
}

impl Monomial {
    fn one() -> Self {
        Self { powers: Vec::new(), radicand: 1 }
    }
}

impl Formula {
    /// A number.
    pub(super) fn number(value: Rational) -> Self {
        Self { top: constant(value), bottom: constant(Ratio::one()) }
    }

    /// A variable.
    pub(super) fn variable(name: &str) -> Self {
        let monomial = Monomial { powers: vec![(name.to_owned(), 1)], radicand: 1 };
        let top = Polynomial::from([(monomial, Ratio::one())]);
        Self { top, bottom: constant(Ratio::one()) }
    }

    /// A function of something, by its name.
    pub(super) fn function(name: &str, argument: &Self) -> Self {
        Self::variable(&format!("{name}({})", argument.text()))
    }

    pub(super) fn negative(&self) -> Self {
        let top = self.top.iter().map(|(monomial, value)| (monomial.clone(), -value)).collect();
        Self { top, bottom: self.bottom.clone() }
    }

    /// The sum, unless it grows beyond an answer's size.
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        if self.bottom == other.bottom {
            let top = sum(&self.top, &other.top)?;
            return Some(Self { top, bottom: self.bottom.clone() });
        }
        let top = sum(&product(&self.top, &other.bottom)?, &product(&other.top, &self.bottom)?)?;
        Some(Self { top, bottom: product(&self.bottom, &other.bottom)? })
    }

    /// The product, unless it grows beyond an answer's size.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let (top, bottom) =
            (product(&self.top, &other.top)?, product(&self.bottom, &other.bottom)?);
        Some(Self { top, bottom }.reduced())
    }

    /// The quotient, unless it grows beyond an answer's size; nothing by 0.
    pub(super) fn over(&self, other: &Self) -> Option<Self> {
        if other.top.is_empty() {
            return None;
        }
        self.times(&Self { top: other.bottom.clone(), bottom: other.top.clone() })
    }

    /// A power by a whole number, or the root by a half of one.
    pub(super) fn power(&self, exponent: &Self) -> Option<Self> {
        let exponent = exponent.rational()?;
        if *exponent.denom() == 2 {
            return self.root()?.power(&Self::number(exponent * Ratio::from_integer(2)));
        }
        if !exponent.is_integer() {
            return None;
        }
        let times = u32::try_from(exponent.numer().unsigned_abs()).ok()?;
        let base = if exponent.is_negative() {
            Self::number(Ratio::one()).over(self)?
        } else {
            self.clone()
        };
        if let Some(value) = base.rational() {
            let (top, bottom) =
                (value.numer().checked_pow(times)?, value.denom().checked_pow(times)?);
            return Some(Self::number(Ratio::new_raw(top, bottom)));
        }
        if times > MOST_EXPONENT {
            return None;
        }
        (0..times).try_fold(Self::number(Ratio::one()), |power, _| power.times(&base))
    }

    /// The square root: of a number exactly, of anything else as a function.
    pub(super) fn root(&self) -> Option<Self> {
        let Some(value) = self.rational() else { return Some(Self::function("√", self)) };
        // √(p/q) is √(pq)/q.
        let radicand = value.numer().checked_abs()?.checked_mul(*value.denom())?;
        if radicand.is_zero() {
            return Some(Self::number(Ratio::zero()));
        }
        let (factor, radicand) = squares(radicand)?;
        let mut powers = Vec::new();
        if value.is_negative() {
            powers.push(("i".to_owned(), 1));
        }
        let coefficient = Ratio::new(factor, *value.denom());
        let top = Polynomial::from([(Monomial { powers, radicand }, coefficient)]);
        Some(Self { top, bottom: constant(Ratio::one()) })
    }

    /// Whether both are the same; nothing where the numbers grow too large.
    pub(super) fn equals(&self, other: &Self) -> Option<bool> {
        if self == other {
            return Some(true);
        }
        Some(product(&self.top, &other.bottom)? == product(&other.top, &self.bottom)?)
    }

    /// Whether both are 0 for the same values of their variables, as one is a multiple of the
    /// other.
    pub(super) fn same_zeros(&self, other: &Self) -> bool {
        scaled(&self.top) == scaled(&other.top) && scaled(&self.bottom) == scaled(&other.bottom)
    }

    /// Its value if that is a rational number.
    pub(super) fn rational(&self) -> Option<Rational> {
        let of = |polynomial: &Polynomial| match polynomial.len() {
            0 => Some(Ratio::zero()),
            1 => polynomial.get(&Monomial::one()).copied(),
            _ => None,
        };
        let (top, bottom) = (of(&self.top)?, of(&self.bottom)?);
        let inverse = Ratio::new(*bottom.denom(), *bottom.numer());
        multiply(top, inverse)
    }

    /// Its value where it holds no variable but π and e.
    pub(super) fn approximate(&self) -> Option<f64> {
        let of = |polynomial: &Polynomial| {
            polynomial.iter().try_fold(0.0, |total, (monomial, coefficient)| {
                let mut value = coefficient.to_f64()? * (monomial.radicand as f64).sqrt();
                for (name, exponent) in &monomial.powers {
                    let base = match name.as_str() {
                        "π" => std::f64::consts::PI,
                        "e" => std::f64::consts::E,
                        _ => return None,
                    };
                    value *= base.powi(i32::try_from(*exponent).ok()?);
                }
                Some(total + value)
            })
        };
        Some(of(&self.top)? / of(&self.bottom)?)
    }

    /// Without a divisor that is a number.
    fn reduced(self) -> Self {
        let divisor = match self.bottom.len() {
            1 => self.bottom.get(&Monomial::one()).copied(),
            _ => None,
        };
        let Some(divisor) = divisor.filter(|divisor| !divisor.is_one()) else { return self };
        let inverse = Ratio::new(*divisor.denom(), *divisor.numer());
        match product(&self.top, &constant(inverse)) {
            Some(top) => Self { top, bottom: constant(Ratio::one()) },
            None => self,
        }
    }

    /// A text that equal polynomials share.
    fn text(&self) -> String {
        let mut text = String::new();
        for (sign, polynomial) in [("", &self.top), ("/", &self.bottom)] {
            text.push_str(sign);
            for (monomial, coefficient) in polynomial {
                // Writing to a string does not fail.
                let _ = write!(text, "+{coefficient}√{}", monomial.radicand);
                for (name, exponent) in &monomial.powers {
                    let _ = write!(text, "·{name}^{exponent}");
                }
            }
        }
        text
    }
}

fn constant(value: Rational) -> Polynomial {
    let mut polynomial = Polynomial::new();
    if !value.is_zero() {
        polynomial.insert(Monomial::one(), value);
    }
    polynomial
}

fn add_term(polynomial: &mut Polynomial, monomial: Monomial, value: Rational) -> Option<()> {
    let total = match polynomial.get(&monomial) {
        Some(before) => add(*before, value)?,
        None => value,
    };
    if total.is_zero() {
        polynomial.remove(&monomial);
    } else {
        polynomial.insert(monomial, total);
    }
    (polynomial.len() <= MOST_TERMS).then_some(())
}

fn sum(left: &Polynomial, right: &Polynomial) -> Option<Polynomial> {
    let mut total = left.clone();
    for (monomial, value) in right {
        add_term(&mut total, monomial.clone(), *value)?;
    }
    Some(total)
}

fn product(left: &Polynomial, right: &Polynomial) -> Option<Polynomial> {
    let mut total = Polynomial::new();
    for (one, a) in left {
        for (other, b) in right {
            let (monomial, factor) = together(one, other)?;
            let value = multiply(multiply(*a, *b)?, Ratio::from_integer(factor))?;
            add_term(&mut total, monomial, value)?;
        }
    }
    Some(total)
}

/// The product of two monomials, and the whole number that comes out of it.
fn together(left: &Monomial, right: &Monomial) -> Option<(Monomial, i128)> {
    // √a·√b is g·√(ab/g²) with the greatest common divisor g.
    let mut factor = gcd(left.radicand, right.radicand);
    let radicand = (left.radicand / factor).checked_mul(right.radicand / factor)?;
    let mut powers = left.powers.clone();
    for (name, exponent) in &right.powers {
        match powers.binary_search_by(|(known, _)| known.cmp(name)) {
            Ok(at) => powers[at].1 = powers[at].1.checked_add(*exponent)?,
            Err(at) => powers.insert(at, (name.clone(), *exponent)),
        }
    }
    if let Ok(at) = powers.binary_search_by(|(known, _)| known.as_str().cmp("i")) {
        let exponent = powers[at].1 % 4;
        if exponent >= 2 {
            factor = -factor;
        }
        if exponent.is_multiple_of(2) {
            powers.remove(at);
        } else {
            powers[at].1 = 1;
        }
    }
    Some((Monomial { powers, radicand }, factor))
}

/// With 1 before the last term.
fn scaled(polynomial: &Polynomial) -> Option<Polynomial> {
    let (_, leading) = polynomial.last_key_value()?;
    product(polynomial, &constant(Ratio::new(*leading.denom(), *leading.numer())))
}

/// `n` as a square of the first number times the second, which is square-free.
fn squares(n: i128) -> Option<(i128, i128)> {
    if n > MOST_RADICAND {
        return None;
    }
    let (mut factor, mut radicand, mut rest) = (1, 1, n);
    let mut divisor = 2;
    // What is left has at most two prime factors once the third power of the divisor is above it.
    while divisor * divisor * divisor <= rest {
        while rest % (divisor * divisor) == 0 {
            rest /= divisor * divisor;
            factor *= divisor;
        }
        if rest % divisor == 0 {
            rest /= divisor;
            radicand *= divisor;
        }
        divisor += 1;
    }
    let root = (rest as f64).sqrt().round() as i128;
    if root * root == rest {
        Some((factor * root, radicand))
    } else {
        Some((factor, radicand * rest))
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_factors_come_out_of_roots() {
        for (n, factor, radicand) in [
            (1, 1, 1),
            (8, 2, 2),
            (12, 2, 3),
            (16, 4, 1),
            (49, 7, 1),
            (72, 6, 2),
            (30, 1, 30),
            (999_983 * 999_983, 999_983, 1),
            (4 * 1_000_003, 2, 1_000_003),
        ] {
            assert_eq!(squares(n), Some((factor, radicand)), "{n}");
        }
        for n in 1..2_000 {
            let (factor, radicand) = squares(n).unwrap();
            assert_eq!(factor * factor * radicand, n);
            assert!((2..=44).all(|d| radicand % (d * d) != 0), "{n}");
        }
    }

    #[test]
    fn size_is_bounded() {
        let variables: Vec<Formula> =
            ["a", "b", "c", "d", "f", "g"].map(Formula::variable).to_vec();
        let total = variables.iter().try_fold(Formula::number(Ratio::zero()), |a, b| a.plus(b));
        let total = total.unwrap();
        assert!(total.power(&Formula::number(Ratio::from_integer(30))).is_none());
        let two = Formula::number(Ratio::from_integer(2));
        assert!(two.power(&Formula::number(Ratio::from_integer(200))).is_none());
    }
}
