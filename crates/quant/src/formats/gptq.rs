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

use half::f16;
use serde_json::{Value, json};
use tch::Tensor;

use super::settings::{ConfigFile, meta};
use super::{CheckpointSettings, Format, LayerSettings, Override, TensorSource, matrix};
use crate::bits::Bits;
use crate::config::QuantizeConfig;
use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::packing::{PackedRows, PackedWeights};
use crate::quantized::QuantizedWeight;

/// The file that `AutoGPTQ`'s loaders look for beside `config.json`.
pub const QUANTIZE_CONFIG_FILE: &str = "quantize_config.json";

/// As [`Format::pack`]; `None` where the sizes do not fill words, or a zero lies below what the
/// version can hold.
pub(super) fn pack(
    weight: &QuantizedWeight,
    format: Format,
) -> Result<Option<Vec<(String, Tensor)>>> {
    let (outputs, inputs) = (weight.out_features(), weight.in_features());
    let groups = weight.num_groups();
    let offset = format.min_zero();
    // Grids are [out, groups], the file has [groups, out].
    let grids = || {
        (0..groups).flat_map(|group| {
            (0..outputs).map(move |output| weight.grids()[output * groups + group])
        })
    };
    let zeros: Option<Vec<u8>> = grids().map(|grid| grid.zero.checked_sub(offset)).collect();
    let scales: Vec<f16> = grids().map(|grid| f16::from_f32(grid.scale)).collect();
    let Some(zeros) = zeros.and_then(|zeros| PackedRows::pack(&zeros, weight.bits(), outputs))
    else {
        return Ok(None);
    };
    let Some(codes) = PackedWeights::pack(weight.codes(), weight.bits(), outputs, inputs) else {
        return Ok(None);
    };
    let group_of: Vec<i32> = match weight.group_of() {
        Some(group_of) => group_of.iter().map(|&group| group.cast_signed()).collect(),
        None => (0..inputs).map(|feature| (feature / weight.group_size()) as i32).collect(),
    };
    Ok(Some(vec![
        ("qweight".to_owned(), matrix(codes.words(), outputs)?),
        ("qzeros".to_owned(), matrix(zeros.words(), zeros.words().len() / groups)?),
        ("scales".to_owned(), matrix(&scales, outputs)?),
        ("g_idx".to_owned(), Tensor::f_from_slice(&group_of)?),
    ]))
}

/// As [`Format::read`]. Also takes files in order of activation, whose `g_idx` is not
/// monotonous.
pub(super) fn read(
    source: &mut dyn TensorSource,
    settings: LayerSettings,
    (outputs, inputs): (usize, usize),
    format: Format,
) -> Result<QuantizedWeight> {
    let bits = settings.bits;
    let group_size = settings.group_size.unwrap_or(inputs).max(1);
    let groups = inputs.div_ceil(group_size);
    let words = |features: usize| features / bits.codes_per_unit() * bits.words_per_unit();
    let group_of = if source.has("g_idx") {
        source.integers("g_idx", &[inputs])?
    } else {
        (0..inputs).map(|feature| (feature / group_size) as i32).collect()
    };
    let qweight = source.integers("qweight", &[words(inputs), outputs])?;
    let qzeros = source.integers("qzeros", &[groups, words(outputs)])?;
    let scales = source.floats("scales", &[groups, outputs])?;

    let zeros = PackedRows::from_words(qzeros, bits).unpack();
    if settings.symmetric {
        check_version(source, &zeros, bits, format)?;
    }
    let codes = PackedWeights::from_words(qweight, bits, outputs, inputs);
    let whole =
        |group_size: usize| inputs.is_multiple_of(group_size) && zeros.len() == scales.len();
    let (Some(codes), true) = (codes, whole(group_size)) else {
        let expected = format!("features in whole words and groups of {group_size}");
        return Err(source.misfit("qweight", expected, format!("[{outputs}, {inputs}]")));
    };
    let (offset, mask) = (format.min_zero(), bits.max_code());
    let grids = (0..outputs * groups).map(|index| {
        let place = index % groups * outputs + index / groups;
        Grid { scale: scales[place], zero: zeros[place].wrapping_add(offset) & mask }
    });
    let (grids, unpacked) = (grids.collect(), codes.unpack());
    drop((codes, scales, zeros));
    let codes = unpacked;
    let weight = QuantizedWeight::new(bits, group_size, (outputs, inputs), codes, grids);
    let unknown = group_of.iter().find(|&&group| group < 0 || group as usize >= groups).copied();
    let group_of = group_of.iter().map(|&group| group.cast_unsigned()).collect();
    weight.and_then(|weight| weight.with_groups(group_of)).ok_or_else(|| {
        let found = unknown.map_or_else(String::new, |group| group.to_string());
        source.misfit("g_idx", format!("groups below {groups}"), found)
    })
}

