//! Scores replies in lines of JSON, to hold the scorers against other programs:
//! `cargo run --release -p limbeck-evaluate --example score_replies -- [REPEATS] < IN > OUT`.
//!
//! `{"reply", "gold"}` is scored as lm-eval scores GSM8K, `{"expected", "answer"}` by meaning,
//! `{"filters", "replies", "choices"}` goes through filters, `{"metric", "left", "right"}` through an
//! exact match; answers come in the order of the lines. With `REPEATS` everything is scored so many times, and
//! a last line says how many lines of each kind were scored in how many seconds, without reading
//! and writing.

use std::error::Error;
use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Instant;

use limbeck_evaluate::scorer::exact_match::ExactMatch;
use limbeck_evaluate::scorer::filters::{Filter, Pipeline};
use limbeck_evaluate::scorer::{gsm8k, robust};
use serde_json::{Value, json};

enum Item {
    Gsm8k { reply: String, gold: String },
    Meaning { expected: String, answer: String },
    Filters { filters: Vec<Filter>, replies: Vec<String>, choices: Vec<String> },
    Metric { metric: ExactMatch, left: String, right: String },
}

impl Item {
    fn read(line: &str) -> Result<Self, Box<dyn Error>> {
        let row: Value = serde_json::from_str(line)?;
        if row.get("filters").is_some() {
            return Ok(Self::Filters {
                filters: serde_json::from_value(row["filters"].clone())?,
                replies: serde_json::from_value(row["replies"].clone())?,
                choices: serde_json::from_value(row["choices"].clone())?,
            });
        }
        if row.get("metric").is_some() {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let metric = serde_json::from_value(row["metric"].clone())?;
            return Ok(Self::Metric { metric, left: text("left"), right: text("right") });
        }
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        match (text("reply"), text("gold"), text("expected"), text("answer")) {
            (Some(reply), Some(gold), ..) => Ok(Self::Gsm8k { reply, gold }),
            (_, _, Some(expected), Some(answer)) => Ok(Self::Meaning { expected, answer }),
            _ => Err("expected reply and gold, or expected and answer".into()),
        }
    }

    fn score(&self) -> limbeck_evaluate::Result<Value> {
        Ok(match self {
            Self::Filters { filters, replies, choices } => {
                json!(Pipeline::new(filters)?.apply(replies, choices)?)
            }
            Self::Metric { metric, left, right } => {
                json!(metric.compile()?.matches(left, [right.as_str()])?)
            }
            Self::Gsm8k { reply, gold } => {
                let of = |filtered: &str| json!([filtered, gsm8k::exact_match(filtered, gold)]);
                json!({
                    "strict": of(gsm8k::strict(reply)),
                    "flexible": of(gsm8k::flexible(reply)),
                })
            }
            Self::Meaning { expected, answer } => {
                json!({ "verdict": robust::judge(expected, answer, false).name() })
            }
        })
    }

    /// The same without JSON around it.
    fn time(&self) {
        match self {
            Self::Gsm8k { reply, gold } => {
                black_box(gsm8k::exact_match(gsm8k::strict(reply), gold));
                black_box(gsm8k::exact_match(gsm8k::flexible(reply), gold));
            }
            Self::Meaning { expected, answer } => {
                black_box(robust::judge(expected, answer, false));
            }
            Self::Filters { .. } | Self::Metric { .. } => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let repeats: usize = std::env::args().nth(1).map_or(Ok(0), |text| text.parse())?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let items: Vec<Item> = text.lines().map(Item::read).collect::<Result<_, _>>()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for item in &items {
        writeln!(out, "{}", item.score()?)?;
    }
    if repeats > 0 {
        let seconds = |kind: fn(&Item) -> bool| {
            let chosen: Vec<&Item> = items.iter().filter(|item| kind(item)).collect();
            let started = Instant::now();
            for _ in 0..repeats {
                for item in &chosen {
                    item.time();
                }
            }
            json!({ "scored": chosen.len() * repeats, "seconds": started.elapsed().as_secs_f64() })
        };
        let gsm8k = seconds(|item| matches!(item, Item::Gsm8k { .. }));
        let meaning = seconds(|item| matches!(item, Item::Meaning { .. }));
        writeln!(out, "{}", json!({ "gsm8k": gsm8k, "meaning": meaning }))?;
    }
    Ok(out.flush()?)
}
