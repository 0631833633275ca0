//! The AWQ checkpoint format for GEMM kernels, as `AutoAWQ` writes it and transformers and vLLM
//! read it. Codes of 4 bits only: what is called 8-bit AWQ is not read alike by any two loaders.
//!
//! For a projection of `in` × `out` features and `g` groups of input features:
//!
//! | tensor | dtype, shape | content |
//! |---|---|---|
//! | `qweight` | i32 `[in, out / 8]` | codes, eight neighbouring outputs in a word |
//! | `qzeros` | i32 `[g, out / 8]` | zeros, packed alike |
//! | `scales` | f16 `[g, out]` | scales |
//! | `bias` | f16 `[out]` | the bias, if there is one |
//!
//! A weight is `(code − zero) · scale`. The outputs of a word stand in `ORDER`, which the CUDA
//! kernel that the format was made for unpacks fastest. Symmetric weights are stored with all
//! their zeros, since loaders ask for `zero_point: true`.

use half::f16;
use rayon::prelude::*;
use regex::Regex;
use serde_json::{Value, json};
use tch::Tensor;

use super::settings::{ConfigFile, plain_name};
use super::{CheckpointSettings, Format, LayerSettings, Override, TensorSource, matrix};
use crate::bits::Bits;
use crate::config::QuantizeConfig;
use crate::error::Result;
use crate::grid::Grid;
use crate::quantized::QuantizedWeight;

/// The file that `AutoAWQ` wrote before transformers read the format, with other keys.
pub const QUANT_CONFIG_FILE: &str = "quant_config.json";

/// Codes of a word.
const PER_WORD: usize = 8;

/// Which of eight neighbouring outputs each four bits of a word hold, lowest first.
const ORDER: [usize; PER_WORD] = [0, 2, 4, 6, 1, 3, 5, 7];

/// As [`super::Format::pack`]; `None` for other widths than 4 bits, outputs that do not fill words, and
/// groups that are no neighbours.
pub(super) fn pack(weight: &QuantizedWeight) -> Result<Option<Vec<(String, Tensor)>>> {
    let (outputs, inputs) = (weight.out_features(), weight.in_features());
    let holds = weight.bits() == Bits::Four
        && outputs.is_multiple_of(PER_WORD)
        && weight.group_of().is_none();
    if !holds || outputs == 0 {
        return Ok(None);
    }
    let (groups, grids) = (weight.num_groups(), weight.grids());
    let codes = packed(inputs, outputs, |input, output| weight.codes()[output * inputs + input]);
    let zeros = packed(groups, outputs, |group, output| grids[output * groups + group].zero);
    let scales: Vec<f16> = (0..groups * outputs)
        .map(|place| grids[place % outputs * groups + place / outputs].scale)
        .map(f16::from_f32)
        .collect();
    Ok(Some(vec![
        ("qweight".to_owned(), matrix(&codes, outputs / PER_WORD)?),
        ("qzeros".to_owned(), matrix(&zeros, outputs / PER_WORD)?),
        ("scales".to_owned(), matrix(&scales, outputs)?),
    ]))
}

/// Rows of `outputs` codes each, in words.
fn packed(rows: usize, outputs: usize, code: impl Fn(usize, usize) -> u8 + Sync) -> Vec<i32> {
    let mut words = vec![0; rows * outputs / PER_WORD];
    words.par_chunks_mut(outputs / PER_WORD).enumerate().for_each(|(row, words)| {
        for (index, word) in words.iter_mut().enumerate() {
            let places = ORDER.iter().enumerate();
            let packed = places.fold(0, |packed, (place, output)| {
                packed | u32::from(code(row, index * PER_WORD + output)) << (4 * place)
            });
            *word = packed.cast_signed();
        }
    });
    words
}

/// Where the code of an output lies: its word of a row, and at which bit.
fn place(output: usize) -> (usize, usize) {
    let within = output % PER_WORD;
    // The inverse of ORDER: even outputs come first.
    (output / PER_WORD, 4 * (within / 2 + within % 2 * 4))
}

