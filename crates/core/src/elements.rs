//! The elements of CPU tensors as slices, for kernels that libtorch does not have.

use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

/// A number that tensors hold, of which any bits are one. (The bindings' own trait takes
/// bfloat16 for half precision.)
pub trait Scalar: Copy + Send + Sync {
    /// Its dtype.
    const KIND: Kind;
}

/// A dtype of weights that a kernel writes.
pub trait Float: Scalar {
    /// The nearest number of this dtype.
    fn round(value: f32) -> Self;
}

macro_rules! scalars {
    ($($number:ty => $kind:ident),*) => {
        $(impl Scalar for $number { const KIND: Kind = Kind::$kind; })*
    };
}

scalars!(u8 => Uint8, i32 => Int, i64 => Int64, f32 => Float, bf16 => BFloat16, f16 => Half);

impl Float for f32 {
    fn round(value: f32) -> Self {
        value
    }
}

impl Float for bf16 {
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Float for f16 {
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }
}

/// The elements in row-major order; `None` for another dtype or device, or another order in
/// memory.
///
/// The tensor must not be written to while the slice is used, through this or another handle:
/// it is for parameters that are frozen.
pub fn elements<T: Scalar>(tensor: &Tensor) -> Option<&[T]> {
    let readable = tensor.f_kind().ok()? == T::KIND
        && tensor.device() == Device::Cpu
        && tensor.is_contiguous();
    if !readable {
        return None;
    }
    if tensor.numel() == 0 {
        return Some(&[]);
    }
    // SAFETY: a contiguous tensor of T's dtype on the CPU holds `numel` of them from its data
    // pointer on, for as long as it is borrowed; see above for writes.
    #[expect(unsafe_code, reason = "libtorch's memory has no safe interface")]
    Some(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<T>(), tensor.numel()) })
}

/// A new tensor on the CPU with elements that `fill` writes, all of them.
///
/// # Errors
/// When libtorch cannot hold it; the errors of `fill`.
pub fn filled<T: Scalar, E: From<tch::TchError>>(
    shape: &[i64],
    fill: impl FnOnce(&mut [T]) -> Result<(), E>,
) -> Result<Tensor, E> {
    let tensor = Tensor::f_empty(shape, (T::KIND, Device::Cpu))?;
    if tensor.numel() > 0 {
        // SAFETY: as above; nothing else has a handle yet, and the dtypes that are elements
        // of tensors are numbers, of which any bits are one.
        #[expect(unsafe_code, reason = "libtorch's memory has no safe interface")]
        let elements = unsafe {
            std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<T>(), tensor.numel())
        };
        fill(elements)?;
    }
    Ok(tensor)
}
