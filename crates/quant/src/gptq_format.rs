//! The GPTQ checkpoint format, as `AutoGPTQ` and `GPTQModel` write it and transformers and
//! vLLM read it.
//!
//! For a projection of `in` × `out` features, codes of `b` bits, `p = 32 / b` codes in a
//! word and `g` groups of input features:
//!
//! | tensor | dtype, shape | content |
//! |---|---|---|
//! | `qweight` | i32 `[in / p, out]` | codes, packed along the input features |
//! | `qzeros` | i32 `[g, out / p]` | zeros (version 1: less one), packed along the outputs |
//! | `scales` | f16 `[g, out]` | scales |
//! | `g_idx` | i32 `[in]` | group of each input feature |
//! | `bias` | f16 `[out]` | the bias, if there is one |
//!
//! A weight is `(code − zero[g_idx]) · scale[g_idx]`. Version 1 cannot hold a zero of 0;
//! the one it would wrap to is read back as 0.

use std::path::Path;

use half::f16;
use rayon::prelude::*;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::bits::Bits;
use crate::config::{Format, Method, QuantizeConfig};
use crate::error::{Error, Result};
use crate::matrix::{WeightMatrix, floats};
use crate::packing::{PackedWeights, PackedZeros};
use crate::quantized::QuantizedWeight;
use crate::unpack::actual_zeros;

/// The file that `AutoGPTQ`'s loaders look for beside `config.json`.
pub const QUANTIZE_CONFIG_FILE: &str = "quantize_config.json";

/// What `quantization_config` says about a GPTQ checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GptqSettings {
    /// Width of the codes.
    pub bits: Bits,
    /// Input features of a group; `None` = all of a layer.
    pub group_size: Option<usize>,
    /// Whether every zero is the middle code.
    pub symmetric: bool,
    /// Version of the format.
    pub format: Format,
}

impl GptqSettings {
    /// The settings that a configuration asks for.
    ///
    /// # Errors
    /// An unsupported width.
    pub fn of_config(config: &QuantizeConfig) -> Result<Self> {
        Ok(Self {
            bits: config.bits()?,
            group_size: usize::try_from(config.group_size).ok(),
            symmetric: config.symmetric,
            format: config.format,
        })
    }

    /// The `quantization_config` object; `config` is recorded under `meta`, which loaders
    /// ignore. Scales in order of activation are fixed beforehand here, which leaves
    /// groups in place: `desc_act` stays false.
    pub fn to_json(self, config: &QuantizeConfig) -> Value {
        let method = match config.method {
            Method::Gptq => "gptq",
            Method::Rtn => "rtn",
        };
        json!({
            "quant_method": "gptq",
            "bits": self.bits.width(),
            "group_size": self.group_size.map_or(-1, |size| size as i64),
            "desc_act": false,
            "sym": self.symmetric,
            "lm_head": false,
            "format": self.format.name(),
            "checkpoint_format": self.format.name(),
            "pack_dtype": "int32",
            "meta": {
                "quantizer": [concat!("limbeck:", env!("CARGO_PKG_VERSION"))],
                "method": method,
                "damp_percent": config.damping,
                "static_groups": config.act_order,
                "act_order": config.act_order,
                "mse_search": config.mse_search,
                "signed_scale": config.signed_scale,
            },
        })
    }

