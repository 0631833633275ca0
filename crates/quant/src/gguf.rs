//! A decoder as llama.cpp's file, packed layers with the codes they have.

use std::collections::HashMap;
use std::path::Path;

use limbeck_model::Decoder;
use limbeck_model::gguf::{self, BlockMatrix, ExportOptions, Exported, TensorType};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::blocks::{BlockKind, to_blocks};
use crate::packed_linear::of_model;
use crate::packed_weight::PackedWeight;
use crate::quantize::packed_layers;

/// How far a weight of `Q4_1` blocks may be from the packed one, as a share of its group's step:
/// the minimum is rounded to f16.
const MINIMUM_ERROR: f64 = 1.0 / 130.0;

/// Writes a decoder and the tokenizer of the folder `tokenizer` as the file `path`: packed
/// layers, whatever format they were packed for, in blocks of the same codes; other matrices as
/// `dense`, where llama.cpp's rules do not put another type in its place.
///
/// Then reads the file back through [`gguf::import`]'s reader: every packed layer must stand for
/// the weights it stands for in memory, bit by bit (asymmetric ones but for the rounding of
/// their minima).
///
/// # Errors
/// [`Error::FormatLimit`] for a packed layer that blocks cannot hold; what [`gguf::export()`]
/// refuses; [`Error::ReadBack`].
pub fn save_gguf(
    decoder: &Decoder,
    tokenizer: &Path,
    path: &Path,
    dense: TensorType,
) -> Result<Exported> {
    let packed: HashMap<String, PackedWeight> = packed_layers(decoder).into_iter().collect();
    for (name, weight) in &packed {
        let weight = weight.to_quantized()?;
        let found = if weight.group_of().is_some() {
            "features in order of activation".to_owned()
        } else {
            let kind = if weight.is_symmetric() { "symmetric" } else { "asymmetric" };
            let bits = weight.bits().width();
            format!("{kind} codes of {bits} bits in groups of {}", weight.group_size())
        };
        if to_blocks(&weight).is_none() {
            return Err(Error::FormatLimit {
                format: Format::Gguf.name(),
                expected: format!(
                    "symmetric codes or such of 4 bits at most, in groups of 32 or more, of {name}"
                ),
                found,
                hint: "quantise the unquantised model with format = \"gguf\"".to_owned(),
            });
        }
    }
    let blocks = |name: &str| -> Option<BlockMatrix> {
        let (kind, bytes) = to_blocks(&packed.get(name)?.to_quantized().ok()?)?;
        Some(BlockMatrix { kind: tensor_type(kind), bytes })
    };
    let options = ExportOptions { kind: dense, blocks: Some(&blocks) };
    let exported = gguf::export(decoder, tokenizer, path, options)?;
    verify(path, &packed)?;
    Ok(exported)
}

fn tensor_type(kind: BlockKind) -> TensorType {
    match kind {
        BlockKind::Q4_0 => TensorType::Q4_0,
        BlockKind::Q4_1 => TensorType::Q4_1,
        BlockKind::Q8_0 => TensorType::Q8_0,
    }
}

fn verify(path: &Path, packed: &HashMap<String, PackedWeight>) -> Result<()> {
    let mut found = 0;
    gguf::for_each_tensor(path, Kind::Float, &mut |key, stored| {
        let layer = key.strip_suffix(".weight").unwrap_or(&key);
        let Some(weight) = packed.get(layer) else { return Ok(()) };
        found += 1;
        check_layer(path, layer, weight, &stored).map_err(of_model)
    })?;
    if found != packed.len() {
        return Err(Error::ReadBack {
            layer: format!("{} of {}", packed.len() - found, packed.len()),
            path: path.to_owned(),
            reason: "they were not written".to_owned(),
        });
    }
    Ok(())
}

fn check_layer(path: &Path, layer: &str, weight: &PackedWeight, stored: &Tensor) -> Result<()> {
    let (rows, _) = weight.size();
    let expected = weight.rows(0, rows, Kind::Float)?.f_to_device(tch::Device::Cpu)?;
    if stored.f_equal(&expected)? {
        return Ok(());
    }
    let quantized = weight.to_quantized()?;
    let steps = quantized.grids().iter().map(|grid| grid.scale.abs());
    let bound = f64::from(steps.fold(0.0, f32::max)) * MINIMUM_ERROR;
    let worst = stored.f_sub(&expected)?.f_abs()?.f_max()?.f_double_value(&[])?;
    if !quantized.is_symmetric() && worst <= bound {
        return Ok(());
    }
    Err(Error::ReadBack {
        layer: layer.to_owned(),
        path: path.to_owned(),
        reason: format!("a weight is off by {worst}"),
    })
}
