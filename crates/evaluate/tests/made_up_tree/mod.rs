//! The tree of an ablation that was never run: students who solve problems by chance, the
//! same ones more often whatever their variant or seed.

use std::path::Path;

use limbeck_core::seed::{CounterRng, derive};
use limbeck_cot_data::CotRecord;
use limbeck_evaluate::{Evaluation, Scores};
use limbeck_run::Manifest;

use crate::made_up;

/// The seeds of every variant.
pub(crate) const SEEDS: [u64; 3] = [42, 43, 44];

/// Writes `teacher/evaluation` and, for each variant and seed, `student` (its manifest) and
/// `evaluation`; `share` of the problems are solved, some more or less with each seed.
pub(crate) fn write(root: &Path, records: &[CotRecord], variants: &[(&str, f64)]) {
    save(&made_up::evaluation(0, records), &root.join("teacher/evaluation"));
    for &(name, share) in variants {
        for seed in SEEDS {
            let folder = root.join(name).join(format!("seed-{seed}"));
            save(&student(name, seed, share, records), &folder.join("evaluation"));
            let mut manifest = Manifest {
                stage: "distill".to_owned(),
                seconds: 100.0 + seed as f64,
                device: "cpu".to_owned(),
                seed,
                ..Manifest::default()
            };
            let rate = (20_000.0 * (1.2 - share)).round();
            manifest.metrics.insert("train_tokens_per_second".to_owned(), rate.into());
            let student = folder.join("student");
            std::fs::create_dir_all(&student).unwrap();
            manifest.write(&student).unwrap();
        }
    }
}

/// Writes an evaluation into a folder that need not be there.
pub(crate) fn save(evaluation: &Evaluation, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    evaluation.write(folder).unwrap();
}

fn student(name: &str, seed: u64, share: f64, records: &[CotRecord]) -> Evaluation {
    let mut evaluation = made_up::evaluation(2, records);
    let mut own = CounterRng::new(derive(seed, name, 0));
    let mut shared = CounterRng::new(derive(0, "difficulty", 0));
    for sample in &mut evaluation.samples {
        let place = 0.8 * shared.next_f64() + 0.2 * own.next_f64();
        sample.correct = place < share;
        sample.complete = sample.correct;
    }
    evaluation.overall = Scores::of(&evaluation.samples);
    name.clone_into(&mut evaluation.model);
    evaluation
}
