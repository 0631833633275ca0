//! The compressed-tensors format `pack-quantized`, as llm-compressor writes it and transformers
//! and vLLM read it.
//!
//! For a projection of `in` × `out` features, codes of `b` bits and `g` groups of input features:
//!
//! | tensor | dtype, shape | content |
//! |---|---|---|
//! | `weight_packed` | i32 `[out, ⌈in · b / 32⌉]` | codes of a row, the first in the lowest bits |
//! | `weight_scale` | `[out, g]` | scales, in the model's dtype |
//! | `weight_zero_point` | i32 `[⌈out · b / 32⌉, g]` | zeros, packed along the outputs; asymmetric only |
//! | `weight_shape` | i64 `[2]` | `out`, `in` |
//! | `weight_g_idx` | i32 `[in]` | group of each input feature; older folders in order of activation |
//!
//! A weight is `(code − zero) · scale`. To the reference implementation, codes and zeros are
//! signed and stored with the middle code added, which comes to the same. Layers of another width
//! are another of the `config_groups`; dense ones are under `ignore`.

use half::{bf16, f16};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use super::settings::ConfigFile;
use super::{CheckpointSettings, Format, LayerSettings, Override, TensorSource, matrix};
use crate::config::QuantizeConfig;
use crate::error::Result;
use crate::grid::Grid;
use crate::packing::PackedRows;
use crate::quantized::QuantizedWeight;

/// The one of their formats that is supported.
const PACKED: &str = "pack-quantized";

/// How a target is written that is a pattern of names.
const PATTERN: &str = "re:";

/// As [`Format::pack`].
pub(super) fn pack(weight: &QuantizedWeight) -> Result<Option<Vec<(String, Tensor)>>> {
    let (outputs, inputs) = (weight.out_features(), weight.in_features());
    let (groups, bits) = (weight.num_groups(), weight.bits());
    let grids = weight.grids();
    let Some(codes) = pack_rows(weight.codes(), weight, inputs) else { return Ok(None) };
    let scales: Vec<f32> = grids.iter().map(|grid| grid.scale).collect();
    let scales = matrix(&scales, groups)?.f_to_kind(narrowest(&scales))?;
    let mut tensors = vec![
        ("weight_packed".to_owned(), matrix(&codes, words(inputs, bits.width()))?),
        ("weight_scale".to_owned(), scales),
        ("weight_shape".to_owned(), Tensor::f_from_slice(&[outputs as i64, inputs as i64])?),
    ];
    if !weight.is_symmetric() {
        let zeros: Vec<u8> = (0..groups * outputs)
            .map(|place| grids[place % outputs * groups + place / outputs].zero)
            .collect();
        let Some(zeros) = pack_rows(&zeros, weight, outputs) else { return Ok(None) };
        let zeros = matrix(&zeros, words(outputs, bits.width()))?;
        tensors.push(("weight_zero_point".to_owned(), zeros.f_tr()?.f_contiguous()?));
    }
    if let Some(group_of) = weight.group_of() {
        let group_of: Vec<i32> = group_of.iter().map(|&group| group.cast_signed()).collect();
        tensors.push(("weight_g_idx".to_owned(), Tensor::f_from_slice(&group_of)?));
    }
    Ok(Some(tensors))
}

/// Words that a row of codes takes.
fn words(codes: usize, width: u32) -> usize {
    (codes * width as usize).div_ceil(32)
}

/// Rows of `width` codes in as few words each as hold them.
fn pack_rows(codes: &[u8], weight: &QuantizedWeight, width: usize) -> Option<Vec<i32>> {
    let (unit, whole) = (weight.bits().codes_per_unit(), words(width, weight.bits().width()));
    let padded = width.next_multiple_of(unit);
    let mut rows = vec![0; codes.len() / width.max(1) * padded];
    for (row, codes) in rows.chunks_mut(padded.max(1)).zip(codes.chunks(width.max(1))) {
        row[..width].copy_from_slice(codes);
    }
    let rows = PackedRows::pack(&rows, weight.bits(), padded)?;
    let padded = padded / unit * weight.bits().words_per_unit();
    Some(rows.words().chunks(padded).flat_map(|row| &row[..whole]).copied().collect())
}

