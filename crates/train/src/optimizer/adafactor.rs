//! Adafactor (Shazeer and Stern 2018, algorithms 4 and 5), without momentum and with the
//! schedule's learning rate instead of the relative one, so that a rate chosen for `AdamW`
//! is of the right size.

use tch::{Device, Kind, Tensor};

use super::kind::Update;
use super::stack::Stack;
use crate::Result;

/// Added to the squared gradient (ε₁).
const SQUARE_EPSILON: f64 = 1e-30;
/// The highest root mean square of an update (d).
const CLIP_THRESHOLD: f64 = 1.0;
/// Exponent of the second moment's decay: β₂ = 1 − t^−0.8 (section 7.2).
const DECAY_EXPONENT: f64 = 0.8;

/// The second moment: of rows and columns for matrices, of each scalar for vectors.
#[derive(Debug)]
pub(super) enum Adafactor {
    /// f32, the rows of all matrices one after another, and their columns.
    Factored { rows: Tensor, columns: Tensor, stacks: Vec<Stack> },
    /// f32, as long as the buffer; `spans` are the vectors in it.
    Full { exp_avg_sq: Tensor, spans: Vec<(i64, i64)> },
}

impl Adafactor {
    pub(super) fn factored(stacks: Vec<Stack>, device: Device) -> Result<Self> {
        let total = |side: fn(&Stack) -> i64| -> Result<Tensor> {
            let length: i64 = stacks.iter().map(|stack| stack.count * side(stack)).sum();
            Ok(Tensor::f_zeros([length], (Kind::Float, device))?)
        };
        let (rows, columns) = (total(|stack| stack.rows)?, total(|stack| stack.columns)?);
        Ok(Self::Factored { rows, columns, stacks })
    }

    pub(super) fn full(like: &Tensor, spans: &[(i64, i64)]) -> Result<Self> {
        Ok(Self::Full { exp_avg_sq: like.f_zeros_like()?, spans: spans.to_vec() })
    }

    pub(super) fn update(&self, flat: &Tensor, gradient: &Tensor, by: &Update<'_>) -> Result<()> {
        let new_share = (by.number as f64).powf(-DECAY_EXPONENT);
        match self {
            Self::Factored { rows, columns, stacks } => {
                let (mut row, mut column) = (0, 0);
                for &stack in stacks {
                    for (first, part) in stack.parts() {
                        let second = (
                            rows.f_narrow(0, row + first * part.rows, part.count * part.rows)?
                                .f_view([part.count, part.rows])?,
                            columns
                                .f_narrow(
                                    0,
                                    column + first * part.columns,
                                    part.count * part.columns,
                                )?
                                .f_view([part.count, part.columns])?,
                        );
                        let shape = [part.count, part.rows, part.columns];
                        let view = |tensor: &Tensor| {
                            tensor.f_narrow(0, part.start, part.length())?.f_view(shape)
                        };
                        let update = factored_update(&view(gradient)?, second, new_share)?;
                        apply(&view(flat)?, &update, by)?;
                    }
                    row += stack.count * stack.rows;
                    column += stack.count * stack.columns;
                }
            }
            Self::Full { exp_avg_sq, spans } => {
                let square = gradient.f_square()?.f_add_scalar(SQUARE_EPSILON)?;
                let _ = exp_avg_sq.shallow_clone().f_lerp_(&square, new_share)?;
                let update = gradient.f_mul(&exp_avg_sq.f_rsqrt()?)?;
                for &(start, length) in spans {
                    let view =
                        |tensor: &Tensor| tensor.f_narrow(0, start, length)?.f_view([1, 1, -1]);
                    apply(&view(flat)?, &view(&update)?, by)?;
                }
            }
        }
        Ok(())
    }
}

/// The gradient over the root of the factored second moment, which is updated in place.
///
/// # Shapes
/// `gradient` `[count, rows, columns]`; `rows` `[count, rows]`, `columns`
/// `[count, columns]`.
fn factored_update(
    gradient: &Tensor,
    (mut rows, mut columns): (Tensor, Tensor),
    new_share: f64,
) -> Result<Tensor> {
    let square = gradient.f_square()?.f_add_scalar_(SQUARE_EPSILON)?;
    let mean = |axis: i64| square.f_mean_dim([axis].as_slice(), false, Kind::Float);
    let _ = rows.f_lerp_(&mean(2)?, new_share)?;
    let _ = columns.f_lerp_(&mean(1)?, new_share)?;
    let overall = rows.f_mean_dim([1].as_slice(), true, Kind::Float)?;
    let by_row = rows.f_div(&overall)?.f_rsqrt()?.f_unsqueeze(2)?;
    let by_column = columns.f_rsqrt()?.f_unsqueeze(1)?;
    Ok(gradient.f_mul(&by_row)?.f_mul_(&by_column)?)
}

