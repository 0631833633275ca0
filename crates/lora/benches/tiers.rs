//! Adapters in tiers: what a stack costs beside the base, what a mixed batch costs beside a
//! batch of one adapter, and what a switch costs.
//!
//! `cargo bench -p limbeck-lora --bench tiers`. Shapes: the fixture student (hidden 128, 3
//! layers) and six layers of Gemma 3 270M's (hidden 640, intermediate 2,048, 4
//! heads of 256 on one of keys and values; the vocabulary is the student's, as the head is
//! no part of what is compared). Adapters are of rank 16 on all projections. `decode` is one
//! token of 16 rows after 64 in the cache; `prefill` 4 rows of 128 tokens.
//!
//! Before the benches it prints ratios and times of interleaved runs, whose minima do not
//! depend on what else the machine does: `mixed` is the speed of 16 requests over four
//! adapters as a share of that over one.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use limbeck_core::seed::CounterRng;
use limbeck_infer::{Engine, EngineConfig, SamplingParams};
use limbeck_lora::config::ModulePlan;
use limbeck_lora::tiers::{StackRouter, TierLimits};
use limbeck_lora::{AdapterConfig, AdapterWeights, ModuleWeights, Rank, Stack, Tier, Tiers};
use limbeck_model::{Decoder, Input, KvCache};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

