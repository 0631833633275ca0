//! A projection whose weight is stored in 4 or 8 bits.

use limbeck_model::{DenseLinear, Linear};
use tch::{Device, Kind, Tensor};

use crate::bits::Bits;
use crate::config::Format;
use crate::error::{Error, Result};
use crate::gptq_format::PackedTensors;
use crate::matrix::floats;
use crate::quantized::QuantizedWeight;

/// A packed projection.
///
/// Holds the tensors of the checkpoint, and a dequantised copy in the compute dtype made
/// once: what it computes is what the packed weights mean, at the speed and memory of a dense
/// layer. Where memory counts more, as below an adapter in training, it does without the copy
/// and dequantises for each use ([`crate::Residency::Packed`]).
#[derive(Debug)]
pub struct PackedLinear {
    packed: PackedTensors,
    bits: Bits,
    format: Format,
    /// f16 `[out]`, as stored.
    bias: Option<Tensor>,
    /// Dequantised weight and bias in the compute dtype, where they are kept.
    dense: Option<DenseLinear>,
}

impl PackedLinear {
    /// Packs a quantised weight. The bias is rounded to f16, as the format stores it.
    ///
    /// # Errors
    /// [`Error::LayerShape`] where the sizes do not fill words, [`Error::BiasRange`].
    pub fn pack(
        layer: &str,
        weight: &QuantizedWeight,
        bias: Option<&Tensor>,
        format: Format,
        compute: (Kind, Device),
    ) -> Result<Self> {
        let (kind, device) = compute;
        let packed = PackedTensors::pack(weight, format)?.ok_or_else(|| {
            let per_word = weight.bits().codes_per_word();
            Error::LayerShape {
                layer: layer.to_owned(),
                expected: format!("features divisible by {per_word}, and zeros within the format"),
                found: format!("[{}, {}]", weight.out_features(), weight.in_features()),
                hint: "leave this layer unquantised, or use format = \"gptq_v2\"".to_owned(),
            }
        })?;
        let bias = bias.map(|bias| half_bias(layer, bias)).transpose()?;
        // From the codes, not from the packed tensors: reading a folder back then
        // compares two ways of arriving at the same weights.
        let dense = weight.dequantize().to_tensor(kind, device)?;
        Self::assemble(&packed, (weight.bits(), format), bias, Some(dense), compute)
    }

    /// A layer of a checkpoint's tensors and the weight that they dequantise to, if that is
    /// to be kept.
    pub(crate) fn assemble(
        packed: &PackedTensors,
        (bits, format): (Bits, Format),
        bias: Option<Tensor>,
        weight: Option<Tensor>,
        compute: (Kind, Device),
    ) -> Result<Self> {
        let (kind, device) = compute;
        let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
        let dense = match weight {
            Some(weight) => {
                let bias = bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
                Some(DenseLinear::new(weight, bias)?)
            }
            None => None,
        };
        Ok(Self { packed: packed.to_device(device)?, bits, format, bias, dense })
    }

    /// The transposed weight, made for one use.
    fn unpacked(&self, kind: Kind) -> limbeck_model::Result<Tensor> {
        self.packed.dequantize_transposed(self.bits, self.format, kind).map_err(|error| match error
        {
            Error::Model(error) => error,
            error => limbeck_model::Error::layer("packed projection", error),
        })
    }

    /// Bytes of the packed tensors, bias included: what a file holds, and this layer where it
    /// keeps no dense copy.
    pub fn packed_bytes(&self) -> u64 {
        self.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum()
    }
}

impl Linear for PackedLinear {
    fn forward(&self, input: &Tensor) -> limbeck_model::Result<Tensor> {
        if let Some(dense) = &self.dense {
            return dense.forward(input);
        }
        let kind = input.kind();
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        Ok(input.f_linear(&self.unpacked(kind)?.f_tr()?, bias)?)
    }

    fn in_features(&self) -> i64 {
        self.packed.g_idx.numel() as i64
    }

