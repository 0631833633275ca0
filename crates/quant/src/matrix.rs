//! A weight matrix outside libtorch: what the solvers read and what codes stand for.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// A dense weight in fp32, row-major `[out, in]`.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightMatrix {
    pub(crate) values: Vec<f32>,
    pub(crate) out_features: usize,
    pub(crate) in_features: usize,
}

impl WeightMatrix {
    /// A matrix of these values; `None` if their number does not fit the sizes, or a size
    /// is 0.
    pub fn new(values: Vec<f32>, out_features: usize, in_features: usize) -> Option<Self> {
        let fits = out_features > 0
            && in_features > 0
            && out_features.checked_mul(in_features) == Some(values.len());
        fits.then_some(Self { values, out_features, in_features })
    }

    /// Copies a tensor `[out, in]` of any floating-point dtype.
    ///
    /// # Errors
    /// A tensor of another rank.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        let (out_features, in_features) = tensor.size2()?;
        Ok(Self {
            values: floats(tensor)?,
            out_features: out_features as usize,
            in_features: in_features as usize,
        })
    }

    /// The matrix as a tensor `[out, in]`.
    ///
    /// # Errors
    /// When libtorch cannot hold it there.
    pub fn to_tensor(&self, kind: Kind, device: Device) -> Result<Tensor> {
        let shape = [self.out_features as i64, self.in_features as i64];
        Ok(Tensor::f_from_slice(&self.values)?
            .f_view(shape)?
            .f_to_device(device)?
            .f_to_kind(kind)?)
    }

    /// The values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rows.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The relative error ‖self − other‖ / ‖self‖ in the Frobenius norm; 0 for a matrix
    /// of zeros.
    pub fn relative_error(&self, other: &Self) -> f64 {
        let mut error = 0.0;
        let mut norm = 0.0;
        for (&value, &other) in self.values.iter().zip(&other.values) {
            error += f64::from(value - other).powi(2);
            norm += f64::from(value).powi(2);
        }
        if norm > 0.0 { (error / norm).sqrt() } else { 0.0 }
    }
}

/// The elements of a tensor of any shape, device and floating-point dtype.
pub(crate) fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor =
        tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let count = tensor.numel();
    let mut values = vec![0.0; count];
    if count > 0 {
        tensor.f_copy_data(&mut values, count)?;
    }
    Ok(values)
}
