//! `limbeck bench`: how fast a model reads and writes, and how fast it could at most.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;
use limbeck_core::seed::CounterRng;
use limbeck_infer::{Engine, SamplingParams};
use limbeck_quant::footprint::bytes_per_token;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;
use tch::Device;

use super::generate::engine_config;
use crate::adapter_source;
use crate::cli::{BenchArguments, UsageError};
use crate::model_folder::ModelFolder;

/// Floats read to measure the memory's speed: more than caches hold.
const READ_FLOATS: usize = 96 << 20;

/// The times of one batch size.
#[derive(Debug, Serialize)]
struct Row {
    batch: usize,
    /// Prompt tokens a second.
    prefill_tokens_per_second: f64,
    /// Generated tokens a second, of all requests.
    decode_tokens_per_second: f64,
    /// Seconds to the first token of all requests.
    first_token_seconds: f64,
    /// Seconds between two tokens of a request.
    seconds_per_token: f64,
}

pub(crate) fn run(arguments: &BenchArguments, json: bool) -> Result<()> {
    let model = &arguments.model;
    if arguments.new_tokens < 2 || arguments.rounds == 0 || arguments.batch.contains(&0) {
        return Err(UsageError {
            message: "expected at least 2 new tokens, 1 round and batches of 1".to_owned(),
            hint: "see limbeck bench --help".to_owned(),
        }
        .into());
    }
    let adapters =
        adapter_source::folders(&model.model, &model.adapter, model.registry.as_deref())?;
    let opened = ModelFolder::open_asked(model, &adapters, arguments.device)?;
    let decoder = &opened.decoder;
    let bytes = bytes_per_token(decoder);
    let on_cpu = decoder.device() == Device::Cpu;
    let bandwidth = on_cpu.then(memory_bandwidth);
    let engine = Engine::new(decoder, engine_config(arguments.int8_cache))?;
    let mut rows = Vec::new();
    for &batch in &arguments.batch {
        let mut rng = CounterRng::new(1);
        let vocabulary = decoder.config().vocab_size as usize;
        let prompts: Vec<Vec<i64>> = (0..batch)
            .map(|_| (0..arguments.prompt_tokens).map(|_| rng.below(vocabulary) as i64).collect())
            .collect();
        let seconds = |new_tokens: usize| -> Result<f64> {
            let params = SamplingParams { max_new_tokens: new_tokens, ..SamplingParams::default() };
            let start = Instant::now();
            engine.generate(&prompts, &params, &mut |_| {})?;
            Ok(start.elapsed().as_secs_f64())
        };
        seconds(2)?;
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            let prefill = seconds(1)?;
            first.push(prefill);
            rest.push((seconds(arguments.new_tokens)? - prefill).max(1e-6));
        }
        let (first, rest) = (median(first), median(rest));
        let steps = (arguments.new_tokens - 1) as f64;
        rows.push(Row {
            batch,
            prefill_tokens_per_second: (batch * arguments.prompt_tokens) as f64 / first,
            decode_tokens_per_second: batch as f64 * steps / rest,
            first_token_seconds: first,
            seconds_per_token: rest / steps,
        });
    }
    let text = if json {
        json!({
            "model": model.model,
            "weight_bytes_per_token": bytes,
            "read_bytes_per_second": bandwidth,
            "prompt_tokens": arguments.prompt_tokens,
            "new_tokens": arguments.new_tokens,
            "threads": tch::get_num_threads(),
            "rows": rows,
        })
        .to_string()
    } else {
        table(&rows, bytes, bandwidth)?
    };
    println!("{}", text.trim_end());
    Ok(())
}

fn table(rows: &[Row], bytes: u64, bandwidth: Option<f64>) -> Result<String> {
    let mut text = String::new();
    let megabytes = bytes as f64 / 1e6;
    write!(text, "{megabytes:.1} MB of weights are read for each token")?;
    if let Some(bandwidth) = bandwidth {
        write!(
            text,
            "; memory gives {:.1} GB/s: at most {:.1} tokens/s one by one",
            bandwidth / 1e9,
            bandwidth / bytes as f64
        )?;
    }
    writeln!(
        text,
        "\n\nbatch  prefill tokens/s  decode tokens/s  first token  per token  of limit"
    )?;
    for row in rows {
        let share = bandwidth
            .map(|bandwidth| bytes as f64 / bandwidth / row.seconds_per_token)
            .map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share));
        writeln!(
            text,
            "{:>5}  {:>16.1}  {:>15.1}  {:>8.1} ms  {:>6.2} ms  {share:>8}",
            row.batch,
            row.prefill_tokens_per_second,
            row.decode_tokens_per_second,
            1e3 * row.first_token_seconds,
            1e3 * row.seconds_per_token,
        )?;
    }
    Ok(text)
}

/// Bytes a second that all threads together read from memory.
fn memory_bandwidth() -> f64 {
    let numbers = vec![1.0_f32; READ_FLOATS];
    let read = || {
        let start = Instant::now();
        let sums = numbers.par_chunks(1 << 16).map(|numbers| {
            // Several sums at once, so that memory is what is waited for.
            let mut sums = [0.0_f32; 64];
            for numbers in numbers.chunks_exact(64) {
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum += number;
                }
            }
            sums.iter().sum::<f32>()
        });
        std::hint::black_box(sums.sum::<f32>());
        size_of_val(numbers.as_slice()) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| read()).fold(0.0, f64::max)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
