//! The scales of packed projections as weights that learn, for a repair after quantising: the
//! codes stay, each group's scale is multiplied by a number that is learnt (the second phase of
//! `EfficientQAT`, Chen et al., arXiv:2407.11062, which learns the scales themselves).

use std::any::Any;

use limbeck_model::{Decoder, Linear};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::matrix::floats;
use crate::packed_linear::{PackedLinear, of_model};
use crate::packed_weight::PackedWeight;

/// The packed projections of a decoder while their scales are being learnt.
#[derive(Debug)]
pub struct OpenScales {
    layers: Vec<OpenLayer>,
}

#[derive(Debug)]
struct OpenLayer {
    name: String,
    packed: PackedLinear,
    /// `[out, groups]`
    factors: Tensor,
}

impl OpenScales {
    /// Puts layers with trainable factors in the place of the packed projections of the blocks.
    /// Those whose groups are not neighbours, and head and embedding, stay constants.
    ///
    /// Each is dequantised for each use, whose gradients keep it in float32 until they are there.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn new(decoder: &mut Decoder) -> Result<Self> {
        let mut layers = Vec::new();
        for name in decoder.linear_names() {
            let layer = decoder.linear(&name).map(|layer| layer as &dyn Any);
            let Some(packed) = layer.and_then(|layer| layer.downcast_ref::<PackedLinear>()) else {
                continue;
            };
            let weight = packed.packed().to_quantized()?;
            if weight.group_of().is_some() {
                continue;
            }
            let (rows, groups) = (weight.out_features() as i64, weight.num_groups() as i64);
            let device = decoder.device();
            let factors = Tensor::f_ones([rows, groups], (Kind::Float, device))?;
            let factors = factors.f_set_requires_grad(true)?;
            let mut open: Option<Box<dyn Linear>> = Some(Box::new(ScaledLinear {
                packed: packed.packed().clone(),
                factors: factors.shallow_clone(),
                bias: packed.bias(),
            }));
            let packed = packed.share();
            decoder.map_linear(&name, &mut |layer| Ok(open.take().unwrap_or(layer)))?;
            layers.push(OpenLayer { name, packed, factors });
        }
        Ok(Self { layers })
    }

    /// The factors of each layer's scales, `[out, groups]`, float32, all 1 at first.
    pub fn factors(&self) -> Vec<(String, Tensor)> {
        let factors = self.layers.iter();
        factors.map(|layer| (layer.name.clone(), layer.factors.shallow_clone())).collect()
    }

    /// Packs the layers with scales times factors, in the dtype that the format stores.
    ///
    /// # Errors
    /// [`Error::WeightRange`] for a scale that is none any more.
    pub fn pack(&self, decoder: &mut Decoder) -> Result<()> {
        for OpenLayer { name, packed, factors } in &self.layers {
            let mut weight = packed.packed().to_quantized()?;
            let dtype = packed.format().scale_dtype();
            for (grid, factor) in weight.grids.iter_mut().zip(floats(factors)?) {
                let scale = Some(grid.scale * factor).filter(|&scale| scale != 0.0);
                grid.scale = scale
                    .and_then(|scale| dtype.store(scale))
                    .ok_or_else(|| Error::WeightRange { layer: name.clone() })?;
            }
            put_in(decoder, name, packed.with_weight(weight, decoder.device())?)?;
        }
        Ok(())
    }

    /// Puts the layers back as they were.
    ///
    /// # Errors
    /// Those of [`Decoder::map_linear`].
    pub fn restore(&self, decoder: &mut Decoder) -> Result<()> {
        self.layers.iter().try_for_each(|layer| put_in(decoder, &layer.name, layer.packed.share()))
    }
}

fn put_in(decoder: &mut Decoder, name: &str, packed: PackedLinear) -> Result<()> {
    let mut packed: Option<Box<dyn Linear>> = Some(Box::new(packed));
    Ok(decoder.map_linear(name, &mut |layer| Ok(packed.take().unwrap_or(layer)))?)
}

/// A projection whose weight is constant but for a factor for each group.
#[derive(Debug)]
struct ScaledLinear {
    packed: PackedWeight,
    /// `[out, groups]`
    factors: Tensor,
    bias: Option<Tensor>,
}

