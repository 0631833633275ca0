//! The orthogonalisation of Muon (Jordan et al. 2024, "Muon: an optimizer for hidden
//! layers in neural networks"): the nearest matrix with all singular values about 1, by
//! five Newton–Schulz iterations.

use tch::{Kind, Tensor};

use super::kind::Update;
use super::stack::Stack;
use crate::Result;

/// Decay of the momentum.
const MOMENTUM: f64 = 0.95;

/// Momentum in float32, and the matrices that it is orthogonalised by.
#[derive(Debug)]
pub(super) struct Muon {
    pub(super) momentum: Tensor,
    ratio: f64,
    stacks: Vec<Stack>,
}

impl Muon {
    pub(super) fn new(like: &Tensor, ratio: f64, stacks: Vec<Stack>) -> Result<Self> {
        Ok(Self { momentum: like.f_zeros_like()?, ratio, stacks })
    }

    pub(super) fn update(&self, flat: &Tensor, gradient: &Tensor, by: &Update<'_>) -> Result<()> {
        let by = Update { rate: by.rate * self.ratio, ..*by };
        let mut momentum = self.momentum.shallow_clone();
        let _ = momentum.f_lerp_(gradient, 1.0 - MOMENTUM)?;
        for &stack in &self.stacks {
            for (_, part) in stack.parts() {
                let slab = |tensor: &Tensor| tensor.f_narrow(0, part.start, part.length());
                // Nesterov: look one step ahead along the momentum.
                let ahead = slab(gradient)?.f_lerp(&slab(&momentum)?, MOMENTUM)?;
                let direction = ahead.f_view([part.count, part.rows, part.columns])?;
                let mut update = orthogonalized(&direction)?.f_reshape([-1])?;
                // The update's root mean square shall not depend on the matrix's shape.
                let shape = (part.rows as f64 / part.columns as f64).max(1.0).sqrt();
                let _ = update.f_mul_scalar_(-by.rate * shape)?;
                let mut parameters = slab(flat)?;
                let _ = parameters.f_mul_scalar_(by.kept())?;
                let _ = parameters.f_add_(&update)?;
            }
        }
        Ok(())
    }
}

/// The quintic's coefficients, chosen by its authors for speed over exactness: singular
/// values end between 0.7 and 1.2.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);

/// # Shapes
/// `[count, rows, columns]` in, the same out, in the same dtype: matrices of one shape go
/// together, since small ones cost more in calls than in arithmetic.
///
/// # Errors
/// libtorch's.
pub(super) fn orthogonalized(matrices: &Tensor) -> Result<Tensor> {
    let (_, rows, columns) = matrices.size3()?;
    // The Gram matrix is that of the shorter side.
    let wide = if rows > columns { matrices.f_transpose(1, 2)? } else { matrices.shallow_clone() };
    let squares = wide.f_square()?.f_sum_dim_intlist([1, 2].as_slice(), true, Kind::Float)?;
    let mut x = wide.f_div(&squares.f_sqrt()?.f_clamp_min(1e-12)?)?;
    let (a, b, c) = COEFFICIENTS;
    for _ in 0..5 {
        let gram = x.f_bmm(&x.f_transpose(1, 2)?)?; // [count, short, short]
        let polynomial = gram.f_baddbmm(&gram, &gram, b, c)?;
        x = x.f_baddbmm(&polynomial, &x, a, 1.0)?;
    }
    Ok(if rows > columns { x.f_transpose(1, 2)?.f_contiguous()? } else { x })
}
