//! Proof that a folder is what was written: the codes of its layers, and what it computes.

use std::any::Any;
use std::path::Path;

use limbeck_core::Checkpoint;
use limbeck_model::{Decoder, Input, LoadOptions};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::formats::CheckpointSettings;
use crate::loader::{PackedLoader, Residency, load_decoder};
use crate::packed_linear::PackedLinear;
use crate::packed_weight::{Activations, PackedWeight};

/// Difference of logits that the order of sums explains.
const EXACT: f64 = 1e-5;

/// Difference of logits that rounding what is not packed to 16 bits explains.
const ROUNDED: f64 = 3e-2;

/// Rows of a dense head that are cast at a time.
const HEAD_ROWS: i64 = 4096;

/// Compares codes and grids of a folder's packed layers with those in memory, bit by bit.
///
/// # Errors
/// [`Error::ReadBack`] for the first that differs; those of the loader.
pub(crate) fn verify_codes(
    dir: &Path,
    settings: &Value,
    packed: &[(String, PackedWeight)],
) -> Result<()> {
    let settings = CheckpointSettings::from_json(settings, &dir.join("config.json"))?;
    let loader =
        PackedLoader { settings, residency: Residency::Packed, activations: Activations::Float32 };
    let mut checkpoint = Checkpoint::open(dir)?;
    for (name, weight) in packed {
        let differ = |reason: &str| Error::ReadBack {
            layer: name.clone(),
            path: dir.to_owned(),
            reason: reason.to_owned(),
        };
        let stored = loader
            .read(name, &mut checkpoint, weight.size())?
            .ok_or_else(|| differ("it was not written packed"))?;
        // One by one: a large table's codes twice would be the most that is held at all.
        if !weight.is(stored)? {
            return Err(differ("codes, scales, zeros or groups were written otherwise"));
        }
    }
    Ok(())
}

/// Loads the folder as its users will and compares its logits on `sequences` of tokens with those
/// of the decoder in memory. They differ by no more than 1e-5 of their norm, or 3e-2 where norms,
/// embedding or head were rounded to `stored`, the dtype they were written in.
///
/// # Errors
/// [`Error::ReadBackLogits`]; what [`load_decoder`] refuses.
pub fn verify_logits(
    decoder: &Decoder,
    dir: &Path,
    stored: Kind,
    sequences: &[Vec<i64>],
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    // What is dense stays as it is stored: in float32 a large vocabulary's matrix would be the
    // most memory that quantising takes at all.
    let options = LoadOptions {
        device: decoder.device(),
        parameter_dtype: stored,
        compute_dtype: decoder.compute_dtype(),
        linear_loader: None,
    };
    let loaded = load_decoder(dir, &options)?;
    let tolerance = match decoder.compute_dtype() {
        Kind::Float if !is_rounded(decoder, stored)? => EXACT,
        _ => ROUNDED,
    };
    for tokens in sequences.iter().filter(|tokens| !tokens.is_empty()) {
        let tokens = Tensor::f_from_slice(tokens)?.f_unsqueeze(0)?.f_to_device(decoder.device())?;
        let (difference, size) = logits_apart(decoder, &loaded, &tokens)?;
        let difference = difference / size.max(f64::MIN_POSITIVE);
        if difference.is_nan() || difference > tolerance {
            return Err(Error::ReadBackLogits { path: dir.to_owned(), difference, tolerance });
        }
    }
    Ok(())
}

/// The norm of the difference of two decoders' logits, and of the first one's logits.
fn logits_apart(decoder: &Decoder, loaded: &Decoder, tokens: &Tensor) -> Result<(f64, f64)> {
    let input = Input::causal(tokens);
    let hidden = [decoder.forward(&input, None, None)?, loaded.forward(&input, None, None)?];
    let vocab_size = decoder.config().vocab_size;
    // A packed head is computed at once; a dense one is cast slice by slice.
    let slice = if is_packed_head(decoder) { vocab_size } else { HEAD_ROWS };
    let (mut apart, mut size) = (0.0, 0.0);
    for start in (0..vocab_size).step_by(slice as usize) {
        let length = slice.min(vocab_size - start);
        let logits = |decoder: &Decoder, hidden: &Tensor| -> Result<Tensor> {
            let logits = if length == vocab_size {
                decoder.logits(hidden)?
            } else {
                let rows = decoder.head_rows(start, length, hidden.kind())?;
                hidden.f_linear(&rows, None::<Tensor>)?
            };
            Ok(logits.f_to_kind(Kind::Double)?)
        };
        let square =
            |tensor: &Tensor| -> Result<f64> { Ok(tensor.f_norm()?.f_double_value(&[])?.powi(2)) };
        let expected = logits(decoder, &hidden[0])?;
        apart += square(&logits(loaded, &hidden[1])?.f_sub(&expected)?)?;
        size += square(&expected)?;
    }
    Ok((apart.sqrt(), size.sqrt()))
}

fn is_packed_head(decoder: &Decoder) -> bool {
    match decoder.head_name().and_then(|name| decoder.linear(name)) {
        Some(head) => (head as &dyn Any).is::<PackedLinear>(),
        None => decoder.embedding().weight().is_none(),
    }
}

/// Whether a parameter that is written in the dtype `stored` is not exactly one of it.
fn is_rounded(decoder: &Decoder, stored: Kind) -> Result<bool> {
    let changes = |tensor: &Tensor| -> Result<bool> {
        Ok(!tensor.f_to_kind(stored)?.f_to_kind(tensor.kind())?.f_equal(tensor)?)
    };
    for (_, norm) in decoder.norm_weights() {
        if changes(&norm)? {
            return Ok(true);
        }
    }
    // Packed ones are not asked for their tensors, which would have to be made.
    let head = decoder.head_name().map(str::to_owned);
    for name in decoder.linear_names().into_iter().chain(head) {
        let Some(layer) = decoder.linear(&name) else { continue };
        if (layer as &dyn Any).is::<PackedLinear>() {
            continue;
        }
        for (_, tensor) in layer.tensors() {
            if changes(&tensor)? {
                return Ok(true);
            }
        }
    }
    match decoder.embedding().weight() {
        Some(weight) => changes(weight),
        None => Ok(false),
    }
}

/// A few sequences that reach all over a vocabulary, where there are none of a text.
pub(crate) fn probes(vocab_size: i64) -> Vec<Vec<i64>> {
    // A stride that is prime and irregular; any would do.
    let token = |place: i64| (place * 7919 + 3) % vocab_size.max(1);
    (0..2).map(|row| (0..24).map(|column| token(row * 24 + column)).collect()).collect()
}
