//! Measures how well a model tells where chains go wrong, by likelihood and by rollouts, without
//! the text checks.
//!
//! `cargo run --release -p limbeck-evaluate --example chain_models -- MODEL [COUNT] [ROLLOUTS]`
//!
//! COUNT records (100) of each family that the fixture teacher knows, with the generators' own
//! mistakes and the right chains as controls; with ROLLOUTS, rollouts too, so many from a step. Thresholds are chosen on the first half of the
//! chains and measured on the second.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use limbeck_core::Tokenizer;
use limbeck_cot_data::negatives::in_turn;
use limbeck_cot_data::{CotRecord, Family, Label, Mistake, Shard, generate_many, wrong_record};
use limbeck_evaluate::chain::likelihood::{Rateable, StepLikelihood, rate};
use limbeck_evaluate::chain::rollout::{self, RolloutConfig, Unfinished};
use limbeck_evaluate::chain::split::split;
use limbeck_evaluate::chain::{Located, StepF1};
use limbeck_infer::{Engine, EngineConfig};
use limbeck_model::{Decoder, LoadOptions};
use tch::{Device, Kind};

/// What is held against a threshold, of a step among those of its chain.
type Statistic = fn(&[StepLikelihood], usize) -> f64;

struct Labelled {
    record: CotRecord,
    reasoning: String,
    places: Vec<Range<usize>>,
    label: Option<usize>,
    expected: String,
    mistake: &'static str,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let model = Path::new(arguments.first().ok_or("usage: chain_models MODEL [COUNT] [ROLLOUTS]")?);
    let count: u64 = arguments.get(1).map_or(Ok(100), |count| count.parse())?;
    tch::set_num_threads(1);
    let decoder = Decoder::load(model, &LoadOptions::dense(Device::Cpu, Kind::Float))?;
    let tokenizer = Tokenizer::load(model)?;
    let engine = Engine::new(&decoder, EngineConfig::default())?;
    let max_tokens = decoder.config().max_position_embeddings as usize;
    let chains = chains(count)?;

