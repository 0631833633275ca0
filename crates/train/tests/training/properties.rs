//! Losses and gradients: splits, chunks and devices change nothing.

use limbeck_core::test_device;
use limbeck_model::Decoder;
use limbeck_train::{Batch, Example, Objective, SupervisedObjective, TrainConfig};
use tch::{Device, Kind, Tensor};

use crate::{config, examples, model, model_on, run};

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
fn the_loss_does_not_depend_on_the_split_into_micro_batches() {
    let examples = examples(12);
    let split = |sizes: &[usize]| {
        let mut rest = &examples[..];
        let batches: Vec<Batch> = sizes
            .iter()
            .map(|&size| {
                let (part, after) = rest.split_at(size);
                rest = after;
                Batch::new(&part.iter().collect::<Vec<_>>(), 0, test_device()).unwrap()
            })
            .collect();
        assert!(rest.is_empty());
        gradients(&model(), &batches, 64)
    };
    let (loss, whole) = split(&[12]);
    for sizes in [&[6, 6][..], &[1, 11], &[3, 4, 5], &[1; 12]] {
        let (found, gradients) = split(sizes);
        assert!((found - loss).abs() < 1e-6, "{sizes:?}: {found} {loss}");
        for (left, right) in whole.iter().zip(&gradients) {
            assert!((left - right).abs().max().double_value(&[]) < 1e-6, "{sizes:?}");
        }
    }
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
fn master_weights_keep_updates_that_bfloat16_would_lose() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { learning_rate: 1e-6, weight_decay: 0.0, ..config() };
    let mut trained = model();
    trained.set_compute_dtype(Kind::BFloat16);
    run(folder.path(), &config, &trained, &mut SupervisedObjective { chunk_rows: 64 }, None)
        .unwrap();
    for ((name, after), (_, before)) in
        trained.named_parameters().iter().zip(model().named_parameters())
    {
        assert_eq!(after.kind(), Kind::Float, "{name}");
        let moved = (after - &before).abs().max().double_value(&[]);
        // Twelve steps of at most 1e-6; bfloat16 has steps of 2e-4 at 0.05.
        assert!(moved > 1e-7 && moved < 2e-5, "{name}: {moved}");
    }
}

#[test]
fn training_lowers_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { steps: 60, learning_rate: 3e-3, ..config() };
    let report =
        run(folder.path(), &config, &model(), &mut SupervisedObjective { chunk_rows: 64 }, None)
            .unwrap();
    // ln 50 = 3.9 before; the sequences are few enough to learn.
    assert!(report.validation_loss.unwrap() < 3.0, "{report:?}");
}
