//! Gates on made-up evaluations, and what is kept of a result that passes.

mod made_up;

use std::fs;
use std::path::Path;

use limbeck_evaluate::gates::{Rule, Thresholds};
use limbeck_evaluate::{Error, Evaluation, Gates, GatesConfig, LastGood, Scores};
use limbeck_run::{Diagnose, Exit};

/// An evaluation that solves all of 60 problems but the first few.
fn evaluation(name: &str, wrong: usize) -> Evaluation {
    let records = made_up::records(5);
    let mut evaluation = made_up::evaluation(1, &records);
    name.clone_into(&mut evaluation.model);
    for (index, sample) in evaluation.samples.iter_mut().enumerate() {
        sample.correct = index >= wrong;
        sample.complete = sample.correct;
    }
    evaluation.overall = Scores::of(&evaluation.samples);
    evaluation
}

fn thresholds(set: impl FnOnce(&mut Thresholds)) -> Thresholds {
    let mut thresholds = Thresholds::default();
    set(&mut thresholds);
    thresholds
}

fn gates(rule: Rule, wrong: usize, limits: Thresholds) -> Gates {
    let config = GatesConfig { rule, default: limits, ..GatesConfig::default() };
    Gates::hold(&[evaluation("gptq-4bit", wrong)], &[evaluation("tuned", 1)], &config, 0).unwrap()
}

#[test]
fn a_drop_stops_only_where_the_problems_show_it() {
    let limits = || thresholds(|limits| limits.max_accuracy_drop = Some(2.0));
    // Two of 60 more are wrong: 3.3 points, and an interval that holds 0.
    assert!(!gates(Rule::Value, 3, limits()).passed);
    assert!(gates(Rule::Shown, 3, limits()).passed);
    // Nineteen more are beyond chance.
    let failed = gates(Rule::Shown, 20, limits());
    let held = &failed.held[0];
    assert_eq!((held.n, held.reference.as_deref()), (Some(60), Some("tuned")));
    assert!((held.found.unwrap() - 100.0 * 19.0 / 60.0).abs() < 1e-9, "{held:?}");
    assert!(held.interval.unwrap()[0] > 0.0);
    // What got better is no failure.
    let config = GatesConfig { rule: Rule::Value, default: limits(), ..GatesConfig::default() };
    let better = Gates::hold(&[evaluation("a", 1)], &[evaluation("b", 30)], &config, 0).unwrap();
    assert!(better.passed && better.held[0].found.unwrap() < 0.0);
}

#[test]
fn rates_count_by_their_interval_or_by_value() {
    let limits = || thresholds(|limits| limits.min_accuracy = Some(97.0));
    // 57 of 60 are 95%, the interval up to 98.3%.
    assert!(gates(Rule::Shown, 3, limits()).passed);
    assert!(!gates(Rule::Value, 3, limits()).passed);
    assert!(!gates(Rule::Shown, 20, limits()).passed);
}

#[test]
fn what_is_not_measured_does_not_pass() {
    let limits = thresholds(|limits| {
        limits.max_memory_bytes = Some(1_000_000_000);
        limits.max_time_to_first_token = Some(10.0);
        limits.min_tokens_per_second = Some(1.0);
    });
    assert!(gates(Rule::Shown, 0, limits.clone()).passed);
    let mut evaluation = evaluation("tuned", 0);
    evaluation.cost.loads.clear();
    evaluation.cost.peak_memory_bytes = Some(1_000_000_001);
    let config = GatesConfig { default: limits, ..GatesConfig::default() };
    let gates = Gates::hold(&[evaluation], &[], &config, 0).unwrap();
    let said: Vec<String> = gates.failures().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "tuned: max_time_to_first_token 10, which was not measured",
            "tuned: max_memory_bytes 1000000000, found 1000000001",
        ]
    );
}

#[test]
fn the_error_says_what_how_much_and_how_to_go_on() {
    let limits = thresholds(|limits| limits.max_accuracy_drop = Some(2.0));
    let error =
        gates(Rule::Shown, 20, limits).require(Some(Path::new("runs/last-good"))).unwrap_err();
    assert_eq!(error.exit(), Exit::Gate);
    let said = error.to_string();
    assert!(
        said.starts_with("1 of 1 gate is not passed: gptq-4bit: max_accuracy_drop 2, found 31.7 [")
    );
    assert!(said.ends_with("below tuned (n = 60)"), "{said}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("--from quantize") && hint.contains("quantize.bits=8"), "{hint}");
    assert!(hint.ends_with("the last result that passed stands at runs/last-good"), "{hint}");
}

#[test]
fn a_drop_needs_a_reference_that_is_there() {
    let with = |reference: Option<&str>, model: &str| {
        let limits = thresholds(|limits| {
            limits.reference = reference.map(str::to_owned);
            limits.max_accuracy_drop = Some(2.0);
        });
        let models = [(model.to_owned(), limits)].into();
        let config = GatesConfig { models, ..GatesConfig::default() };
        Gates::hold(&[evaluation("a", 1), evaluation("b", 2)], &[], &config, 0)
    };
    assert_eq!(with(Some("b"), "a").unwrap().held.len(), 1);
    for (reference, model) in [(Some("c"), "a"), (Some("a"), "d")] {
        let error = with(reference, model).unwrap_err();
        assert!(matches!(error, Error::UnknownModel { .. }), "{error}");
    }
    let error = with(None, "a").unwrap_err();
    assert_eq!(error.to_string(), "a: max_accuracy_drop needs a reference, found no reference");
}

#[test]
fn the_last_good_result_outlives_what_replaces_its_files() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("model");
    let good = root.path().join(LastGood::FOLDER);
    fs::create_dir_all(model.join("sub")).unwrap();
    limbeck_run::write_file(&model.join("model.safetensors"), b"first").unwrap();
    limbeck_run::write_file(&model.join("sub/config.json"), b"{}").unwrap();
    assert_eq!(LastGood::read(&good).unwrap(), None);
    let kept = LastGood::keep(&good, std::slice::from_ref(&model), None).unwrap();
    assert_eq!(LastGood::read(&good).unwrap(), Some(kept.clone()));
    assert_eq!(kept.folders["model"].len(), 2);
    // As every stage writes: another file of the same name.
    limbeck_run::write_file(&model.join("model.safetensors"), b"second").unwrap();
    let weights = good.join("model/model.safetensors");
    assert_eq!(fs::read(&weights).unwrap(), b"first");
    LastGood::keep(&good, std::slice::from_ref(&model), None).unwrap();
    assert_eq!(fs::read(&weights).unwrap(), b"second");
    // Two of one name would overwrite each other: the old result stays.
    LastGood::keep(&good, &[model.clone(), model.clone()], None).unwrap_err();
    for path in [weights, model.join("model.safetensors")] {
        assert_eq!(fs::read(path).unwrap(), b"second");
    }
}
