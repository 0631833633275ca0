//! DoRA's lengths of the rows (Liu et al. 2024, arXiv:2402.09353, equation 5):
//! `W' = diag(m / ‖W + s·B·A‖) (W + s·B·A)`, the norm taken row by row.
//!
//! The norm is a constant to the gradient (section 4.3). It comes from three small products
//! instead of the sum's own matrix: with w a row of W and b one of B,
//! `‖w + s·b·A‖² = ‖w‖² + 2s·b·(A·w) + s²·b·(A·Aᵀ)·bᵀ`, and `A·Wᵀ` is what the base makes of
//! A, so that a packed base need not be unpacked.

use limbeck_model::Linear;
use tch::{Kind, Tensor, no_grad};

use crate::Result;

/// The lengths of a projection's rows.
#[derive(Debug)]
pub(crate) struct Magnitude {
    /// f32 `[out_features]`, trained.
    vector: Tensor,
    /// Squared lengths of the base's rows, f32 `[out_features]`.
    base_squares: Tensor,
}

impl Magnitude {
    pub(crate) fn new(vector: Tensor, base: &dyn Linear) -> Result<Self> {
        let base_squares = no_grad(|| squares(&base.dense_weight()?.f_to_kind(Kind::Float)?))?;
        Ok(Self { vector, base_squares })
    }

    pub(crate) fn vector(&self) -> &Tensor {
        &self.vector
    }

    /// What the rows of the base under an update are multiplied by, f32 `[out_features]`.
    pub(crate) fn of_update(
        &self,
        base: &dyn Linear,
        lora_a: &Tensor,
        lora_b: &Tensor,
        scale: f64,
    ) -> Result<Tensor> {
        let lengths = no_grad(|| -> Result<Tensor> {
            let mut on_base = base.forward(lora_a)?.f_to_kind(Kind::Float)?; // [rank, out]
            if let Some(bias) = base.bias() {
                on_base = on_base.f_sub(&bias.f_to_kind(Kind::Float)?)?;
            }
            let cross = on_base.f_tr()?.f_mul_scalar(2.0)?;
            let square = lora_b.f_matmul(&lora_a.f_matmul(&lora_a.f_tr()?)?)?; // [out, rank]
            let rows = cross.f_add(&square.f_mul_scalar(scale)?)?.f_mul(lora_b)?;
            let rows = rows.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)?;
            let squares = self.base_squares.f_add(&rows.f_mul_scalar(scale)?)?;
            Ok(squares.f_clamp_min(f64::from(f32::MIN_POSITIVE))?.f_sqrt()?)
        })?;
        Ok(self.vector.f_div(&lengths)?)
    }

    /// What the rows of a merged weight are multiplied by, `[out_features, 1]`.
    pub(crate) fn of_merged(&self, merged: &Tensor) -> Result<Tensor> {
        let lengths = squares(merged)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?.f_sqrt()?;
        Ok(self.vector.f_detach()?.f_div(&lengths)?.f_unsqueeze(1)?)
    }
}

/// The lengths that DoRA begins with: those of the base's rows, f32 `[out_features]`.
pub(crate) fn initial(base: &dyn Linear) -> Result<Tensor> {
    no_grad(|| Ok(squares(&base.dense_weight()?.f_to_kind(Kind::Float)?)?.f_sqrt()?))
}

/// `(base + update)` without the bias, times the factors, and the bias again.
///
/// # Shapes
/// `output` and `update` `[.., out_features]`, `factors` f32 `[out_features]`.
pub(crate) fn scale_rows(
    output: &Tensor,
    update: &Tensor,
    bias: Option<Tensor>,
    factors: &Tensor,
) -> Result<Tensor> {
    let factors = factors.f_to_kind(output.kind())?;
    match bias {
        None => Ok(output.f_add(update)?.f_mul(&factors)?),
        Some(bias) => {
            let bias = bias.f_to_kind(output.kind())?;
            Ok(output.f_sub(&bias)?.f_add(update)?.f_mul(&factors)?.f_add(&bias)?)
        }
    }
}

fn squares(weight: &Tensor) -> Result<Tensor> {
    Ok(weight.f_square()?.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)?)
}