    fn out_features(&self) -> i64 {
        self.packed.qweight.size()[1]
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.packed.named();
        if let Some(bias) = &self.bias {
            tensors.push(("bias".to_owned(), bias.shallow_clone()));
        }
        tensors
    }

    fn dense_weight(&self) -> limbeck_model::Result<Tensor> {
        match &self.dense {
            Some(dense) => dense.dense_weight(),
            None => Ok(self.unpacked(Kind::Float)?.f_tr()?.f_contiguous()?),
        }
    }

    fn bias(&self) -> Option<Tensor> {
        self.bias.as_ref().map(Tensor::shallow_clone)
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

    use super::*;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn quantized() -> QuantizedWeight {
        let weight = WeightMatrix::new(CounterRng::new(13).normals(24 * 64), 24, 64).unwrap();
        rtn::quantize(&weight, GridRule::symmetric(Bits::Four), 32).unwrap()
    }

    #[test]
    fn computes_with_the_weights_that_the_codes_stand_for() {
        let weight = quantized();
        let bias = Tensor::from_slice(&CounterRng::new(14).normals(24));
        let layer = PackedLinear::pack("l", &weight, Some(&bias), Format::Gptq, CPU).unwrap();
        let input = Tensor::from_slice(&CounterRng::new(15).normals(2 * 3 * 64)).view([2, 3, 64]);
        let dense = weight.dequantize().to_tensor(Kind::Float, Device::Cpu).unwrap();
        let expected = input.linear(&dense, Some(bias.to_kind(Kind::Half).to_kind(Kind::Float)));
        assert_eq!(layer.forward(&input).unwrap(), expected);
        let output = layer.forward(&input.to_kind(Kind::BFloat16)).unwrap();
        assert_eq!((output.kind(), output.size()), (Kind::BFloat16, vec![2, 3, 24]));
        assert_eq!((layer.in_features(), layer.out_features()), (64, 24));
        // 4-bit codes, 2 groups of f16 scales and 4-bit zeros, i32 groups, f16 bias.
        let bytes = 24 * 64 / 2 + 2 * 24 * 2 + 2 * 24 / 2 + 64 * 4 + 24 * 2;
        assert_eq!(layer.packed_bytes(), bytes);
    }

    #[test]
    fn without_its_dense_copy_it_computes_and_differentiates_the_same() {
        let bias = Tensor::from_slice(&CounterRng::new(14).normals(24));
        let kept = PackedLinear::pack("l", &quantized(), Some(&bias), Format::Gptq, CPU).unwrap();
        let (packed, bias) = (kept.packed.to_device(Device::Cpu).unwrap(), kept.bias.as_ref());
        let settings = (Bits::Four, Format::Gptq);
        let bias = bias.map(Tensor::shallow_clone);
        let bare = PackedLinear::assemble(&packed, settings, bias, None, CPU).unwrap();
        let run = |layer: &PackedLinear| {
            let input = Tensor::from_slice(&CounterRng::new(15).normals(2 * 3 * 64));
            let input = input.view([2, 3, 64]).set_requires_grad(true);
            let output = layer.forward(&input).unwrap();
            output.square().sum(Kind::Float).backward();
            (output, input.grad())
        };
        let ((output, gradient), (expected, expected_gradient)) = (run(&bare), run(&kept));
        for (found, expected) in [(output, expected), (gradient, expected_gradient)] {
            let difference = (found - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-4, "{difference}");
        }
        assert_eq!(bare.dense_weight().unwrap(), kept.dense_weight().unwrap());
        assert_eq!((bare.in_features(), bare.out_features()), (64, 24));
    }

    #[test]
    fn a_bias_beyond_f16_is_refused() {
        let bias = Tensor::full([24], 1e5, CPU);
        let error = PackedLinear::pack("layer.7", &quantized(), Some(&bias), Format::Gptq, CPU)
            .unwrap_err();
        assert!(error.to_string().contains("layer.7"), "{error}");
    }
}
