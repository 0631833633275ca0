//! The elements of CPU tensors as slices, with this crate's errors.

use tch::Tensor;

use crate::error::Result;

pub(crate) use limbeck_core::elements::{Float, Scalar, elements};

/// As [`limbeck_core::elements::filled`].
pub(crate) fn filled<T: Scalar>(
    shape: &[i64],
    fill: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<Tensor> {
    limbeck_core::elements::filled(shape, fill)
}
