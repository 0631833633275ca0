//! Evaluations of models that do not exist, for tests and for looking at the page.

use std::collections::BTreeMap;

use limbeck_core::seed::{CounterRng, derive};
use limbeck_cot_data::{CotRecord, Family, generate};
use limbeck_evaluate::attention::{AttentionMap, Heat, Span};
use limbeck_evaluate::cost::{Energy, Load, Percentiles};
use limbeck_evaluate::fit::DomainFit;
use limbeck_evaluate::sample::{RawReply, Step};
use limbeck_evaluate::{
    Breakpoint, Cost, ErrorKind, Estimate, EvaluateConfig, Evaluation, Evidence, Group, Proportion,
    Sample, Scores, TaskScores, Verdict,
};
use limbeck_infer::FinishReason;

/// Stands for a model: its name, its chance on an easy problem, what each level takes
/// away, parameters, bytes a parameter.
pub(crate) const MODELS: [(&str, f64, f64, i64, f64); 5] = [
    ("teacher", 0.995, 0.010, 4_520_448, 2.0),
    ("baseline", 0.90, 0.120, 446_208, 2.0),
    ("distilled", 0.98, 0.030, 446_208, 2.0),
    ("tuned", 0.985, 0.025, 446_208, 2.0),
    ("quantized", 0.98, 0.030, 446_208, 0.71),
];

/// `each` records of every family and level.
pub(crate) fn records(each: u64) -> Vec<CotRecord> {
    let mut records = Vec::new();
    for family in Family::CORE {
        for index in 0..4 * each {
            records.push(generate(family, 1 + (index % 4) as u8, 11, index).unwrap());
        }
    }
    records
}

/// The evaluation of one of [`MODELS`].
pub(crate) fn evaluation(model: usize, records: &[CotRecord]) -> Evaluation {
    let (name, easy, slope, parameters, width) = MODELS[model];
    let mut random = CounterRng::new(derive(5, name, 0));
    let samples: Vec<Sample> = records
        .iter()
        .map(|record| {
            let chance = easy - slope * f64::from(record.difficulty - 1);
            let (text, finish_reason) = if random.next_f64() < chance {
                (record.completion(), FinishReason::Stop)
            } else {
                failure(record, random.below(4))
            };
            let raw = RawReply {
                text: &text,
                prompt_opened: false,
                finish_reason,
                prompt_tokens: record.question.len() / 2,
                reply_tokens: text.len() / 2,
            };
            let mut sample = Sample::judge(record, raw);
            "generated".clone_into(&mut sample.task);
            BLOOM[usize::from(record.difficulty - 1) % BLOOM.len()].clone_into(&mut sample.bloom);
            sample.breakpoint = breakpoint(&sample, &mut random);
            sample
        })
        .collect();
    let generated_tokens = samples.iter().map(|sample| sample.reply_tokens as u64).sum();
    let seconds = parameters as f64 / 600_000.0 + 0.9;
    Evaluation {
        model: name.to_owned(),
        config: EvaluateConfig::default(),
        overall: Scores::of(&samples),
        groups: Group::all(&samples),
        cost: Cost {
            parameters,
            weight_bytes: (parameters as f64 * width) as u64,
            prompt_tokens: samples.iter().map(|sample| sample.prompt_tokens as u64).sum(),
            generated_tokens,
            seconds,
            tokens_per_second: generated_tokens as f64 / seconds,
            peak_memory_bytes: Some(200_000_000 + parameters as u64 * 20),
            active_parameters: parameters,
            trainable_parameters: None,
            flops_per_token: 2.0 * parameters as f64,
            loads: [1, 8, 32].map(|batch| load(batch, parameters as f64)).to_vec(),
            // One machine tells, another does not.
            energy: model.is_multiple_of(2).then(|| Energy {
                source: "rapl".to_owned(),
                joules: 30.0 * seconds,
                joules_per_token: 30.0 * seconds / generated_tokens as f64,
            }),
        },
        divergence: None,
        fit: (model > 0).then_some(DomainFit {
            score: 0.9 - 0.05 * model as f64,
            auroc: Estimate {
                value: 0.55 + 0.025 * model as f64,
                low: 0.52,
                high: 0.7,
                n: samples.len() as u64,
                standard_error: None,
            },
            perplexity_ratio: Some(1.0 + 0.1 * model as f64),
        }),
        tasks: vec![task(&samples)],
        lm_eval_samples: std::collections::BTreeMap::new(),
        chat_template_sha256: limbeck_run::sha256_bytes(b"template"),
        samples,
    }
}

const BLOOM: [&str; 3] = ["apply", "analyse", "evaluate"];

