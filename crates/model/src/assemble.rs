//! A decoder from tensors that someone else makes: cut out of another model, or converted.

use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::build::{ParameterSource, build};
use crate::config::DecoderConfig;
use crate::decoder::Decoder;
use crate::embedding::{DenseEmbedding, Embedding};
use crate::error::{Error, Result};
use crate::linear::{DenseLinear, Linear};

impl Decoder {
    /// The decoder of `hf_config`, dense, from the tensors that `give` returns for each
    /// checkpoint key (`model.layers.0.self_attn.q_proj.weight`, …; a tied head is not asked
    /// for). They are cast to `dtype`, which is the compute dtype too, and moved to `device`;
    /// those that are there already become the decoder's own.
    ///
    /// # Errors
    /// A configuration that is unknown or impossible; a tensor of another shape than the
    /// configuration asks for, with its key; the errors of `give`.
    pub fn assemble(
        hf_config: &Value,
        device: Device,
        dtype: Kind,
        give: &mut dyn FnMut(&str) -> Result<Tensor>,
    ) -> Result<Self> {
        let config = DecoderConfig::from_hf(hf_config)?;
        let mut source = GivenSource { give, device, dtype };
        build(config, hf_config.clone(), device, dtype, &mut source)
    }
}

struct GivenSource<'a> {
    give: &'a mut dyn FnMut(&str) -> Result<Tensor>,
    device: Device,
    dtype: Kind,
}

impl GivenSource<'_> {
    fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let tensor = (self.give)(name)?;
        if tensor.size() != shape {
            let (expected, got) = (format!("{name} {shape:?}"), format!("{:?}", tensor.size()));
            return Err(Error::shape("assembly of a decoder", expected, got));
        }
        Ok(tensor.f_detach()?.f_to_kind(self.dtype)?.f_to_device(self.device)?)
    }
}

impl ParameterSource for GivenSource<'_> {
    fn embedding(&mut self, name: &str, rows: i64, width: i64) -> Result<Box<dyn Embedding>> {
        let weight = self.take(&format!("{name}.weight"), &[rows, width])?;
        Ok(Box::new(DenseEmbedding::new(weight)?))
    }

    fn norm(&mut self, name: &str, width: i64) -> Result<Tensor> {
        self.take(&format!("{name}.weight"), &[width])
    }

    fn linear(
        &mut self,
        name: &str,
        in_features: i64,
        out_features: i64,
        bias: bool,
    ) -> Result<Box<dyn Linear>> {
        let weight = self.take(&format!("{name}.weight"), &[out_features, in_features])?;
        let bias =
            if bias { Some(self.take(&format!("{name}.bias"), &[out_features])?) } else { None };
        Ok(Box::new(DenseLinear::new(weight, bias)?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tensor_of_another_shape_is_named() {
        let config = json!({
            "model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 4,
            "num_hidden_layers": 1, "num_attention_heads": 2, "rms_norm_eps": 1e-6,
        });
        let error = Decoder::assemble(&config, Device::Cpu, Kind::Float, &mut |_| {
            Ok(Tensor::zeros([8, 3], (Kind::Float, Device::Cpu)))
        })
        .unwrap_err();
        let said = "expected model.embed_tokens.weight [8, 4], found [8, 3]";
        assert!(error.to_string().contains(said), "{error}");
    }
}
