//! `limbeck data negatives`: wrong chains with one labelled mistake, and their corrections.

use std::collections::BTreeMap;

use anyhow::Result;
use limbeck_cot_data::{
    InputOptions, Mistake, RecordWriter, corrected_record, records_of, wrong_record,
};
use serde_json::json;

use super::conclude;
use crate::cli::NegativesArguments;

pub(crate) fn run(arguments: &NegativesArguments, json: bool) -> Result<()> {
    let mistakes: Vec<Mistake> = if arguments.mistake.is_empty() {
        Mistake::ALL.to_vec()
    } else {
        arguments.mistake.iter().map(|name| name.parse()).collect::<Result<_, _>>()?
    };
    let make = if arguments.corrected { corrected_record } else { wrong_record };
    let mut writer = RecordWriter::create(&arguments.output)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut num_read, mut num_without) = (0_usize, 0_u64);
    for record in records_of(&arguments.input, &InputOptions::default())? {
        let record = record?;
        // The mistakes take turns, so that each is tried first as often as another.
        let made = (0..mistakes.len()).find_map(|offset| {
            let mistake = mistakes[(num_read + offset) % mistakes.len()];
            make(&record, mistake, arguments.seed).map(|made| (mistake, made))
        });
        num_read += 1;
        match made {
            Some((mistake, made)) => {
                writer.write(&made)?;
                *counts.entry(mistake.name()).or_default() += 1;
            }
            None => num_without += 1,
        }
    }
    writer.finish()?;
    let report = json!({ "num_read": num_read, "num_without": num_without, "num_written": counts });
    conclude(&report, &arguments.output, json)
}