/// The inverse of [`pack_rows`].
fn unpack_rows(packed: &[i32], settings: LayerSettings, width: usize) -> Vec<u8> {
    let bits = settings.bits;
    let whole = words(width, bits.width()).max(1);
    let padded = width.div_ceil(bits.codes_per_unit()) * bits.words_per_unit();
    let rows = packed.chunks(whole).flat_map(|row| {
        let padding = padded.saturating_sub(row.len());
        row.iter().copied().chain(std::iter::repeat_n(0, padding))
    });
    let codes = PackedRows::from_words(rows.collect(), bits).unpack();
    let padded = width.next_multiple_of(bits.codes_per_unit()).max(1);
    codes.chunks(padded).flat_map(|row| &row[..width]).copied().collect()
}

/// The narrowest dtype that holds all of these exactly: what bfloat16 models expect, if it does.
fn narrowest(scales: &[f32]) -> Kind {
    if scales.iter().all(|&scale| bf16::from_f32(scale).to_f32().to_bits() == scale.to_bits()) {
        return Kind::BFloat16;
    }
    let half =
        scales.iter().all(|&scale| f16::from_f32(scale).to_f32().to_bits() == scale.to_bits());
    if half { Kind::Half } else { Kind::Float }
}

/// As [`Format::read`].
pub(super) fn read(
    source: &mut dyn TensorSource,
    settings: LayerSettings,
    (outputs, inputs): (usize, usize),
) -> Result<QuantizedWeight> {
    let (bits, width) = (settings.bits, settings.bits.width());
    let group_size = settings.group_size.unwrap_or(inputs).max(1);
    if !inputs.is_multiple_of(group_size) {
        let expected = format!("input features divisible by group_size {group_size}");
        return Err(source.misfit("weight_packed", expected, inputs.to_string()));
    }
    let groups = inputs / group_size;
    if source.has("weight_shape") {
        let shape = source.of_kind("weight_shape", &[2], "int64", |kind| kind == Kind::Int64)?;
        let found = Vec::<i64>::try_from(&shape)?;
        if found != [outputs as i64, inputs as i64] {
            let expected = format!("[{outputs}, {inputs}]");
            return Err(source.misfit("weight_shape", expected, format!("{found:?}")));
        }
    }
    let codes = source.integers("weight_packed", &[outputs, words(inputs, width)])?;
    let codes = unpack_rows(&codes, settings, inputs);
    let scales = source.floats("weight_scale", &[outputs, groups])?;
    let zeros = if settings.symmetric {
        vec![bits.middle(); groups * outputs]
    } else {
        let shape = [words(outputs, width) as i64, groups as i64];
        let packed = source.take("weight_zero_point", &shape)?;
        let kind = packed.f_kind()?;
        if kind != Kind::Int {
            return Err(source.misfit("weight_zero_point", "int32".into(), format!("{kind:?}")));
        }
        let packed = packed.f_to_device(tch::Device::Cpu)?.f_tr()?.f_reshape([-1])?;
        unpack_rows(&Vec::<i32>::try_from(&packed)?, settings, outputs)
    };
    let grids = (0..outputs * groups).map(|index| {
        let (output, group) = (index / groups, index % groups);
        Grid { scale: scales[index], zero: zeros[group * outputs + output] }
    });
    let grids = grids.collect();
    let weight = QuantizedWeight::new(bits, group_size, (outputs, inputs), codes, grids);
    let weight = weight.ok_or_else(|| {
        source.misfit("weight_packed", "whole groups".into(), group_size.to_string())
    })?;
    if !source.has("weight_g_idx") {
        return Ok(weight);
    }
    let group_of = source.integers("weight_g_idx", &[inputs])?;
    // Folders whose features are in order have -1 throughout.
    if group_of.iter().all(|&group| group == -1) {
        return Ok(weight);
    }
    let unknown = group_of.iter().find(|&&group| group < 0 || group as usize >= groups);
    if let Some(unknown) = unknown {
        let expected = format!("groups below {groups}");
        return Err(source.misfit("weight_g_idx", expected, unknown.to_string()));
    }
    let group_of = group_of.into_iter().map(i32::cast_unsigned).collect();
    weight.with_groups(group_of).ok_or_else(|| {
        source.misfit("weight_g_idx", format!("groups below {groups}"), "others".into())
    })
}

