//! Measures how well the text of a chain tells where it goes wrong, without any model.
//!
//! `cargo run --release -p limbeck-evaluate --example chain_f1 -- [COUNT] [GSM8K]`
//!
//! For each family and language, COUNT records (400) make two sets: planted mistakes
//! (`limbeck data negatives`), and a number or a name of one step changed blindly. The right
//! chains of the same records are the controls. Mistakes of most families are planted only where
//! the checker finds them, so that the first set is a test of the generators as much; the second
//! owes nothing to it. GSM8K is a folder with `example_model_solutions.jsonl`, whose chains have
//! a label as a whole.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use limbeck_core::seed::{CounterRng, derive};
use limbeck_cot_data::negatives::in_turn;
use limbeck_cot_data::{
    CotRecord, Family, Label, Mistake, Recipe, Shard, extract_answer, generate_many, wrong_record,
};
use limbeck_evaluate::chain::{Chain, Located, StepF1, analyze, locate};
use limbeck_evaluate::sample::RawReply;
use limbeck_evaluate::{Breakpoint, ErrorKind, Evidence, Sample};
use limbeck_infer::FinishReason;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count: u64 = arguments.first().map_or(Ok(400), |count| count.parse())?;
    families(count)?;
    match arguments.get(1) {
        Some(folder) => gsm8k(&Path::new(folder).join("example_model_solutions.jsonl")),
        None => Ok(()),
    }
}

fn families(count: u64) -> Result<(), Box<dyn Error>> {
    println!("{:22}{:>30}{:>30}", "", "planted mistakes", "a word changed blindly");
    let (mut all_planted, mut all_blind) = (Vec::new(), Vec::new());
    let mut samples = Vec::new();
    for family in Family::ALL {
        for &language in family.languages() {
            let recipe = Recipe { family, language };
            let records = generate_many(recipe, None, count, 11, Shard::default())?;
            let (mut planted, mut blind) = (Vec::new(), Vec::new());
            for (number, record) in records.iter().enumerate() {
                let right = located(record, None);
                samples.push((record.clone(), judged(record)));
                planted.push(right);
                blind.push(right);
                let made =
                    in_turn(&Mistake::ALL, number, |mistake| wrong_record(record, mistake, 1));
                if let Some((_, wrong)) = made {
                    let Label::Wrong { first_wrong_step, .. } = wrong.label else { continue };
                    planted.push(located(&wrong, Some(first_wrong_step)));
                    samples.push((record.clone(), judged(&wrong)));
                }
                if let Some((wrong, step)) = blindly_changed(record, number as u64) {
                    blind.push(located(&wrong, Some(step)));
                }
            }
            row(&format!("{} {}", family.name(), language.code()), &planted, &blind);
            all_planted.extend(planted);
            all_blind.extend(blind);
        }
    }
    row("all", &all_planted, &all_blind);
    for correct in [true, false] {
        let chosen: Vec<_> =
            samples.iter().filter(|(_, sample)| sample.breakpoint.is_none() == correct).collect();
        let started = Instant::now();
        let found = chosen.iter().filter(|(record, sample)| locate(record, sample).is_some());
        let found = found.count();
        let rate = chosen.len() as f64 / started.elapsed().as_secs_f64();
        let name = if correct { "right" } else { "wrong" };
        println!("{rate:.0} {name} samples a second on one core, {found} with a breakpoint");
    }
    for (name, chains) in [("planted", all_planted), ("blind", all_blind)] {
        println!("{name}: {}", serde_json::to_string(&StepF1::of(&chains))?);
    }
    Ok(())
}

/// A record's own reply as a judged sample; of a wrong one, `breakpoint` says that it is.
fn judged(record: &CotRecord) -> Sample {
    let right = match record.extra.get("right_answer").and_then(Value::as_str) {
        Some(answer) => CotRecord { answer: answer.to_owned(), ..record.clone() },
        None => record.clone(),
    };
    let raw = RawReply {
        text: &record.completion(),
        prompt_opened: false,
        finish_reason: FinishReason::Stop,
        prompt_tokens: 0,
        reply_tokens: 0,
    };
    let mut sample = Sample::judge(&right, raw);
    let wrong = record.label != Label::Correct;
    sample.breakpoint = wrong.then_some(Breakpoint {
        step: 0,
        kind: ErrorKind::Unknown,
        confidence: 0.0,
        evidence: Evidence::Check,
    });
    sample
}

fn row(name: &str, planted: &[Located], blind: &[Located]) {
    let cell = |chains: &[Located]| {
        let f1 = StepF1::of(chains);
        format!(
            "{:>5} F1 {:.3} ({:.3}, {:.3})",
            f1.erroneous.n, f1.f1, f1.erroneous.value, f1.correct.value
        )
    };
    println!("{name:22}{:>30}{:>30}", cell(planted), cell(blind));
}