    /// Reads a `quantization_config` object of the file `path`.
    ///
    /// # Errors
    /// [`Error::QuantizationConfig`] for another method, width, format or word type, and
    /// for settings that differ from layer to layer.
    pub fn from_json(value: &Value, path: &Path) -> Result<Self> {
        let wrong = |key: &str, expected: &str, found: &Value| Error::QuantizationConfig {
            path: path.to_owned(),
            key: key.to_owned(),
            expected: expected.to_owned(),
            found: if found.is_null() { "nothing".to_owned() } else { found.to_string() },
        };
        // Files written before the key existed are GPTQ's.
        let method = &value["quant_method"];
        if !method.is_null() && method != "gptq" {
            return Err(wrong("quant_method", "\"gptq\"", method));
        }
        let bits = value["bits"]
            .as_u64()
            .and_then(Bits::new)
            .ok_or_else(|| wrong("bits", Bits::SUPPORTED, &value["bits"]))?;
        let group_size = match value["group_size"].as_i64() {
            Some(-1) => None,
            Some(size) if size > 0 => Some(size as usize),
            _ => return Err(wrong("group_size", "a number above 0, or -1", &value["group_size"])),
        };
        let (key, format) = ["checkpoint_format", "format"]
            .into_iter()
            .map(|key| (key, &value[key]))
            .find(|(_, format)| !format.is_null())
            .unwrap_or(("format", &Value::Null));
        let format = match format.as_str() {
            Some("gptq") => Format::Gptq,
            Some("gptq_v2") => Format::GptqV2,
            None if format.is_null() => Format::Gptq,
            _ => return Err(wrong(key, "\"gptq\" or \"gptq_v2\"", format)),
        };
        let words = &value["pack_dtype"];
        if !words.is_null() && words != "int32" {
            return Err(wrong("pack_dtype", "\"int32\"", words));
        }
        let dynamic = &value["dynamic"];
        if dynamic.as_object().is_some_and(|rules| !rules.is_empty()) {
            return Err(wrong("dynamic", "no settings by layer", dynamic));
        }
        let symmetric = value["sym"].as_bool().unwrap_or(true);
        Ok(Self { bits, group_size, symmetric, format })
    }
}

/// The tensors of one packed projection, but for its bias.
#[derive(Debug)]
pub struct PackedTensors {
    /// i32 `[in / p, out]`
    pub qweight: Tensor,
    /// i32 `[groups, out / p]`
    pub qzeros: Tensor,
    /// Floating-point `[groups, out]`; f16 when written here.
    pub scales: Tensor,
    /// i32 `[in]`
    pub g_idx: Tensor,
}

impl PackedTensors {
    /// Packs a weight; `None` where the sizes do not fill words, or a zero lies below
    /// what the version can hold.
    ///
    /// # Errors
    /// Failures of libtorch.
    pub fn pack(weight: &QuantizedWeight, format: Format) -> Result<Option<Self>> {
        let (outputs, inputs) = (weight.out_features(), weight.in_features());
        let groups = weight.num_groups();
        let offset = format.zero_offset();
        // Grids are [out, groups], the file has [groups, out].
        let grids = || {
            (0..groups).flat_map(|group| {
                (0..outputs).map(move |output| weight.grids()[output * groups + group])
            })
        };
        let zeros: Option<Vec<u8>> = grids().map(|grid| grid.zero.checked_sub(offset)).collect();
        let scales: Vec<f16> = grids().map(|grid| grid.scale).collect();
        let Some(zeros) = zeros.and_then(|zeros| PackedZeros::pack(&zeros, weight.bits(), outputs))
        else {
            return Ok(None);
        };
        let Some(codes) = PackedWeights::pack(weight.codes(), weight.bits(), outputs, inputs)
        else {
            return Ok(None);
        };
        let group_of: Vec<i32> =
            (0..inputs).map(|feature| (feature / weight.group_size()) as i32).collect();
        Ok(Some(Self {
            qweight: matrix(codes.words(), outputs)?,
            qzeros: matrix(zeros.words(), outputs / weight.bits().codes_per_word())?,
            scales: matrix(&scales, outputs)?,
            g_idx: Tensor::f_from_slice(&group_of)?,
        }))
    }

    /// Whether the tensors fit each other. `origin` is what errors name.
    ///
    /// # Errors
    /// [`Error::PackedTensor`] where shapes do not fit, a group does not exist, or a scale is
    /// not finite.
    pub fn check(&self, bits: Bits, origin: &Origin<'_>) -> Result<()> {
        let per_word = bits.codes_per_word();
        let (rows, outputs) = self.qweight.size2()?;
        let (groups, _) = self.scales.size2()?;
        let grids = (groups * outputs) as usize;
        let misfit = |suffix: &str, expected: String, found: String| Error::PackedTensor {
            path: origin.path.to_owned(),
            tensor: format!("{}.{suffix}", origin.layer),
            expected,
            found,
        };
        let lengths = [
            ("scales", grids, self.scales.numel()),
            ("qzeros", grids, self.qzeros.numel() * per_word),
            ("g_idx", rows as usize * per_word, self.g_idx.numel()),
        ];
        for (suffix, expected, found) in lengths {
            if found != expected {
                return Err(misfit(suffix, format!("{expected} elements"), found.to_string()));
            }
        }
        let group_of = integers(&self.g_idx)?;
        if let Some(group) =
            group_of.iter().find(|&&group| !(0..groups).contains(&i64::from(group)))
        {
            return Err(misfit("g_idx", format!("groups below {groups}"), group.to_string()));
        }
        let largest = f32::from(bits.max_code());
        if floats(&self.scales)?.iter().any(|scale| !(scale * largest).is_finite()) {
            return Err(misfit("scales", "finite scales".to_owned(), "NaN or infinity".to_owned()));
        }
        Ok(())
    }

