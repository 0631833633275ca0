//! Time and memory on a published model, which is not committed: give its folder, in
//! bfloat16, in `LIMBECK_GEMMA_270M` and run the ignored test.

use std::path::Path;
use std::time::Instant;

use limbeck_core::seed::CounterRng;
use limbeck_model::{Decoder, LoadOptions};
use limbeck_quant::{Method, QuantizeConfig, quantize};
use tch::{Device, Kind};

#[test]
#[ignore = "takes a model of 540 MB"]
fn time_and_memory() {
    let folder = std::env::var("LIMBECK_GEMMA_270M").expect("LIMBECK_GEMMA_270M is not set");
    let set = std::env::var("LIMBECK_QUANTIZE").unwrap_or_default();
    let mut config = QuantizeConfig { head_bits: 4, ..QuantizeConfig::default() };
    for word in set.split_whitespace() {
        match word {
            "awq" => config.method = Method::Awq,
            "rtn" => config.method = Method::Rtn,
            "gptaq" => config.gptaq = true,
            "budget" => config.bits_budget = 4.5,
            "headless" => config.head_bits = 0,
            "few" => {}
            other => panic!("{other}"),
        }
    }
    let started = Instant::now();
    let options = LoadOptions {
        parameter_dtype: Kind::BFloat16,
        ..LoadOptions::dense(Device::Cpu, Kind::Float)
    };
    let mut decoder = Decoder::load(Path::new(&folder), &options).unwrap();
    decoder.set_requires_grad(false).unwrap();
    let gigabytes = |bytes: Option<u64>| bytes.unwrap_or(0) as f64 / 1e9;
    println!(
        "loaded after {:.1} s, resident {:.2} GB, peak {:.2} GB",
        started.elapsed().as_secs_f64(),
        gigabytes(limbeck_run::resident_memory_bytes()),
        gigabytes(limbeck_run::peak_memory_bytes()),
    );
    let mut rng = CounterRng::new(1);
    let records = if set.contains("few") { 16 } else { 64 };
    let sequences: Vec<Vec<i64>> = (0..records)
        .map(|_| (0..150 + rng.below(100)).map(|_| 2000 + rng.below(60000) as i64).collect())
        .collect();
    let started = Instant::now();
    let report = quantize(&mut decoder, &sequences, &config, &mut |done, _, layer| {
        if done % 7 == 0 || layer.name.contains("embed") {
            let seconds = started.elapsed().as_secs_f64();
            let peak = limbeck_run::peak_memory_bytes().unwrap_or(0) as f64 / 1e9;
            let (name, error) = (&layer.name, layer.output_error);
            println!("{seconds:.1} s, peak {peak:.2} GB: {done} {name} {error:?}");
        }
    })
    .unwrap();
    let clock = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: u64 = clock.split(' ').skip(13).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    println!("{:.1} s of processor time since the start", ticks as f64 / 100.0);
    println!(
        "{:.1} s for {} tokens, mean output error {:?}, peak {:.2} GB, predicted {:.2} GB",
        started.elapsed().as_secs_f64(),
        report.calibration_tokens,
        report.mean_output_error(),
        limbeck_run::peak_memory_bytes().unwrap_or(0) as f64 / 1e9,
        report.predicted_bytes as f64 / 1e9,
    );
}
