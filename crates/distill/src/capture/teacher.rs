//! Asking the teacher.

use limbeck_model::Decoder;
use limbeck_train::objective::forward;
use limbeck_train::{Batch, Example, head};
use tch::{Device, Kind, Tensor};

use super::error::CaptureError;
use super::reader::loss_positions;
use super::{CapturedRecord, Header, MAX_ERROR};
use crate::Result;

/// Most fp32 logits held at a time (64 MiB), whatever the vocabulary.
const HELD_LOGITS: i64 = 1 << 24;

/// The teacher's distributions for the examples of one micro-batch, in their order.
///
/// # Errors
/// [`CaptureError::NotFinite`]; those of the model and of libtorch.
pub fn ask(
    teacher: &Decoder,
    examples: &[&Example],
    header: &Header,
    pad_token_id: i64,
) -> Result<Vec<CapturedRecord>> {
    let top_k = header.top_k;
    let _no_grad = tch::no_grad_guard();
    let batch = Batch::new(examples, pad_token_id, teacher.device())?;
    let hidden = head::select_rows(&forward(teacher, &batch)?, &batch)?; // [rows, hidden]
    let num_rows = hidden.size()[0];
    let chunk = (HELD_LOGITS / header.vocab_size).max(1);
    let (mut ids, mut log_probs, mut log_tail) = (Vec::new(), Vec::new(), Vec::new());
    for start in (0..num_rows).step_by(chunk as usize) {
        let rows = hidden.f_narrow(0, start, chunk.min(num_rows - start))?;
        let part = distributions(teacher, &rows, header)?;
        ids.extend(Vec::<i32>::try_from(&part.ids)?);
        log_probs.extend(Vec::<f32>::try_from(&part.log_probs)?);
        log_tail.extend(Vec::<f32>::try_from(&part.log_tail)?);
    }
    let mut row = 0;
    let mut records = Vec::with_capacity(examples.len());
    for example in examples {
        let positions = loss_positions(example);
        let rows = row..row + positions.len();
        let values = rows.start * top_k..rows.end * top_k;
        let record = CapturedRecord {
            positions: positions.iter().map(|&position| position as u32).collect(),
            top_k,
            ids: ids[values.clone()].to_vec(),
            log_probs: log_probs[values].to_vec(),
            log_tail: log_tail[rows.clone()].to_vec(),
        };
        let sound = |(row, tail): (&[f32], &f32)| row[0].is_finite() && !tail.is_nan();
        let mut each = record.log_probs.chunks(top_k).zip(&record.log_tail);
        if let Some(unsound) = each.position(|row| !sound(row)) {
            let (id, position) = (example.id.clone(), positions[unsound]);
            return Err(CaptureError::NotFinite { id, position }.into());
        }
        row = rows.end;
        records.push(record);
    }
    Ok(records)
}

struct Part {
    /// i32 `[rows * top_k]`.
    ids: Tensor,
    /// f32 `[rows * top_k]`.
    log_probs: Tensor,
    /// f32 `[rows]`.
    log_tail: Tensor,
}

/// The top of each row's distribution, on the CPU.
fn distributions(teacher: &Decoder, hidden: &Tensor, header: &Header) -> Result<Part> {
    let logits = teacher.logits(hidden)?.f_to_kind(Kind::Float)?; // [rows, vocab]
    let mut logits = logits.f_div_scalar(header.temperature)?;
    let (top, ids) = logits.f_topk(header.top_k as i64, -1, true, true)?; // [rows, top_k]
    // The rest is summed by itself: 1 − Σ would lose what is small beside 1.
    let rest = logits.f_scatter_value_(-1, &ids, f64::NEG_INFINITY)?;
    let rest = rest.f_logsumexp([-1_i64].as_slice(), true)?; // [rows, 1]
    let kept = top.f_logsumexp([-1_i64].as_slice(), true)?;
    let normaliser = kept.f_logaddexp(&rest)?;
    let flat = |tensor: &Tensor, kind| -> Result<Tensor> {
        Ok(tensor.f_to_kind(kind)?.f_to_device(Device::Cpu)?.f_reshape([-1])?)
    };
    Ok(Part {
        ids: flat(&ids, Kind::Int)?,
        log_probs: flat(&top.f_sub(&normaliser)?, Kind::Float)?,
        log_tail: flat(&rest.f_sub(&normaliser)?, Kind::Float)?,
    })
}

/// Checks that what was read of a record is what the teacher says now: log-probabilities
/// of the same tokens and the tail, each within [`MAX_ERROR`] and `noise` nats. Tokens
/// that the other side has not among its likeliest are passed over: where two are equally
/// likely, either may be kept.
///
/// # Errors
/// [`CaptureError::Disagrees`] at the position where they differ most;
/// [`CaptureError::Shape`] for other positions.
pub fn compare(
    id: &str,
    read: &CapturedRecord,
    asked: &CapturedRecord,
    noise: f64,
) -> std::result::Result<f64, CaptureError> {
    if read.positions != asked.positions || read.top_k != asked.top_k {
        let what = "the capture has other positions than the teacher was asked for".to_owned();
        return Err(CaptureError::Shape { id: id.to_owned(), what });
    }
    let top_k = read.top_k;
    let mut worst = (0.0, 0);
    for (row, &position) in read.positions.iter().enumerate() {
        let values = row * top_k..(row + 1) * top_k;
        let mut now: Vec<(i32, f32)> = asked.ids[values.clone()]
            .iter()
            .copied()
            .zip(asked.log_probs[values.clone()].iter().copied())
            .collect();
        now.sort_unstable_by_key(|&(id, _)| id);
        let mut differences = vec![difference(read.log_tail[row], asked.log_tail[row])];
        for (&id, &log_prob) in read.ids[values.clone()].iter().zip(&read.log_probs[values]) {
            match now.binary_search_by_key(&id, |&(id, _)| id) {
                Ok(place) => differences.push(difference(log_prob, now[place].1)),
                // No longer among the likeliest: no likelier now than the last of them.
                Err(_) => differences.push(f64::from(log_prob - lowest(&now)).max(0.0)),
            }
        }
        for difference in differences {
            if difference > worst.0 || difference.is_nan() {
                worst = (difference, position as usize);
            }
        }
    }
    let (found, position) = worst;
    let expected = MAX_ERROR + noise;
    if found <= expected {
        return Ok(found);
    }
    Err(CaptureError::Disagrees { id: id.to_owned(), position, expected, found })
}

/// Between two log-probabilities; none between two that are both next to nothing.
fn difference(first: f32, second: f32) -> f64 {
    const NOTHING: f32 = -30.0;
    if first < NOTHING && second < NOTHING { 0.0 } else { f64::from((first - second).abs()) }
}

fn lowest(row: &[(i32, f32)]) -> f32 {
    row.iter().map(|&(_, log_prob)| log_prob).fold(f32::INFINITY, f32::min)
}
