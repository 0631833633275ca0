//! The distillation objective on small random models.

use limbeck_core::test_device;
use limbeck_distill::divergence::{Divergence, TopTokens};
use limbeck_distill::key_heads::HeadChoice;
use limbeck_distill::teacher::TopTokenSource;
use limbeck_distill::{DistillConfig, DistillObjective, Teacher, TokenIds};
use limbeck_model::Decoder;
use limbeck_train::{Batch, Example, Losses, Objective};
use serde_json::json;
use tch::{Kind, Tensor};

fn decoder(hidden_size: i64, num_hidden_layers: i64, seed: u64) -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 32, "hidden_size": hidden_size,
        "intermediate_size": 16, "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
        "initializer_range": 0.2,
    });
    Decoder::init(&config, seed, test_device(), Kind::Float).unwrap()
}

fn batch() -> Batch {
    let example = |start: i64| Example {
        id: start.to_string(),
        tokens: (start..start + 9).collect(),
        weights: [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0].to_vec(),
        ..Example::default()
    };
    Batch::new(&[&example(1), &example(20)], 0, test_device()).unwrap()
}

fn ids() -> TokenIds {
    TokenIds { stop: vec![31], pad: 0 }
}

fn objective<'a>(
    teacher: &'a Decoder,
    student: &Decoder,
    config: &DistillConfig,
) -> limbeck_distill::Result<DistillObjective<'a>> {
    let teacher = Teacher::Live(teacher);
    DistillObjective::new(teacher, student, config, &ids(), &[batch()], 7, test_device())
}

fn config() -> DistillConfig {
    let mut config = DistillConfig {
        temperature: 2.0,
        kd_weight: 0.25,
        hidden_weight: 0.5,
        attention_weight: 3.0,
        teacher_share: 0.5,
        ..DistillConfig::default()
    };
    config.train.steps = 10;
    config
}

/// The losses of a step, and the gradient's norm over the student's parameters.
fn accumulate(config: &DistillConfig, step: u64) -> (Losses, f64) {
    let (teacher, student) = (decoder(32, 4, 1), decoder(16, 2, 2));
    let parameters: Vec<_> = student
        .named_parameters()
        .into_iter()
        .map(|(_, tensor)| tensor.set_requires_grad(true))
        .collect();
    let mut objective = objective(&teacher, &student, config).unwrap();
    let batch = objective.begin_step(step, &student, vec![batch()]).unwrap().remove(0);
    let losses = objective.accumulate(&student, &batch, batch.weight_sum).unwrap();
    let square: f64 = parameters
        .iter()
        .map(|tensor| tensor.grad().square().sum(Kind::Float).double_value(&[]))
        .sum();
    (losses, square.sqrt())
}

fn part(losses: &Losses, name: &str) -> f64 {
    losses.iter().find(|(known, _)| *known == name).unwrap().1
}

#[test]
fn the_loss_is_the_weighted_sum_of_its_parts() {
    let (losses, _) = accumulate(&config(), 0);
    let of = |name| part(&losses, name);
    let expected = 0.75 * of("cross_entropy")
        + 0.25 * 4.0 * of("divergence")
        + 0.5 * of("hidden")
        + 3.0 * of("attention");
    assert!((of("loss") - expected).abs() < 1e-5, "{losses:?}");
    for name in ["cross_entropy", "divergence", "hidden", "attention"] {
        assert!(of(name) > 0.0, "{losses:?}");
    }
}

#[test]
fn each_weight_moves_the_gradient() {
    let (_, all) = accumulate(&config(), 0);
    for changed in [
        DistillConfig { kd_weight: 0.5, ..config() },
        DistillConfig { hidden_weight: 0.0, ..config() },
        DistillConfig { attention_weight: 0.0, ..config() },
    ] {
        let (_, other) = accumulate(&changed, 0);
        assert!((all - other).abs() > 1e-3 * all, "{changed:?}");
    }
}

