//! A small decoder, adapters for it, and what is compared.

use std::path::PathBuf;

use limbeck_core::seed::CounterRng;
use limbeck_core::test_device;
use limbeck_lora::config::ModulePlan;
use limbeck_lora::tiers::{TierError, TierLimits};
use limbeck_lora::{AdapterConfig, AdapterWeights, Error, ModuleWeights, Rank, Stack, Tier, Tiers};
use limbeck_model::{Decoder, DenseLinear, Input};
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

pub(crate) const VOCAB: i64 = 97;

/// Weights ten times as wide as usual: the logits lie far enough apart for the arg max not
/// to hang on rounding.
pub(crate) fn decoder() -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "initializer_range": 0.2,
    });
    Decoder::init(&config, 5, test_device(), Kind::Float).unwrap()
}

/// An update of every projection whose name ends in one of `targets`.
pub(crate) fn adapter(decoder: &Decoder, seed: u64, rank: i64, targets: &[&str]) -> AdapterWeights {
    let mut stream = CounterRng::new(seed);
    let mut matrix = |rows: i64, columns: i64| {
        let values: Vec<f32> =
            (0..rows * columns).map(|_| 0.25 * (stream.next_f64() as f32 - 0.5)).collect();
        Tensor::from_slice(&values).view([rows, columns]).to_device(test_device())
    };
    let modules = decoder
        .linear_names()
        .into_iter()
        .filter(|name| targets.iter().any(|target| name.ends_with(target)))
        .map(|name| {
            let linear = decoder.linear(&name).unwrap();
            let (lora_a, lora_b) =
                (matrix(rank, linear.in_features()), matrix(linear.out_features(), rank));
            let rank = Rank::new(rank).unwrap();
            let plan = ModulePlan { name, rank, scale: 1.0 + seed as f64 / 4.0 };
            ModuleWeights { plan, lora_a, lora_b, magnitude: None }
        })
        .collect();
    AdapterWeights {
        config: AdapterConfig::default(),
        modules,
        saved: Vec::new(),
        base_layers: Vec::new(),
        path: PathBuf::new(),
    }
}

pub(crate) const ALL: [&str; 1] = ["_proj"];
pub(crate) const ATTENTION: [&str; 2] = ["q_proj", "v_proj"];

/// A decoder with a base-task adapter of rank 8, two domain adapters of rank 4 and 6, of
/// which one is on two projections only, and a user's of rank 2.
pub(crate) fn tiered() -> (Decoder, Tiers) {
    let mut decoder = decoder();
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).unwrap();
    for (name, tier, seed, rank, targets) in [
        ("task", Tier::BaseTask, 1, 8, &ALL[..]),
        ("medical", Tier::Domain, 2, 4, &ALL[..]),
        ("legal", Tier::Domain, 3, 6, &ATTENTION[..]),
        ("ada", Tier::User, 4, 2, &ALL[..]),
    ] {
        tiers.load(name, tier, adapter(&decoder, seed, rank, targets)).unwrap();
    }
    (decoder, tiers)
}

pub(crate) fn stack(entries: &[(&str, f64)]) -> Stack {
    Stack::new(entries.iter().map(|&(name, gate)| (name.to_owned(), gate))).unwrap()
}

pub(crate) fn tokens(rows: i64, seq: i64) -> Tensor {
    let values: Vec<i64> = (0..rows * seq).map(|slot| (slot * slot * 7 + 3) % VOCAB).collect();
    Tensor::from_slice(&values).view([rows, seq]).to_device(test_device())
}

pub(crate) fn try_logits(decoder: &Decoder, tokens: &Tensor) -> limbeck_model::Result<Tensor> {
    no_grad(|| decoder.logits(&decoder.forward(&Input::causal(tokens), None, None)?))
}

pub(crate) fn logits(decoder: &Decoder, tokens: &Tensor) -> Tensor {
    try_logits(decoder, tokens).unwrap()
}

#[track_caller]
pub(crate) fn assert_close(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.size(), expected.size());
    let largest = expected.abs().max().double_value(&[]);
    let difference = (found - expected).abs().max().double_value(&[]);
    assert!(difference <= 1e-5 * largest, "{difference:e} of {largest}");
}

/// A tier's error, however deep it lies.
pub(crate) fn tier_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a TierError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Error::Tier(found)) = error.downcast_ref::<Error>() {
            return found;
        }
        if let Some(found) = error.downcast_ref::<TierError>() {
            return found;
        }
        cause = error.source();
    }
    panic!("no tier's error: {error}");
}

/// The base with `W + Σ g·s·B·A` in its place.
pub(crate) fn merged(tiers: &Tiers, stack: &Stack) -> Decoder {
    merged_into(decoder(), tiers, stack)
}

pub(crate) fn merged_into(mut decoder: Decoder, tiers: &Tiers, stack: &Stack) -> Decoder {
    for (name, gate) in stack.entries() {
        for module in tiers.weights(name).unwrap().modules {
            let delta = module.lora_b.matmul(&module.lora_a) * (gate * module.plan.scale);
            decoder
                .map_linear(&module.plan.name, &mut |base| {
                    let weight = base.dense_weight()? + &delta;
                    let bias = base.bias().map(|bias| bias.to_kind(Kind::Float));
                    Ok(Box::new(DenseLinear::new(weight, bias)?))
                })
                .unwrap();
        }
    }
    decoder
}

pub(crate) fn stacks() -> Vec<Stack> {
    vec![
        stack(&[("medical", 1.0)]),
        Stack::base(),
        stack(&[("task", 1.0), ("medical", 0.5), ("ada", 1.0)]),
        stack(&[("legal", 1.0)]),
        stack(&[("medical", 0.25)]),
        stack(&[("ada", -1.0), ("legal", 0.0)]),
        stack(&[("legal", 1.0), ("task", 1.0)]),
        stack(&[("medical", 1.0)]),
    ]
}

/// One step of plain gradient descent on all `parameters`.
pub(crate) fn step(decoder: &Decoder, tokens: &Tensor, parameters: &[(String, Tensor)]) -> f64 {
    let hidden = decoder.forward(&Input::causal(tokens), None, None).unwrap();
    let loss =
        decoder.logits(&hidden).unwrap().logsumexp([-1_i64].as_slice(), false).mean(Kind::Float);
    loss.backward();
    no_grad(|| {
        for (name, parameter) in parameters {
            let gradient = parameter.grad();
            assert!(gradient.defined(), "{name}");
            let mut parameter = parameter.shallow_clone();
            parameter -= gradient * 1.0;
            parameter.zero_grad();
        }
    });
    loss.double_value(&[])
}
