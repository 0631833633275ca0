//! How a model does on records that it does not learn from.

use limbeck_model::Decoder;
use tch::{Device, Kind, no_grad};

use crate::objective::{forward, weighted_cross_entropy};
use crate::sampler::{Sampler, SamplerState};
use crate::{Batch, Example, Result, TrainConfig, head};

/// A figure of the caller's by which early stopping and the best parameters are decided,
/// such as the accuracy of generated replies.
pub trait ValidationMetric {
    /// Its name in the metrics.
    fn name(&self) -> &'static str;

    /// The model's figure; higher is better. Called where no gradients are recorded.
    ///
    /// # Errors
    /// [`crate::Error::Metric`].
    fn measure(&mut self, model: &Decoder) -> Result<f64>;
}

/// Mean cross-entropy of the completions, nats a token.
///
/// # Errors
/// Those of the model.
pub fn cross_entropy(
    model: &Decoder,
    examples: &[Example],
    config: &TrainConfig,
    pad_token_id: i64,
    device: Device,
) -> Result<f64> {
    let mut sampler = Sampler::new(examples, config.micro_batch_tokens, 0, SamplerState::default());
    let (mut sum, mut weight) = (0.0, 0.0);
    for _ in 0..sampler.epoch_length() {
        let indices = sampler.next_micro_batch();
        let chosen: Vec<&Example> = indices.iter().map(|&index| &examples[index]).collect();
        let batch = Batch::new(&chosen, pad_token_id, device)?;
        sum += no_grad(|| batch_sum(model, &batch, config.head_chunk_rows))?;
        weight += batch.weight_sum;
    }
    Ok(sum / weight)
}

fn batch_sum(model: &Decoder, batch: &Batch, chunk_rows: i64) -> Result<f64> {
    let rows = head::select_rows(&forward(model, batch)?, batch)?;
    let num_rows = rows.size()[0];
    let mut sum = 0.0;
    for start in (0..num_rows).step_by(chunk_rows.max(1) as usize) {
        let length = chunk_rows.min(num_rows - start);
        let logits = model.logits(&rows.f_narrow(0, start, length)?)?.f_to_kind(Kind::Float)?;
        let targets = batch.targets.f_narrow(0, start, length)?;
        let weights = batch.weights.f_narrow(0, start, length)?;
        sum += weighted_cross_entropy(&logits, &targets, &weights, 1.0)?.f_double_value(&[])?;
    }
    Ok(sum)
}
