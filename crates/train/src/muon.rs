//! The orthogonalisation of Muon (Jordan et al. 2024, "Muon: an optimizer for hidden
//! layers in neural networks"): the nearest matrix with all singular values about 1, by
//! five Newton–Schulz iterations.

use tch::{Kind, Tensor};

use crate::Result;

/// The quintic's coefficients, chosen by its authors for speed over exactness: singular
/// values end between 0.7 and 1.2.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);

/// # Shapes
/// `[rows, columns]` in, the same out, in the same dtype.
///
/// # Errors
/// libtorch's.
pub(crate) fn orthogonalized(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.size2()?;
    // The Gram matrix is that of the shorter side.
    let wide = if rows > columns { matrix.f_transpose(0, 1)? } else { matrix.shallow_clone() };
    let norm = wide.f_norm()?.f_to_kind(Kind::Float)?.f_clamp_min(1e-12)?;
    let mut x = wide.f_div(&norm)?;
    let (a, b, c) = COEFFICIENTS;
    for _ in 0..5 {
        let gram = x.f_matmul(&x.f_transpose(0, 1)?)?; // [short, short]
        let polynomial = gram.f_mul_scalar(b)?.f_add(&gram.f_matmul(&gram)?.f_mul_scalar(c)?)?;
        x = x.f_mul_scalar(a)?.f_add(&polynomial.f_matmul(&x)?)?;
    }
    Ok(if rows > columns { x.f_transpose(0, 1)?.f_contiguous()? } else { x })
}
