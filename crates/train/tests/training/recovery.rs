//! Gradients that are not finite: skipped, gone back from, given up on.

use std::fs;

use limbeck_core::TensorFile;
use limbeck_run::{Diagnose as _, Exit};
use limbeck_train::{Error, TrainConfig, checkpoint};

use crate::{Fate, config, killed_at, model, run, scripted, values};

fn long() -> TrainConfig {
    TrainConfig { steps: 24, gradient_accumulation: 1, log_every: 1, ..config() }
}

/// The learning rates of `metrics.jsonl` by step.
fn rates(folder: &std::path::Path) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter_map(|line| Some((line["step"].as_u64()?, line["learning_rate"].as_f64()?)))
        .collect()
}

#[test]
fn single_bad_steps_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut objective = scripted(|call| if call % 5 == 3 { Fate::NotFinite } else { Fate::Good });
    let model = model();
    let report = run(folder.path(), &long(), &model, &mut objective, None).unwrap();
    assert_eq!((report.steps, report.skipped_steps, report.rollbacks), (24, 5, 0));
    assert!(values(&model).iter().all(|tensor| tensor.isfinite().all().int64_value(&[]) == 1));
}

#[test]
fn ten_in_a_row_go_back_to_the_checkpoint_with_half_the_rate() {
    let (smooth, rough) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(smooth.path(), &long(), &model(), &mut killed_at(usize::MAX), None).unwrap();
    // Steps 7 to 16 fail; the checkpoint is that of step 5.
    let mut objective =
        scripted(|call| if (7..17).contains(&call) { Fate::NotFinite } else { Fate::Good });
    let report = run(rough.path(), &long(), &model(), &mut objective, None).unwrap();
    assert_eq!((report.steps, report.skipped_steps, report.rollbacks), (24, 10, 1));
    let (smooth, rough) = (rates(smooth.path()), rates(rough.path()));
    assert_eq!(rough.len(), 24, "what was gone back from is not in the metrics");
    for ((step, expected), (found_step, found)) in smooth.into_iter().zip(rough) {
        assert_eq!(step, found_step);
        let factor = if step <= 5 { 1.0 } else { 0.5 };
        assert!((found - factor * expected).abs() < 1e-12, "step {step}");
    }
}

#[test]
fn a_rolled_back_run_that_is_killed_ends_with_the_same_bits() {
    tch::set_num_threads(1);
    let bad = |call: usize| (7..17).contains(&call);
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = model();
    let mut objective = scripted(|call| if bad(call) { Fate::NotFinite } else { Fate::Good });
    run(straight.path(), &long(), &expected, &mut objective, None).unwrap();
    // Killed in step 12 after going back: the checkpoint of step 10 knows of the rollback.
    let mut objective = scripted(|call| match call {
        _ if bad(call) => Fate::NotFinite,
        24.. => Fate::Killed,
        _ => Fate::Good,
    });
    run(broken.path(), &long(), &model(), &mut objective, None).unwrap_err();
    let found = model();
    let report = run(broken.path(), &long(), &found, &mut killed_at(usize::MAX), None).unwrap();
    assert_eq!(report.resumed_from, 10);
    for (expected, found) in values(&expected).iter().zip(&values(&found)) {
        assert!(expected.equal(found));
    }
}

#[test]
fn a_run_that_stays_bad_ends_with_the_good_checkpoint_on_the_disk() {
    // With checkpoints, and without: the first bad step then writes one.
    for (checkpoint_every, step) in [(5, "5"), (0, "7")] {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig { checkpoint_every, ..long() };
        let mut objective = scripted(|call| if call >= 7 { Fate::NotFinite } else { Fate::Good });
        let error = run(folder.path(), &config, &model(), &mut objective, None).unwrap_err();
        let path = checkpoint::path(folder.path());
        let Error::Diverged { steps: 10, rollbacks: 3, checkpoint: Some(named), .. } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(*named, path);
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.hint().is_some_and(|hint| hint.contains("learning_rate")));
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.metadata()["step"], step);
        for name in file.names() {
            assert_eq!(file.tensor(&name).unwrap().isfinite().all().int64_value(&[]), 1, "{name}");
        }
    }
}

#[test]
fn objectives_that_cannot_recompute_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { activation_checkpointing: true, ..config() };
    let error =
        run(folder.path(), &config, &model(), &mut killed_at(usize::MAX), None).unwrap_err();
    assert!(matches!(error, Error::ActivationCheckpointing));
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("activation_checkpointing"), "{error}");
}
