//! Times one forward and backward pass of a small model in training shape, without an
//! optimiser: `cargo run --release -p limbeck-model --example forward_backward`.
//!
//! Prints tokens per second and the share of the machine's own matmul rate, measured on
//! the feed-forward projection's shape.

use std::time::Instant;

use limbeck_model::{Decoder, Input};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const ROWS: i64 = 32;
const LENGTH: i64 = 128;
const HIDDEN: i64 = 256;
const INNER: i64 = 704;
const LAYERS: i64 = 6;

fn main() {
    tch::set_num_threads(std::thread::available_parallelism().map_or(1, |n| n.get() as i32));
    let config = json!({
        "model_type": "qwen2", "vocab_size": 640, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 8,
        "num_key_value_heads": 4, "tie_word_embeddings": true
    });
    let model = Decoder::init(&config, 1, Device::Cpu, Kind::Float).unwrap();
    model.set_requires_grad(true).unwrap();
    let tokens = Tensor::randint(640, [ROWS, LENGTH], (Kind::Int64, Device::Cpu));

    let blocks_only = model.num_parameters() - 640 * HIDDEN;
    let projection_flops = 6.0 * blocks_only as f64 * (ROWS * LENGTH) as f64;
    let attention_flops = 3.0 * (4 * ROWS * LENGTH * LENGTH * HIDDEN * LAYERS) as f64 / 2.0;

    let forward = best_seconds(|| {
        let _hidden = model.forward(&Input::causal(&tokens), None, None).unwrap();
    });
    let both = best_seconds(|| {
        let hidden = model.forward(&Input::causal(&tokens), None, None).unwrap();
        hidden.sum(Kind::Float).backward();
    });
    let matmul = matmul_rate();
    let tokens_per_second = (ROWS * LENGTH) as f64 / both;
    println!("{} parameters, {ROWS} x {LENGTH} tokens", model.num_parameters());
    println!("forward {:.0} ms, forward and backward {:.0} ms", forward * 1e3, both * 1e3);
    println!("{tokens_per_second:.0} tokens/s");
    let rate = (projection_flops + attention_flops) / both / 1e9;
    println!("{rate:.1} of {:.1} GFLOP/s ({:.0}%)", matmul / 1e9, rate * 1e11 / matmul);
}

fn best_seconds(mut run: impl FnMut()) -> f64 {
    run();
    (0..6)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn matmul_rate() -> f64 {
    let options = (Kind::Float, Device::Cpu);
    let left = Tensor::randn([ROWS * LENGTH, HIDDEN], options);
    let right = Tensor::randn([INNER, HIDDEN], options);
    let seconds = best_seconds(|| {
        for _ in 0..10 {
            let _ = left.linear(&right, None::<Tensor>);
        }
    });
    10.0 * 2.0 * (ROWS * LENGTH * HIDDEN * INNER) as f64 / seconds
}