/// Takes the step, clipped for each matrix.
fn apply(parameters: &Tensor, update: &Tensor, by: &Update<'_>) -> Result<()> {
    let mean_square = update.f_square()?.f_mean_dim([1, 2].as_slice(), true, Kind::Float)?;
    let divisor = mean_square.f_sqrt()?.f_div_scalar(CLIP_THRESHOLD)?.f_clamp_min(1.0)?;
    let step = update.f_div(&divisor)?.f_mul_scalar_(-by.rate)?;
    let mut parameters = parameters.shallow_clone();
    let _ = parameters.f_mul_scalar_(by.kept())?;
    let _ = parameters.f_add_(&step)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::{OptimizerConfig, OptimizerKind};

    const CONFIG: OptimizerConfig = OptimizerConfig {
        kind: OptimizerKind::Adafactor,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-8,
        weight_decay: 0.0,
        muon_ratio: None,
    };

    #[test]
    fn two_steps_are_the_papers() {
        let (rows, columns, rate) = (2_usize, 3_usize, 0.1);
        let gradients = [[1.0_f64, -2.0, 0.5, 0.25, 4.0, -1.0], [0.5, 0.5, -3.0, 2.0, 0.1, 1.0]];
        let stack = Stack { start: 0, count: 1, rows: 2, columns: 3 };
        let adafactor = Adafactor::factored(vec![stack], Device::Cpu).unwrap();
        let flat = Tensor::zeros([6], (Kind::Float, Device::Cpu));
        let (mut value, mut r, mut c) = ([0.0_f64; 6], [0.0; 2], [0.0; 3]);
        for (index, gradient) in gradients.iter().enumerate() {
            let number = index as u64 + 1;
            let by = Update { config: &CONFIG, rate, weight_decay: 0.0, number };
            adafactor
                .update(&flat, &Tensor::from_slice(gradient).to_kind(Kind::Float), &by)
                .unwrap();
            // Algorithm 4, one scalar at a time, with sums as in the paper.
            let beta = 1.0 - (number as f64).powf(-0.8);
            for i in 0..rows {
                let sum: f64 = (0..columns).map(|j| gradient[i * columns + j].powi(2)).sum();
                r[i] = beta * r[i] + (1.0 - beta) * sum;
            }
            for j in 0..columns {
                let sum: f64 = (0..rows).map(|i| gradient[i * columns + j].powi(2)).sum();
                c[j] = beta * c[j] + (1.0 - beta) * sum;
            }
            let total: f64 = r.iter().sum();
            let update: Vec<f64> = (0..6)
                .map(|at| gradient[at] / (r[at / columns] * c[at % columns] / total).sqrt())
                .collect();
            let rms = (update.iter().map(|u| u * u).sum::<f64>() / 6.0).sqrt();
            for at in 0..6 {
                value[at] -= rate * update[at] / rms.max(1.0);
            }
        }
        for (found, expected) in Vec::<f32>::try_from(&flat).unwrap().iter().zip(value) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn vectors_keep_each_scalars_moment_and_are_clipped_alone() {
        let flat = Tensor::zeros([32], (Kind::Float, Device::Cpu));
        let gradient = Tensor::zeros([32], (Kind::Float, Device::Cpu));
        for (at, value) in [(0, 3.0), (1, -1.0), (16, 0.5)] {
            let _ = gradient.narrow(0, at, 1).fill_(value);
        }
        let adafactor = Adafactor::full(&flat, &[(0, 2), (16, 1)]).unwrap();
        let by = Update { config: &CONFIG, rate: 0.1, weight_decay: 0.0, number: 1 };
        adafactor.update(&flat, &gradient, &by).unwrap();
        // At the first step the moment is the squared gradient: an update is a sign.
        for (at, expected) in [(0, -0.1), (1, 0.1), (16, -0.1), (8, 0.0)] {
            assert!((flat.double_value(&[at]) - expected).abs() < 1e-6, "{at}");
        }
    }
}
