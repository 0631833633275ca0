//! A projection whose weight is stored in 4 or 8 bits.

use limbeck_model::{DenseLinear, Linear};
use tch::{Device, Kind, Tensor};

use crate::config::Format;
use crate::error::{Error, Result};
use crate::gptq_format::PackedTensors;
use crate::matrix::floats;
use crate::quantized::QuantizedWeight;

/// A packed projection.
///
/// Holds the tensors of the checkpoint and, until there is a kernel that multiplies packed
/// weights, a dequantised copy in the compute dtype made once: what it computes is what
/// the packed weights mean, at the speed and memory of a dense layer.
#[derive(Debug)]
pub struct PackedLinear {
    packed: PackedTensors,
    /// f16 `[out]`, as stored.
    bias: Option<Tensor>,
    /// Dequantised weight and bias in the compute dtype.
    dense: DenseLinear,
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
        Self::assemble(&packed, bias, &weight.dequantize().to_tensor(kind, device)?, compute)
    }

    /// A layer of a checkpoint's tensors and the weight that they dequantise to.
    pub(crate) fn assemble(
        packed: &PackedTensors,
        bias: Option<Tensor>,
        weight: &Tensor,
        compute: (Kind, Device),
    ) -> Result<Self> {
        let (kind, device) = compute;
        let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
        let dense_bias = bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        let dense = DenseLinear::new(weight.shallow_clone(), dense_bias)?;
        Ok(Self { packed: packed.to_device(device)?, bias, dense })
    }

    /// Bytes of the packed tensors, bias included: what a file and a kernel's memory
    /// hold, not what this layer takes now.
    pub fn packed_bytes(&self) -> u64 {
        self.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum()
    }
}

impl Linear for PackedLinear {
    fn forward(&self, input: &Tensor) -> limbeck_model::Result<Tensor> {
        self.dense.forward(input)
    }

    fn in_features(&self) -> i64 {
        self.dense.in_features()
    }

    fn out_features(&self) -> i64 {
        self.dense.out_features()
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.packed.named();
        if let Some(bias) = &self.bias {
            tensors.push(("bias".to_owned(), bias.shallow_clone()));
        }
        tensors
    }

    fn dense_weight(&self) -> limbeck_model::Result<Tensor> {
        self.dense.dense_weight()
    }

    fn bias(&self) -> Option<Tensor> {
        self.dense.bias()
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
    use crate::bits::Bits;
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
    fn a_bias_beyond_f16_is_refused() {
        let bias = Tensor::full([24], 1e5, CPU);
        let error = PackedLinear::pack("layer.7", &quantized(), Some(&bias), Format::Gptq, CPU)
            .unwrap_err();
        assert!(error.to_string().contains("layer.7"), "{error}");
    }
}