#[test]
fn the_teacher_leaves_after_its_share() {
    assert_eq!(accumulate(&config(), 4).0.len(), 5);
    let (losses, gradient) = accumulate(&config(), 5);
    assert_eq!(losses.len(), 1, "{losses:?}");
    let labels =
        DistillConfig { kd_weight: 0.0, hidden_weight: 0.0, attention_weight: 0.0, ..config() };
    let (alone, expected) = accumulate(&labels, 0);
    assert!((losses[0].1 - part(&alone, "cross_entropy")).abs() < 1e-6);
    assert!((gradient - expected).abs() < 1e-4 * expected);
}

/// A copy of a decoder whose head and embedding have more rows than it has tokens.
fn padded(decoder: &Decoder, rows: i64) -> Decoder {
    let mut config = decoder.hf_config().clone();
    config["vocab_size"] = rows.into();
    let padded = Decoder::init(&config, 9, test_device(), Kind::Float).unwrap();
    let _guard = tch::no_grad_guard();
    for ((_, from), (_, mut to)) in
        decoder.named_parameters().into_iter().zip(padded.named_parameters())
    {
        to.narrow(0, 0, from.size()[0]).copy_(&from);
        if to.size()[0] > from.size()[0] {
            let _ = to.narrow(0, from.size()[0], to.size()[0] - from.size()[0]).fill_(0.3);
        }
        to = to.detach();
        assert!(!to.requires_grad());
    }
    padded
}

#[test]
fn rows_that_pad_one_of_the_heads_are_left_out() {
    let (teacher, student) = (decoder(32, 4, 1), decoder(16, 2, 2));
    let config = DistillConfig { hidden_weight: 0.0, attention_weight: 0.0, ..config() };
    let divergence = |teacher: &Decoder, student: &Decoder| {
        let mut objective = objective(teacher, student, &config).unwrap();
        let batch = batch();
        student.set_requires_grad(true).unwrap();
        let losses = objective.accumulate(student, &batch, batch.weight_sum).unwrap();
        student.set_requires_grad(false).unwrap();
        part(&losses, "divergence")
    };
    let expected = divergence(&teacher, &student);
    assert!((divergence(&padded(&teacher, 40), &student) - expected).abs() < 1e-6);
    assert!((divergence(&teacher, &padded(&student, 48)) - expected).abs() < 1e-6);
}

/// A step in one piece.
const WHOLE: [std::ops::Range<usize>; 1] = [std::ops::Range { start: 0, end: 4 }];

/// The parts and the gradient of a step that is cut into these micro-batches.
fn split(config: &DistillConfig, cut: &[std::ops::Range<usize>]) -> (Losses, Vec<Tensor>) {
    step(config, cut, false)
}

/// The same, with the student's blocks run again in the backward pass if asked for.
fn step(
    config: &DistillConfig,
    cut: &[std::ops::Range<usize>],
    is_recomputed: bool,
) -> (Losses, Vec<Tensor>) {
    let (teacher, student) = (decoder(32, 4, 1), decoder(16, 2, 2));
    student.set_requires_grad(true).unwrap();
    let examples: Vec<Example> = (0..4)
        .map(|index: i64| {
            let length = 6 + 3 * index;
            let weights = (0..length).map(|at| if at > 2 + index { 1.0 } else { 0.0 }).collect();
            let tokens = (0..length).map(|at| (at * 5 + index) % 31).collect();
            Example { id: index.to_string(), tokens, weights, ..Example::default() }
        })
        .collect();
    let batches = cut
        .iter()
        .map(|range| {
            let chosen: Vec<&Example> = examples[range.clone()].iter().collect();
            Batch::new(&chosen, 0, test_device()).unwrap()
        })
        .collect();
    let mut objective = objective(&teacher, &student, config).unwrap();
    let batches = objective.begin_step(0, &student, batches).unwrap();
    let total: f64 = batches.iter().map(|batch| batch.weight_sum).sum();
    let mut sums: Losses = Vec::new();
    for batch in &batches {
        let losses = if is_recomputed {
            objective.accumulate_recomputed(&student, batch, total)
        } else {
            objective.accumulate(&student, batch, total)
        };
        for (name, value) in losses.unwrap() {
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => sums.push((name, value)),
            }
        }
    }
    let parameters = student.named_parameters();
    (sums, parameters.into_iter().map(|(_, tensor)| tensor.grad().copy()).collect())
}

