//! What comes of an ablation's evaluations: means over seeds, and differences that are
//! paired by problem and by seed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use limbeck_run::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ablation, Tree};
use crate::evaluation::Evaluation;
pub use crate::statistics::Conclusion as Verdict;
use crate::statistics::{PooledAccuracy, PooledDifference};
use crate::{Error, Result};

/// One way of training the student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its folder's name.
    pub name: String,
    /// Share of problems whose answer is right.
    pub accuracy: PooledAccuracy,
    /// Share of problems whose chain closes and whose every step checks.
    pub cot_completion: PooledAccuracy,
    /// Mean accuracy over the teacher's; `None` if that solved nothing.
    pub share_of_teacher: Option<f64>,
    /// Against each of [`Ablation::against`] but itself.
    pub differences: Vec<Difference>,
    /// What training cost, if all students' manifests are there.
    pub training: Option<TrainingCost>,
}

/// A variant's accuracy less another's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The other variant.
    pub against: String,
    /// By how much, over all seeds and seed by seed.
    pub accuracy: PooledDifference,
    /// What the interval says.
    pub verdict: Verdict,
    /// Seeds whose own difference has the sign of the mean difference.
    pub seeds_agreeing: usize,
}

/// What training cost, means over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingCost {
    /// Tokens trained on a second.
    pub tokens_per_second: f64,
    /// Wall-clock seconds of the whole command: also loading, the teacher's replies and
    /// validation.
    pub seconds: f64,
    /// What it ran on; several where seeds differ, so that times do not compare.
    pub devices: Vec<String>,
}

impl Difference {
    /// `seed` fixes the resamples.
    fn new(against: &str, ours: &[Vec<bool>], theirs: &[Vec<bool>], seed: u64) -> Self {
        let accuracy = PooledDifference::new(ours, theirs, seed);
        let agrees = |value: &&f64| **value * accuracy.difference > 0.0;
        Self {
            against: against.to_owned(),
            verdict: Verdict::of(accuracy.low, accuracy.high),
            seeds_agreeing: accuracy.by_run.iter().filter(agrees).count(),
            accuracy,
        }
    }

    /// The verdict, with the seeds behind it where not all of them say the same.
    pub fn words(&self) -> String {
        let seeds = self.accuracy.by_run.len();
        if self.verdict == Verdict::NoDifferenceShown || self.seeds_agreeing == seeds {
            self.verdict.to_string()
        } else {
            format!("{}, in {} of {seeds} seeds", self.verdict, self.seeds_agreeing)
        }
    }
}

/// What an ablation needs of an evaluation, in the order of the problems.
struct Outcomes {
    correct: Vec<bool>,
    complete: Vec<bool>,
}

impl Ablation {
    /// Reads a tree's evaluations; `seed` fixes the resamples of all intervals, which are
    /// the same for all variants.
    ///
    /// # Errors
    /// A damaged evaluation or manifest; a problem that one evaluation has and another does
    /// not, or asks otherwise.
    pub fn of(tree: &Tree, seed: u64) -> Result<Self> {
        let teacher_folder = tree.teacher();
        let teacher = Evaluation::read(&teacher_folder)?;
        let mut runs: Vec<Vec<Outcomes>> = Vec::with_capacity(tree.variants.len());
        for variant in &tree.variants {
            let outcomes = tree.seeds.iter().map(|&seed| {
                let folder = tree.evaluation(variant, seed);
                outcomes(&teacher, &teacher_folder, &Evaluation::read(&folder)?, &folder)
            });
            runs.push(outcomes.collect::<Result<_>>()?);
        }
        let of = |runs: &Vec<Outcomes>, which: fn(&Outcomes) -> &Vec<bool>| -> Vec<Vec<bool>> {
            runs.iter().map(|run| which(run).clone()).collect()
        };
        let correct: Vec<Vec<Vec<bool>>> =
            runs.iter().map(|runs| of(runs, |run| &run.correct)).collect();
        let by_name: HashMap<&str, &Vec<Vec<bool>>> =
            tree.variants.iter().map(String::as_str).zip(&correct).collect();
        let accuracy_of_teacher = teacher.overall.accuracy.value;
        let mut variants = Vec::with_capacity(runs.len());
        for ((name, runs), ours) in tree.variants.iter().zip(&runs).zip(&correct) {
            let accuracy = PooledAccuracy::new(ours, seed);
            let differences = tree
                .against
                .iter()
                .filter(|against| *against != name)
                .filter_map(|against| {
                    let theirs = by_name.get(against.as_str())?;
                    Some(Difference::new(against, ours, theirs, seed))
                })
                .collect();
            variants.push(Variant {
                name: name.clone(),
                share_of_teacher: (accuracy_of_teacher > 0.0)
                    .then(|| accuracy.mean / accuracy_of_teacher),
                accuracy,
                cot_completion: PooledAccuracy::new(&of(runs, |run| &run.complete), seed),
                differences,
                training: training(tree, name)?,
            });
        }
        Ok(Self {
            seeds: tree.seeds.clone(),
            problems: teacher.samples.len() as u64,
            teacher: teacher.overall.accuracy,
            against: tree.against.clone(),
            variants,
        })
    }
}

