//! Tokens a second of greedy generation and of scoring, on random decoders of the default
//! pipeline's shapes; what a step costs beside its forward pass; what the prefix cache saves.
//!
//! `cargo bench -p limbeck-infer`. Greedy decoding without stop tokens: every request
//! generates the same number of tokens, so the numbers are an upper bound of what chains
//! of mixed length reach.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use limbeck_infer::{Engine, EngineConfig, Request, SamplingParams};
use limbeck_model::Decoder;
use serde_json::json;
use tch::{Device, Kind};

/// Name, hidden size, feed-forward size, layers, heads, key-value heads.
const SHAPES: [(&str, i64, i64, i64, i64, i64); 2] =
    [("student_0.45M", 96, 256, 4, 4, 2), ("teacher_4.5M", 256, 704, 6, 8, 4)];
const PROMPTS: usize = 128;
const NEW_TOKENS: usize = 64;

fn decoder(shape: (&str, i64, i64, i64, i64, i64)) -> Decoder {
    let (_, hidden, intermediate, layers, heads, kv_heads) = shape;
    let config = json!({
        "model_type": "qwen2", "vocab_size": 640, "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "hidden_act": "silu", "initializer_range": 0.02
    });
    Decoder::init(&config, 1, Device::Cpu, Kind::Float).expect("a valid configuration")
}

/// Lengths from 60 to 123, as the questions of the generated data have.
fn prompts() -> Vec<Vec<i64>> {
    (0..PROMPTS)
        .map(|row| (0..60 + row % 64).map(|slot| ((row * 31 + slot * 17) % 640) as i64).collect())
        .collect()
}

fn generation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generate");
    group.sample_size(10);
    let prompts = prompts();
    let params = SamplingParams { max_new_tokens: NEW_TOKENS, ..SamplingParams::default() };
    for shape in SHAPES {
        let decoder = decoder(shape);
        let engine = Engine::new(&decoder, EngineConfig::default()).expect("valid limits");
        for batch in [1, 8, 64, 128] {
            group.throughput(Throughput::Elements((batch * NEW_TOKENS) as u64));
            group.bench_function(BenchmarkId::new(shape.0, format!("batch_{batch}")), |bencher| {
                bencher.iter(|| {
                    let prompts = black_box(&prompts[..batch]);
                    engine.generate(prompts, &params, &mut |_| {}).expect("generation")
                });
            });
        }
    }
    group.finish();
}

fn scoring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("score");
    group.sample_size(10);
    let sequences = prompts();
    group.throughput(Throughput::Elements(sequences.iter().map(Vec::len).sum::<usize>() as u64));
    for shape in SHAPES {
        let decoder = decoder(shape);
        let engine = Engine::new(&decoder, EngineConfig::default()).expect("valid limits");
        group.bench_function(shape.0, |bencher| {
            bencher.iter(|| engine.score(black_box(&sequences)).expect("scores"));
        });
    }
    group.finish();
}

/// A step of 64 replies with a model of next to no arithmetic: the scheduler, the tables and
/// libtorch's cost per operation.
fn scheduling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    let decoder = decoder(("tiny", 8, 8, 1, 1, 1));
    let config = EngineConfig { max_cache_bytes: 64 << 20, ..EngineConfig::default() };
    let engine = Engine::new(&decoder, config).expect("valid limits");
    let params = SamplingParams { max_new_tokens: 380, ..SamplingParams::default() };
    let prompts = prompts();
    group.throughput(Throughput::Elements(64));
    let begun = || {
        let mut session = engine.session().expect("a pool");
        for prompt in &prompts[..64] {
            let request =
                Request { prompt: prompt.clone(), params: params.clone(), ..Request::default() };
            session.submit(request).expect("a request that fits");
        }
        while session.stats().last_step_tokens != 64 {
            session.step().expect("a step");
        }
        session
    };
    group.bench_function("64_running", |bencher| {
        bencher.iter_batched_ref(
            begun,
            |session| (0..32).for_each(|_| drop(session.step().expect("a step"))),
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The first token after a prompt of 480 tokens, of which nothing or all but the last block is
/// there.
fn prefix(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prefix_480");
    group.sample_size(10);
    let prompt: Vec<i64> = (0..480).map(|slot| slot * 17 % 640).collect();
    let decoder = decoder(SHAPES[1]);
    for (name, prefix_cache) in [("computed", false), ("found", true)] {
        let config =
            EngineConfig { prefix_cache, max_cache_bytes: 64 << 20, ..EngineConfig::default() };
        let engine = Engine::new(&decoder, config).expect("valid limits");
        let mut session = engine.session().expect("a pool");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let params = SamplingParams { max_new_tokens: 1, ..SamplingParams::default() };
                let request = Request { prompt: prompt.clone(), params, ..Request::default() };
                session.submit(request).expect("a request that fits");
                while !session.is_idle() {
                    session.step().expect("a step");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, generation, scoring, scheduling, prefix);
criterion_main!(benches);