    /// The dense weight, exact in fp32. Also takes files in order of activation, whose
    /// `g_idx` is not monotonous. `origin` is what errors name.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn dequantize(
        &self,
        bits: Bits,
        format: Format,
        origin: &Origin<'_>,
    ) -> Result<WeightMatrix> {
        self.check(bits, origin)?;
        let outputs = self.qweight.size2()?.1 as usize;
        let group_of = integers(&self.g_idx)?;
        let inputs = group_of.len();
        let zeros = actual_zeros(integers(&self.qzeros)?, bits, format);
        let scales = floats(&self.scales)?;
        let codes = PackedWeights::from_words(integers(&self.qweight)?, bits, outputs, inputs)
            .map(|weights| weights.unpack())
            .unwrap_or_default();

        let mut values = vec![0.0; codes.len()];
        let row = inputs.max(1);
        values.par_chunks_mut(row).zip(codes.par_chunks(row)).enumerate().for_each(
            |(output, (values, codes))| {
                for ((value, &code), &group) in values.iter_mut().zip(codes).zip(&group_of) {
                    let grid = group as usize * outputs + output;
                    *value = (f32::from(code) - zeros[grid]) * scales[grid];
                }
            },
        );
        Ok(WeightMatrix { values, out_features: outputs, in_features: inputs })
    }

    /// The tensors with their suffixes, as shallow clones.
    pub fn named(&self) -> Vec<(String, Tensor)> {
        [
            ("qweight", &self.qweight),
            ("qzeros", &self.qzeros),
            ("scales", &self.scales),
            ("g_idx", &self.g_idx),
        ]
        .map(|(suffix, tensor)| (suffix.to_owned(), tensor.shallow_clone()))
        .into()
    }

    /// The tensors on another device.
    ///
    /// # Errors
    /// When it has no room for them.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        Ok(Self {
            qweight: self.qweight.f_to_device(device)?,
            qzeros: self.qzeros.f_to_device(device)?,
            scales: self.scales.f_to_device(device)?,
            g_idx: self.g_idx.f_to_device(device)?,
        })
    }
}

/// Where packed tensors come from, for errors.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The checkpoint.
    pub path: &'a Path,
    /// The layer.
    pub layer: &'a str,
}

/// A tensor `[.., columns]` of row-major elements.
fn matrix<T: tch::kind::Element>(elements: &[T], columns: usize) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(elements)?.f_view([-1, columns as i64])?)
}

