//! A projection whose weight is stored in few bits.

use limbeck_model::{DenseLinear, Linear};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::formats::Format;
use crate::matrix::floats;
use crate::packed_weight::{Activations, PackedWeight};
use crate::quantized::QuantizedWeight;

/// A packed projection.
///
/// Computes with the packed weight itself ([`crate::kernels`]), or with a dequantised copy in
/// the compute dtype where [`crate::Residency::Dense`] asked for one: both compute what the
/// packed weight means. Gradients flow through it to its input.
#[derive(Debug)]
pub struct PackedLinear {
    weight: PackedWeight,
    format: Format,
    /// f16 `[out]`, as stored.
    bias: Option<Tensor>,
    /// Dequantised weight and bias in the compute dtype, where they are kept.
    dense: Option<DenseLinear>,
}

impl PackedLinear {
    /// Packs a quantised weight. The bias is rounded to f16, as the formats store it.
    ///
    /// # Errors
    /// [`Error::LayerShape`] where the format cannot hold it, [`Error::BiasRange`].
    pub fn pack(
        layer: &str,
        weight: QuantizedWeight,
        bias: Option<&Tensor>,
        format: Format,
        device: Device,
    ) -> Result<Self> {
        if format.pack(&weight)?.is_none() {
            let (inputs, outputs) = format.divisors(weight.bits());
            return Err(Error::LayerShape {
                layer: layer.to_owned(),
                expected: format!(
                    "input features divisible by {inputs}, output features by {outputs}, and zeros \
                     within the format"
                ),
                found: format!("[{}, {}]", weight.out_features(), weight.in_features()),
                hint: "leave this layer unquantised, or use another format".to_owned(),
            });
        }
        let bias = bias.map(|bias| half_bias(layer, bias)).transpose()?;
        Self::assemble(weight, format, bias, device)
    }

    /// A layer of a checkpoint's weight and bias.
    pub(crate) fn assemble(
        weight: QuantizedWeight,
        format: Format,
        bias: Option<Tensor>,
        device: Device,
    ) -> Result<Self> {
        let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
        Ok(Self { weight: PackedWeight::new(weight, device)?, format, bias, dense: None })
    }

    /// With inputs taken so from now on; see [`PackedWeight::with_activations`].
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { weight: self.weight.with_activations(activations), ..self }
    }

    /// Keeps a dequantised copy in `kind` from now on, which all products are made with.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn keep_dense(&mut self, kind: Kind) -> Result<()> {
        let weight = self.weight.rows(0, self.out_features(), kind)?;
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        self.dense = Some(DenseLinear::new(weight, bias)?);
        Ok(())
    }

    /// The same layer once more, with the same weight in memory, and without a dense copy.
    #[must_use]
    pub(crate) fn share(&self) -> Self {
        let bias = self.bias.as_ref().map(Tensor::shallow_clone);
        Self { weight: self.weight.clone(), format: self.format, bias, dense: None }
    }

    /// The layer with another weight.
    pub(crate) fn with_weight(&self, weight: QuantizedWeight, device: Device) -> Result<Self> {
        let bias = self.bias.as_ref().map(Tensor::shallow_clone);
        Self::assemble(weight, self.format, bias, device)
    }

    /// The format that it is packed for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The weight.
    pub fn packed(&self) -> &PackedWeight {
        &self.weight
    }

    /// Bytes in memory that a product reads.
    pub fn bytes(&self) -> u64 {
        let dense = self.dense.as_ref().and_then(Linear::weight);
        dense.map_or_else(|| self.weight.bytes(), tensor_bytes)
    }

    /// Bytes of the checkpoint's tensors, bias included.
    pub fn packed_bytes(&self) -> u64 {
        self.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum()
    }
}

impl Linear for PackedLinear {
    fn forward(&self, input: &Tensor) -> limbeck_model::Result<Tensor> {
        if let Some(dense) = &self.dense {
            return dense.forward(input);
        }
        let product = if input.requires_grad() {
            self.weight.dense_product(input)
        } else {
            self.weight.product(input)
        };
        let product = product.map_err(of_model)?;
        match &self.bias {
            Some(bias) => Ok(product.f_add(&bias.f_to_kind(input.kind())?)?),
            None => Ok(product),
        }
    }

    fn in_features(&self) -> i64 {
        self.weight.size().1
    }

    fn out_features(&self) -> i64 {
        self.weight.size().0
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        // A weight of another format was refused when the layer was made.
        let packed = self.weight.to_quantized().and_then(|weight| self.format.pack(&weight));
        let mut tensors = packed.ok().flatten().unwrap_or_default();
        if let Some(bias) = &self.bias {
            tensors.push(("bias".to_owned(), bias.shallow_clone()));
        }
        tensors
    }

