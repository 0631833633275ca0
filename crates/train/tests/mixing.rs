//! What is drawn when, and which parameters a step updates: a killed run that mixes, adapts
//! and takes turns ends with the same bits as one that was not.

use std::collections::BTreeMap;
use std::path::Path;

use limbeck_core::test_device;
use limbeck_model::Decoder;
use limbeck_train::curriculum::{CurriculumConfig, CurriculumKind};
use limbeck_train::mix::MixConfig;
use limbeck_train::questions::{ChainsPerQuestion, QuestionsConfig};
use limbeck_train::{
    Batch, Error, Example, Kind, Losses, Objective, ParameterGroup, SupervisedObjective,
    TrainConfig, TrainReport, Trainer, Traits, UpdateSchedule,
};
use serde_json::{Value, json};
use tch::Tensor;

fn model() -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 128, "initializer_range": 0.1,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
        "tie_word_embeddings": true,
    });
    let model = Decoder::init(&config, 7, test_device(), tch::Kind::Float).unwrap();
    model.set_requires_grad(true).unwrap();
    model
}

/// Chains and, each third one, tasks, which are shorter; ids name the kind.
fn examples(count: usize) -> Vec<Example> {
    (0..count)
        .map(|index| {
            let kind = if index % 3 == 0 { Kind::Task } else { Kind::Chain };
            let length = if kind == Kind::Task { 5 } else { 8 + index * 5 % 17 };
            Example {
                id: format!("{kind} {index}"),
                tokens: (0..length).map(|at| ((index * 31 + at * 7) % 50) as i64).collect(),
                weights: (0..length).map(|at| if at > 2 { 1.0 } else { 0.0 }).collect(),
                traits: Traits {
                    kind,
                    question: format!("q{}", index / 2),
                    domain: String::new(),
                    difficulty: (1 + index % 4) as u8,
                },
            }
        })
        .collect()
}

/// Fails at a given call, as a killed process would stop there; keeps what it was given.
struct Watched {
    inner: SupervisedObjective,
    calls_left: usize,
    seen: Vec<(u64, Vec<String>)>,
    step: u64,
    /// The parameters at the beginning of each step.
    before: Vec<Vec<Tensor>>,
    parameters: Vec<Tensor>,
}

impl Objective for Watched {
    fn begin_step(
        &mut self,
        step: u64,
        _model: &Decoder,
        batches: Vec<Batch>,
    ) -> limbeck_train::Result<Vec<Batch>> {
        self.step = step;
        self.before.push(self.parameters.iter().map(Tensor::copy).collect());
        Ok(batches)
    }

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
        let ids = batch.examples.iter().map(|example| example.id.clone()).collect();
        self.seen.push((self.step, ids));
        self.inner.accumulate(model, batch, total_weight)
    }
}

struct Run {
    report: TrainReport,
    parameters: Vec<Tensor>,
    objective: Watched,
}

fn run(
    folder: &Path,
    config: &TrainConfig,
    updates: Option<UpdateSchedule>,
    calls: usize,
) -> Result<Run, Error> {
    let model = model();
    let trainer = Trainer {
        config,
        output: folder,
        seed: 3,
        pad_token_id: 0,
        device: test_device(),
        label: "test",
        run: "r",
    };
    let parameters = model.named_parameters();
    let mut objective = Watched {
        inner: SupervisedObjective { chunk_rows: 64 },
        calls_left: calls,
        seen: Vec::new(),
        step: 0,
        before: Vec::new(),
        parameters: parameters.iter().map(|(_, tensor)| tensor.shallow_clone()).collect(),
    };
    // The second block stands for an adapter.
    let (adapter, base): (Vec<_>, Vec<_>) =
        parameters.into_iter().partition(|(name, _)| is_adapter(name));
    let group = |name: &str, parameters| ParameterGroup {
        name: name.to_owned(),
        parameters,
        learning_rate_ratio: 1.0,
    };
    let groups = vec![group("base", base), group("adapter", adapter)];
    let all = examples(60);
    let report =
        trainer.run_with(&model, groups, updates, &all, &all[..6], &mut objective, None)?;
    let parameters =
        model.named_parameters().into_iter().map(|(_, tensor)| tensor.copy()).collect();
    Ok(Run { report, parameters, objective })
}

fn is_adapter(name: &str) -> bool {
    name.contains("layers.1.")
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 16,
        micro_batch_tokens: 64,
        gradient_accumulation: 2,
        warmup_steps: 3,
        checkpoint_every: 5,
        log_every: 2,
        ..TrainConfig::default()
    }
}