fn breakpoint(sample: &Sample, random: &mut CounterRng) -> Option<Breakpoint> {
    if sample.correct && !sample.steps.contains(&Step::Wrong) {
        return None;
    }
    let checked = sample.steps.iter().position(|step| *step == Step::Wrong);
    let (step, kind, evidence) = match (checked, sample.closed) {
        (Some(step), _) if random.below(3) == 0 => (step, ErrorKind::Copy, Evidence::Check),
        (Some(step), _) => (step, ErrorKind::Arithmetic, Evidence::Check),
        (None, false) => (sample.steps.len() / 2, ErrorKind::Repetition, Evidence::Form),
        (None, true) if sample.complete => {
            (sample.steps.len(), ErrorKind::Conclusion, Evidence::Check)
        }
        (None, true) => (0, ErrorKind::Logic, Evidence::Likelihood),
    };
    let confidence = if evidence == Evidence::Check { 1.0 } else { 0.4 + 0.5 * random.next_f64() };
    Some(Breakpoint { step, kind, confidence, evidence })
}

fn load(batch: usize, parameters: f64) -> Load {
    let token = parameters / 4e9 * (1.0 + batch as f64 / 12.0);
    let times = |median: f64| Percentiles { p50: median, p95: 1.3 * median, p99: 1.7 * median };
    Load {
        batch,
        requests: 4 * batch as u64,
        tokens_per_second: batch as f64 / token,
        time_to_first_token: times(3.0 * token * batch as f64),
        time_per_output_token: times(token),
        latency: times(64.0 * token),
    }
}

fn task(samples: &[Sample]) -> TaskScores {
    let share = |verdict: Verdict| {
        Proportion::of(samples.iter().map(|sample| sample.verdict == verdict)).into()
    };
    let metrics = [
        ("exact_match,strict-match", share(Verdict::Correct)),
        ("unparsed,none", share(Verdict::Unparsed)),
        (
            "auroc,none",
            Estimate { value: 0.91, low: 0.87, high: 0.95, n: 60, standard_error: None },
        ),
    ];
    TaskScores {
        skipped: 1,
        task: "generated".to_owned(),
        scores: Scores::of(samples),
        metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
        failures: BTreeMap::from([("the prompt is too long".to_owned(), 1)]),
    }
}

/// A map as a model of these would have it over a record with its own chain.
#[allow(dead_code, reason = "not every test that includes this file looks at attention")]
pub(crate) fn attention(name: &str, record: &CotRecord) -> AttentionMap {
    let mut texts = vec![("question".to_owned(), record.question.clone())];
    for (index, step) in record.reasoning().lines().enumerate() {
        texts.push((format!("step {}", index + 1), step.to_owned()));
    }
    texts.push(("answer".to_owned(), record.answer.clone()));
    let (mut spans, mut tokens) = (Vec::new(), Vec::new());
    for (label, text) in texts {
        let start = tokens.len();
        tokens.extend(text.split_inclusive(' ').map(str::to_owned));
        spans.push(Span { label, text, start, end: tokens.len() });
    }
    let mut random = CounterRng::new(derive(9, name, 0));
    let mut rows = |count: usize, sharp: f64| -> Vec<Vec<f32>> {
        (0..count)
            .map(|row| {
                let weights: Vec<f64> = (0..count)
                    .map(|column| if column > row { 0.0 } else { random.next_f64().powf(sharp) })
                    .collect();
                let sum: f64 = weights.iter().sum();
                weights.iter().map(|weight| (weight / sum) as f32).collect()
            })
            .collect()
    };
    let heats = (0..4)
        .map(|index| Heat {
            layer: index / 2,
            head: (index % 2 == 1).then_some(index),
            pooled: rows(spans.len(), 1.0 + 2.0 * index as f64),
            raw: (index == 0).then(|| rows(tokens.len(), 6.0)),
        })
        .collect();
    AttentionMap { id: record.id.clone(), tokens, spans, heats }
}

/// A folder as the report takes it for an adapter on the student `distilled`: evaluations of
/// the student and the adapter on the domain's problems, and of the adapter on the student's.
#[allow(dead_code, reason = "not every test that includes this file reads domains")]
pub(crate) fn domain(root: &std::path::Path, name: &str) -> std::path::PathBuf {
    let folder = root.join(name);
    let (own, base) = (records(10), records(20));
    let kinds = [("before", 1, "distilled", &own), ("after", 2, name, &own)];
    for (kind, model, name, records) in kinds.into_iter().chain([("base-task", 4, name, &base)]) {
        let evaluation = Evaluation { model: name.to_owned(), ..evaluation(model, records) };
        std::fs::create_dir_all(folder.join(kind)).expect("a folder that can be made");
        evaluation.write(&folder.join(kind)).expect("a folder that can be written to");
    }
    folder
}

fn failure(record: &CotRecord, kind: usize) -> (String, FinishReason) {
    match kind {
        0 => {
            let chain = [record.reasoning(), record.reasoning()].join("\n");
            (format!("<think>\n{chain}"), FinishReason::Length)
        }
        1 => {
            (format!("<think>\nI do not know.\n</think>\n\n7{}", record.answer), FinishReason::Stop)
        }
        2 => (record.completion().replace('=', "=9"), FinishReason::Stop),
        _ => (format!("<think>\n{}\n</think>\n\nnorth", record.reasoning()), FinishReason::Stop),
    }
}
