//! A step of the default student: from labels, from the teacher's distributions, and from
//! its hidden states and attention as well. The last line on stderr is what each costs
//! beside the labels alone.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use limbeck_distill::divergence::{Divergence, DivergenceSettings};
use limbeck_distill::{DistillConfig, DistillObjective, Teacher, TokenIds};
use limbeck_model::Decoder;
use limbeck_train::{Batch, Example, Objective, SupervisedObjective};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const BATCH: usize = 8;
const LENGTH: usize = 129;

fn decoder(hidden: i64, intermediate: i64, layers: i64, heads: i64) -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 640, "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads / 2, "hidden_act": "silu",
        "max_position_embeddings": 1024, "initializer_range": 0.05, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "use_sliding_window": false, "tie_word_embeddings": true,
    });
    Decoder::init(&config, 1, Device::Cpu, Kind::Float).expect("a valid configuration")
}

fn batch() -> Batch {
    let examples: Vec<Example> = (0..BATCH)
        .map(|index| Example {
            id: String::new(),
            tokens: (0..LENGTH).map(|at| ((index * 97 + at * 13) % 640) as i64).collect(),
            weights: (0..LENGTH).map(|at| if at > LENGTH / 3 { 1.0 } else { 0.0 }).collect(),
            ..Example::default()
        })
        .collect();
    Batch::new(&examples.iter().collect::<Vec<_>>(), 0, Device::Cpu).expect("a batch")
}

/// Every divergence of 512 rows, forward and backward, over a small and a large vocabulary.
fn divergences(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("divergence");
    group.throughput(Throughput::Elements(512));
    for vocabulary in [640, 32_000] {
        let logits = || Tensor::randn([512, vocabulary], (Kind::Float, Device::Cpu));
        let (student, teacher) = (logits().set_requires_grad(true), logits());
        for divergence in [
            Divergence::ForwardKl,
            Divergence::ReverseKl,
            Divergence::Jsd,
            Divergence::SkewKl,
            Divergence::SkewReverseKl,
            Divergence::TotalVariation,
            Divergence::SortedL1,
        ] {
            for top_k in [0, 50] {
                let settings =
                    DivergenceSettings { divergence, top_k, ..DivergenceSettings::default() };
                let name = format!("{divergence:?}/{vocabulary}/top {top_k}");
                group.bench_function(name, |bencher| {
                    bencher.iter(|| {
                        let rows = settings.per_row(&student, &teacher).expect("a divergence");
                        rows.sum(Kind::Float).backward();
                    });
                });
            }
        }
    }
    group.finish();
}

fn main() {
    let teacher = decoder(256, 704, 6, 8);
    let student = decoder(128, 192, 3, 4);
    student.set_requires_grad(true).expect("trainable parameters");
    let batch = batch();
    let distilled = |level: f64| {
        let config = DistillConfig {
            hidden_weight: level,
            attention_weight: level,
            ..DistillConfig::default()
        };
        let (teacher, ids) = (Teacher::Live(&teacher), TokenIds::default());
        DistillObjective::new(teacher, &student, &config, &ids, &[], 0, Device::Cpu)
            .expect("an objective")
    };
    let mut objectives: [(&str, Box<dyn Objective + '_>); 3] = [
        ("labels", Box::new(SupervisedObjective { chunk_rows: 2048 })),
        ("distributions", Box::new(distilled(0.0))),
        ("distributions_hidden_attention", Box::new(distilled(1.0))),
    ];
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("distill");
    group.throughput(Throughput::Elements(batch.num_tokens as u64));
    let mut rates = Vec::new();
    for (name, objective) in &mut objectives {
        let mut step = || {
            let losses = objective.accumulate(&student, &batch, batch.weight_sum);
            black_box(losses.expect("a step"));
        };
        group.bench_function(format!("step/{name}"), |bencher| bencher.iter(&mut step));
        let rounds = 10;
        let started = Instant::now();
        (0..rounds).for_each(|_| step());
        let tokens = f64::from(rounds) * batch.num_tokens as f64;
        rates.push((*name, tokens / started.elapsed().as_secs_f64()));
    }
    group.finish();
    divergences(&mut criterion);
    criterion.final_summary();
    let labels = rates[0].1;
    let parts: Vec<String> = rates
        .iter()
        .map(|(name, rate)| format!("{name} {rate:.0} tokens/s (x{:.1})", labels / rate))
        .collect();
    eprintln!("{}", parts.join(", "));
}