/// The `quantization_config` object; `meta` is what only we read.
pub(super) fn to_json(settings: &CheckpointSettings, config: &QuantizeConfig) -> Value {
    let mut groups: Vec<(LayerSettings, Vec<String>)> =
        vec![(settings.layer, vec!["Linear".to_owned()])];
    if settings.head {
        groups[0].1.push("lm_head".to_owned());
    }
    let mut ignore: Vec<String> = Vec::new();
    for layers in &settings.overrides {
        let target = format!("{PATTERN}{}", layers.layers.as_str());
        match layers.settings {
            None => ignore.push(target),
            Some(layer) => match groups[1..].iter_mut().find(|(of, _)| *of == layer) {
                Some((_, targets)) => targets.push(target),
                None => groups.push((layer, vec![target])),
            },
        }
    }
    if !settings.head {
        ignore.push("lm_head".to_owned());
    }
    let groups: Map<String, Value> = groups
        .into_iter()
        .enumerate()
        .map(|(index, (layer, targets))| {
            let group = json!({
                "targets": targets,
                "weights": {
                    "num_bits": layer.bits.width(),
                    "type": "int",
                    "symmetric": layer.symmetric,
                    "strategy": if layer.group_size.is_some() { "group" } else { "channel" },
                    "group_size": layer.group_size,
                    "dynamic": false,
                },
                "input_activations": null,
                "output_activations": null,
            });
            (format!("group_{index}"), group)
        })
        .collect();
    json!({
        "quant_method": "compressed-tensors",
        "format": PACKED,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ignore,
        "kv_cache_scheme": null,
        "meta": super::settings::meta(settings, config),
    })
}

