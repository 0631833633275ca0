//! How much memory quantising a decoder will take, told before it begins.

use limbeck_model::Decoder;

use crate::calibration::KEPT_BYTES;
use crate::config::{Method, QuantizeConfig};
use crate::head;
use crate::layer_shapes::LayerShape;
use crate::packed_linear::tensor_bytes;

/// Bytes of an activation, a Hessian's element and a solver's weight.
const FLOAT: u64 = 4;
/// Square matrices of the widest layer that are alive while its Hessian is factored: sum,
/// whole and reversed matrix, damped one, factor, unit matrix, inverse, and its copy.
const FACTORS: u64 = 8;
/// Bytes of a weight of a layer that is being solved: the matrix and its copy for libtorch,
/// what it is rounded to and that copy, codes, words and tiles.
const SOLVING: u64 = 4 * FLOAT + 3;

/// What the kernels' buffers, the allocator and threads hold beside: measured on Gemma 3 270M.
const BESIDE: u64 = 200 << 20;

/// Bytes of memory at the peak: what the process holds now, or the weights if they are more,
/// and what the walk adds.
///
/// The model behind it: the residual stream of all calibration tokens (two with GPTAQ), inputs
/// of one stage that are kept, activations of one batch, matrices of the widest layer's
/// Hessian, one layer being solved; at the end, instead of these, the codes of the head's
/// table; and a constant.
pub(crate) fn peak_bytes(
    decoder: &Decoder,
    config: &QuantizeConfig,
    shapes: &[LayerShape],
    sequences: &[&[i64]],
) -> u64 {
    let weights: u64 =
        decoder.named_parameters().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum();
    let held = limbeck_run::resident_memory_bytes().unwrap_or(0).max(weights);

    let size = |size: i64| size.unsigned_abs();
    let model = decoder.config();
    let hidden = size(model.hidden_size);
    let tokens: u64 = sequences.iter().map(|sequence| sequence.len() as u64).sum();
    // Sequences are sorted: the last batch is the largest.
    let longest = sequences.last().map_or(0, |sequence| sequence.len() as u64);
    let batch = longest * (config.batch_size.min(sequences.len()) as u64);
    let widest = shapes.iter().map(|shape| size(shape.in_features)).max().unwrap_or(0);
    let largest =
        shapes.iter().map(|shape| size(shape.in_features * shape.out_features)).max().unwrap_or(0);
    let streams = if config.gptaq { 2 } else { 1 };

    let (stream, block) = if config.method == Method::Rtn {
        (0, largest * SOLVING)
    } else {
        let stream = streams * tokens * hidden * FLOAT;
        let kept = streams * (tokens * widest * FLOAT).min(KEPT_BYTES);
        let activations = batch * (4 * widest + 4 * hidden) * FLOAT;
        let factor = FACTORS * streams * widest * widest * FLOAT;
        (stream, kept + activations + factor + largest * SOLVING)
    };
    let vocab = size(model.vocab_size);
    let table = match config.head_bits.max(config.embedding_bits) {
        0 => 0,
        bits => vocab * hidden * (8 + bits.max(4)) / 8 + head::SLAB_WEIGHTS as u64 * SOLVING,
    };
    held + BESIDE + stream + block.max(table)
}
