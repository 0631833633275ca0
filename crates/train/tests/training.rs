//! Properties of the trainer on a small random model: splits, chunks and kills change
//! nothing.

use limbeck_core::test_device;
use limbeck_model::Decoder;
use limbeck_train::{
    Batch, Error, Example, Losses, Objective, SupervisedObjective, TrainConfig, TrainReport,
    Trainer,
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

fn gradients(model: &Decoder, batches: &[Batch], chunk_rows: i64) -> (f64, Vec<Tensor>) {
    let total: f64 = batches.iter().map(|batch| batch.weight_sum).sum();
    let mut objective = SupervisedObjective { chunk_rows };
    let mut loss = 0.0;
    for batch in batches {
        loss += objective.accumulate(model, batch, total).unwrap()[0].1;
    }
    let gradients =
        model.named_parameters().iter().map(|(_, parameter)| parameter.grad().copy()).collect();
    (loss, gradients)
}

fn assert_same(left: &(f64, Vec<Tensor>), right: &(f64, Vec<Tensor>)) {
    assert!((left.0 - right.0).abs() < 1e-5, "{} {}", left.0, right.0);
    for (left, right) in left.1.iter().zip(&right.1) {
        assert!(left.allclose(right, 1e-4, 1e-6, false));
    }
}

#[test]
fn a_padded_batch_equals_its_examples_one_by_one() {
    let examples = examples(7);
    let all: Vec<&Example> = examples.iter().collect();
    let whole = [Batch::new(&all, 0, test_device()).unwrap()];
    let single: Vec<Batch> =
        all.iter().map(|example| Batch::new(&[example], 0, test_device()).unwrap()).collect();
    assert_same(&gradients(&model(), &whole, 1000), &gradients(&model(), &single, 1000));
}

#[test]
fn the_chunked_head_equals_the_whole_one() {
    let examples = examples(7);
    let all: Vec<&Example> = examples.iter().collect();
    let batch = || [Batch::new(&all, 0, test_device()).unwrap()];
    let whole = gradients(&model(), &batch(), i64::MAX);
    for chunk_rows in [1, 5, 16] {
        assert_same(&whole, &gradients(&model(), &batch(), chunk_rows));
    }
    // And both equal plain autograd through logits of all rows.
    let model = model();
    let [batch] = batch();
    let hidden = limbeck_train::objective::forward(&model, &batch).unwrap();
    let rows = limbeck_train::head::select_rows(&hidden, &batch).unwrap();
    let logits = model.logits(&rows).unwrap();
    let loss = logits.cross_entropy_for_logits(&batch.targets);
    loss.backward();
    let plain = model.named_parameters().iter().map(|(_, tensor)| tensor.grad().copy()).collect();
    assert_same(&whole, &(loss.double_value(&[]), plain));
}

/// Trivial on the CPU itself: meant for every other device.
#[test]
fn gradients_are_those_of_the_cpu() {
    let examples = examples(7);
    let all: Vec<&Example> = examples.iter().collect();
    let on = |device| {
        let batch = [Batch::new(&all, 0, device).unwrap()];
        let (loss, gradients) = gradients(&model_on(device), &batch, 16);
        (loss, gradients.iter().map(|gradient| gradient.to_device(Device::Cpu)).collect())
    };
    assert_same(&on(Device::Cpu), &on(test_device()));
}

/// Fails at a given call, as a killed process would stop there.
struct Killed {
    inner: SupervisedObjective,
    calls_left: usize,
}

impl Objective for Killed {
    fn accumulate(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> limbeck_train::Result<Losses> {
        if self.calls_left == 0 {
            return Err(Error::NoParameters);
        }
        self.calls_left -= 1;
        self.inner.accumulate(model, batch, total_weight)
    }
}

fn run(
    folder: &std::path::Path,
    config: &TrainConfig,
    run: &str,
    calls: usize,
) -> Result<(TrainReport, Vec<Tensor>), Error> {
    let model = model();
    let trainer = Trainer {
        config,
        output: folder,
        seed: 3,
        pad_token_id: 0,
        device: test_device(),
        label: "test",
        run,
    };
    let mut objective = Killed { inner: SupervisedObjective { chunk_rows: 64 }, calls_left: calls };
    let examples = examples(40);
    let report =
        trainer.run(&model, model.named_parameters(), &examples, &examples[..4], &mut objective)?;
    Ok((report, model.named_parameters().into_iter().map(|(_, tensor)| tensor.copy()).collect()))
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

#[test]
fn a_killed_run_resumed_gives_the_same_bits() {
    tch::set_num_threads(1);
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (report, expected) = run(straight.path(), &config(), "r", usize::MAX).unwrap();
    assert_eq!((report.steps, report.resumed_from), (12, 0));
    assert!(report.validation_loss.is_some());
    // Two micro-batches a step: 15 calls end within step 8, after the checkpoint of step 5.
    run(broken.path(), &config(), "r", 15).unwrap_err();
    let (report, found) = run(broken.path(), &config(), "r", usize::MAX).unwrap();
    assert_eq!((report.steps, report.resumed_from), (12, 5));
    for (expected, found) in expected.iter().zip(&found) {
        assert!(expected.equal(found));
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &config(), "first", 15).unwrap_err();
    let error = run(folder.path(), &config(), "second", usize::MAX).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
}

#[test]
fn bfloat16_compute_follows_float32() {
    let examples = examples(7);
    let all: Vec<&Example> = examples.iter().collect();
    let batch = || [Batch::new(&all, 0, test_device()).unwrap()];
    let (exact, _) = gradients(&model(), &batch(), 64);
    let mut model = model();
    model.set_compute_dtype(Kind::BFloat16);
    let (rounded, gradients) = gradients(&model, &batch(), 64);
    assert!((exact - rounded).abs() < 0.02 * exact, "{exact} {rounded}");
    assert!(gradients.iter().all(|gradient| gradient.kind() == Kind::Float));
}

#[test]
fn training_lowers_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { steps: 60, learning_rate: 3e-3, ..config() };
    let (report, _) = run(folder.path(), &config, "r", usize::MAX).unwrap();
    // ln 50 = 3.9 before; the sequences are few enough to learn.
    assert!(report.validation_loss.unwrap() < 3.0, "{report:?}");
}
