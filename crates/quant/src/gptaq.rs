//! GPTAQ's asymmetric calibration: a layer is to give the outputs of the unquantised model,
//! although quantised layers before it have changed its inputs (Li et al., "GPTAQ: Efficient
//! Finetuning-Free Quantization for Asymmetric Calibration", 2025, arXiv 2504.02692,
//! equations 15 to 17 and algorithm 1).
//!
//! With `x̃` the input in the unquantised model and `x` that in the quantised one, a feature's
//! weight `w_i` moves those still to come by `w_i · P_ij` before it is rounded, where
//! `P = α · striu(C Uᵀ) U`, `C = Σ (x̃ − x) xᵀ` and `H⁻¹ = Uᵀ U`; `striu` is the part above the
//! diagonal. `w_i` is the weight with all earlier corrections, in a feature's own block and
//! beyond it.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::hessian::Factor;
use crate::matrix::floats;

/// Σ (x̃ − x) xᵀ over the inputs of a layer, in fp32.
#[derive(Debug)]
pub struct Drift {
    /// `[in, in]`
    sum: Tensor,
}

impl Drift {
    /// The empty sum for layers of this width.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn new(in_features: i64, device: Device) -> Result<Self> {
        Ok(Self { sum: Tensor::f_zeros([in_features, in_features], (Kind::Float, device))? })
    }

    /// Adds inputs of the quantised model beside those of the unquantised one.
    ///
    /// # Shapes
    /// Both `[tokens, in]`, any floating-point dtype.
    ///
    /// # Errors
    /// Inputs of another width.
    pub fn add(&mut self, inputs: &Tensor, unquantized: &Tensor) -> Result<()> {
        let inputs = inputs.f_detach()?.f_to_kind(Kind::Float)?;
        let difference = unquantized.f_detach()?.f_to_kind(Kind::Float)?.f_sub(&inputs)?;
        let _ = self.sum.f_addmm_(&difference.f_tr()?, &inputs)?;
        Ok(())
    }
}

impl Factor {
    /// The same factor with GPTAQ's correction by the share `alpha` of the drift, which was
    /// summed over the Hessian's inputs.
    ///
    /// # Errors
    /// A drift of another width.
    pub fn with_drift(mut self, drift: &Drift, alpha: f64) -> Result<Self> {
        let (width, _) = drift.sum.size2()?;
        let device = drift.sum.device();
        let lower =
            Tensor::f_from_slice(&self.lower)?.f_view([width, width])?.f_to_device(device)?;
        let mut sum = drift.sum.shallow_clone();
        if let Some(order) = &self.order {
            let order: Vec<i64> = order.iter().map(|&feature| feature as i64).collect();
            let order = Tensor::f_from_slice(&order)?.f_to_device(device)?;
            sum = sum.f_index_select(0, &order)?.f_index_select(1, &order)?;
        }
        // The transpose of P, whose rows are contiguous as those of the factor.
        let above = sum.f_matmul(&lower)?.f_triu(1)?;
        self.correction = Some(floats(&lower.f_matmul(&above.f_tr()?)?.f_mul_scalar(alpha)?)?);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;
    use crate::bits::Bits;
    use crate::gptq;
    use crate::grid::{Grid, GridRule};
    use crate::hessian::Hessian;
    use crate::matrix::WeightMatrix;
    use crate::order::Order;

    const IN: usize = 160;
    const OUT: usize = 9;
    const TOKENS: usize = 500;
    const DAMPING: f64 = 0.01;

    /// Inputs `[tokens, in]` of the quantised and of the unquantised model, in f64.
    fn inputs(seed: u64) -> (Tensor, Tensor) {
        let mut rng = CounterRng::new(seed);
        let mut normal = |rows: usize, columns: usize| -> Tensor {
            Tensor::from_slice(&rng.normals(rows * columns))
                .view([rows as i64, columns as i64])
                .to_kind(Kind::Double)
        };
        let sources = normal(TOKENS, 24);
        let inputs: Tensor = sources.matmul(&normal(24, IN)) + 0.5 * normal(TOKENS, IN);
        let drift: Tensor = 0.3 * sources.matmul(&normal(24, IN)) + 0.2 * normal(TOKENS, IN);
        (inputs.shallow_clone(), inputs + drift)
    }

    fn weight(seed: u64) -> WeightMatrix {
        WeightMatrix::new(CounterRng::new(seed).normals(OUT * IN), OUT, IN).unwrap()
    }

    fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
        let width = tensor.size()[1] as usize;
        let values = Vec::<f64>::try_from(tensor.contiguous().view(-1)).unwrap();
        values.chunks(width).map(<[f64]>::to_vec).collect()
    }

