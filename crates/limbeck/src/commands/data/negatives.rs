//! `limbeck data negatives`: wrong chains with one labelled mistake, planted or a model's
//! own, and their corrections.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Result;
use limbeck_cot_data::negatives::in_turn;
use limbeck_cot_data::{
    CotRecord, Mistake, RecordWriter, corrected_record, harvested_correction, harvested_record,
    wrong_record,
};
use serde::Deserialize;
use serde_json::json;

use super::conclude;
use super::counted::records_of_shard;
use super::part::{is_done, shard};
use crate::cli::NegativesArguments;

/// A reply of a model; its other fields do not matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    pub(super) id: String,
    #[serde(alias = "reply")]
    pub(super) text: String,
}

pub(crate) fn run(arguments: &NegativesArguments, json: bool) -> Result<()> {
    match &arguments.replies {
        Some(replies) => harvest(arguments, replies, json),
        None => plant(arguments, json),
    }
}

/// Plants mistakes, which take turns.
fn plant(arguments: &NegativesArguments, json: bool) -> Result<()> {
    let mistakes: Vec<Mistake> = if arguments.mistake.is_empty() {
        Mistake::ALL.to_vec()
    } else {
        arguments.mistake.iter().map(|name| name.parse()).collect::<Result<_, _>>()?
    };
    let make = if arguments.corrected { corrected_record } else { wrong_record };
    write(arguments, json, |number, record| {
        let made = in_turn(&mistakes, number, |mistake| make(record, mistake, arguments.seed));
        made.map(|(mistake, made)| (mistake.name(), made))
    })
}

/// Takes the replies that are wrong.
fn harvest(arguments: &NegativesArguments, replies: &Path, json: bool) -> Result<()> {
    let lines: Vec<Reply> = crate::commands::read_lines(replies)?;
    let replies: HashMap<String, String> =
        lines.into_iter().map(|reply| (reply.id, reply.text)).collect();
    let make = if arguments.corrected { harvested_correction } else { harvested_record };
    write(arguments, json, |_, record| {
        make(record, replies.get(&record.id)?).map(|made| ("model", made))
    })
}

/// Writes what is made of each record, which gets its number, and counts it by kind.
fn write(
    arguments: &NegativesArguments,
    json: bool,
    make: impl Fn(usize, &CotRecord) -> Option<(&'static str, CotRecord)>,
) -> Result<()> {
    if is_done(&arguments.part, &arguments.output, json)? {
        return Ok(());
    }
    let shard = shard(&arguments.part)?;
    let mut writer = RecordWriter::create(&arguments.output)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut num_read, mut num_without) = (0_u64, 0_u64);
    for numbered in records_of_shard("negatives", &arguments.input, shard)? {
        let (number, record) = numbered?;
        match make(number as usize, &record) {
            Some((kind, made)) => {
                writer.write(&made)?;
                *counts.entry(kind).or_default() += 1;
            }
            None => num_without += 1,
        }
        num_read += 1;
    }
    writer.finish()?;
    let report = json!({ "num_read": num_read, "num_without": num_without, "num_written": counts });
    conclude(&report, &arguments.output, json)
}
