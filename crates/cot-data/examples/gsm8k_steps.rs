//! Measures the step checker on GSM8K: how many equations of human solutions it refuses,
//! and how well a refused step tells a model's wrong solution from a right one.
//!
//! `cargo run --release -p limbeck-cot-data --example gsm8k_steps -- FOLDER [show]`
//!
//! The folder holds `train.jsonl` and `example_model_solutions.jsonl`; `show` prints what
//! was refused.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use limbeck_cot_data::{StepFinding, StepVerdict, find_equations};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, show) = match arguments.as_slice() {
        [folder] => (Path::new(folder), false),
        [folder, word] if word == "show" => (Path::new(folder), true),
        _ => return Err("usage: gsm8k_steps FOLDER [show]".into()),
    };
    people(&folder.join("train.jsonl"), show)?;
    models(&folder.join("example_model_solutions.jsonl"), show)
}

fn rows(path: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    Ok(fs::read_to_string(path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn text<'value>(value: &'value Value, name: &str) -> &'value str {
    value[name].as_str().unwrap_or_default()
}

/// The equations in the solutions that people wrote, by kind and verdict.
fn people(path: &Path, show: bool) -> Result<(), Box<dyn Error>> {
    let mut counts: BTreeMap<(bool, &str), usize> = BTreeMap::new();
    for row in rows(path)? {
        let steps: Vec<&str> = text(&row, "answer").lines().collect();
        for finding in find_equations(text(&row, "question"), &steps) {
            let verdict = match finding.verdict {
                StepVerdict::Ok => "ok",
                StepVerdict::Wrong => "wrong",
                StepVerdict::Unchecked if finding.unsourced.is_empty() => "left open",
                StepVerdict::Unchecked => "an operand from nowhere",
            };
            *counts.entry((finding.annotation, verdict)).or_default() += 1;
            if show && verdict != "ok" {
                println!("{}", shown(verdict, &finding, steps[finding.step]));
            }
        }
    }
    for ((annotation, verdict), count) in counts {
        let kind = if annotation { "annotations" } else { "bare equations" };
        println!("people, {kind}: {count} {verdict}");
    }
    Ok(())
}

fn shown(verdict: &str, finding: &StepFinding, step: &str) -> String {
    let number = |value: Option<_>| {
        value.map_or("?".to_owned(), |value: limbeck_cot_data::Rational| value.to_string())
    };
    let nowhere: Vec<String> = finding.unsourced.iter().map(ToString::to_string).collect();
    format!(
        "{verdict}: `{}` expected {} found {} from nowhere [{}] | {step}",
        finding.equation(step),
        number(finding.expected),
        number(finding.found),
        nowhere.join(", ")
    )
}

/// How a sign of error relates to a wrong answer.
#[derive(Default)]
struct Counts {
    flagged_wrong: usize,
    flagged_right: usize,
    missed: usize,
    passed: usize,
}

impl Counts {
    fn count(&mut self, flagged: bool, is_correct: bool) {
        match (flagged, is_correct) {
            (true, false) => self.flagged_wrong += 1,
            (true, true) => self.flagged_right += 1,
            (false, false) => self.missed += 1,
            (false, true) => self.passed += 1,
        }
    }

    fn print(&self, name: &str) {
        let share = |part: usize, rest: usize| 100.0 * part as f64 / (part + rest).max(1) as f64;
        println!(
            "models, {name}: precision {:.1}% recall {:.1}% ({} of {} wrong solutions flagged, \
             {} of {} right ones)",
            share(self.flagged_wrong, self.flagged_right),
            share(self.flagged_wrong, self.missed),
            self.flagged_wrong,
            self.flagged_wrong + self.missed,
            self.flagged_right,
            self.flagged_right + self.passed,
        );
    }
}

/// Signs of error in the models' solutions against `is_correct`.
fn models(path: &Path, show: bool) -> Result<(), Box<dyn Error>> {
    let (mut wrong, mut either, mut nowhere) =
        (Counts::default(), Counts::default(), Counts::default());
    for row in rows(path)? {
        let question = text(&row, "question");
        for solution in row.as_object().into_iter().flat_map(|row| row.values()) {
            let Some(is_correct) = solution["is_correct"].as_bool() else { continue };
            let steps: Vec<&str> = text(solution, "solution").lines().collect();
            let findings = find_equations(question, &steps);
            let is_wrong = findings.iter().any(|found| found.verdict == StepVerdict::Wrong);
            let is_nowhere = findings.iter().any(|found| !found.unsourced.is_empty());
            wrong.count(is_wrong, is_correct);
            nowhere.count(is_nowhere, is_correct);
            either.count(is_wrong || is_nowhere, is_correct);
            if show && is_correct {
                for finding in &findings {
                    if finding.verdict == StepVerdict::Wrong {
                        println!("{}", shown("model wrong", finding, steps[finding.step]));
                    }
                }
            }
        }
    }
    wrong.print("a wrong step");
    nowhere.print("an operand from nowhere");
    either.print("either");
    Ok(())
}
