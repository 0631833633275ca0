//! Slips with numbers.

use super::Mistake;
use crate::generate::arithmetic::{Operator, places};
use crate::rng::CounterRng;

/// A sum with its result, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) operator: Operator,
    pub(super) a: i64,
    pub(super) b: i64,
    pub(super) value: i64,
}

impl Sum {
    pub(super) fn right(operator: Operator, a: i64, b: i64) -> Self {
        Self { operator, a, b, value: operator.on(a, b) }
    }

    /// The sum with a mistake; nothing where it is not of that kind or changes nothing.
    pub(super) fn slip(self, mistake: Mistake, rng: &mut CounterRng) -> Option<Self> {
        let Self { operator, a, b, value } = self;
        let made = match mistake {
            Mistake::OperatorSwap => {
                let others = match operator {
                    Operator::Add => [Operator::Subtract, Operator::Multiply],
                    Operator::Subtract => [Operator::Add, Operator::Add],
                    Operator::Multiply => [Operator::Add, Operator::Subtract],
                };
                Self::right(rng.pick(&others), a, b)
            }
            Mistake::OperandSwap if operator == Operator::Subtract => Self::right(operator, b, a),
            Mistake::OffByOne => {
                Self { value: if rng.chance(1, 2) { value + 1 } else { value - 1 }, ..self }
            }
            Mistake::DroppedCarry => Self { value: without_carry(operator, a, b)?, ..self },
            Mistake::DigitTransposition => Self { value: transposed(value, rng)?, ..self },
            Mistake::Sign => Self { value: other_sign(operator, a, b)?, ..self },
            _ => return None,
        };
        let same = made.value == value;
        (!same && made.value.abs() < 1_000_000).then_some(made)
    }
}

/// The result without the carry or borrow of the ones; nothing where there is none.
fn without_carry(operator: Operator, a: i64, b: i64) -> Option<i64> {
    let (ones, others) = (a.rem_euclid(10), b.rem_euclid(10));
    let value = operator.on(a, b);
    let lost = match operator {
        Operator::Add if ones + others > 9 => -10,
        Operator::Subtract if ones < others => 10,
        Operator::Multiply if a > 9 || b > 9 => -(ones * others / 10 * 10),
        _ => return None,
    };
    (lost != 0 && a >= 0 && b >= 0).then_some(value + lost)
}

/// A number with two neighbouring digits exchanged; nothing where they are all alike.
pub(super) fn transposed(value: i64, rng: &mut CounterRng) -> Option<i64> {
    let digits: Vec<u8> = value.abs().to_string().into_bytes();
    let swaps = |at: &usize| digits[*at] != digits[at + 1] && (*at > 0 || digits[1] != b'0');
    let able: Vec<usize> = (0..digits.len().saturating_sub(1)).filter(swaps).collect();
    let at = *able.get(rng.below(able.len()))?;
    let mut digits = digits.clone();
    digits.swap(at, at + 1);
    let swapped: i64 = String::from_utf8(digits).ok()?.parse().ok()?;
    Some(if value < 0 { -swapped } else { swapped })
}

/// The result with the lowest place of the second number, or of the products, taken with
/// the other sign.
fn other_sign(operator: Operator, a: i64, b: i64) -> Option<i64> {
    let last = match operator {
        Operator::Multiply => {
            let parts = places(a.max(b));
            parts.clone().nth(1)?;
            parts.last()? * a.min(b)
        }
        _ => places(b).last()?,
    };
    let value = operator.on(a, b);
    Some(if operator == Operator::Subtract { value + 2 * last } else { value - 2 * last })
}