/// Zeros that are all one off the middle belong to a symmetric file of the other version: every
/// weight would be off by a step, and the model would talk rubbish.
///
/// # Errors
/// [`Error::ZeroVersion`].
fn check_version(
    source: &dyn TensorSource,
    zeros: &[u8],
    bits: Bits,
    stated: Format,
) -> Result<()> {
    // As stored, symmetric zeros are the middle less what the version takes off.
    let other = if stated == Format::Gptq { Format::GptqV2 } else { Format::Gptq };
    let of_other = bits.middle() - other.min_zero();
    if zeros.is_empty() || zeros.iter().any(|&zero| zero != of_other) {
        return Ok(());
    }
    let (path, tensor) = source.place("qzeros");
    Err(Error::ZeroVersion {
        path,
        tensor,
        stated: stated.name(),
        found: other.name(),
        zero: of_other,
    })
}

/// The `quantization_config` object; `config` is recorded under `meta`, which loaders ignore.
/// Scales in order of activation are fixed beforehand here, which leaves groups in place:
/// `desc_act` stays false. Layers of another width are `GPTQModel`'s `dynamic`.
pub(super) fn to_json(settings: &CheckpointSettings, config: &QuantizeConfig) -> Value {
    let group_size = |layer: LayerSettings| layer.group_size.map_or(-1, |size| size as i64);
    let mut json = json!({
        "quant_method": "gptq",
        "bits": settings.layer.bits.width(),
        "group_size": group_size(settings.layer),
        "desc_act": false,
        "sym": settings.layer.symmetric,
        "lm_head": settings.head,
        "format": settings.format.name(),
        "checkpoint_format": settings.format.name(),
        "pack_dtype": "int32",
        "meta": meta(settings, config),
    });
    for layers in &settings.overrides {
        let pattern = layers.layers.as_str();
        let (key, value) = match layers.settings {
            Some(layer) => (
                format!("+:{pattern}"),
                json!({
                    "bits": layer.bits.width(),
                    "group_size": group_size(layer),
                    "sym": layer.symmetric,
                }),
            ),
            None => (format!("-:{pattern}"), json!({})),
        };
        json["dynamic"][key] = value;
    }
    json
}

/// Reads the `quantization_config` of a GPTQ folder.
pub(super) fn from_json(value: &Value, file: ConfigFile<'_>) -> Result<CheckpointSettings> {
    let layer = LayerSettings {
        bits: file.bits(value, "bits")?,
        group_size: file.group_size(value, "group_size")?,
        symmetric: value["sym"].as_bool().unwrap_or(true),
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
        _ => return Err(file.wrong(key, "\"gptq\" or \"gptq_v2\"", format)),
    };
    let words = &value["pack_dtype"];
    if !words.is_null() && words != "int32" {
        return Err(file.wrong("pack_dtype", "\"int32\"", words));
    }
    let head = value["lm_head"].as_bool().unwrap_or(false);
    let mut overrides = Vec::new();
    for (pattern, rule) in value["dynamic"].as_object().into_iter().flatten() {
        let (pattern, settings) = match pattern.strip_prefix("-:") {
            Some(pattern) => (pattern, None),
            None => {
                (pattern.strip_prefix("+:").unwrap_or(pattern), Some(merged(layer, rule, file)?))
            }
        };
        overrides.push(Override { layers: file.pattern("dynamic", pattern)?, settings });
    }
    Ok(CheckpointSettings { format, layer, overrides, head })
}

