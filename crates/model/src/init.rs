//! Fresh parameters: normal matrices, unit norms, zero biases.

use limbeck_core::seed::{self, CounterRng};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::build::{ParameterSource, build};
use crate::config::{DecoderConfig, NormStyle};
use crate::decoder::Decoder;
use crate::embedding::{DenseEmbedding, Embedding};
use crate::error::Result;
use crate::linear::{DenseLinear, Linear};

impl Decoder {
    /// A freshly initialised decoder of `hf_config`, as transformers does it: matrices
    /// from normal(0, `initializer_range`), norms that do nothing, biases of zero.
    ///
    /// Every tensor draws from its own stream, keyed by `seed` and its name: the result
    /// depends on neither libtorch's generator nor the order of construction. Values are
    /// drawn in fp32 and rounded to `parameter_dtype`, which is the compute dtype too.
    pub fn init(
        hf_config: &Value,
        seed: u64,
        device: Device,
        parameter_dtype: Kind,
    ) -> Result<Self> {
        let config = DecoderConfig::from_hf(hf_config)?;
        let mut source = RandomSource {
            seed,
            range: config.initializer_range,
            norm_style: config.norm_style,
            kind: parameter_dtype,
            device,
        };
        build(config, hf_config.clone(), device, parameter_dtype, &mut source)
    }
}

struct RandomSource {
    seed: u64,
    range: f64,
    norm_style: NormStyle,
    kind: Kind,
    device: Device,
}

impl RandomSource {
    fn normal(&self, name: &str, rows: i64, columns: i64) -> Result<Tensor> {
        let mut stream = CounterRng::new(seed::derive(self.seed, name, 0));
        let values = stream.normals((rows * columns) as usize);
        Ok(Tensor::f_from_slice(&values)?
            .f_view([rows, columns])?
            .f_mul_scalar(self.range)?
            .f_to_kind(self.kind)?
            .f_to_device(self.device)?)
    }
}

impl ParameterSource for RandomSource {
    fn embedding(&mut self, name: &str, rows: i64, width: i64) -> Result<Box<dyn Embedding>> {
        Ok(Box::new(DenseEmbedding::new(self.normal(&format!("{name}.weight"), rows, width)?)?))
    }

    fn norm(&mut self, _: &str, width: i64) -> Result<Tensor> {
        let neutral = match self.norm_style {
            NormStyle::Weight => 1.0,
            NormStyle::OnePlusWeight => 0.0,
        };
        Ok(Tensor::f_full([width], neutral, (self.kind, self.device))?)
    }

    fn linear(
        &mut self,
        name: &str,
        in_features: i64,
        out_features: i64,
        bias: bool,
    ) -> Result<Box<dyn Linear>> {
        let weight = self.normal(&format!("{name}.weight"), out_features, in_features)?;
        let bias = if bias {
            Some(Tensor::f_zeros([out_features], (self.kind, self.device))?)
        } else {
            None
        };
        Ok(Box::new(DenseLinear::new(weight, bias)?))
    }
}