#[test]
fn no_part_depends_on_how_a_step_is_split() {
    let mut config = DistillConfig { attention_heads: HeadChoice::Entropy, ..config() };
    config.relations.weight = 2.0;
    let (whole, gradients) = split(&config, &WHOLE);
    assert_eq!(whole.len(), 6);
    for cut in [vec![0..1, 1..4], vec![0..2, 2..4], vec![0..1, 1..2, 2..3, 3..4]] {
        let (parts, others) = split(&config, &cut);
        for ((name, one), (_, other)) in whole.iter().zip(&parts) {
            assert!((one - other).abs() < 1e-6 * one.abs().max(1.0), "{name}: {one} {other}");
        }
        for (one, other) in gradients.iter().zip(&others) {
            let scale = one.abs().max().double_value(&[]).max(1.0);
            assert!((one - other).abs().max().double_value(&[]) < 1e-6 * scale);
        }
    }
}

#[test]
fn recomputed_blocks_give_the_same_gradients() {
    let ((kept, gradients), (again, others)) =
        (step(&config(), &WHOLE, false), step(&config(), &WHOLE, true));
    for ((name, one), (_, other)) in kept.iter().zip(&again) {
        assert!((one - other).abs() < 1e-6, "{name}: {one} {other}");
    }
    for (one, other) in gradients.iter().zip(&others) {
        let scale = one.abs().max().double_value(&[]).max(1.0);
        assert!((one - other).abs().max().double_value(&[]) < 1e-6 * scale);
    }
}

#[test]
fn a_step_of_its_own_is_sampled_and_has_no_labels() {
    let (teacher, student) = (decoder(32, 4, 1), decoder(16, 2, 2));
    let mut config = config();
    config.on_policy.share = 1.0;
    config.on_policy.max_new_tokens = 5;
    let mut objective = objective(&teacher, &student, &config).unwrap();
    let data = batch();
    let batches = objective.begin_step(3, &student, vec![batch()]).unwrap();
    let sampled = &batches[0];
    assert_eq!((batches.len(), sampled.sampled), (1, true));
    for (span, before) in sampled.examples.iter().zip(&data.examples) {
        assert_eq!(span.tokens[..3], before.tokens[..3], "the prompt stays");
        assert!(span.tokens.len() <= 8 + 1 && span.tokens.len() > 3);
    }
    student.set_requires_grad(true).unwrap();
    let losses = objective.accumulate(&student, sampled, sampled.weight_sum).unwrap();
    let of = |name| part(&losses, name);
    let expected = 4.0 * of("divergence") + 0.5 * of("hidden") + 3.0 * of("attention");
    assert!((of("loss") - expected).abs() < 1e-5, "{losses:?}");
    // The same step draws the same replies, another step others.
    student.set_requires_grad(false).unwrap();
    let mut tokens = |step| {
        let batches = objective.begin_step(step, &student, vec![batch()]).unwrap();
        batches[0].examples[0].tokens.clone()
    };
    assert_eq!(tokens(3), tokens(3));
    assert!((0..5).any(|step| tokens(step) != tokens(3)));
}

