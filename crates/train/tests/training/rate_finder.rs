//! The sweep over learning rates.

use limbeck_core::test_device;
use limbeck_train::rate_finder::SweepConfig;
use limbeck_train::{Error, SupervisedObjective, TrainConfig, Trainer};

use crate::{config, examples, model, values};

#[test]
fn it_suggests_a_rate_that_trains_and_changes_nothing() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { clip_norm: 0.0, ..config() };
    let trainer = Trainer {
        config: &config,
        output: folder.path(),
        seed: 3,
        pad_token_id: 0,
        device: test_device(),
        label: "test",
        run: "r",
    };
    let (model, before) = (model(), values(&model()));
    let sweep = SweepConfig { lowest: 1e-5, highest: 10.0, steps: 40 };
    let mut objective = SupervisedObjective { chunk_rows: 64 };
    let find = |examples: &[_], objective: &mut SupervisedObjective| {
        trainer.sweep(&model, model.named_parameters(), examples, objective, &sweep)
    };
    let found = find(&examples(40), &mut objective).unwrap();
    assert!((1e-4..0.1).contains(&found.suggestion.unwrap()), "{found:?}");
    assert!((found.points[0].learning_rate - 1e-5).abs() < 1e-12);
    assert!(found.points.len() < 40, "it ends where the loss is lost");
    for (before, after) in before.iter().zip(&values(&model)) {
        assert_eq!(before, after);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // The same again, as nothing was changed.
    assert_eq!(found.points[5], find(&examples(40), &mut objective).unwrap().points[5]);
    let error = find(&[], &mut objective).unwrap_err();
    assert!(matches!(error, Error::EmptyDataset { .. }));
}