fn located(record: &CotRecord, label: Option<usize>) -> Located {
    let reasoning = record.reasoning();
    let chain = Chain::whole(&record.question, &reasoning, &record.answer, None);
    let found = analyze(&chain).breakpoint;
    Located {
        label,
        found: Some(found.as_ref().map(|found| found.step)),
        kind: found.map(|found| found.kind),
    }
}

/// The record with one number one higher, or one name exchanged for another, in one step; where
/// a step has neither, another of its words.
fn blindly_changed(record: &CotRecord, number: u64) -> Option<(CotRecord, usize)> {
    let mut random = CounterRng::new(derive(17, "blind", number));
    let step = random.below(record.thought_process.len());
    let text = &record.thought_process[step];
    let is_name =
        |word: &str| word.len() > 1 && word.starts_with(|next: char| next.is_ascii_uppercase());
    let words = |text: &str| -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        for part in text.split_inclusive(|next: char| !next.is_ascii_alphanumeric()) {
            let word = part.trim_end_matches(|next: char| !next.is_ascii_alphanumeric());
            if word.bytes().all(|byte| byte.is_ascii_digit()) && !word.is_empty() || is_name(word) {
                found.push((at, at + word.len()));
            }
            at += part.len();
        }
        found
    };
    let mut places = words(text);
    if places.is_empty() {
        // Neither a number nor a name: any word for another of the chain.
        let all = |text: &str| -> Vec<String> {
            text.split(|next: char| !next.is_ascii_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let own = all(text);
        let word = own.get(random.below(own.len().max(1)))?;
        let others: Vec<String> =
            all(&record.reasoning()).into_iter().filter(|other| other != word).collect();
        let other = others.get(random.below(others.len().max(1)))?;
        let mut changed = record.clone();
        changed.thought_process[step] = text.replacen(word.as_str(), other, 1);
        return (changed.thought_process[step] != *text).then_some((changed, step));
    }
    let (start, end) = places.swap_remove(random.below(places.len()));
    let word = &text[start..end];
    let other = if let Ok(value) = word.parse::<u64>() {
        (value + 1).to_string()
    } else {
        // A word that begins a sentence, such as `Which`, is no name.
        let begins = |at: usize| {
            let before = record.question[..at].trim_end_matches(' ');
            before.is_empty() || before.ends_with(['\n', '.', ':', ';', 'Q'])
        };
        let names: Vec<&str> = words(&record.question)
            .into_iter()
            .filter(|(start, _)| !begins(*start))
            .map(|(start, end)| &record.question[start..end])
            .filter(|name| is_name(name) && *name != word)
            .collect();
        (*names.get(random.below(names.len().max(1)))?).to_owned()
    };
    let mut changed = record.clone();
    changed.thought_process[step].replace_range(start..end, &other);
    Some((changed, step))
}

/// Chain by chain: a breakpoint against `is_correct`.
fn gsm8k(path: &Path) -> Result<(), Box<dyn Error>> {
    // By whether the right answer was given: chains by (sign, is right).
    let mut counts: BTreeMap<(&str, String, bool), u64> = BTreeMap::new();
    let mut places: BTreeMap<usize, u64> = BTreeMap::new();
    let mut totals = [0_u64; 2];
    for line in std::fs::read_to_string(path)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let question = row["question"].as_str().unwrap_or_default();
        for solution in row.as_object().into_iter().flat_map(|row| row.values()) {
            let Some(is_correct) = solution["is_correct"].as_bool() else { continue };
            let text = solution["solution"].as_str().unwrap_or_default().trim();
            let answer = extract_answer(text).map_or("", |answer| answer.text);
            let reasoning = match text.rsplit_once('\n') {
                Some((before, last)) if last.starts_with("A:") => before,
                _ => text,
            };
            totals[usize::from(is_correct)] += 1;
            let blind = Chain::whole(question, reasoning, answer, None);
            for (mode, chain) in
                [("blind", blind), ("known", Chain { correct: Some(is_correct), ..blind })]
            {
                let found = analyze(&chain).breakpoint;
                let sign = found.as_ref().map_or("none".to_owned(), |found| {
                    format!("{:?} {:?}", found.kind, found.evidence)
                });
                *counts.entry((mode, sign, is_correct)).or_default() += 1;
                if let Some(found) = found.filter(|_| mode == "known" && !is_correct) {
                    *places.entry(found.step).or_default() += 1;
                }
            }
        }
    }
    println!("{} right chains, {} wrong", totals[1], totals[0]);
    for ((mode, sign, is_correct), count) in counts {
        println!("{mode} {sign} {}: {count}", if is_correct { "right" } else { "wrong" });
    }
    println!("steps: {places:?}");
    Ok(())
}
