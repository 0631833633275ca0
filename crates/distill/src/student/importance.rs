//! How much a teacher uses each dimension, neuron and head (Minitron, arXiv 2407.14679,
//! section 2.2): means over the tokens of calibration records, from forward passes alone.
//!
//! Of a dimension of the residual stream it is the magnitude of what norms pass on, summed
//! over the norms before attention and MLP of the chosen blocks and the final one; of a
//! neuron the magnitude of its activation, as `down_proj` sees it; of a head the Euclidean
//! length of its output, as `o_proj` sees it.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use limbeck_model::{Decoder, Input, Linear};
use tch::{Kind, Tensor};

use super::StudentError;
use crate::Result;

/// Importance by index.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Importance {
    /// Of each dimension of the residual stream.
    pub(super) hidden: Vec<f64>,
    /// Of the query heads of each chosen block.
    pub(super) heads: Vec<Vec<f64>>,
    /// Of the neurons of each chosen block.
    pub(super) neurons: Vec<Vec<f64>>,
    /// Sequences measured on.
    pub(super) records: usize,
    /// Their tokens.
    pub(super) tokens: usize,
}

/// Where the inputs of a projection are summed up: f64 `[features]` or `[heads]`.
type Sum = Arc<Mutex<Option<Tensor>>>;

/// The projections whose inputs are measured.
const MEASURED: [&str; 4] =
    ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"];

/// Runs the teacher on the sequences, one at a time, and measures the chosen blocks. The
/// teacher comes out as it went in.
///
/// # Errors
/// [`StudentError::NoCalibration`], [`StudentError::NotFinite`]; failures of the forward pass.
pub(super) fn measure(
    teacher: &mut Decoder,
    layers: &[usize],
    sequences: &[&[i64]],
) -> Result<Importance> {
    let tokens: usize = sequences.iter().map(|sequence| sequence.len()).sum();
    if tokens == 0 {
        return Err(StudentError::NoCalibration.into());
    }
    let head_dim = teacher.config().head_dim;
    let mut sums: Vec<[Sum; 4]> = Vec::with_capacity(layers.len());
    for layer in layers {
        let of_block: [Sum; 4] = std::array::from_fn(|_| Sum::default());
        for (name, sum) in MEASURED.iter().zip(&of_block) {
            let width = if name.ends_with("o_proj") { head_dim } else { 1 };
            teacher.map_linear(&format!("model.layers.{layer}.{name}"), &mut |inner| {
                Ok(Box::new(Recorder { inner, width, sum: Arc::clone(sum) }))
            })?;
        }
        sums.push(of_block);
    }
    let outcome = run(teacher, sequences);
    // Also after a failure: the teacher is used on.
    for layer in layers {
        for name in MEASURED {
            teacher.map_linear(&format!("model.layers.{layer}.{name}"), &mut unwrap)?;
        }
    }
    let mut hidden = outcome?;
    let (mut heads, mut neurons) = (Vec::new(), Vec::new());
    for (&block, [before_attention, of_heads, before_mlp, of_neurons]) in layers.iter().zip(&sums) {
        let mean = |sum: &Sum, part| mean(sum, tokens, block, part);
        for sum in [before_attention, before_mlp] {
            let values = mean(sum, "norms")?;
            hidden.iter_mut().zip(values).for_each(|(total, value)| *total += value);
        }
        heads.push(mean(of_heads, "heads")?);
        neurons.push(mean(of_neurons, "neurons")?);
    }
    Ok(Importance { hidden, heads, neurons, records: sequences.len(), tokens })
}

/// Mean magnitudes behind the final norm.
fn run(teacher: &Decoder, sequences: &[&[i64]]) -> Result<Vec<f64>> {
    let _guard = tch::no_grad_guard();
    let sum = Sum::default();
    let mut tokens = 0;
    for sequence in sequences.iter().filter(|sequence| !sequence.is_empty()) {
        let ids = Tensor::f_from_slice(sequence)?.f_unsqueeze(0)?.f_to_device(teacher.device())?;
        add(&sum, &teacher.forward(&Input::causal(&ids), None, None)?, 1)?;
        tokens += sequence.len();
    }
    mean(&sum, tokens, teacher.num_layers().saturating_sub(1), "final norm")
}

fn mean(sum: &Sum, tokens: usize, block: usize, part: &'static str) -> Result<Vec<f64>> {
    let sum = sum.lock().unwrap_or_else(PoisonError::into_inner).take();
    let values = match sum {
        Some(sum) => Vec::<f64>::try_from(sum.f_div_scalar(tokens as f64)?)?,
        None => Vec::new(),
    };
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err(StudentError::NotFinite { block, part }.into());
    }
    Ok(values)
}

/// Adds the lengths of the groups of `width` entries on the last axis, over all others.
fn add(sum: &Sum, input: &Tensor, width: i64) -> std::result::Result<(), tch::TchError> {
    let features = input.size().last().copied().unwrap_or(width);
    let lengths = input
        .f_detach()?
        .f_to_kind(Kind::Float)?
        .f_reshape([-1, features / width, width])? // [tokens, groups, width]
        .f_square()?
        .f_sum_dim_intlist(-1, false, Kind::Float)?
        .f_sqrt()?
        .f_sum_dim_intlist(0, false, Kind::Double)?
        .f_to_device(tch::Device::Cpu)?;
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    *sum = Some(match sum.take() {
        Some(before) => before.f_add(&lengths)?,
        None => lengths,
    });
    Ok(())
}

/// Stands before a projection and sums up its input.
#[derive(Debug)]
struct Recorder {
    inner: Box<dyn Linear>,
    width: i64,
    sum: Sum,
}

impl Linear for Recorder {
    fn forward(&self, input: &Tensor) -> limbeck_model::Result<Tensor> {
        add(&self.sum, input, self.width)?;
        self.inner.forward(input)
    }

    fn in_features(&self) -> i64 {
        self.inner.in_features()
    }

    fn out_features(&self) -> i64 {
        self.inner.out_features()
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.inner.tensors()
    }

    fn dense_weight(&self) -> limbeck_model::Result<Tensor> {
        self.inner.dense_weight()
    }

    fn bias(&self) -> Option<Tensor> {
        self.inner.bias()
    }
}

fn unwrap(layer: Box<dyn Linear>) -> limbeck_model::Result<Box<dyn Linear>> {
    if !(&*layer as &dyn Any).is::<Recorder>() {
        return Ok(layer);
    }
    let layer: Box<dyn Any> = layer;
    match layer.downcast::<Recorder>() {
        Ok(recorder) => Ok(recorder.inner),
        Err(_) => Err(limbeck_model::Error::LinearMissing { name: "recorder".to_owned() }),
    }
}