fn integers(tensor: &Tensor) -> Result<Vec<i32>> {
    let flat =
        tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Int)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::try_from(&flat)?)
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;
    use crate::grid::GridRule;
    use crate::rtn;

    static ORIGIN: std::sync::LazyLock<Origin<'static>> =
        std::sync::LazyLock::new(|| Origin { path: Path::new("file"), layer: "layer" });

    fn words(tensor: &Tensor) -> Vec<u32> {
        integers(tensor).unwrap().into_iter().map(i32::cast_unsigned).collect()
    }

    fn rounded(rule: GridRule, group_size: usize) -> QuantizedWeight {
        let values = CounterRng::new(12).normals(16 * 64);
        let weight = WeightMatrix::new(values, 16, 64).unwrap();
        rtn::quantize(&weight, rule, group_size).unwrap()
    }

    #[test]
    fn symmetric_zeros_are_the_words_that_loaders_expect() {
        let cases = [
            (Bits::Four, Format::Gptq, 0x7777_7777),
            (Bits::Four, Format::GptqV2, 0x8888_8888),
            (Bits::Eight, Format::Gptq, 0x7f7f_7f7f),
            (Bits::Eight, Format::GptqV2, 0x8080_8080),
        ];
        for (bits, format, word) in cases {
            let weight = rounded(GridRule::symmetric(bits), 32);
            let packed = PackedTensors::pack(&weight, format).unwrap().unwrap();
            let zeros = words(&packed.qzeros);
            assert_eq!(packed.qzeros.size(), [2, 16 / bits.codes_per_word() as i64]);
            assert!(zeros.iter().all(|&zero| zero == word), "{bits:?} {format:?}: {zeros:x?}");
        }
    }

    #[test]
    fn a_hand_packed_layer_is_read_as_defined() {
        // 8 inputs in two groups, 8 outputs, 4 bits, version 1. All zeros of group 0 are
        // 8, those of group 1 are 2; scales are 0.5 and 0.25.
        let packed = PackedTensors {
            qweight: Tensor::from_slice(&[0x7654_3210_i32; 8]).view([1, 8]),
            qzeros: Tensor::from_slice(&[0x7777_7777_i32, 0x1111_1111]).view([2, 1]),
            scales: Tensor::from_slice(&[[0.5_f32; 8], [0.25; 8]].concat()).view([2, 8]),
            g_idx: Tensor::from_slice(&[0_i32, 1, 0, 1, 0, 1, 0, 1]),
        };
        let dense = packed.dequantize(Bits::Four, Format::Gptq, &ORIGIN).unwrap();
        let expected = [-4.0, -0.25, -3.0, 0.25, -2.0, 0.75, -1.0, 1.25];
        assert_eq!(dense.values()[..8], expected);
        assert_eq!(dense.values()[56..], expected);
        let dense = packed.dequantize(Bits::Four, Format::GptqV2, &ORIGIN).unwrap();
        assert_eq!(dense.values()[..2], [-3.5, 0.0]);
    }

    #[test]
    fn packing_keeps_every_weight() {
        for bits in [Bits::Four, Bits::Eight] {
            for format in [Format::Gptq, Format::GptqV2] {
                for symmetric in [false, true] {
                    for group_size in [32, 64] {
                        let rule = GridRule {
                            symmetric,
                            min_zero: format.zero_offset(),
                            ..GridRule::symmetric(bits)
                        };
                        let weight = rounded(rule, group_size);
                        let packed = PackedTensors::pack(&weight, format).unwrap().unwrap();
                        let dense = packed.dequantize(bits, format, &ORIGIN).unwrap();
                        assert_eq!(dense, weight.dequantize());
                    }
                }
            }
        }
    }

    #[test]
    fn a_zero_that_version_1_cannot_hold_is_refused() {
        let mut weight = rounded(GridRule::symmetric(Bits::Four), 64);
        weight.grids[3].zero = 0;
        assert!(PackedTensors::pack(&weight, Format::Gptq).unwrap().is_none());
        assert!(PackedTensors::pack(&weight, Format::GptqV2).unwrap().is_some());
    }

    #[test]
    fn groups_that_do_not_exist_are_refused() {
        let weight = rounded(GridRule::symmetric(Bits::Four), 64);
        let mut packed = PackedTensors::pack(&weight, Format::Gptq).unwrap().unwrap();
        packed.g_idx = Tensor::from_slice(&[1_i32; 64]);
        let error = packed.dequantize(Bits::Four, Format::Gptq, &ORIGIN).unwrap_err().to_string();
        assert_eq!(error, "tensor layer.g_idx in file: expected groups below 1, found 1");
    }

    #[test]
    fn settings_survive_their_json() {
        for format in [Format::Gptq, Format::GptqV2] {
            for group_size in [-1, 64] {
                let config = QuantizeConfig { group_size, format, ..QuantizeConfig::default() };
                let settings = GptqSettings::of_config(&config).unwrap();
                let json = settings.to_json(&config);
                assert_eq!(json["group_size"], group_size);
                assert_eq!(GptqSettings::from_json(&json, Path::new("c")).unwrap(), settings);
            }
        }
    }

    #[test]
    fn unsupported_settings_name_their_key() {
        let good = json!({ "quant_method": "gptq", "bits": 4, "group_size": 128 });
        assert!(GptqSettings::from_json(&good, Path::new("config.json")).is_ok());
        let cases = [
            ("quant_method", json!("awq")),
            ("bits", json!(3)),
            ("group_size", json!(0)),
            ("checkpoint_format", json!("marlin")),
            ("pack_dtype", json!("int16")),
            ("dynamic", json!({ "+:.*": { "bits": 8 } })),
        ];
        for (key, value) in cases {
            let mut settings = good.clone();
            settings[key] = value;
            let error = GptqSettings::from_json(&settings, Path::new("config.json")).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(key) && text.contains("config.json"), "{text}");
        }
    }
}
