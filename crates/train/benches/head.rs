//! What the chunked head saves and what it costs.
//!
//!     cargo bench -p limbeck-train --bench head
//!
//! Peak memory of loss and gradients at 8,192 tokens for two vocabularies, hidden size 256,
//! each in a process of its own: `VmHWM` of `/proc/self/status` less `VmRSS` before the head
//! ran, so that the head's weight is not counted. A chunk holds as many rows as keep its
//! logits at one size. Then the seconds of the chunked and of the plain head, in turn, at
//! 2,048 tokens: the plain one's logits and their gradients take 20 GB at 8,192.

use std::process::Command;
use std::time::Instant;

use limbeck_model::Decoder;
use limbeck_train::objective::weighted_cross_entropy;
use limbeck_train::{Batch, Example, head};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const HIDDEN: i64 = 256;
const TOKENS: usize = 8192;
const TIMED_TOKENS: usize = 2048;
const VOCABULARIES: [i64; 2] = [32_000, 151_936];
/// Logits of a chunk: 128 MiB of float32.
const CHUNK_LOGITS: i64 = 1 << 25;
/// Names the vocabulary whose peak this process is to measure.
const CHILD: &str = "LIMBECK_BENCH_HEAD_VOCABULARY";

struct Head {
    model: Decoder,
    hidden: Tensor,
    batch: Batch,
}

impl Head {
    /// A tied head, frozen as under an adapter: a trained one's own gradient is as large as
    /// its weight, chunked or not.
    fn new(vocabulary: i64, tokens: usize) -> Self {
        let config = json!({
            "model_type": "qwen2", "vocab_size": vocabulary, "hidden_size": HIDDEN,
            "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4,
            "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 16_384,
            "initializer_range": 0.02, "rms_norm_eps": 1e-6, "rope_theta": 10_000.0,
            "use_sliding_window": false, "tie_word_embeddings": true,
        });
        let model = Decoder::init(&config, 1, Device::Cpu, Kind::Float).expect("a model");
        model.set_requires_grad(false).expect("a frozen model");
        let example = Example {
            tokens: (0..=tokens).map(|at| (at as i64 * 7919) % vocabulary).collect(),
            weights: vec![1.0; tokens + 1],
            ..example()
        };
        let batch = Batch::new(&[&example], 0, Device::Cpu).expect("a batch");
        let shape = [1, tokens as i64, HIDDEN];
        let hidden = Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        Self { model, hidden, batch }
    }

    /// Loss and gradients, `rows` at a time.
    fn run(&self, rows: i64) {
        let batch = &self.batch;
        let loss = head::backward(&self.model, &self.hidden, batch, rows, &mut |logits, rows| {
            let length = rows.end - rows.start;
            let targets = batch.targets.f_narrow(0, rows.start, length)?;
            let weights = batch.weights.f_narrow(0, rows.start, length)?;
            weighted_cross_entropy(logits, &targets, &weights, batch.weight_sum)
        });
        assert!(loss.expect("a loss").is_finite());
    }
}

fn example() -> Example {
    Example { id: "head".to_owned(), ..Example::default() }
}

fn chunk_rows(vocabulary: i64) -> i64 {
    CHUNK_LOGITS / vocabulary
}

/// A field of `/proc/self/status` in bytes.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux's status file");
    let line = text.lines().find(|line| line.starts_with(field)).expect("the field");
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    1024 * kilobytes.expect("a number")
}

/// The least of some runs' seconds, chunked and plain in turn.
fn seconds(vocabulary: i64) -> (f64, f64) {
    let head = Head::new(vocabulary, TIMED_TOKENS);
    let timed = |rows| {
        let started = Instant::now();
        head.run(rows);
        started.elapsed().as_secs_f64()
    };
    let (mut chunked, mut plain) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..4 {
        chunked = timed(chunk_rows(vocabulary)).min(chunked);
        plain = timed(TIMED_TOKENS as i64).min(plain);
    }
    (chunked, plain)
}

fn main() {
    if let Ok(vocabulary) = std::env::var(CHILD) {
        let vocabulary = vocabulary.parse().expect("a vocabulary");
        let head = Head::new(vocabulary, TOKENS);
        let before = status("VmRSS");
        head.run(chunk_rows(vocabulary));
        println!("{}", status("VmHWM") - before);
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let peaks = VOCABULARIES.map(|vocabulary| {
        let mut child = Command::new(&program);
        let output = child.env(CHILD, vocabulary.to_string()).output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout);
        let bytes: f64 = text.trim().parse().expect("the child's peak");
        let weight = (vocabulary * HIDDEN * 4) as f64;
        println!(
            "{TOKENS} tokens x {vocabulary}: {:.0} MB beside the head's weight of {:.0} MB",
            bytes / 1e6,
            weight / 1e6
        );
        bytes
    });
    println!("peak of the larger vocabulary: {:.2} of the smaller's", peaks[1] / peaks[0]);
    let (chunked, plain) = seconds(VOCABULARIES[1]);
    println!(
        "{TIMED_TOKENS} tokens x {}: {chunked:.2} s chunked, {plain:.2} s plain, ratio {:.2}",
        VOCABULARIES[1],
        chunked / plain
    );
}
