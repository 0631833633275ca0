//! `AdamW` (Loshchilov and Hutter 2019, algorithm 2).

use tch::Tensor;

use super::kind::Update;
use super::stack::slabs;
use crate::Result;

/// Both moments in float32.
#[derive(Debug)]
pub(super) struct AdamW {
    pub(super) exp_avg: Tensor,
    pub(super) exp_avg_sq: Tensor,
}

impl AdamW {
    pub(super) fn new(like: &Tensor) -> Result<Self> {
        Ok(Self { exp_avg: like.f_zeros_like()?, exp_avg_sq: like.f_zeros_like()? })
    }

    pub(super) fn update(&self, flat: &Tensor, gradient: &Tensor, by: &Update<'_>) -> Result<()> {
        for (start, length) in slabs(flat.size1()?) {
            let slab = |tensor: &Tensor| tensor.f_narrow(0, start, length);
            step(
                &slab(flat)?,
                &slab(gradient)?,
                &slab(&self.exp_avg)?,
                &slab(&self.exp_avg_sq)?,
                by,
            )?;
        }
        Ok(())
    }
}

/// Updates moments and parameters in place.
pub(super) fn step(
    flat: &Tensor,
    gradient: &Tensor,
    exp_avg: &Tensor,
    exp_avg_sq: &Tensor,
    by: &Update<'_>,
) -> Result<()> {
    let (beta1, beta2) = (by.config.beta1, by.config.beta2);
    let (correction1, correction2) = by.bias_corrections();
    let (mut flat, mut first, mut second) =
        (flat.shallow_clone(), exp_avg.shallow_clone(), exp_avg_sq.shallow_clone());
    let _ = first.f_lerp_(gradient, 1.0 - beta1)?;
    let _ = second.f_mul_scalar_(beta2)?;
    let square = gradient.f_square()?.f_mul_scalar_(1.0 - beta2)?;
    let _ = second.f_add_(&square)?;
    let mut denominator = second.f_sqrt()?;
    let _ = denominator.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(by.config.epsilon)?;
    let mut update = first.f_div(&denominator)?;
    let _ = update.f_mul_scalar_(-by.rate / correction1)?;
    let _ = flat.f_mul_scalar_(by.kept())?;
    let _ = flat.f_add_(&update)?;
    Ok(())
}
