//! Samples in the shape of lm-eval's `samples_<task>_<date>.jsonl`: a line for each problem and
//! filter.

use limbeck_run::sha256_bytes;
use serde_json::{Value, json};

use super::judge::Scoring;
use super::questions::Question;
use crate::Result;
use crate::sample::Sample;
use crate::task::{Ask, Task};

/// The lines of a task that lm-eval could have run: one with filters or with choices; none for
/// others.
pub(crate) fn lines(
    task: &Task,
    scoring: &Scoring<'_>,
    questions: &[&Question<'_>],
    samples: &[&Sample],
) -> Result<Vec<Value>> {
    let mut lines = Vec::new();
    let mut start = 0;
    while start < questions.len() {
        let question = questions[start];
        let same = questions[start..]
            .iter()
            .take_while(|other| std::ptr::eq(other.problem, question.problem))
            .count();
        let replies = &samples[start..start + same];
        start += same;
        match task.ask {
            Ask::Choose => lines.extend(choice(question, replies[0])),
            Ask::Reply => {
                for (name, pipeline) in &scoring.pipelines {
                    let texts: Vec<&str> =
                        replies.iter().map(|sample| sample.reply.as_str()).collect();
                    let filtered = pipeline.apply(&texts, &question.problem.choices)?;
                    let first = filtered.first().map_or("", String::as_str);
                    let targets = question.problem.targets.iter().map(String::as_str);
                    let right = scoring.matcher.matches(first, targets)?;
                    let mut line = common(question, name);
                    line["resps"] = json!([texts]);
                    line["filtered_resps"] = json!(filtered);
                    line["metrics"] = json!(["exact_match"]);
                    line["exact_match"] = json!(f64::from(u8::from(right)));
                    lines.push(line);
                }
            }
        }
    }
    Ok(lines)
}

fn choice(question: &Question<'_>, sample: &Sample) -> Option<Value> {
    let rated = sample.rated.as_ref()?;
    let mut line = common(question, "none");
    // Whether a choice is the greedy one is not measured.
    let pairs: Vec<Value> = rated.logprobs.iter().map(|logprob| json!([logprob, null])).collect();
    line["resps"] = pairs.iter().map(|pair| json!([pair])).collect();
    line["filtered_resps"] = json!(pairs);
    line["metrics"] = json!(["acc", "acc_norm"]);
    line["acc"] = json!(f64::from(u8::from(rated.likeliest == rated.expected)));
    line["acc_norm"] = json!(f64::from(u8::from(rated.likeliest_normalised == rated.expected)));
    Some(line)
}

fn common(question: &Question<'_>, filter: &str) -> Value {
    let Question { problem, params, task, text, .. } = question;
    let doc = json!({ "question": problem.record.question, "answer": problem.record.answer });
    let target = match problem.gold {
        Some(gold) => json!(gold),
        None => json!(problem.record.answer),
    };
    let shown = target.as_str().map_or_else(|| target.to_string(), str::to_owned);
    let hash = |text: &str| sha256_bytes(text.as_bytes());
    json!({
        "doc_id": problem.place,
        "doc_hash": hash(&doc.to_string()),
        "doc": doc,
        "target_hash": hash(&shown),
        "target": target,
        "arguments": { "gen_args_0": {
            "arg_0": text,
            "arg_1": {
                "until": task.until,
                "max_gen_toks": params.max_new_tokens,
                "do_sample": params.temperature > 0.0,
                "temperature": params.temperature,
            },
        } },
        "prompt_hash": hash(text),
        "filter": filter,
    })
}