fn mixing() -> TrainConfig {
    let reference_losses = BTreeMap::from([("chain".to_owned(), 1.0), ("task".to_owned(), 3.5)]);
    TrainConfig {
        questions: QuestionsConfig {
            chains_per_question: ChainsPerQuestion::OnePerEpoch,
            ..QuestionsConfig::default()
        },
        curriculum: CurriculumConfig { kind: CurriculumKind::Staged, share: 0.75 },
        mix: MixConfig {
            task_share: Some(0.5),
            dynamic: true,
            reference_losses,
            adapt_interval: 3,
            ..MixConfig::default()
        },
        ..config()
    }
}

fn assert_resumes(config: &TrainConfig, updates: Option<UpdateSchedule>) {
    tch::set_num_threads(1);
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = run(straight.path(), config, updates, usize::MAX).unwrap();
    // Two micro-batches a step: it dies within step 13, after the checkpoint of step 10.
    assert!(run(broken.path(), config, updates, 25).is_err());
    let found = run(broken.path(), config, updates, usize::MAX).unwrap();
    assert_eq!((found.report.steps, found.report.resumed_from), (16, 10));
    for (expected, found) in expected.parameters.iter().zip(&found.parameters) {
        assert!(expected.equal(found));
    }
    assert_eq!(expected.objective.seen[20..], found.objective.seen[..]);
    assert_eq!(expected.report.last_losses, found.report.last_losses);
    assert_eq!(expected.report.validation_loss, found.report.validation_loss);
    assert_eq!(metrics(straight.path()), metrics(broken.path()));
}

/// The lines of metrics, without what depends on the clock.
fn metrics(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|mut line| {
            line.as_object_mut().unwrap().remove("tokens_per_second");
            line
        })
        .collect()
}

#[test]
fn a_killed_run_that_mixes_and_adapts_resumes_with_the_same_bits() {
    assert_resumes(&mixing(), None);
}

#[test]
fn a_killed_run_that_takes_turns_resumes_with_the_same_bits() {
    assert_resumes(&config(), Some(UpdateSchedule::new(3).unwrap()));
}

#[test]
fn shares_adapt_to_the_losses_and_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mixing(), None, usize::MAX).unwrap();
    let logged = metrics(folder.path());
    let share = |line: &Value| line["share_chain"].as_f64();
    let shares: Vec<f64> = logged.iter().filter_map(share).collect();
    // Chains are 2.9 above their reference, tasks 0.4 above theirs.
    assert_eq!(shares.len(), 8);
    assert!((shares[0] - 0.5).abs() < 1e-12, "{shares:?}");
    assert!(shares.is_sorted() && shares[7] > 0.95, "{shares:?}");
    let last = logged.iter().rfind(|line| share(line).is_some()).unwrap();
    let loss = |name: &str| last[name].as_f64().unwrap();
    for name in ["loss_chain", "loss_task"] {
        // ln 50 = 3.9 is what knowing nothing costs.
        assert!((3.0..4.5).contains(&loss(name)), "{last}");
    }
}

#[test]
fn each_step_updates_one_group_on_its_kind_of_examples() {
    let folder = tempfile::tempdir().unwrap();
    let updates = UpdateSchedule::new(3).unwrap();
    let run = run(folder.path(), &config(), Some(updates), usize::MAX).unwrap();
    let names: Vec<String> = model().named_parameters().into_iter().map(|(name, _)| name).collect();
    let mut states = run.objective.before;
    states.push(run.parameters);
    for step in 0..16 {
        let adapts = step % 3 == 2;
        for (at, name) in names.iter().enumerate() {
            let same = states[step][at].equal(&states[step + 1][at]);
            assert_eq!(same, adapts != is_adapter(name), "step {step}, {name}");
        }
    }
    assert_eq!(run.objective.seen.len(), 32);
    for (step, ids) in run.objective.seen {
        let kind = if step % 3 == 2 { "task" } else { "chain" };
        assert!(ids.iter().all(|id| id.starts_with(kind)), "step {step}: {ids:?}");
    }
}

#[test]
fn a_mix_without_tasks_is_an_error_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let config = mixing();
    let trainer = Trainer {
        config: &config,
        output: folder.path(),
        seed: 3,
        pad_token_id: 0,
        device: test_device(),
        label: "test",
        run: "r",
    };
    let chains: Vec<Example> =
        examples(9).into_iter().filter(|example| example.traits.kind == Kind::Chain).collect();
    let mut objective = SupervisedObjective { chunk_rows: 64 };
    let error =
        trainer.run(&model, model.named_parameters(), &chains, &[], &mut objective).unwrap_err();
    assert!(matches!(error, Error::Mix { .. }), "{error}");
}
