//! A LoRA step's forward and backward pass, beside the same pass of full fine-tuning.
//!
//! Shape: the fixture teacher's (hidden 256, 6 layers), batches of 8 rows of 256 tokens,
//! every second token with a loss. `full` is what LoRA has to beat: it also computes the
//! gradients of all weights. `base` is the forward pass alone, without gradients.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use limbeck_lora::{Adapter, LoraConfig, Rank};
use limbeck_model::Decoder;
use limbeck_train::objective::forward;
use limbeck_train::{Batch, Example, Objective, SupervisedObjective};
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
    for (name, rank, dropout) in
        [("rank8", 8, 0.0), ("rank16", 16, 0.0), ("rank16_dropout", 16, 0.1)]
    {
        let rank = Rank::new(rank).expect("the rank is a valid one");
        let config = LoraConfig { rank, dropout, ..LoraConfig::default() }.adapter(None);
        let mut decoder = decoder(device);
        let adapter = Adapter::attach(&mut decoder, config, 1).expect("the adapter fits");
        eprintln!("{name}: {}", adapter.trainable_share(&decoder));
        group.bench_function(format!("{name}_forward_backward"), |bencher| {
            bencher.iter(|| step(&decoder, &batch, device));
        });
    }
    group.finish();
}

criterion_group!(benches, lora);
criterion_main!(benches);