/// Reads the `quantization_config` of a compressed-tensors folder.
pub(super) fn from_json(value: &Value, file: ConfigFile<'_>) -> Result<CheckpointSettings> {
    let supported = |format: &Value| format.is_null() || format == PACKED;
    // Folders of several formats say so, and each group has its own.
    if !supported(&value["format"]) && value["format"] != "mixed-precision" {
        return Err(file.wrong("format", "\"pack-quantized\"", &value["format"]));
    }
    let Some(groups) = value["config_groups"].as_object().filter(|groups| !groups.is_empty())
    else {
        return Err(file.wrong("config_groups", "a group of layers", &value["config_groups"]));
    };
    let mut overrides = Vec::new();
    let mut head = true;
    for name in strings(&value["ignore"]) {
        if ["lm_head", "re:.*lm_head", "re:.*lm_head.*"].contains(&name) {
            head = false;
        } else {
            overrides.push(Override { layers: target(name, "ignore", file)?, settings: None });
        }
    }
    let mut all: Option<LayerSettings> = None;
    let mut first = None;
    let mut named = Vec::new();
    for group in groups.values() {
        if !supported(&group["format"]) {
            return Err(file.wrong("config_groups.format", "\"pack-quantized\"", &group["format"]));
        }
        for key in ["input_activations", "output_activations"] {
            if !group[key].is_null() {
                return Err(file.wrong(key, "null (only weights are quantised)", &group[key]));
            }
        }
        let layer = weights(&group["weights"], file)?;
        first = first.or(Some(layer));
        for name in strings(&group["targets"]) {
            if name == "Linear" {
                all = Some(layer);
            } else {
                named.push((name, layer));
            }
        }
    }
    let Some(layer) = all.or(first) else {
        return Err(file.wrong("config_groups", "a group of layers", &value["config_groups"]));
    };
    for (name, settings) in named {
        // The head is a linear layer, too: naming it adds nothing.
        if name != "lm_head" || settings != layer {
            let layers = target(name, "targets", file)?;
            overrides.push(Override { layers, settings: Some(settings) });
        }
    }
    Ok(CheckpointSettings { format: Format::CompressedTensors, layer, overrides, head })
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// A target as a pattern of names: `re:` and a pattern, or the whole name of a layer.
fn target(name: &str, key: &str, file: ConfigFile<'_>) -> Result<regex::Regex> {
    match name.strip_prefix(PATTERN) {
        Some(pattern) => file.pattern(key, pattern),
        None if name.contains('.') || name == "lm_head" => {
            file.pattern(key, &format!("{}$", regex::escape(name)))
        }
        None => Err(file.wrong(key, "\"Linear\", \"re:PATTERN\" or a layer", &name.into())),
    }
}

/// How the layers of a group are packed.
fn weights(value: &Value, file: ConfigFile<'_>) -> Result<LayerSettings> {
    let kind = &value["type"];
    if !kind.is_null() && kind != "int" {
        return Err(file.wrong("weights.type", "\"int\"", kind));
    }
    let group_size = match value["strategy"].as_str() {
        Some("channel") => None,
        Some("group") => file.group_size(value, "group_size")?,
        // Older folders say it only by the size of groups.
        None if value["strategy"].is_null() && value["group_size"].is_null() => None,
        None if value["strategy"].is_null() => file.group_size(value, "group_size")?,
        _ => return Err(file.wrong("strategy", "\"group\" or \"channel\"", &value["strategy"])),
    };
    Ok(LayerSettings {
        bits: file.bits(value, "num_bits")?,
        group_size,
        symmetric: value["symmetric"].as_bool().unwrap_or(true),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use limbeck_core::seed::CounterRng;

    use super::super::in_memory::{Tensors, round_trip};
    use super::*;
    use crate::bits::Bits;
    use crate::grid::{GridRule, ScaleDtype};
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    const FORMAT: Format = Format::CompressedTensors;

    fn rounded(rule: GridRule, (outputs, inputs): (usize, usize), size: usize) -> QuantizedWeight {
        let values = CounterRng::new(12).normals(outputs * inputs);
        let weight = WeightMatrix::new(values, outputs, inputs).unwrap();
        rtn::quantize(&weight, rule, size).unwrap()
    }

    #[test]
    fn packing_keeps_every_weight() {
        for bits in Bits::ALL {
            for symmetric in [true, false] {
                for scale_dtype in [ScaleDtype::BFloat16, ScaleDtype::Float16] {
                    // Neither outputs nor inputs fill words.
                    for (shape, size) in [((20, 60), 20), ((7, 64), 32), ((32, 36), 36)] {
                        let rule = GridRule { symmetric, scale_dtype, ..GridRule::symmetric(bits) };
                        let weight = rounded(rule, shape, size);
                        assert_eq!(round_trip(&weight, FORMAT), weight, "{bits:?} {shape:?}");
                    }
                }
            }
        }
        let weight = rounded(GridRule::symmetric(Bits::Four), (16, 64), 32);
        let weight = weight.with_groups((0..64).map(|feature| feature % 2).collect()).unwrap();
        assert_eq!(round_trip(&weight, FORMAT), weight);
    }

    #[test]
    fn a_hand_packed_layer_is_read_as_defined() {
        // Codes 0 to 8 in nine inputs of two outputs; nine take two words. Zeros are 1 and 2.
        let tensors = [
            (
                "weight_packed",
                Tensor::from_slice(&[0x7654_3210_i32, 8, 0x7654_3210, 8]).view([2, 2]),
            ),
            ("weight_scale", Tensor::from_slice(&[0.5_f32, 2.0]).view([2, 1])),
            ("weight_zero_point", Tensor::from_slice(&[0x21_i32]).view([1, 1])),
            ("weight_shape", Tensor::from_slice(&[2_i64, 9])),
            ("weight_g_idx", Tensor::from_slice(&[-1_i32; 9])),
        ];
        let tensors = tensors.map(|(suffix, tensor)| (suffix.to_owned(), tensor));
        let settings = LayerSettings { bits: Bits::Four, group_size: None, symmetric: false };
        let weight = FORMAT.read(&mut Tensors(tensors.into()), settings, (2, 9)).unwrap();
        let weight = weight.dequantize();
        assert_eq!(weight.values()[..9], [-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]);
        assert_eq!(weight.values()[9..12], [-4.0, -2.0, 0.0]);
    }

    #[test]
    fn scales_are_stored_in_the_narrowest_dtype_that_holds_them() {
        assert_eq!(narrowest(&[1.5, -0.25]), Kind::BFloat16);
        assert_eq!(narrowest(&[1.5, f16::from_f32(0.1).to_f32()]), Kind::Half);
        assert_eq!(narrowest(&[1.5, 0.1]), Kind::Float);
    }

    #[test]
    fn settings_survive_their_json() {
        for group_size in [-1, 64] {
            for head in [false, true] {
                let config = QuantizeConfig { group_size, format: FORMAT, ..Default::default() };
                let mut settings = CheckpointSettings::of_config(&config).unwrap();
                settings.head = head;
                let wide = LayerSettings { bits: Bits::Eight, ..settings.layer };
                // What is dense comes first in the file.
                for (pattern, layer) in
                    [("model\\.c", None), ("a\\.b$", Some(wide)), ("d", Some(wide))]
                {
                    let layers = regex::Regex::new(pattern).unwrap();
                    settings.overrides.push(Override { layers, settings: layer });
                }
                let json = settings.to_json(&config);
                assert_eq!(
                    json["config_groups"]["group_1"]["targets"],
                    json!(["re:a\\.b$", "re:d"])
                );
                let read = CheckpointSettings::from_json(&json, Path::new("c")).unwrap();
                assert_eq!(read, settings);
                assert_eq!(read.of("a.b"), Some(wide));
                assert_eq!(read.of("a.b.c"), Some(settings.layer));
            }
        }
    }

    #[test]
    fn names_and_classes_are_targets_and_the_rest_is_refused() {
        let weights = json!({ "num_bits": 4, "group_size": 128, "strategy": "group" });
        let with = |targets: Value| {
            json!({
                "quant_method": "compressed-tensors",
                "config_groups": { "group_0": { "targets": targets, "weights": weights } },
            })
        };
        let read = |value: &Value| CheckpointSettings::from_json(value, Path::new("config.json"));
        let named = read(&with(json!(["model.layers.0.mlp.up_proj"]))).unwrap();
        assert_eq!(named.of("model.layers.0.mlp.up_proj").unwrap().group_size, Some(128));
        let good = with(json!(["Linear"]));
        let mut cases = vec![("targets", with(json!(["LlamaAttention"])))];
        for (path, key, value) in [
            ("/format", "format", json!("int-quantized")),
            ("/config_groups/group_0/format", "format", json!("nvfp4-pack-quantized")),
            ("/config_groups/group_0/input_activations", "input_activations", json!({})),
            ("/config_groups/group_0/weights/type", "type", json!("float")),
            ("/config_groups/group_0/weights/num_bits", "num_bits", json!(5)),
            ("/config_groups/group_0/weights/strategy", "strategy", json!("tensor")),
            ("/config_groups", "config_groups", json!({})),
        ] {
            let mut wrong = good.clone();
            let (parent, last) = path.rsplit_once('/').unwrap();
            wrong.pointer_mut(parent).unwrap()[last] = value;
            cases.push((key, wrong));
        }
        for (key, wrong) in cases {
            let text = read(&wrong).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains("config.json"), "{text}");
        }
    }
}