    /// Algorithm 1, feature by feature, in f64; codes `[out, in]`.
    fn naive(
        weight: &WeightMatrix,
        (inputs, unquantized): (&Tensor, &Tensor),
        alpha: f64,
        rule: GridRule,
        group_size: usize,
    ) -> Vec<u8> {
        let hessian = inputs.tr().matmul(inputs);
        let mean = hessian.trace().double_value(&[]) / IN as f64;
        let hessian =
            hessian + Tensor::eye(IN as i64, (Kind::Double, Device::Cpu)) * (DAMPING * mean);
        let upper = hessian.inverse().linalg_cholesky(true);
        let drift = (unquantized - inputs).tr().matmul(inputs);
        let correction = drift.matmul(&upper.tr()).triu(1).matmul(&upper) * alpha;
        let (upper, correction) = (rows(&upper), rows(&correction));
        let mut codes = Vec::new();
        for row in weight.values().chunks(IN) {
            let mut row: Vec<f64> = row.iter().map(|&weight| f64::from(weight)).collect();
            let mut grid = Grid { scale: 1.0, zero: 0 };
            for feature in 0..IN {
                if feature % group_size == 0 {
                    let group: Vec<f32> =
                        row[feature..feature + group_size].iter().map(|&w| w as f32).collect();
                    grid = rule.fit(&group).unwrap();
                }
                let current = row[feature];
                let code = grid.code(current as f32, rule.bits);
                codes.push(code);
                let error = (current - f64::from(grid.weight(code))) / upper[feature][feature];
                for later in feature + 1..IN {
                    row[later] +=
                        current * correction[feature][later] - error * upper[feature][later];
                }
            }
        }
        codes
    }

    fn solved(
        weight: &WeightMatrix,
        (inputs, unquantized): (&Tensor, &Tensor),
        alpha: f64,
        order: Order,
    ) -> crate::QuantizedWeight {
        let mut hessian = Hessian::new(IN as i64, Device::Cpu).unwrap();
        hessian.add(inputs).unwrap();
        let mut drift = Drift::new(IN as i64, Device::Cpu).unwrap();
        drift.add(inputs, unquantized).unwrap();
        let factor = hessian.factor(DAMPING, order, 32).unwrap().unwrap();
        let factor = factor.with_drift(&drift, alpha).unwrap();
        gptq::quantize(weight, &factor, GridRule::symmetric(Bits::Four), 32).unwrap()
    }

    #[test]
    fn equals_the_algorithm_as_written() {
        let (inputs, unquantized) = inputs(60);
        let weight = weight(61);
        for alpha in [0.0, 0.25, 1.0] {
            let pair = (&inputs, &unquantized);
            let fast = solved(&weight, pair, alpha, Order::None);
            let slow = naive(&weight, pair, alpha, GridRule::symmetric(Bits::Four), 32);
            let equal = fast.codes().chunks(IN).zip(slow.chunks(IN)).filter(|(a, b)| a == b);
            // Rounding noise may tip a weight, and all later ones of its row with it.
            assert!(equal.count() >= OUT - 1, "{alpha}");
        }
    }

    #[test]
    fn outputs_come_nearer_to_those_of_the_unquantised_model() {
        for seed in 70..73 {
            let (inputs, unquantized) = inputs(seed);
            let weight = weight(seed + 100);
            let dense = weight.to_tensor(Kind::Double, Device::Cpu).unwrap();
            let expected = unquantized.matmul(&dense.tr());
            for order in [Order::None, Order::Activation, Order::Groups] {
                let distance = |alpha: f64| {
                    let quantized = solved(&weight, (&inputs, &unquantized), alpha, order);
                    let quantized =
                        quantized.dequantize().to_tensor(Kind::Double, Device::Cpu).unwrap();
                    (inputs.matmul(&quantized.tr()) - &expected).norm().double_value(&[])
                };
                let (without, with) = (distance(0.0), distance(1.0));
                assert!(with < 0.95 * without, "{seed} {order:?}: {with}, without {without}");
            }
        }
    }
}