/// The settings of all layers with what a rule says otherwise.
fn merged(layer: LayerSettings, rule: &Value, file: ConfigFile<'_>) -> Result<LayerSettings> {
    let has = |key: &str| !rule[key].is_null();
    Ok(LayerSettings {
        bits: if has("bits") { file.bits(rule, "bits")? } else { layer.bits },
        group_size: if has("group_size") {
            file.group_size(rule, "group_size")?
        } else {
            layer.group_size
        },
        symmetric: rule["sym"].as_bool().unwrap_or(layer.symmetric),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use limbeck_core::seed::CounterRng;
    use limbeck_run::Diagnose;

    use super::super::in_memory::{Tensors, round_trip};
    use super::*;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    fn words(tensor: &Tensor) -> Vec<u32> {
        let words = Vec::<i32>::try_from(tensor.flatten(0, -1)).unwrap();
        words.into_iter().map(i32::cast_unsigned).collect()
    }

    fn rounded(rule: GridRule, group_size: usize) -> QuantizedWeight {
        let values = CounterRng::new(12).normals(32 * 64);
        let weight = WeightMatrix::new(values, 32, 64).unwrap();
        rtn::quantize(&weight, rule, group_size).unwrap()
    }

    #[test]
    fn symmetric_zeros_are_the_words_that_loaders_expect() {
        let cases = [
            (Bits::Two, Format::Gptq, 0x5555_5555),
            (Bits::Two, Format::GptqV2, 0xaaaa_aaaa),
            (Bits::Four, Format::Gptq, 0x7777_7777),
            (Bits::Four, Format::GptqV2, 0x8888_8888),
            (Bits::Eight, Format::Gptq, 0x7f7f_7f7f),
            (Bits::Eight, Format::GptqV2, 0x8080_8080),
        ];
        for (bits, format, word) in cases {
            let packed = pack(&rounded(GridRule::symmetric(bits), 32), format).unwrap().unwrap();
            let (_, qzeros) = packed.iter().find(|(suffix, _)| suffix == "qzeros").unwrap();
            assert_eq!(qzeros.size(), [2, 32 / bits.codes_per_unit() as i64]);
            let zeros = words(qzeros);
            assert!(zeros.iter().all(|&zero| zero == word), "{bits:?} {format:?}: {zeros:x?}");
        }
    }

    #[test]
    fn symmetric_zeros_of_the_other_version_are_told_apart() {
        for bits in Bits::ALL {
            for (written, stated) in
                [(Format::Gptq, Format::GptqV2), (Format::GptqV2, Format::Gptq)]
            {
                let rounded = rounded(GridRule::symmetric(bits), 32);
                let tensors = pack(&rounded, written).unwrap().unwrap();
                let settings = LayerSettings { bits, group_size: Some(32), symmetric: true };
                let error = stated.read(&mut Tensors(tensors), settings, (32, 64)).unwrap_err();
                let text = error.to_string();
                assert!(matches!(error, Error::ZeroVersion { .. }), "{text}");
                assert!(text.contains("layer.qzeros") && text.contains(written.name()), "{text}");
                assert!(error.hint().unwrap().contains(written.name()));
            }
        }
    }

    #[test]
    fn a_hand_packed_layer_is_read_as_defined() {
        // 8 inputs in two groups, 8 outputs, 4 bits, version 1. All zeros of group 0 are
        // 8, those of group 1 are 2; scales are 0.5 and 0.25.
        let tensors = || {
            [
                ("qweight", Tensor::from_slice(&[0x7654_3210_i32; 8]).view([1, 8])),
                ("qzeros", Tensor::from_slice(&[0x7777_7777_i32, 0x1111_1111]).view([2, 1])),
                ("scales", Tensor::from_slice(&[[0.5_f32; 8], [0.25; 8]].concat()).view([2, 8])),
                ("g_idx", Tensor::from_slice(&[0_i32, 1, 0, 1, 0, 1, 0, 1])),
            ]
            .map(|(suffix, tensor)| (suffix.to_owned(), tensor))
        };
        let settings = LayerSettings { bits: Bits::Four, group_size: Some(4), symmetric: false };
        let dense = |format: Format| {
            let mut source = Tensors(tensors().into());
            format.read(&mut source, settings, (8, 8)).unwrap().dequantize()
        };
        let expected = [-4.0, -0.25, -3.0, 0.25, -2.0, 0.75, -1.0, 1.25];
        assert_eq!(dense(Format::Gptq).values()[..8], expected);
        assert_eq!(dense(Format::Gptq).values()[56..], expected);
        assert_eq!(dense(Format::GptqV2).values()[..2], [-3.5, 0.0]);
    }

    #[test]
    fn packing_keeps_every_weight() {
        for bits in Bits::ALL {
            for format in [Format::Gptq, Format::GptqV2] {
                for symmetric in [false, true] {
                    for group_size in [32, 64] {
                        let rule = GridRule {
                            symmetric,
                            min_zero: format.min_zero(),
                            ..GridRule::symmetric(bits)
                        };
                        let weight = rounded(rule, group_size);
                        assert_eq!(round_trip(&weight, format), weight);
                        let order = (0..64).map(|feature| feature * 7 % 64 / group_size as u32);
                        let weight = weight.with_groups(order.collect()).unwrap();
                        assert_eq!(round_trip(&weight, format), weight);
                    }
                }
            }
        }
    }

    #[test]
    fn a_zero_that_version_1_cannot_hold_is_refused() {
        let mut weight = rounded(GridRule::symmetric(Bits::Four), 64);
        weight.grids[3].zero = 0;
        assert!(pack(&weight, Format::Gptq).unwrap().is_none());
        assert!(pack(&weight, Format::GptqV2).unwrap().is_some());
    }

    #[test]
    fn groups_that_do_not_exist_are_refused() {
        let weight = rounded(GridRule::symmetric(Bits::Four), 64);
        let mut packed = pack(&weight, Format::Gptq).unwrap().unwrap();
        packed[3].1 = Tensor::from_slice(&[1_i32; 64]);
        let settings = LayerSettings { bits: Bits::Four, group_size: Some(64), symmetric: true };
        let error = Format::Gptq.read(&mut Tensors(packed), settings, (32, 64)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tensor layer.g_idx in file: expected groups below 1, found 1"
        );
    }

    #[test]
    fn settings_survive_their_json() {
        for format in [Format::Gptq, Format::GptqV2] {
            for group_size in [-1, 64] {
                let config = QuantizeConfig { group_size, format, ..QuantizeConfig::default() };
                let mut settings = CheckpointSettings::of_config(&config).unwrap();
                settings.head = true;
                let wide = LayerSettings { bits: Bits::Eight, ..settings.layer };
                for (pattern, layer) in [("a\\.b", Some(wide)), ("model\\.c", None)] {
                    let layers = regex::Regex::new(pattern).unwrap();
                    settings.overrides.push(Override { layers, settings: layer });
                }
                let json = settings.to_json(&config);
                assert_eq!(json["group_size"], group_size);
                let mut read = CheckpointSettings::from_json(&json, Path::new("c")).unwrap();
                read.overrides.sort_by_key(|layers| layers.layers.as_str().to_owned());
                assert_eq!(read, settings);
                assert_eq!(read.of("a.b"), Some(wide));
                assert_eq!(read.of("model.c.d"), None);
                assert_eq!(read.of("model.a.b"), Some(settings.layer));
            }
        }
    }

    #[test]
    fn unsupported_settings_name_their_key() {
        let read =
            |settings: &Value| CheckpointSettings::from_json(settings, Path::new("config.json"));
        let good = json!({ "quant_method": "gptq", "bits": 4, "group_size": 128 });
        assert!(read(&good).is_ok());
        let cases = [
            ("quant_method", json!("exl3")),
            ("bits", json!(5)),
            ("group_size", json!(0)),
            ("checkpoint_format", json!("marlin")),
            ("pack_dtype", json!("int16")),
            ("dynamic", json!({ "+:(": { "bits": 8 } })),
            ("bits", json!(null)),
        ];
        for (key, value) in cases {
            let mut settings = good.clone();
            settings[key] = value;
            let text = read(&settings).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains("config.json"), "{text}");
        }
    }
}
