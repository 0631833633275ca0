//! A quantised matrix in memory, wherever it lies: what packed layers compute with.

use std::sync::Arc;

use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

use crate::bits::Bits;
use crate::device_weight::DeviceWeight;
use crate::elements::{Float, elements, filled};
use crate::error::Result;
use crate::kernels::TiledMatrix;
use crate::quantized::QuantizedWeight;

/// In what packed products take their inputs, on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// As they are: the product is that with the dequantised weight.
    #[default]
    Float32,
    /// Rounded to 8 bits, with a scale for each group of a row: several times faster for many
    /// rows, and off by up to 1/254 of a group's largest activation.
    Int8,
}

/// A quantised matrix `[out, in]`. Clones share it.
#[derive(Debug, Clone)]
pub struct PackedWeight {
    store: Store,
    activations: Activations,
}

#[derive(Debug, Clone)]
enum Store {
    /// On the CPU, as the kernels read it.
    Tiled(Arc<TiledMatrix>),
    /// On the CPU, with groups that the kernels do not take.
    Codes(Arc<QuantizedWeight>),
    /// On another device.
    Device(DeviceWeight),
}

impl PackedWeight {
    /// Puts a weight on a device.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn new(weight: QuantizedWeight, device: Device) -> Result<Self> {
        let store = if device == Device::Cpu {
            match TiledMatrix::new(&weight) {
                Some(tiled) => Store::Tiled(Arc::new(tiled)),
                None => Store::Codes(Arc::new(weight)),
            }
        } else {
            Store::Device(DeviceWeight::new(&weight, device)?)
        };
        Ok(Self { store, activations: Activations::Float32 })
    }

    /// With inputs of [`Self::product`] taken so from now on, where the kernels do it: on the
    /// CPU, with groups that fill whole words.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// The weight that it was made of.
    pub fn to_quantized(&self) -> Result<QuantizedWeight> {
        match &self.store {
            Store::Tiled(tiled) => Ok(tiled.to_quantized()),
            Store::Codes(weight) => Ok(weight.as_ref().clone()),
            Store::Device(weight) => weight.to_quantized(),
        }
    }

    /// Whether it was made of this weight.
    ///
    /// # Errors
    /// libtorch's.
    pub fn is(&self, weight: QuantizedWeight) -> Result<bool> {
        match &self.store {
            Store::Tiled(tiled) => {
                let other = TiledMatrix::new(&weight);
                drop(weight);
                Ok(other.is_some_and(|other| *tiled.as_ref() == other))
            }
            Store::Codes(held) => Ok(**held == weight),
            Store::Device(held) => Ok(held.to_quantized()? == weight),
        }
    }

    /// Rows and columns.
    pub fn size(&self) -> (i64, i64) {
        let (rows, columns) = match &self.store {
            Store::Tiled(tiled) => (tiled.out_features(), tiled.in_features()),
            Store::Codes(weight) => (weight.out_features(), weight.in_features()),
            Store::Device(weight) => weight.size(),
        };
        (rows as i64, columns as i64)
    }

    /// Width of the codes.
    pub fn bits(&self) -> Bits {
        match &self.store {
            Store::Tiled(tiled) => tiled.bits,
            Store::Codes(weight) => weight.bits(),
            Store::Device(weight) => weight.bits(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        match &self.store {
            Store::Tiled(tiled) => tiled.bytes(),
            Store::Codes(weight) => (weight.codes().len() + size_of_val(weight.grids())) as u64,
            Store::Device(weight) => weight.bytes(),
        }
    }

    /// Some rows in `kind`, `[length, in]`, on the weight's device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        if let Store::Device(weight) = &self.store {
            return weight.rows(start, length, kind);
        }
        match kind {
            Kind::BFloat16 => self.dequantize::<bf16>(start, length),
            Kind::Half => self.dequantize::<f16>(start, length),
            kind => Ok(self.dequantize::<f32>(start, length)?.f_to_kind(kind)?),
        }
    }

    fn dequantize<T: Float>(&self, start: i64, length: i64) -> Result<Tensor> {
        let (_, columns) = self.size();
        filled(&[length, columns], |weights: &mut [T]| {
            match &self.store {
                Store::Tiled(tiled) => tiled.dequantize(start as usize, weights),
                Store::Codes(weight) => {
                    let first = start as usize * columns as usize;
                    let values = weight.dequantize();
                    let values = &values.values()[first..first + weights.len()];
                    for (weight, &value) in weights.iter_mut().zip(values) {
                        *weight = T::round(value);
                    }
                }
                Store::Device(_) => {}
            }
            Ok(())
        })
    }

    /// The rows of these numbers in `kind`, `[numbers.., in]`; i64 numbers of any shape.
    ///
    /// # Errors
    /// A number that is no row's; libtorch's.
    pub fn select(&self, numbers: &Tensor, kind: Kind) -> Result<Tensor> {
        let mut shape = numbers.size();
        let (rows, columns) = self.size();
        shape.push(columns);
        if let Store::Device(weight) = &self.store {
            return Ok(weight.select(&numbers.f_reshape([-1])?, kind)?.f_view(shape.as_slice())?);
        }
        let flat = Vec::<i64>::try_from(&numbers.f_reshape([-1])?.f_contiguous()?)?;
        if let Some(&row) = flat.iter().find(|&&row| !(0..rows).contains(&row)) {
            return Err(crate::Error::NoRow { row, rows });
        }
        let Store::Tiled(tiled) = &self.store else {
            let all = self.rows(0, rows, kind)?;
            return Ok(all
                .f_index_select(0, &Tensor::f_from_slice(&flat)?)?
                .f_view(shape.as_slice())?);
        };
        let chosen = filled(&shape, |weights: &mut [f32]| {
            for (weights, &row) in weights.chunks_mut(columns.max(1) as usize).zip(&flat) {
                tiled.dequantize_row(row as usize, weights);
            }
            Ok(())
        })?;
        Ok(chosen.f_to_kind(kind)?)
    }

    /// The product with inputs through which no gradient flows, without bias.
    ///
    /// # Shapes
    /// `[.., in]` → `[.., out]` in the input's dtype.
    ///
    /// # Errors
    /// libtorch's.
    pub fn product(&self, input: &Tensor) -> Result<Tensor> {
        let (outputs, _) = self.size();
        match &self.store {
            Store::Tiled(tiled) => {
                let mut shape = input.size();
                if let Some(width) = shape.last_mut() {
                    *width = outputs;
                }
                let kind = input.kind();
                let input = input.f_to_kind(Kind::Float)?.f_contiguous()?;
                let product = filled(&shape, |output: &mut [f32]| {
                    let input = elements(&input).unwrap_or_default();
                    match self.activations {
                        Activations::Float32 => tiled.product(input, output),
                        Activations::Int8 => tiled.rounded_product(input, output),
                    }
                    Ok(())
                })?;
                Ok(product.f_to_kind(kind)?)
            }
            Store::Codes(_) => self.dense_product(input),
            Store::Device(weight) => weight.product(input),
        }
    }

    /// The product with inputs that gradients may flow through, to which the weight is a
    /// constant.
    ///
    /// # Shapes
    /// As [`Self::product`].
    ///
    /// # Errors
    /// libtorch's.
    pub fn dense_product(&self, input: &Tensor) -> Result<Tensor> {
        let weight = self.rows(0, self.size().0, input.kind())?;
        Ok(input.f_linear(&weight, None::<&Tensor>)?)
    }
}
