//! The orthogonalisation of Muon (Jordan et al. 2024, "Muon: an optimizer for hidden
//! layers in neural networks"): the nearest matrix with all singular values about 1, by
//! five Newton–Schulz iterations.

use tch::{Kind, Tensor};

use crate::Result;

/// The quintic's coefficients, chosen by its authors for speed over exactness: singular
/// values end between 0.7 and 1.2.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);

/// # Shapes
/// `[count, rows, columns]` in, the same out, in the same dtype: matrices of one shape go
/// together, since small ones cost more in calls than in arithmetic.
///
/// # Errors
/// libtorch's.
pub(crate) fn orthogonalized(matrices: &Tensor) -> Result<Tensor> {
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
