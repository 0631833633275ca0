//! Evaluations of models that do not exist, for tests and for looking at the page.

use limbeck_core::seed::{CounterRng, derive};
use limbeck_cot_data::{CotRecord, Family, generate};
use limbeck_evaluate::sample::RawReply;
use limbeck_evaluate::{Cost, EvaluateConfig, Evaluation, Group, Sample, Scores};
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
            Sample::judge(record, raw)
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
            loads: Vec::new(),
            energy: None,
        },
        divergence: None,
        fit: None,
        tasks: Vec::new(),
        chat_template_sha256: limbeck_run::sha256_bytes(b"template"),
        samples,
    }
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
