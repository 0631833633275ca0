//! The Hessian of a layer's output error and the factor of its inverse that GPTQ walks
//! along (Frantar et al., "GPTQ", 2022, §3, step 3 and the Cholesky reformulation).

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::matrix::floats;
use crate::order::Order;

/// Damping beyond this share of the mean diagonal leaves nothing of the Hessian.
const DAMPING_LIMIT: f64 = 10.0;

/// Columns that are summed at once. The matrix is symmetric: of a wider one only the blocks on
/// and below the diagonal are computed.
const CHUNK: i64 = 256;

/// Σ x xᵀ over the inputs x of a layer, in fp32. Layers that read the same input share
/// one.
#[derive(Debug)]
pub struct Hessian {
    /// `[in, in]`, lower triangle.
    sum: Tensor,
    tokens: i64,
    /// The whole matrix, once it was asked for.
    whole: OnceCell<Tensor>,
}

/// What the solver needs of a Hessian.
#[derive(Debug, Clone)]
pub struct Factor {
    /// The lower Cholesky factor `L` of the inverse of the damped Hessian, `H⁻¹ = L Lᵀ`,
    /// row-major `[in, in]`; rows and columns in solving order. GPTQ's upper factor is
    /// its transpose.
    pub(crate) lower: Vec<f32>,
    /// The input feature that is solved at each place; `None` for ascending order.
    pub(crate) order: Option<Vec<usize>>,
    /// Whether the order tears groups apart, so that grids come first.
    pub(crate) static_grids: bool,
    /// The groups that the order was made for; `None` where it suits all.
    pub(crate) group_size: Option<usize>,
    /// GPTAQ's matrix, strictly lower triangular, row-major `[in, in]`, in solving order.
    pub(crate) correction: Option<Vec<f32>>,
    damping: f64,
}