const VOCAB: i64 = 640;
const RANK: i64 = 16;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn shapes() -> [(&'static str, Value); 2] {
    let student = json!({
        "model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": 128, "intermediate_size": 192,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 1024, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "initializer_range": 0.09,
    });
    let gemma = json!({
        "model_type": "qwen3", "vocab_size": VOCAB, "hidden_size": 640,
        "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 256, "hidden_act": "silu",
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "initializer_range": 0.02,
    });
    [("student", student), ("gemma270m_6layers", gemma)]
}

fn adapter(decoder: &Decoder, seed: u64) -> AdapterWeights {
    let mut stream = CounterRng::new(seed);
    let mut matrix = |rows: i64, columns: i64| {
        let values: Vec<f32> =
            (0..rows * columns).map(|_| 0.05 * (stream.next_f64() as f32 - 0.5)).collect();
        Tensor::from_slice(&values).view([rows, columns])
    };
    let modules = decoder
        .linear_names()
        .into_iter()
        .map(|name| {
            let linear = decoder.linear(&name).expect("a name from the decoder");
            let (lora_a, lora_b) =
                (matrix(RANK, linear.in_features()), matrix(linear.out_features(), RANK));
            let rank = Rank::new(RANK).expect("a valid rank");
            let plan = ModulePlan { name, rank, scale: 2.0 };
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

fn tiered(config: &Value) -> (Decoder, Tiers) {
    let mut decoder =
        Decoder::init(config, 1, Device::Cpu, Kind::Float).expect("a valid configuration");
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).expect("a bare decoder");
    for (seed, name) in NAMES.into_iter().enumerate() {
        let weights = adapter(&decoder, seed as u64);
        tiers.load(name, Tier::Domain, weights).expect("the adapter fits");
    }
    (decoder, tiers)
}

fn stack(names: &[&str]) -> Stack {
    Stack::of(names.iter().copied()).expect("names that differ")
}

/// Row by row one of these adapters, in turns.
fn in_turns(names: &[&str], rows: usize) -> Vec<Stack> {
    (0..rows).map(|row| stack(&names[row % names.len()..=row % names.len()])).collect()
}

fn tokens(rows: i64, seq: i64) -> Tensor {
    let ids: Vec<i64> = (0..rows * seq).map(|slot| slot * 17 % VOCAB).collect();
    Tensor::from_slice(&ids).view([rows, seq])
}

/// One pass over `tokens` `[rows, seq]`, with `past` slots in a cache before it.
fn pass(decoder: &Decoder, tokens: &Tensor, past: Option<&mut KvCache>) {
    let hidden = no_grad(|| decoder.forward(&Input::causal(tokens), past, None));
    let _ = black_box(hidden.expect("a forward pass"));
}

/// A cache that has read 64 tokens of 16 rows.
fn filled_cache(decoder: &Decoder) -> KvCache {
    let mut cache = KvCache::new(decoder, 16, 1024).expect("a cache");
    pass(decoder, &tokens(16, 64), Some(&mut cache));
    cache
}

fn forward(criterion: &mut Criterion) {
    for (name, config) in shapes() {
        let (decoder, tiers) = tiered(&config);
        let mut group = criterion.benchmark_group(format!("tiers/{name}"));
        group.sample_size(20).warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_secs(2));
        let step = tokens(16, 1);
        let prompt = tokens(4, 128);
        for (label, names) in [("0", &NAMES[..0]), ("1", &NAMES[..1]), ("3", &NAMES[..3])] {
            tiers.route_all(&stack(names)).expect("loaded adapters");
            group.throughput(Throughput::Elements(512));
            group.bench_function(BenchmarkId::new("prefill_4x128", label), |bencher| {
                bencher.iter(|| pass(&decoder, &prompt, None));
            });
            group.throughput(Throughput::Elements(16));
            group.bench_function(BenchmarkId::new("decode_16x1", label), |bencher| {
                bencher.iter_batched_ref(
                    || filled_cache(&decoder),
                    |cache| pass(&decoder, &step, Some(cache)),
                    criterion::BatchSize::NumIterations(64),
                );
            });
        }
        group.finish();
    }
}

/// The least of the times that each of `runs` takes, run in turns for eight seconds.
fn interleaved(runs: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut least = vec![f64::INFINITY; runs.len()];
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        for (least, run) in least.iter_mut().zip(runs.iter_mut()) {
            let started = Instant::now();
            run();
            *least = least.min(started.elapsed().as_secs_f64());
        }
    }
    least
}

/// Generation of 16 requests, prompts and all, over four adapters and over one.
fn mixed(name: &str, decoder: &Decoder, tiers: &Tiers) {
    let engine = Engine::new(decoder, EngineConfig::default()).expect("valid limits");
    let prompts: Vec<Vec<i64>> = (0..16)
        .map(|row| (0..48 + row % 8).map(|slot| (row * 31 + slot * 17) % VOCAB).collect())
        .collect();
    for new_tokens in [1, 64] {
        let params = SamplingParams { max_new_tokens: new_tokens, ..SamplingParams::default() };
        let generate = |stacks: &[Stack]| {
            let router = StackRouter::new(tiers, stacks);
            let engine = Engine::new(decoder, EngineConfig::default()).expect("valid limits");
            let engine = engine.with_router(&router);
            black_box(engine.generate(&prompts, &params, &mut |_| {}).expect("generation"));
        };
        let (one, four) = (in_turns(&NAMES[..1], 16), in_turns(&NAMES, 16));
        let times =
            interleaved(&mut [&mut || generate(&one), &mut || generate(&four), &mut || {
                black_box(engine.generate(&prompts, &params, &mut |_| {}).expect("generation"));
            }]);
        eprintln!(
            "{name}: 16 prompts and {new_tokens} new tokens each: one adapter {:.2} ms, four \
             {:.2} ms, none {:.2} ms; mixed {:.2}",
            times[0] * 1e3,
            times[1] * 1e3,
            times[2] * 1e3,
            times[0] / times[1]
        );
    }
}

/// The call that switches, and the first pass after it beside a later one.
fn switch(name: &str, decoder: &Decoder, tiers: &Tiers) {
    let step = tokens(16, 1);
    let times = |first: &[Stack], second: &[Stack]| {
        let route = |stacks: &[Stack]| tiers.route(stacks).expect("loaded adapters");
        let mut least = [f64::INFINITY; 3];
        for _ in 0..50 {
            for stacks in [first, second] {
                let mut clock = Instant::now();
                let mut lap = |least: &mut f64| {
                    *least = least.min(clock.elapsed().as_secs_f64());
                    clock = Instant::now();
                };
                route(stacks);
                lap(&mut least[0]);
                pass(decoder, &step, None);
                lap(&mut least[1]);
                pass(decoder, &step, None);
                lap(&mut least[2]);
            }
        }
        least.map(|seconds| seconds * 1e3)
    };
    let one = |name: &str| in_turns(&[name], 16);
    let [call, first, later] = times(&one("a"), &one("b"));
    eprintln!(
        "{name}: switch of one adapter {call:.4} ms, pass after it {first:.2}, then {later:.2} ms"
    );
    let [call, first, later] = times(&in_turns(&NAMES[..2], 16), &in_turns(&NAMES, 16));
    eprintln!(
        "{name}: switch of two and four {call:.4} ms, pass after it {first:.2}, then {later:.2} ms"
    );
    // Sets that were never joined before.
    let mut fresh = f64::INFINITY;
    for round in 0..10 {
        let replaced = NAMES[round % 4];
        tiers.clear_route();
        tiers.replace(replaced, adapter(decoder, 10 + round as u64)).expect("the adapter fits");
        tiers.route(&in_turns(&NAMES, 16)).expect("loaded adapters");
        let started = Instant::now();
        pass(decoder, &step, None);
        fresh = fresh.min(started.elapsed().as_secs_f64());
    }
    eprintln!("{name}: first pass of four adapters never joined before {:.2} ms", fresh * 1e3);
    tiers.clear_route();
}

fn ratios(_: &mut Criterion) {
    for (name, config) in shapes() {
        let (decoder, tiers) = tiered(&config);
        mixed(name, &decoder, &tiers);
        switch(name, &decoder, &tiers);
        rows(name, &decoder, &tiers);
    }
}

/// A prefill and a decoding step of 16 rows, over four adapters and over one.
fn rows(name: &str, decoder: &Decoder, tiers: &Tiers) {
    for (label, seq) in [("prefill 16x64", 64), ("decode 16x1", 1)] {
        let tokens = tokens(16, seq);
        let run = |stacks: &[Stack]| {
            tiers.route(stacks).expect("loaded adapters");
            pass(decoder, &tokens, None);
        };
        let (one, four) = (in_turns(&NAMES[..1], 16), in_turns(&NAMES, 16));
        let beside: Vec<Stack> = (0..16).map(|row| stack(&NAMES[row / 4..=row / 4])).collect();
        let times = interleaved(&mut [
            &mut || run(&one),
            &mut || run(&four),
            &mut || run(&beside),
            &mut || {
                tiers.clear_route();
                pass(decoder, &tokens, None);
            },
        ]);
        eprintln!(
            "{name}: {label}: none {:.3} ms, one {:.3}, four in turns {:.3}, four side by side \
             {:.3}; mixed {:.2} and {:.2}",
            times[3] * 1e3,
            times[0] * 1e3,
            times[1] * 1e3,
            times[2] * 1e3,
            times[0] / times[1],
            times[0] / times[2]
        );
    }
}

criterion_group!(benches, ratios, forward);
criterion_main!(benches);