/// An evaluation's outcomes in the order of the teacher's, whose problems it must have.
fn outcomes(
    teacher: &Evaluation,
    teacher_folder: &Path,
    student: &Evaluation,
    folder: &Path,
) -> Result<Outcomes> {
    let unlike = |path: &Path, id: &str, other: &Path| Error::AblationProblem {
        path: path.to_owned(),
        id: id.to_owned(),
        other: other.to_owned(),
    };
    let mut replies: HashMap<&str, _> =
        student.samples.iter().map(|sample| (sample.id.as_str(), sample)).collect();
    let mut outcomes = Outcomes { correct: Vec::new(), complete: Vec::new() };
    for sample in &teacher.samples {
        let reply = replies.remove(sample.id.as_str());
        let reply = reply.ok_or_else(|| unlike(folder, &sample.id, teacher_folder))?;
        if (&reply.question, &reply.expected) != (&sample.question, &sample.expected) {
            return Err(Error::Folder {
                path: folder.to_owned(),
                expected: format!("problem {} as in {}", sample.id, teacher_folder.display()),
                found: "another question or answer".to_owned(),
            });
        }
        outcomes.correct.push(reply.correct);
        outcomes.complete.push(reply.complete);
    }
    // In the order of the file, so that the same problem is named each time.
    match student.samples.iter().find(|sample| replies.contains_key(sample.id.as_str())) {
        Some(sample) => Err(unlike(teacher_folder, &sample.id, folder)),
        None => Ok(outcomes),
    }
}

/// `None` where a manifest, or the rate in it, is not there.
fn training(tree: &Tree, variant: &str) -> Result<Option<TrainingCost>> {
    let folders: Vec<PathBuf> =
        tree.seeds.iter().map(|&seed| tree.student(variant, seed)).collect();
    let mut rates = Vec::with_capacity(folders.len());
    let mut seconds = Vec::with_capacity(folders.len());
    let mut devices: Vec<String> = Vec::new();
    for folder in &folders {
        let Some(manifest) = Manifest::read(folder)? else { return Ok(None) };
        let rate = manifest.metrics.get("train_tokens_per_second").and_then(Value::as_f64);
        let Some(rate) = rate else { return Ok(None) };
        rates.push(rate);
        seconds.push(manifest.seconds);
        if !devices.contains(&manifest.device) {
            devices.push(manifest.device);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    Ok(Some(TrainingCost { tokens_per_second: mean(&rates), seconds: mean(&seconds), devices }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_that_do_not_agree_are_told() {
        let run = |count: usize| (0..100).map(|problem| problem < count).collect::<Vec<bool>>();
        let theirs = [run(50), run(50), run(50)];
        let mixed = Difference::new("labels", &[run(90), run(80), run(45)], &theirs, 1);
        assert_eq!(mixed.words(), "better, in 2 of 3 seeds");
        let all = Difference::new("labels", &[run(90), run(80), run(55)], &theirs, 1);
        assert_eq!(all.words(), "better");
        let none = Difference::new("labels", &[run(51), run(49), run(50)], &theirs, 1);
        assert_eq!((none.words().as_str(), none.seeds_agreeing), ("no difference shown", 0));
    }
}
