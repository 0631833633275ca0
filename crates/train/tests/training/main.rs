//! Properties of the trainer on a small random model.

mod properties;
mod rate_finder;
mod recovery;
mod resumption;
mod selection;

use std::path::Path;

use limbeck_core::test_device;
use limbeck_model::Decoder;
use limbeck_train::{
    Batch, Error, Example, Losses, Objective, ParameterGroup, SupervisedObjective, TrainConfig,
    TrainReport, Trainer, ValidationMetric,
};
use serde_json::json;
use tch::{Device, Kind, Tensor};

fn model() -> Decoder {
    model_on(test_device())
}

fn model_on(device: Device) -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 128, "initializer_range": 0.1,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
        "tie_word_embeddings": true,
    });
    let model = Decoder::init(&config, 7, device, Kind::Float).unwrap();
    model.set_requires_grad(true).unwrap();
    model
}

fn examples(count: usize) -> Vec<Example> {
    (0..count)
        .map(|index| {
            let length = 6 + index * 5 % 17;
            let tokens = (0..length).map(|at| ((index * 31 + at * 7) % 50) as i64).collect();
            let weights = (0..length).map(|at| if at > 2 { 1.0 } else { 0.0 }).collect();
            Example { id: format!("e{index}"), tokens, weights, ..Example::default() }
        })
        .collect()
}

/// Trains a model on 40 examples, the first 4 of them for validation.
fn run(
    folder: &Path,
    config: &TrainConfig,
    model: &Decoder,
    objective: &mut dyn Objective,
    metric: Option<&mut dyn ValidationMetric>,
) -> Result<TrainReport, Error> {
    let trainer = Trainer {
        config,
        output: folder,
        seed: 3,
        pad_token_id: 0,
        device: test_device(),
        label: "test",
        run: "r",
    };
    let examples = examples(40);
    let parameters = model.named_parameters();
    let groups = vec![ParameterGroup::all(parameters)];
    trainer.run_with(model, groups, None, &examples, &examples[..4], objective, metric)
}

/// Copies of the parameters.
fn values(model: &Decoder) -> Vec<Tensor> {
    model.named_parameters().into_iter().map(|(_, tensor)| tensor.detach().copy()).collect()
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 12,
        micro_batch_tokens: 64,
        gradient_accumulation: 2,
        warmup_steps: 3,
        checkpoint_every: 5,
        log_every: 2,
        ..TrainConfig::default()
    }
}

/// Does something to the gradients of chosen calls, or fails, as a killed process would
/// stop there.
struct Scripted<F> {
    call: usize,
    script: F,
}

/// What becomes of a call.
enum Fate {
    Good,
    NotFinite,
    Killed,
}

impl<F: FnMut(usize) -> Fate> Objective for Scripted<F> {
    fn accumulate(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> limbeck_train::Result<Losses> {
        let call = self.call;
        self.call += 1;
        match (self.script)(call) {
            Fate::Killed => Err(Error::NoParameters),
            fate => {
                let mut inner = SupervisedObjective { chunk_rows: 64 };
                let losses = inner.accumulate(model, batch, total_weight)?;
                if matches!(fate, Fate::NotFinite) {
                    let _ = model.named_parameters()[0].1.grad().fill_(f64::NAN);
                }
                Ok(losses)
            }
        }
    }
}

fn scripted<F: FnMut(usize) -> Fate>(script: F) -> Scripted<F> {
    Scripted { call: 0, script }
}

/// Dies at this call.
fn killed_at(last: usize) -> Scripted<impl FnMut(usize) -> Fate> {
    scripted(move |call| if call < last { Fate::Good } else { Fate::Killed })
}