#[test]
fn the_contrastive_pair_weighs_both_texts() {
    let (teacher, student) = (decoder(32, 4, 1), decoder(16, 2, 2));
    let mut config = DistillConfig {
        divergence: Divergence::Contrastive,
        contrastive_beta: 0.5,
        hidden_weight: 0.0,
        attention_weight: 0.0,
        ..config()
    };
    config.on_policy.share = 1.0;
    let mut objective = objective(&teacher, &student, &config).unwrap();
    let batches = objective.begin_step(0, &student, vec![batch()]).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.sampled).collect::<Vec<_>>(), [false, true]);
    student.set_requires_grad(true).unwrap();
    for (batch, factor) in batches.iter().zip([0.25 * 1.5, 0.5]) {
        let losses = objective.accumulate(&student, batch, 10.0).unwrap();
        let labels = if batch.sampled { 0.0 } else { 0.75 * part(&losses, "cross_entropy") };
        let expected = labels + factor * 4.0 * part(&losses, "divergence");
        assert!((part(&losses, "loss") - expected).abs() < 1e-5, "{losses:?}");
    }
}

/// What a teacher says, as if it had been captured.
#[derive(Debug)]
struct Capture {
    teacher: Decoder,
    top_k: i64,
    temperature: f64,
}

impl TopTokenSource for Capture {
    fn top_tokens(&self, batch: &Batch) -> limbeck_train::Result<TopTokens> {
        tch::no_grad(|| {
            let hidden = limbeck_train::objective::forward(&self.teacher, batch)?;
            let rows = limbeck_train::head::select_rows(&hidden, batch)?;
            let logits = self.teacher.logits(&rows)? / self.temperature;
            let (log_probs, ids) =
                logits.log_softmax(-1, Kind::Float).topk(self.top_k, -1, true, true);
            let kept = log_probs.logsumexp([-1_i64].as_slice(), false);
            let log_tail = (-kept.expm1()).log();
            Ok(TopTokens { ids, log_probs, log_tail })
        })
    }

    fn temperature(&self) -> f64 {
        self.temperature
    }
}

#[test]
fn a_captured_teacher_teaches_as_a_live_one_with_as_many_tokens() {
    let (teacher, student) = (decoder(32, 4, 1), decoder(16, 2, 2));
    let capture = Capture { teacher: decoder(32, 4, 1), top_k: 6, temperature: 2.0 };
    student.set_requires_grad(true).unwrap();
    for divergence in [Divergence::ForwardKl, Divergence::ReverseKl, Divergence::Jsd] {
        let config = DistillConfig {
            divergence,
            top_k: 6,
            hidden_weight: 0.0,
            attention_weight: 0.0,
            ..config()
        };
        let run = |teacher: Teacher<'_>| {
            let mut objective =
                DistillObjective::new(teacher, &student, &config, &ids(), &[], 7, test_device())
                    .unwrap();
            let batch = batch();
            objective.accumulate(&student, &batch, batch.weight_sum).unwrap()
        };
        let (live, captured) = (run(Teacher::Live(&teacher)), run(Teacher::Captured(&capture)));
        assert!((part(&live, "divergence") - part(&captured, "divergence")).abs() < 1e-5);
    }
}

#[test]
fn what_a_captured_teacher_cannot_give_is_refused() {
    let student = decoder(16, 2, 2);
    let capture = Capture { teacher: decoder(32, 4, 1), top_k: 6, temperature: 1.0 };
    let plain = DistillConfig { hidden_weight: 0.0, attention_weight: 0.0, ..config() };
    let mut sampling = DistillConfig { temperature: 1.0, ..plain.clone() };
    sampling.on_policy.share = 0.5;
    for (config, expected) in [
        (config(), "hidden_weight"),
        (DistillConfig { hidden_weight: 0.0, ..config() }, "attention_weight"),
        (plain, "temperature 1, expected 2"),
        (sampling, "on_policy.share"),
    ] {
        let teacher = Teacher::Captured(&capture);
        let refused =
            DistillObjective::new(teacher, &student, &config, &ids(), &[], 7, test_device());
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