impl Hessian {
    /// The empty sum for layers of this width.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn new(in_features: i64, device: Device) -> Result<Self> {
        let sum = Tensor::f_zeros([in_features, in_features], (Kind::Float, device))?;
        Ok(Self { sum, tokens: 0, whole: OnceCell::new() })
    }

    /// Adds inputs.
    ///
    /// # Shapes
    /// `[tokens, in]`, any floating-point dtype.
    ///
    /// # Errors
    /// Inputs of another width.
    pub fn add(&mut self, inputs: &Tensor) -> Result<()> {
        let (tokens, width) = inputs.size2()?;
        let inputs = inputs.f_detach()?.f_to_kind(Kind::Float)?;
        let expected = self.sum.size()[0];
        if width != expected {
            return Err(Error::LayerShape {
                layer: "calibration".to_owned(),
                expected: format!("inputs of {expected} features"),
                found: width.to_string(),
                hint: "a layer's Hessian is of its own inputs".to_owned(),
            });
        }
        for start in (0..width).step_by(CHUNK as usize) {
            let rest = inputs.f_narrow(1, start, width - start)?;
            let chunk = rest.f_narrow(1, 0, CHUNK.min(width - start))?;
            let sum = self.sum.f_narrow(0, start, width - start)?;
            let _ = sum
                .f_narrow(1, start, CHUNK.min(width - start))?
                .f_addmm_(&rest.f_tr()?, &chunk)?;
        }
        self.tokens += tokens;
        self.whole = OnceCell::new();
        Ok(())
    }

    /// Inputs added so far.
    pub fn tokens(&self) -> i64 {
        self.tokens
    }

    /// The whole matrix, `[in, in]`.
    pub(crate) fn matrix(&self) -> Result<Tensor> {
        if self.sum.size()[0] <= CHUNK {
            return Ok(self.sum.shallow_clone());
        }
        if let Some(whole) = self.whole.get() {
            return Ok(whole.shallow_clone());
        }
        let whole = self.sum.f_tril(0)?.f_add(&self.sum.f_tril(-1)?.f_tr()?)?;
        Ok(self.whole.get_or_init(|| whole).shallow_clone())
    }

    /// The Hessian of inputs each of whose features is divided by its scale, f32 `[in]`.
    pub(crate) fn unscaled_by(&self, scales: &Tensor) -> Result<Self> {
        let inverse = scales.f_reciprocal()?;
        let sum = self.matrix()?.f_mul(&inverse)?.f_mul(&inverse.f_unsqueeze(1)?)?;
        Ok(Self { sum, tokens: self.tokens, whole: OnceCell::new() })
    }

    /// Whether all sums are finite.
    pub(crate) fn is_finite(&self) -> Result<bool> {
        Ok(self.sum.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1)
    }

    /// The factor of the damped Hessian's inverse; `None` where even the highest damping
    /// does not make it positive definite. Starts at `damping` (a share of the mean
    /// diagonal) and doubles it on each failure.
    ///
    /// `order` may put the features of strongest activations first, whose errors are then
    /// compensated by the most others; `group_size` is that of the groups to solve.
    ///
    /// A feature that calibration never excited has a diagonal of 1 and no coupling: its
    /// weights are rounded to nearest. The reference implementation zeroes them, which
    /// harms once the feature does occur.
    ///
    /// With `H = R Rᵀ` (upper `R`: the Cholesky factor of the reversed matrix), the
    /// factor is `L = R⁻ᵀ`: as cheap as inverting first, and without squaring the
    /// condition number.
    ///
    /// # Errors
    /// Failures of libtorch.
    pub fn factor(&self, damping: f64, order: Order, group_size: usize) -> Result<Option<Factor>> {
        let (width, _) = self.sum.size2()?;
        let diagonal = self.sum.f_diagonal(0, 0, 1)?;
        let dead = diagonal.f_eq(0.0)?.f_to_kind(Kind::Float)?;
        let mut hessian = self.matrix()?.f_add(&dead.f_diag(0)?)?;
        let diagonal = hessian.f_diagonal(0, 0, 1)?;
        let mean = diagonal.f_mean(Kind::Double)?.f_double_value(&[])?;
        let features = order.of(&diagonal, group_size)?;
        if let Some(features) = &features {
            let index: Vec<i64> = features.iter().map(|&feature| feature as i64).collect();
            let index = Tensor::f_from_slice(&index)?.f_to_device(hessian.device())?;
            hessian = hessian.f_index_select(0, &index)?.f_index_select(1, &index)?;
        }
        let reversed = hessian.f_flip([0, 1])?;
        let identity = Tensor::f_eye(width, (Kind::Float, reversed.device()))?;
        let mut share = damping;
        while share <= DAMPING_LIMIT {
            let damped = reversed.f_add(&identity.f_mul_scalar(share * mean)?)?;
            let (factor, info) = damped.f_linalg_cholesky_ex(false, false)?;
            if info.f_int64_value(&[])? == 0 {
                let transposed = factor.f_flip([0, 1])?.f_tr()?;
                let lower =
                    floats(&transposed.f_linalg_solve_triangular(&identity, false, true, false)?)?;
                if lower.iter().all(|value| value.is_finite()) {
                    return Ok(Some(Factor {
                        lower,
                        order: features,
                        static_grids: order == Order::Activation,
                        group_size: (order == Order::Groups).then_some(group_size),
                        correction: None,
                        damping: share,
                    }));
                }
            }
            share = (2.0 * share).max(0.01);
        }
        Ok(None)
    }

    /// The relative output error ‖(W − Ŵ) X‖ / ‖W X‖ on the inputs added.
    ///
    /// # Shapes
    /// Both weights `[out, in]`, fp32, on the Hessian's device.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn output_error(&self, weight: &Tensor, quantized: &Tensor) -> Result<f64> {
        let error = self.energy(&weight.f_sub(quantized)?)?;
        Ok(ratio(error, self.energy(weight)?).sqrt())
    }

    /// ‖M X‖² on the inputs added.
    ///
    /// # Shapes
    /// `[out, in]`, fp32, on the Hessian's device.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn energy(&self, matrix: &Tensor) -> Result<f64> {
        let product = matrix.f_matmul(&self.matrix()?)?;
        Ok(product.f_mul(matrix)?.f_sum(Kind::Double)?.f_double_value(&[])?.max(0.0))
    }
}

impl Factor {
    /// The damping that it took, as a share of the mean diagonal.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// A factor given by its lower matrix, row-major `[in, in]` in ascending order of the
    /// features; `None` if it is not square.
    pub fn from_lower(lower: Vec<f32>, in_features: usize) -> Option<Self> {
        let square = in_features.checked_mul(in_features) == Some(lower.len());
        square.then_some(Self {
            lower,
            order: None,
            static_grids: false,
            group_size: None,
            correction: None,
            damping: 0.0,
        })
    }
}

