//! Calibration: token sequences run through the decoder block by block, and the inputs of
//! one projection summed into its Hessian on the way.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use limbeck_model::{Decoder, Input, Linear};
use limbeck_run::{Diagnose, Exit};
use tch::{Device, Tensor};

use crate::config::QuantizeConfig;
use crate::error::{Error, Result};
use crate::hessian::Hessian;

/// The calibration sequences in batches, with the hidden states that enter the next
/// block.
#[derive(Debug)]
pub(crate) struct Calibration {
    batches: Vec<Batch>,
    num_tokens: usize,
}

#[derive(Debug)]
struct Batch {
    /// i64 `[batch, seq]`, padded on the right.
    tokens: Tensor,
    /// `[batch, seq, hidden]`
    hidden: Tensor,
    /// Places of the tokens in `[batch · seq]`; `None` without padding.
    valid: Option<Tensor>,
}

impl Calibration {
    /// Embeds the sequences that the limits of `config` admit, in the order given.
    ///
    /// # Errors
    /// [`Error::NoCalibration`]; a token outside the vocabulary.
    pub(crate) fn new(
        decoder: &Decoder,
        sequences: &[Vec<i64>],
        config: &QuantizeConfig,
    ) -> Result<Self> {
        let mut admitted = Vec::new();
        let mut num_tokens = 0;
        for sequence in sequences.iter().filter(|sequence| !sequence.is_empty()) {
            let room = config.calibration_tokens_max - num_tokens;
            if admitted.len() == config.calibration_records || room == 0 {
                break;
            }
            let sequence = &sequence[..sequence.len().min(room)];
            num_tokens += sequence.len();
            admitted.push(sequence);
        }
        if admitted.is_empty() {
            let reason = format!("all of the {} sequences are empty", sequences.len());
            return Err(Error::NoCalibration { reason });
        }
        // Neighbours of similar length need little padding.
        admitted.sort_by_key(|sequence| sequence.len());
        let batches = admitted
            .chunks(config.batch_size)
            .map(|sequences| Batch::new(decoder, sequences))
            .collect::<Result<_>>()?;
        Ok(Self { batches, num_tokens })
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// The Hessian of the projection `name` of block `layer`, over all its inputs.
    ///
    /// # Errors
    /// Failures of the forward pass; [`Error::ActivationRange`].
    pub(crate) fn hessian(
        &self,
        decoder: &mut Decoder,
        layer: usize,
        name: &str,
    ) -> Result<Hessian> {
        let in_features = decoder.linear(name).map_or(0, Linear::in_features);
        let hessian = Hessian::new(in_features, decoder.device())?;
        let capture = Arc::new(Mutex::new(Capture { hessian, valid: None }));
        decoder.map_linear(name, &mut |inner| {
            Ok(Box::new(Recorder { name: name.to_owned(), inner, capture: Arc::clone(&capture) }))
        })?;
        let outcome = self.run_up_to(decoder, layer, &capture);
        // Also after a failure: the model must come out as it went in.
        decoder.map_linear(name, &mut unwrap)?;
        outcome?;
        let capture = Arc::into_inner(capture)
            .map(|capture| capture.into_inner().unwrap_or_else(PoisonError::into_inner));
        let Some(Capture { hessian, .. }) = capture else {
            return Err(limbeck_model::Error::LinearMissing { name: name.to_owned() }.into());
        };
        if !hessian.is_finite()? {
            return Err(Error::ActivationRange { layer: name.to_owned() });
        }
        Ok(hessian)
    }

    /// Runs the block on every batch until its recorder stops the pass.
    fn run_up_to(&self, decoder: &Decoder, layer: usize, capture: &Mutex<Capture>) -> Result<()> {
        for batch in &self.batches {
            lock(capture).valid = batch.valid.as_ref().map(Tensor::shallow_clone);
            match decoder.layer_forward(layer, &batch.hidden, &Input::causal(&batch.tokens)) {
                Err(limbeck_model::Error::Layer { source, .. }) if source.is::<Captured>() => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Replaces the hidden states by the outputs of block `layer`.
    ///
    /// # Errors
    /// Failures of the forward pass.
    pub(crate) fn advance(&mut self, decoder: &Decoder, layer: usize) -> Result<()> {
        for batch in &mut self.batches {
            let input = Input::causal(&batch.tokens);
            batch.hidden = decoder.layer_forward(layer, &batch.hidden, &input)?;
        }
        Ok(())
    }
}

impl Batch {
    fn new(decoder: &Decoder, sequences: &[&[i64]]) -> Result<Self> {
        let rows = sequences.len();
        let seq = sequences.iter().map(|sequence| sequence.len()).max().unwrap_or(0);
        // What pads a row is never looked at, so any token of the vocabulary will do.
        let mut tokens = vec![0_i64; rows * seq];
        let mut valid = Vec::new();
        for (row, sequence) in sequences.iter().enumerate() {
            let start = row * seq;
            tokens[start..start + sequence.len()].copy_from_slice(sequence);
            valid.extend((start..start + sequence.len()).map(|place| place as i64));
        }
        let on_device = |values: &[i64], device: Device| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_to_device(device)?)
        };
        let device = decoder.device();
        let valid =
            if valid.len() < tokens.len() { Some(on_device(&valid, device)?) } else { None };
        let tokens = on_device(&tokens, device)?.f_view([rows as i64, seq as i64])?;
        let hidden = decoder.embed(&Input::causal(&tokens))?;
        Ok(Self { tokens, hidden, valid })
    }
}

/// What a recorder and the walk share.
#[derive(Debug)]
struct Capture {
    hessian: Hessian,
    valid: Option<Tensor>,
}

impl Capture {
    /// `[.., in]`
    fn record(&mut self, input: &Tensor) -> Result<()> {
        let width = input.size().last().copied().unwrap_or(0);
        let mut rows = input.f_reshape([-1, width])?; // [batch · seq, in]
        if let Some(valid) = &self.valid {
            rows = rows.f_index_select(0, valid)?;
        }
        self.hessian.add(&rows)
    }
}

fn lock(capture: &Mutex<Capture>) -> MutexGuard<'_, Capture> {
    capture.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands before a projection, records its input and ends the forward pass there: what
/// comes after it in the block is not needed yet.
#[derive(Debug)]
struct Recorder {
    name: String,
    inner: Box<dyn Linear>,
    capture: Arc<Mutex<Capture>>,
}

impl Linear for Recorder {
    fn forward(&self, input: &Tensor) -> limbeck_model::Result<Tensor> {
        lock(&self.capture)
            .record(input)
            .map_err(|error| limbeck_model::Error::layer(&self.name, error))?;
        Err(limbeck_model::Error::layer(&self.name, Captured))
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
    let name = "recorder".to_owned();
    let layer: Box<dyn Any> = layer;
    match layer.downcast::<Recorder>() {
        Ok(recorder) => Ok(recorder.inner),
        Err(_) => Err(limbeck_model::Error::LinearMissing { name }),
    }
}

/// The signal that a pass went as far as it should; never leaves this module.
#[derive(Debug)]
struct Captured;

impl fmt::Display for Captured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the layer's input was recorded")
    }
}

impl std::error::Error for Captured {}

impl Diagnose for Captured {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}
