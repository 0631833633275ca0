//! The distillation objective on small random models.

use limbeck_core::test_device;
use limbeck_distill::{DistillConfig, DistillObjective};
use limbeck_model::Decoder;
use limbeck_train::{Batch, Example, Losses, Objective};
use serde_json::json;
use tch::Kind;

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
    let mut objective =
        DistillObjective::new(&teacher, &student, config, 7, test_device()).unwrap();
    let batch = batch();
    objective.begin_step(step);
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

#[test]
fn heads_of_different_vocabularies_are_refused() {
    let teacher = decoder(32, 1, 1);
    let mut other = teacher.hf_config().clone();
    other["vocab_size"] = 40.into();
    let student = Decoder::init(&other, 1, test_device(), Kind::Float).unwrap();
    let refused = DistillObjective::new(&teacher, &student, &config(), 0, test_device());
    assert!(refused.unwrap_err().to_string().contains("40"));
}
