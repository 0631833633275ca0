//! A LoRA step's forward and backward pass, beside the same pass of full fine-tuning.
//!
//! Shape: the fixture teacher's (hidden 256, 6 layers), batches of 8 rows of 256 tokens,
//! every second token with a loss. `full` is what LoRA has to beat: it also computes the
//! gradients of all weights. `base` is the forward pass alone, without gradients;
//! `training_step` has the optimiser in it. `merge` folds the adapter into the weights and
//! compares the two models on a sequence.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use limbeck_lora::{Adapter, Init, LoraConfig, MergeGate, Rank, merge};
use limbeck_model::Decoder;
use limbeck_train::objective::forward;
use limbeck_train::optimizer_groups::OptimizerGroups;
use limbeck_train::{Batch, Example, Objective, SupervisedObjective, TrainConfig};
use serde_json::json;
use tch::{Cuda, Device, Kind, no_grad};

const ROWS: usize = 8;
const LENGTH: usize = 256;
const VOCAB: i64 = 1024;

fn decoder(device: Device) -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": 256, "intermediate_size": 768,
        "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4,
        "hidden_act": "silu", "max_position_embeddings": 1024, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "initializer_range": 0.02,
    });
    Decoder::init(&config, 1, device, Kind::Float).expect("the configuration is a valid one")
}

fn batch(device: Device) -> Batch {
    let examples: Vec<Example> = (0..ROWS)
        .map(|row| Example {
            id: row.to_string(),
            tokens: (0..=LENGTH)
                .map(|position| ((row * 31 + position * 17) as i64) % VOCAB)
                .collect(),
            weights: (0..=LENGTH).map(|position| f32::from(u8::from(position % 2 == 1))).collect(),
            ..Example::default()
        })
        .collect();
    Batch::new(&examples.iter().collect::<Vec<_>>(), 0, device).expect("the batch fits the device")
}

/// Waits for the device, so that the clock measures work and not its submission.
fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

fn step(decoder: &Decoder, batch: &Batch, device: Device) {
    let mut objective = SupervisedObjective { chunk_rows: 2048 };
    for (_, mut tensor) in decoder.named_parameters() {
        tensor.zero_grad();
    }
    let losses = objective.accumulate(decoder, batch, batch.weight_sum).expect("a training step");
    synchronize(device);
    black_box(losses);
}

fn lora(criterion: &mut Criterion) {
    let device = Device::cuda_if_available();
    let batch = batch(device);
    let mut group = criterion.benchmark_group("lora/hidden256_layers6");
    group.sample_size(10).warm_up_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements((ROWS * LENGTH) as u64));

    let base = decoder(device);
    group.bench_function("base_forward", |bencher| {
        bencher.iter(|| {
            let hidden = no_grad(|| forward(&base, &batch)).expect("a forward pass");
            synchronize(device);
            hidden
        });
    });
    base.set_requires_grad(true).expect("the parameters are floating-point");
    group.bench_function("full_forward_backward", |bencher| {
        bencher.iter(|| step(&base, &batch, device));
    });
    let rank = |rank| Rank::new(rank).expect("the rank is a valid one");
    let plain = LoraConfig { rank: rank(16), ..LoraConfig::default() };
    for (name, config) in [
        ("rank8", LoraConfig { rank: rank(8), ..plain.clone() }),
        ("rank16", plain.clone()),
        ("rank16_dropout", LoraConfig { dropout: 0.1, ..plain.clone() }),
        ("rank16_dora", LoraConfig { use_dora: true, ..plain.clone() }),
        ("rank16_pissa", LoraConfig { init: Init::Pissa, ..plain.clone() }),
    ] {
        let mut decoder = decoder(device);
        let config = config.adapter(None);
        let adapter = Adapter::attach(&mut decoder, config, 1).expect("the adapter fits");
        eprintln!("{name}: {}", adapter.trainable_share(&decoder));
        group.bench_function(format!("{name}_forward_backward"), |bencher| {
            bencher.iter(|| step(&decoder, &batch, device));
        });
    }

    let mut decoder = decoder(device);
    let adapter = Adapter::attach(&mut decoder, plain.adapter(None), 1).expect("the adapter fits");
    let config = TrainConfig::default().optimizer();
    let mut optimizer = OptimizerGroups::new(adapter.parameter_groups(1.0), config, None)
        .expect("the adapter has parameters");
    let mut objective = adapter.objective(2048);
    group.bench_function("rank16_training_step", |bencher| {
        bencher.iter(|| {
            optimizer.zero_gradients().expect("gradients that can be zeroed");
            let losses = objective.accumulate(&decoder, &batch, batch.weight_sum);
            optimizer.step(1e-3).expect("an optimiser step");
            synchronize(device);
            black_box(losses.expect("a training step"))
        });
    });
    group.finish();
}

/// All projections of the same model, and the gate's comparison on one sequence.
fn merging(criterion: &mut Criterion) {
    let device = Device::cuda_if_available();
    let mut group = criterion.benchmark_group("merge/hidden256_layers6");
    group.sample_size(10);
    let sequences = [(0..64).collect::<Vec<i64>>()];
    for (name, dtype) in [("float32", Kind::Float), ("bfloat16", Kind::BFloat16)] {
        let gate =
            MergeGate { sequences: &sequences, tolerance: MergeGate::default_tolerance(dtype) };
        let adapted = || {
            let mut decoder = decoder(device);
            let config = LoraConfig::default().adapter(None);
            let adapter = Adapter::attach(&mut decoder, config, 1).expect("the adapter fits");
            (decoder, adapter)
        };
        group.throughput(Throughput::Elements(decoder(device).num_parameters() as u64));
        group.bench_function(name, |bencher| {
            let merged = |(decoder, adapter): (Decoder, Adapter)| {
                let merged = merge(decoder, &adapter, dtype, &gate).expect("a merge that passes");
                synchronize(device);
                merged
            };
            bencher.iter_batched(adapted, merged, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, lora, merging);
criterion_main!(benches);