/// As [`Format::read`].
pub(super) fn read(
    source: &mut dyn TensorSource,
    settings: LayerSettings,
    (outputs, inputs): (usize, usize),
) -> Result<QuantizedWeight> {
    let group_size = settings.group_size.unwrap_or(inputs).max(1);
    let groups = inputs.div_ceil(group_size);
    let width = outputs / PER_WORD;
    if !outputs.is_multiple_of(PER_WORD) || !inputs.is_multiple_of(group_size) {
        let expected =
            format!("output features divisible by {PER_WORD}, input features by {group_size}");
        return Err(source.misfit("qweight", expected, format!("[{outputs}, {inputs}]")));
    }
    let qweight = source.integers("qweight", &[inputs, width])?;
    let qzeros = source.integers("qzeros", &[groups, width])?;
    let scales = source.floats("scales", &[groups, outputs])?;
    let code = |words: &[i32], row: usize, output: usize| {
        let (word, bit) = place(output);
        (words[row * width + word] >> bit) as u8 & Bits::Four.max_code()
    };
    let mut codes = vec![0; outputs * inputs];
    codes.par_chunks_mut(inputs.max(1)).enumerate().for_each(|(output, codes)| {
        for (input, slot) in codes.iter_mut().enumerate() {
            *slot = code(&qweight, input, output);
        }
    });
    let grids = (0..outputs * groups).map(|index| {
        let (output, group) = (index / groups, index % groups);
        Grid { scale: scales[group * outputs + output], zero: code(&qzeros, group, output) }
    });
    let grids = grids.collect();
    QuantizedWeight::new(Bits::Four, group_size, (outputs, inputs), codes, grids)
        .ok_or_else(|| source.misfit("qweight", "whole groups".into(), format!("{group_size}")))
}

/// The `quantization_config` object; `meta` is what only we read.
pub(super) fn to_json(settings: &CheckpointSettings, config: &QuantizeConfig) -> Value {
    let head = (!settings.head).then(|| "lm_head".to_owned());
    let dense = settings.overrides.iter().filter(|layers| layers.settings.is_none());
    let names = dense.map(|layers| plain_name(&layers.layers));
    json!({
        "quant_method": "awq",
        "bits": settings.layer.bits.width(),
        "group_size": settings.layer.group_size.map_or(-1, |size| size as i64),
        "zero_point": true,
        "version": "gemm",
        "modules_to_not_convert": head.into_iter().chain(names).collect::<Vec<_>>(),
        "meta": super::settings::meta(settings, config),
    })
}