    fn dense_weight(&self) -> limbeck_model::Result<Tensor> {
        match &self.dense {
            Some(dense) => dense.dense_weight(),
            None => self.rows(0, self.out_features(), Kind::Float),
        }
    }

    fn rows(&self, start: i64, length: i64, kind: Kind) -> limbeck_model::Result<Tensor> {
        self.weight.rows(start, length, kind).map_err(of_model)
    }

    fn bias(&self) -> Option<Tensor> {
        self.bias.as_ref().map(Tensor::shallow_clone)
    }
}

/// An error of this crate where the model expects its own.
pub(crate) fn of_model(error: Error) -> limbeck_model::Error {
    match error {
        Error::Model(error) => error,
        error => limbeck_model::Error::layer("packed layer", error),
    }
}

fn half_bias(layer: &str, bias: &Tensor) -> Result<Tensor> {
    let rounded = bias.f_detach()?.f_to_kind(Kind::Half)?;
    if floats(&rounded)?.iter().all(|value| value.is_finite()) {
        return Ok(rounded);
    }
    let found = bias.f_abs()?.f_max()?.f_double_value(&[])?;
    Err(Error::BiasRange { layer: layer.to_owned(), found })
}

/// Bytes of a tensor's elements.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;
    use limbeck_core::test_device;

    use super::*;
    use crate::bits::Bits;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    fn quantized(bits: Bits, symmetric: bool) -> QuantizedWeight {
        let weight = WeightMatrix::new(CounterRng::new(13).normals(32 * 64), 32, 64).unwrap();
        let rule = GridRule { symmetric, min_zero: 1, ..GridRule::symmetric(bits) };
        rtn::quantize(&weight, rule, 32).unwrap()
    }

    fn layer(weight: QuantizedWeight) -> PackedLinear {
        let bias = Tensor::from_slice(&CounterRng::new(14).normals(32)).to_device(test_device());
        PackedLinear::pack("l", weight, Some(&bias), Format::Gptq, test_device()).unwrap()
    }

    #[test]
    fn computes_and_differentiates_with_the_weights_that_the_codes_stand_for() {
        for bits in Bits::ALL {
            for symmetric in [true, false] {
                let weight = quantized(bits, symmetric);
                let layer = layer(weight.clone());
                let dense = weight.dequantize().to_tensor(Kind::Float, test_device()).unwrap();
                assert_eq!(layer.dense_weight().unwrap(), dense);
                assert_eq!(layer.rows(3, 7, Kind::Float).unwrap(), dense.narrow(0, 3, 7));
                let dense = DenseLinear::new(dense, layer.bias()).unwrap();
                let run = |layer: &dyn Linear, grad: bool| {
                    let input = Tensor::from_slice(&CounterRng::new(15).normals(2 * 3 * 64));
                    let input = input.view([2, 3, 64]).to_device(test_device());
                    let input = input.set_requires_grad(grad);
                    let output = layer.forward(&input).unwrap();
                    if grad {
                        output.square().sum(Kind::Float).backward();
                    }
                    (output, input.grad())
                };
                let ((output, gradient), (expected, expected_gradient)) =
                    (run(&layer, true), run(&dense, true));
                let (plain, _) = run(&layer, false);
                for (found, expected) in
                    [(&output, &expected), (&plain, &expected), (&gradient, &expected_gradient)]
                {
                    let difference = (found - expected).abs().max().double_value(&[]);
                    assert!(difference < 1e-3, "{bits:?} {difference}");
                }
            }
        }
    }

    #[test]
    fn keeps_dtype_shape_and_size() {
        let mut layer = layer(quantized(Bits::Four, true));
        for dense in [false, true] {
            if dense {
                layer.keep_dense(Kind::BFloat16).unwrap();
            }
            let input = Tensor::ones([2, 3, 64], (Kind::BFloat16, test_device()));
            let output = layer.forward(&input).unwrap();
            assert_eq!((output.kind(), output.size()), (Kind::BFloat16, vec![2, 3, 32]));
        }
        assert_eq!((layer.in_features(), layer.out_features()), (64, 32));
        // 4-bit codes, 2 groups of f16 scales and 4-bit zeros, i32 groups, f16 bias.
        let bytes = 32 * 64 / 2 + 2 * 32 * 2 + 2 * 32 / 2 + 64 * 4 + 32 * 2;
        assert_eq!(layer.packed_bytes(), bytes);
    }

    #[test]
    fn a_bias_beyond_f16_is_refused() {
        let bias = Tensor::full([32], 1e5, (Kind::Float, Device::Cpu));
        let weight = quantized(Bits::Four, true);
        let error = PackedLinear::pack("layer.7", weight, Some(&bias), Format::Gptq, Device::Cpu)
            .unwrap_err();
        assert!(error.to_string().contains("layer.7"), "{error}");
    }
}
