//! A killed run ends with the same bits, whatever state it has.

use limbeck_train::optimizer::OptimizerKind;
use limbeck_train::{Error, TrainConfig, TrainReport};

use crate::{config, killed_at, model, run, values};

/// Kills a run at each of these calls in turn, lets it end, and compares with one that was
/// never killed. Two micro-batches are a step.
fn check(config: &TrainConfig, kills: &[usize]) -> TrainReport {
    tch::set_num_threads(1);
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = model();
    let report = run(straight.path(), config, &expected, &mut killed_at(usize::MAX), None).unwrap();
    assert_eq!(report.resumed_from, 0);
    for &last in kills {
        run(broken.path(), config, &model(), &mut killed_at(last), None).unwrap_err();
    }
    let found = model();
    let resumed = run(broken.path(), config, &found, &mut killed_at(usize::MAX), None).unwrap();
    assert!(resumed.resumed_from > 0);
    assert_eq!(
        (report.steps, report.best_step, report.validation_loss, report.stopped_early),
        (resumed.steps, resumed.best_step, resumed.validation_loss, resumed.stopped_early)
    );
    for (expected, found) in values(&expected).iter().zip(&values(&found)) {
        assert!(expected.equal(found));
    }
    report
}

#[test]
fn a_killed_run_resumed_gives_the_same_bits() {
    check(&config(), &[15]);
}

#[test]
fn so_does_each_optimizer() {
    for optimizer in [OptimizerKind::AdamW8bit, OptimizerKind::Adafactor] {
        check(&TrainConfig { optimizer, ..config() }, &[15]);
        check(&TrainConfig { optimizer, muon_learning_rate: 0.02, ..config() }, &[15]);
    }
}

#[test]
fn so_does_a_run_with_averages_and_best_parameters() {
    let config = TrainConfig {
        ema_decay: 0.5,
        keep_best: true,
        validate_every: 1,
        // Too high to stay good: the best parameters are early ones.
        learning_rate: 1.0,
        warmup_steps: 12,
        clip_norm: 0.0,
        ..config()
    };
    let report = check(&config, &[15]);
    assert!(report.best_step.is_some_and(|step| (2..12).contains(&step)), "{report:?}");
    // In step 12, after the checkpoint of step 10, and there again.
    check(&config, &[23, 3]);
    check(&TrainConfig { ema_decay: 0.0, ..config.clone() }, &[15]);
    let patient = TrainConfig { early_stopping_patience: 2, checkpoint_every: 2, ..config };
    let stopped = check(&patient, &[5]);
    assert!(stopped.stopped_early && (3..12).contains(&stopped.steps), "{stopped:?}");
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &config(), &model(), &mut killed_at(15), None).unwrap_err();
    let path = folder.path().join(limbeck_train::checkpoint::FILE);
    let bytes = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes[..2000.min(bytes.len())]).into_owned();
    let at = text.find("\"run\":\"r\"").expect("the fingerprint in the header") + 7;
    let mut other = bytes;
    other[at] = b'q';
    std::fs::write(&path, other).unwrap();
    let error =
        run(folder.path(), &config(), &model(), &mut killed_at(usize::MAX), None).unwrap_err();
    assert!(
        matches!(&error, Error::Checkpoint { expected, found, .. } if expected == "r" && found == "q"),
        "{error}"
    );
}