/// `part / whole`; 0 of nothing.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl Error {
    /// That no damping made the Hessian definite.
    pub(crate) fn indefinite(layer: &str, hessian: &Hessian) -> Self {
        Self::Indefinite { layer: layer.to_owned(), tokens: hessian.tokens, damping: DAMPING_LIMIT }
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    fn inputs(seed: u64, tokens: i64, width: i64) -> Tensor {
        let values = CounterRng::new(seed).normals((tokens * width) as usize);
        Tensor::from_slice(&values).view([tokens, width])
    }

    fn sum(inputs: &Tensor) -> Hessian {
        let mut hessian = Hessian::new(inputs.size()[1], Device::Cpu).unwrap();
        hessian.add(inputs).unwrap();
        hessian
    }

    /// `‖H L Lᵀ − 1‖` of the damped Hessian in solving order.
    fn residual(hessian: &Hessian, factor: &Factor) -> f64 {
        let width = hessian.sum.size()[0];
        let mut damped = hessian.sum.to_kind(Kind::Double);
        let diagonal = damped.diagonal(0, 0, 1);
        let dead = diagonal.eq(0.0).to_kind(Kind::Double);
        damped += dead.diag(0);
        let mean = damped.diagonal(0, 0, 1).mean(Kind::Double).double_value(&[]);
        let identity = Tensor::eye(width, (Kind::Double, Device::Cpu));
        damped += &identity * (factor.damping() * mean);
        if let Some(order) = &factor.order {
            let order: Vec<i64> = order.iter().map(|&feature| feature as i64).collect();
            let order = Tensor::from_slice(&order);
            damped = damped.index_select(0, &order).index_select(1, &order);
        }
        let lower = Tensor::from_slice(&factor.lower).view([width, width]).to_kind(Kind::Double);
        assert!(lower.triu(1).abs().max().double_value(&[]) == 0.0, "not lower triangular");
        (damped.matmul(&lower).matmul(&lower.tr()) - identity).abs().max().double_value(&[])
    }

    #[test]
    fn the_factor_is_that_of_the_damped_inverse() {
        for order in [Order::None, Order::Activation, Order::Groups] {
            let strength = Tensor::arange(48, (Kind::Float, Device::Cpu)) * 0.1;
            let scaled = inputs(6, 200, 48) * strength.exp();
            let hessian = sum(&scaled);
            let factor = hessian.factor(0.01, order, 16).unwrap().unwrap();
            assert_eq!(factor.damping(), 0.01);
            assert!(residual(&hessian, &factor) < 1e-3);
            let expected = if order == Order::None { [0, 47] } else { [47, 0] };
            let features = factor.order.unwrap_or_else(|| (0..48).collect());
            assert_eq!([features[0], features[47]], expected);
        }
    }

    #[test]
    fn batches_add_up_and_tokens_are_counted() {
        let all = inputs(7, 64, 8);
        let whole = sum(&all);
        let mut parts = Hessian::new(8, Device::Cpu).unwrap();
        parts.add(&all.narrow(0, 0, 40)).unwrap();
        parts.add(&all.narrow(0, 40, 24)).unwrap();
        assert_eq!(parts.tokens(), 64);
        assert!((&whole.sum - &parts.sum).abs().max().double_value(&[]) < 1e-3);
        assert!(parts.add(&inputs(1, 3, 9)).is_err());
    }

    #[test]
    fn wide_matrices_are_summed_in_part_and_made_whole() {
        let all = inputs(17, 40, 1100);
        let expected = all.tr().matmul(&all);
        let matrix = sum(&all).matrix().unwrap();
        assert!((expected - &matrix).abs().max().double_value(&[]) < 1e-3);
        assert_eq!(matrix, matrix.tr());
        let scales = Tensor::rand([1100], (Kind::Float, Device::Cpu)) + 0.5;
        let scaled = sum(&(&all / &scales)).matrix().unwrap();
        let unscaled = sum(&all).unscaled_by(&scales).unwrap().matrix().unwrap();
        assert!((scaled - unscaled).abs().max().double_value(&[]) < 1e-2);
    }

    #[test]
    fn a_singular_hessian_is_damped_until_it_factors() {
        // Two tokens span two of 16 dimensions, and no damping is asked for.
        let hessian = sum(&inputs(8, 2, 16));
        let factor = hessian.factor(0.0, Order::None, 16).unwrap().unwrap();
        assert!(factor.damping() > 0.0);
        assert!(residual(&hessian, &factor) < 1e-2);
    }

    #[test]
    fn features_that_never_occur_are_decoupled() {
        let silent = inputs(9, 100, 4) * Tensor::from_slice(&[1.0_f32, 0.0, 1.0, 1.0]);
        let factor = sum(&silent).factor(0.01, Order::None, 4).unwrap().unwrap();
        assert_eq!([factor.lower[4], factor.lower[9], factor.lower[13]], [0.0; 3]);
    }

    #[test]
    fn infinite_inputs_are_noticed() {
        let mut bad = inputs(10, 4, 4);
        let _ = bad.narrow(0, 0, 1).fill_(f64::INFINITY);
        bad = bad.shallow_clone();
        assert!(!sum(&bad).is_finite().unwrap());
        assert!(sum(&inputs(10, 4, 4)).is_finite().unwrap());
    }
}