/// Reads the `quantization_config` of an AWQ folder, or an older [`QUANT_CONFIG_FILE`].
pub(super) fn from_json(value: &Value, file: ConfigFile<'_>) -> Result<CheckpointSettings> {
    let key = |new: &'static str, old: &'static str| {
        if value[new].is_null() && !value[old].is_null() { old } else { new }
    };
    let bits = key("bits", "w_bit");
    if file.bits(value, bits)? != Bits::Four {
        return Err(file.wrong(bits, "4 with quant_method \"awq\"", &value[bits]));
    }
    let version = &value["version"];
    if !version.is_null() && version.as_str().is_none_or(|name| name.to_lowercase() != "gemm") {
        return Err(file.wrong("version", "\"gemm\"", version));
    }
    let layer = LayerSettings {
        bits: Bits::Four,
        group_size: file.group_size(value, key("group_size", "q_group_size"))?,
        symmetric: value["meta"]["symmetric"].as_bool().unwrap_or(false),
    };
    let dense: Option<Vec<&str>> = value["modules_to_not_convert"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect());
    let head = dense.as_ref().is_some_and(|names| !names.contains(&"lm_head"));
    let names = dense.into_iter().flatten().filter(|&name| name != "lm_head");
    let overrides = names
        .map(|name| {
            let layers: Regex = file.pattern("modules_to_not_convert", &regex::escape(name))?;
            Ok(Override { layers, settings: None })
        })
        .collect::<Result<_>>()?;
    Ok(CheckpointSettings { format: Format::Awq, layer, overrides, head })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use limbeck_core::seed::CounterRng;

    use super::super::in_memory::{Tensors, round_trip};
    use super::*;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    fn rounded(symmetric: bool, group_size: usize) -> QuantizedWeight {
        let weight = WeightMatrix::new(CounterRng::new(12).normals(24 * 64), 24, 64).unwrap();
        let rule = GridRule { symmetric, ..GridRule::symmetric(Bits::Four) };
        rtn::quantize(&weight, rule, group_size).unwrap()
    }

    #[test]
    fn packing_keeps_every_weight() {
        for symmetric in [true, false] {
            for group_size in [32, 64] {
                let weight = rounded(symmetric, group_size);
                assert_eq!(round_trip(&weight, Format::Awq), weight);
            }
        }
    }

    #[test]
    fn a_hand_packed_layer_is_read_as_defined() {
        // Two inputs in one group; the code of output n is n for the first and 0 for the second.
        let tensors = [
            ("qweight", Tensor::from_slice(&[0x7531_6420_i32, 0]).view([2, 1])),
            ("qzeros", Tensor::from_slice(&[0x1111_1111_i32]).view([1, 1])),
            ("scales", Tensor::from_slice(&[0.5_f32; 8]).view([1, 8])),
        ];
        let tensors = tensors.map(|(suffix, tensor)| (suffix.to_owned(), tensor));
        let settings = LayerSettings { bits: Bits::Four, group_size: None, symmetric: false };
        let mut source = Tensors(tensors.into());
        let weight = Format::Awq.read(&mut source, settings, (8, 2)).unwrap();
        let expected: Vec<f32> = (0..8_u8).flat_map(|n| [f32::from(n) * 0.5 - 0.5, -0.5]).collect();
        assert_eq!(weight.dequantize().values(), expected);
    }

    #[test]
    fn what_the_format_cannot_hold_is_refused() {
        let weight = WeightMatrix::new(vec![1.0; 12 * 32], 12, 32).unwrap();
        let of = |bits| rtn::quantize(&weight, GridRule::symmetric(bits), 32).unwrap();
        assert!(pack(&of(Bits::Four)).unwrap().is_none(), "12 outputs are no whole words");
        assert!(pack(&of(Bits::Eight)).unwrap().is_none());
        let ordered = rounded(true, 32).with_groups((0..64).map(|k| k % 2).collect()).unwrap();
        assert!(pack(&ordered).unwrap().is_none());
    }

    #[test]
    fn settings_survive_their_json_and_older_files_are_read() {
        let config = QuantizeConfig { group_size: 64, format: Format::Awq, ..Default::default() };
        let layers = Regex::new("model\\.layers\\.1\\.").unwrap();
        for head in [false, true] {
            let mut settings = CheckpointSettings::of_config(&config).unwrap();
            settings.head = head;
            let layers = layers.clone();
            settings.overrides.push(Override { layers, settings: None });
            let json = settings.to_json(&config);
            assert_eq!(json["zero_point"], true);
            assert_eq!(CheckpointSettings::from_json(&json, Path::new("c")).unwrap(), settings);
        }
        let old = json!({ "zero_point": true, "q_group_size": 128, "w_bit": 4, "version": "GEMM" });
        let settings = CheckpointSettings::from_json(&old, Path::new("quant_config.json")).unwrap();
        assert_eq!((settings.format, settings.layer.group_size), (Format::Awq, Some(128)));
        for (key, value) in [("w_bit", json!(8)), ("version", json!("gemv"))] {
            let mut wrong = old.clone();
            wrong[key] = value;
            let error = CheckpointSettings::from_json(&wrong, Path::new("quant_config.json"));
            assert!(error.unwrap_err().to_string().contains(key), "{key}");
        }
    }
}