impl Linear for ScaledLinear {
    fn forward(&self, input: &Tensor) -> limbeck_model::Result<Tensor> {
        let kind = input.kind();
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        Ok(input.f_linear(&self.dense_weight()?.f_to_kind(kind)?, bias)?)
    }

    fn in_features(&self) -> i64 {
        self.packed.size().1
    }

    fn out_features(&self) -> i64 {
        self.packed.size().0
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        vec![("scale_factors".to_owned(), self.factors.shallow_clone())]
    }

    fn dense_weight(&self) -> limbeck_model::Result<Tensor> {
        let (rows, columns) = self.packed.size();
        let (_, groups) = self.factors.size2()?;
        let levels = self.packed.rows(0, rows, Kind::Float).map_err(of_model)?;
        let weight = levels.f_view([rows, groups, columns / groups])?;
        Ok(weight.f_mul(&self.factors.f_unsqueeze(-1)?)?.f_view([rows, columns])?)
    }

    fn bias(&self) -> Option<Tensor> {
        self.bias.as_ref().map(Tensor::shallow_clone)
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;
    use limbeck_core::test_device;
    use limbeck_model::Input;
    use serde_json::json;

    use super::*;
    use crate::config::{Method, QuantizeConfig};
    use crate::formats::Format;
    use crate::quantize::{packed_layers, quantize};

    /// Biased projections of 64 inputs in two groups of 32.
    fn packed(format: Format) -> Decoder {
        let config = json!({
            "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64,
            "initializer_range": 0.2, "intermediate_size": 96, "max_position_embeddings": 64,
            "num_attention_heads": 4, "num_hidden_layers": 1, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
            "vocab_size": 40,
        });
        let mut decoder = Decoder::init(&config, 3, test_device(), Kind::Float).unwrap();
        let config = QuantizeConfig {
            method: Method::Rtn,
            group_size: 32,
            format,
            ..QuantizeConfig::default()
        };
        quantize(&mut decoder, &[], &config, &mut |_, _, _| {}).unwrap();
        decoder
    }

    fn logits(decoder: &Decoder) -> Tensor {
        let tokens = Tensor::from_slice(&[1_i64, 7, 30, 12]).view([1, 4]).to_device(test_device());
        let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
        decoder.logits(&hidden).unwrap()
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn factors_learn_and_codes_stay() {
        for format in [Format::Gptq, Format::CompressedTensors] {
            let mut decoder = packed(format);
            let before = packed_layers(&decoder);
            let expected = logits(&decoder);
            let scales = OpenScales::new(&mut decoder).unwrap();
            assert_eq!(scales.factors().len(), before.len());
            let open = logits(&decoder);
            assert!(distance(&open, &expected) < 1e-4);
            open.square().sum(Kind::Float).backward();
            for (index, (name, factors)) in scales.factors().into_iter().enumerate() {
                assert!(factors.grad().abs().max().double_value(&[]) > 0.0, "{name}");
                let noise = CounterRng::new(index as u64).normals(factors.numel());
                let noise = Tensor::from_slice(&noise).view_as(&factors).to_device(test_device());
                let mut factors = factors.detach();
                factors.copy_(&(1.0 + noise * 0.05));
            }
            let learnt = logits(&decoder);
            scales.pack(&mut decoder).unwrap();
            assert!(distance(&learnt, &expected) > 0.1);
            let rounding = if format == Format::Gptq { 0.02 } else { 0.2 };
            assert!(distance(&logits(&decoder), &learnt) < rounding);
            for ((name, before), (_, after)) in before.iter().zip(packed_layers(&decoder)) {
                let (before, after) =
                    (before.to_quantized().unwrap(), after.to_quantized().unwrap());
                assert_eq!(before.codes(), after.codes(), "{name}");
                assert_ne!(before.grids(), after.grids(), "{name}");
                // What the format holds is what is in memory.
                let tensors = format.pack(&after).unwrap();
                assert!(tensors.is_some());
            }
            scales.restore(&mut decoder).unwrap();
            assert_eq!(logits(&decoder), expected);
        }
    }

    #[test]
    fn a_factor_that_is_no_number_names_its_layer() {
        let mut decoder = packed(Format::Gptq);
        let scales = OpenScales::new(&mut decoder).unwrap();
        let (name, factors) = scales.factors().remove(0);
        let _ = factors.detach().fill_(f64::NAN);
        let error = scales.pack(&mut decoder).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
    }
}
