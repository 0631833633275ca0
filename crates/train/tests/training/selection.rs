//! Averages, early stopping and the best parameters.

use limbeck_core::test_device;
use limbeck_model::Decoder;
use limbeck_run::{Diagnose as _, Exit};
use limbeck_train::{
    Error, MetricKind, SupervisedObjective, TrainConfig, Trainer, ValidationMetric, validation,
};

use crate::{config, examples, killed_at, model, run, values};

const OBJECTIVE: SupervisedObjective = SupervisedObjective { chunk_rows: 64 };

/// Validation losses of `metrics.jsonl` by step.
fn validations(folder: &std::path::Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter_map(|line| Some((line["step"].as_u64()?, line["validation_loss"].as_f64()?)))
        .collect()
}

fn loss_of(model: &Decoder, config: &TrainConfig) -> f64 {
    validation::cross_entropy(model, &examples(40)[..4], config, 0, test_device()).unwrap()
}

/// Goes well until the rate has grown too high.
fn rising() -> TrainConfig {
    TrainConfig {
        steps: 40,
        learning_rate: 1.0,
        warmup_steps: 40,
        validate_every: 1,
        clip_norm: 0.0,
        ..config()
    }
}

#[test]
fn the_best_parameters_are_those_of_the_lowest_validation_loss() {
    for ema_decay in [0.0, 0.5] {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig { keep_best: true, ema_decay, ..rising() };
        let model = model();
        let report = run(folder.path(), &config, &model, &mut { OBJECTIVE }, None).unwrap();
        let validations = validations(folder.path());
        let (step, lowest) =
            validations.iter().copied().min_by(|left, right| left.1.total_cmp(&right.1)).unwrap();
        assert!(step < 40 && validations.len() == 40, "{validations:?}");
        assert_eq!((report.best_step, report.validation_loss), (Some(step), Some(lowest)));
        assert!((loss_of(&model, &config) - lowest).abs() < 1e-9);
        // One file at most beside the checkpoint, none once the result is written.
        let best = || {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with("best-")).count()
        };
        assert!((1..=2).contains(&best()));
        limbeck_train::checkpoint::remove(folder.path()).unwrap();
        assert_eq!(best(), 0);
    }
}

#[test]
fn a_run_without_a_better_validation_stops() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { early_stopping_patience: 3, ..rising() };
    let report = run(folder.path(), &config, &model(), &mut { OBJECTIVE }, None).unwrap();
    assert!(report.stopped_early && report.steps < 40);
    let validations = validations(folder.path());
    let (best, _) =
        validations.iter().copied().min_by(|left, right| left.1.total_cmp(&right.1)).unwrap();
    assert_eq!(report.steps, best + 3);
    assert_eq!(validations.last().map(|last| last.0), Some(report.steps));
}

#[test]
fn averages_are_validated_and_are_the_result() {
    let (plain, averaged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = TrainConfig { validate_every: 4, ..config() };
    let with = TrainConfig { ema_decay: 0.9, ..config.clone() };
    let (last, average) = (model(), model());
    run(plain.path(), &config, &last, &mut { OBJECTIVE }, None).unwrap();
    let report = run(averaged.path(), &with, &average, &mut { OBJECTIVE }, None).unwrap();
    // Averaging does not disturb the run itself, only what comes out of it.
    let line = |folder: &std::path::Path| {
        let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["loss"].as_f64()).collect::<Vec<f64>>()
    };
    assert_eq!(line(plain.path()), line(averaged.path()));
    assert!((loss_of(&average, &with) - report.validation_loss.unwrap()).abs() < 1e-9);
    assert_ne!(values(&last)[0], values(&average)[0]);
}

/// Says which validation is best.
struct Favourite {
    calls: u64,
    best: u64,
}

impl ValidationMetric for Favourite {
    fn name(&self) -> &'static str {
        "favour"
    }

    fn measure(&mut self, _model: &Decoder) -> limbeck_train::Result<f64> {
        self.calls += 1;
        if self.calls == 9 {
            let source = std::io::Error::other("no more").into();
            return Err(Error::Metric { name: "favour", source });
        }
        Ok(if self.calls == self.best { 1.0 } else { 0.5 })
    }
}

#[test]
fn a_metric_of_the_callers_decides() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        keep_best: true,
        validate_every: 3,
        validation_metric: MetricKind::Accuracy,
        ..config()
    };
    let mut metric = Favourite { calls: 0, best: 2 };
    let model = model();
    let report =
        run(folder.path(), &config, &model, &mut { OBJECTIVE }, Some(&mut metric)).unwrap();
    assert_eq!((metric.calls, report.best_step), (4, Some(6)));
    let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    assert!(text.contains("\"favour\":1.0"), "{text}");

    let config = TrainConfig { validate_every: 1, ..config };
    let error = run(
        tempfile::tempdir().unwrap().path(),
        &config,
        &model,
        &mut { OBJECTIVE },
        Some(&mut Favourite { calls: 0, best: 2 }),
    )
    .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.exit()),
        ("validation metric favour", Exit::Failed)
    );
}

#[test]
fn what_cannot_be_decided_is_an_error_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let examples = examples(4);
    let trained = model();
    let attempt = |config: &TrainConfig| {
        let trainer = Trainer {
            config,
            output: folder.path(),
            seed: 3,
            pad_token_id: 0,
            device: test_device(),
            label: "test",
            run: "r",
        };
        let parameters = trained.named_parameters();
        trainer.run(&trained, parameters, &examples, &[], &mut killed_at(0)).unwrap_err()
    };
    for (config, key) in [
        (TrainConfig { keep_best: true, validate_every: 1, ..config() }, "keep_best"),
        (
            TrainConfig { early_stopping_patience: 1, validate_every: 1, ..config() },
            "early_stopping_patience",
        ),
        (TrainConfig { validation_metric: MetricKind::Accuracy, ..config() }, "validation_metric"),
    ] {
        let error = attempt(&config);
        assert!(error.to_string().contains(key), "{error}");
        assert!(error.hint().is_some());
        assert_ne!(error.exit(), Exit::Failed);
    }
}