    let started = Instant::now();
    let rateable: Vec<(Rateable<'_>, &[Range<usize>])> = chains
        .iter()
        .map(|chain| {
            let Labelled { record, reasoning, places, .. } = chain;
            let rateable = Rateable {
                question: &record.question,
                reasoning,
                answer: &record.answer,
                closed: true,
            };
            (rateable, places.as_slice())
        })
        .collect();
    let rated = rate(&engine, &tokenizer, &rateable, max_tokens, &mut |_| {})?;
    println!("rated {} chains in {:.1} s", chains.len(), started.elapsed().as_secs_f64());
    let statistics: [(&str, Statistic); 5] = [
        ("mean", |steps, at| steps[at].mean),
        ("mean less earlier mean", |steps, at| {
            steps[at].mean - mean(&steps[..at], |step| step.mean)
        }),
        ("peak", |steps, at| steps[at].peak),
        ("peak less earlier mean peak", |steps, at| {
            steps[at].peak - mean(&steps[..at], |step| step.peak)
        }),
        ("peak less earlier highest", |steps, at| {
            steps[at].peak - steps[..at].iter().map(|step| step.peak).fold(0.0, f64::max)
        }),
    ];
    for (name, statistic) in statistics {
        thresholds(name, &chains, &rated, statistic);
        calibration(&chains, &rated, statistic);
    }

    let Some(samples) = arguments.get(2) else { return Ok(()) };
    let samples = samples.parse()?;
    let config = RolloutConfig { samples, ..RolloutConfig::default() };
    rollouts(&engine, &tokenizer, &chains, &config, max_tokens)?;
    Ok(())
}

fn mean(steps: &[StepLikelihood], of: fn(&StepLikelihood) -> f64) -> f64 {
    steps.iter().map(of).sum::<f64>() / steps.len().max(1) as f64
}

fn chains(count: u64) -> Result<Vec<Labelled>, Box<dyn Error>> {
    let mut chains = Vec::new();
    for family in Family::CORE {
        for (number, record) in
            generate_many(family, None, count, 11, Shard::default())?.into_iter().enumerate()
        {
            let made = in_turn(&Mistake::ALL, number, |mistake| wrong_record(&record, mistake, 1));
            let expected = record.answer.clone();
            let wrong = made.map(|(mistake, wrong)| (mistake.name(), wrong));
            for (mistake, record) in [Some(("right", record)), wrong].into_iter().flatten() {
                let reasoning = record.reasoning();
                let label = match record.label {
                    Label::Wrong { first_wrong_step, .. } => Some(first_wrong_step),
                    _ => None,
                };
                let places = split(&reasoning);
                let expected = expected.clone();
                chains.push(Labelled { record, reasoning, places, label, expected, mistake });
            }
        }
    }
    Ok(chains)
}

fn thresholds(
    name: &str,
    chains: &[Labelled],
    rated: &[Vec<StepLikelihood>],
    statistic: Statistic,
) {
    let at = |half: usize, threshold: f64| -> Vec<Located> {
        chains
            .iter()
            .zip(rated)
            .enumerate()
            .filter(|(index, _)| index / 2 % 2 == half)
            .map(|(_, (chain, steps))| {
                let found = (0..steps.len()).find(|&step| statistic(steps, step) > threshold);
                Located { label: chain.label, found: Some(found), kind: None }
            })
            .collect()
    };
    let grid = (1..200).map(|step| 0.1 * f64::from(step));
    let grid: Vec<f64> = grid.chain((1..100).map(|step| 0.002 * f64::from(step))).collect();
    let best = grid
        .into_iter()
        .max_by(|left, right| {
            StepF1::of(&at(0, *left)).f1.total_cmp(&StepF1::of(&at(0, *right)).f1)
        })
        .unwrap_or(1.0);
    print(&format!("{name} > {best:.3}"), &at(1, best));
    for threshold in [1.0, 2.0, 3.0, 4.0, 6.0, 8.0] {
        let f1 = StepF1::of(&at(1, threshold));
        print!("   {threshold}: {:.3}", f1.f1);
    }
    println!();
    let mut missed: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for (chain, steps) in chains.iter().zip(rated) {
        let found = (0..steps.len()).find(|&step| statistic(steps, step) > best);
        let entry = missed.entry(chain.mistake).or_default();
        entry.0 += u32::from(found == chain.label);
        entry.1 += 1;
    }
    println!("   {missed:?}");
}

/// Of the first steps beyond 1 nat, by the statistic: how many are the first wrong one.
fn calibration(chains: &[Labelled], rated: &[Vec<StepLikelihood>], statistic: Statistic) {
    let mut bins = vec![(0_u32, 0_u32); 13];
    for (chain, steps) in chains.iter().zip(rated) {
        if let Some(step) = (0..steps.len()).find(|&step| statistic(steps, step) > 1.0) {
            let bin = &mut bins[(statistic(steps, step) as usize).min(12)];
            bin.0 += u32::from(chain.label == Some(step));
            bin.1 += 1;
        }
    }
    println!("   exact, of, by nats: {bins:?}");
}

fn print(name: &str, chains: &[Located]) {
    let f1 = StepF1::of(chains);
    println!(
        "{name}: F1 {:.3} erroneous {:.3} of {} correct {:.3} of {} precision {:.3} recall {:.3} offsets {:?}",
        f1.f1,
        f1.erroneous.value,
        f1.erroneous.n,
        f1.correct.value,
        f1.correct.n,
        f1.precision.value,
        f1.detected.value,
        f1.offsets
    );
}

fn rollouts(
    engine: &Engine<'_>,
    tokenizer: &Tokenizer,
    chains: &[Labelled],
    config: &RolloutConfig,
    max_tokens: usize,
) -> Result<(), Box<dyn Error>> {
    let unfinished: Vec<Unfinished<'_>> = chains
        .iter()
        .map(|chain| Unfinished {
            question: &chain.record.question,
            reasoning: &chain.reasoning,
            places: &chain.places,
            expected: &chain.expected,
        })
        .collect();
    let started = Instant::now();
    let mut continuations = 0;
    let found = rollout::locate(engine, tokenizer, &unfinished, config, max_tokens, &mut |done| {
        continuations += done;
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let located: Vec<Located> = chains
        .iter()
        .zip(&found)
        .map(|(chain, found)| Located {
            label: chain.label,
            found: Some(found.as_ref().map(|found| found.step)),
            kind: None,
        })
        .collect();
    print(
        &format!(
            "rollouts at {}, {continuations} continuations in {seconds:.1} s",
            config.temperature
        ),
        &located,
    );
    let mut missed: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut sure = [(0.0, 0_u32, 0_u32); 11];
    for (chain, found) in chains.iter().zip(found) {
        let entry = missed.entry(chain.mistake).or_default();
        let exact = found.as_ref().map(|found| found.step) == chain.label;
        entry.0 += u32::from(exact);
        entry.1 += 1;
        if let Some(found) = found {
            let bin = &mut sure[(found.confidence * 10.0) as usize];
            *bin = (bin.0 + found.confidence, bin.1 + u32::from(exact), bin.2 + 1);
        }
    }
    println!("   {missed:?}\n   confidence, exact, of: {sure:?}");
    Ok(())
}
