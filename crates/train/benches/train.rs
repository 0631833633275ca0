//! A training step on the fixture teacher's shape, beside the machine's matrix-product
//! rate at the same dtype and sizes, and the update of each optimiser. The last line on
//! stderr is the step's share of that rate.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use limbeck_model::Decoder;
use limbeck_train::optimizer::{Optimizer, OptimizerKind};
use limbeck_train::{Batch, Example, Objective, SupervisedObjective, TrainConfig};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const BATCH: usize = 24;
const LENGTH: usize = 129;

fn teacher_shape() -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 640, "hidden_size": 256, "intermediate_size": 704,
        "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4,
        "hidden_act": "silu", "max_position_embeddings": 1024, "initializer_range": 0.02,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
        "tie_word_embeddings": true,
    });
    Decoder::init(&config, 1, Device::Cpu, Kind::Float).expect("a valid configuration")
}

fn batch() -> Batch {
    let examples: Vec<Example> = (0..BATCH)
        .map(|index| Example {
            id: String::new(),
            tokens: (0..LENGTH).map(|at| ((index * 97 + at * 13) % 640) as i64).collect(),
            weights: (0..LENGTH).map(|at| if at > LENGTH * 2 / 5 { 1.0 } else { 0.0 }).collect(),
            ..Example::default()
        })
        .collect();
    Batch::new(&examples.iter().collect::<Vec<_>>(), 0, Device::Cpu).expect("a batch")
}

/// Products of the step's largest layer, `[tokens, 256] x [256, 704]`, in FLOP/s.
fn matmul_rate() -> f64 {
    let tokens = (BATCH * (LENGTH - 1)) as i64;
    let left = Tensor::randn([tokens, 256], (Kind::Float, Device::Cpu));
    let right = Tensor::randn([256, 704], (Kind::Float, Device::Cpu));
    let product = || drop(black_box(left.matmul(&right)));
    (0..5).for_each(|_| product());
    let rounds = 60;
    let started = Instant::now();
    (0..rounds).for_each(|_| product());
    f64::from(rounds) * 2.0 * tokens as f64 * 256.0 * 704.0 / started.elapsed().as_secs_f64()
}

/// An update of all parameters, gradients given.
fn bench_optimizers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("optimizer");
    for (name, optimizer, muon_learning_rate) in [
        ("adamw", OptimizerKind::AdamW, 0.0),
        ("adamw_8bit", OptimizerKind::AdamW8bit, 0.0),
        ("adafactor", OptimizerKind::Adafactor, 0.0),
        ("muon_adamw", OptimizerKind::AdamW, 0.02),
    ] {
        let model = teacher_shape();
        model.set_requires_grad(true).expect("trainable parameters");
        let config = TrainConfig { optimizer, muon_learning_rate, ..TrainConfig::default() };
        let mut optimizer = Optimizer::new(model.named_parameters(), config.optimizer())
            .expect("an optimizer of the model's parameters");
        let batch = batch();
        SupervisedObjective { chunk_rows: 2048 }
            .accumulate(&model, &batch, batch.weight_sum)
            .expect("gradients");
        group.throughput(Throughput::Elements(optimizer.num_parameters() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| optimizer.step(1e-6).expect("an update"));
        });
    }
    group.finish();
}

fn main() {
    let model = teacher_shape();
    model.set_requires_grad(true).expect("trainable parameters");
    let batch = batch();
    let mut objective = SupervisedObjective { chunk_rows: 2048 };
    let mut step = || {
        let losses = objective.accumulate(&model, &batch, batch.weight_sum).expect("a step");
        black_box(losses);
    };
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("train");
    group.throughput(Throughput::Elements(batch.num_tokens as u64));
    group.bench_function("forward_backward/hidden256_layers6", |bencher| bencher.iter(&mut step));
    group.finish();
    bench_optimizers(&mut criterion);
    criterion.final_summary();

    step();
    let rounds = 5;
    let started = Instant::now();
    (0..rounds).for_each(|_| step());
    let tokens = f64::from(rounds) * batch.num_tokens as f64;
    let seconds = started.elapsed().as_secs_f64();
    // 6 FLOP a parameter and token (Kaplan et al. 2020, section 2.1); attention's own
    // products are left out, the head counts only where rows carry a loss.
    let head = 640.0 * 256.0;
    let body = model.num_parameters() as f64 - head;
    let learned = batch.weight_sum / batch.num_tokens as f64;
    let rate = 6.0 * (body + head * learned) * tokens / seconds;
    let limit = matmul_rate();
    eprintln!(
        "{:.0} tokens/s, {:.1} of {:.1} GFLOP/s: {:.0}% of the matrix-product rate",
        tokens / seconds,
        rate / 1e9,
        limit / 1e9,
        100.0 * rate / limit
    );
}
