//! `limbeck data variants`: questions changed so that the answer stays, or so that it does
//! not.

use std::collections::BTreeMap;

use anyhow::Result;
use limbeck_cot_data::{RecordWriter, Variant, variant};
use serde_json::json;

use super::conclude;
use super::counted::records_of_shard;
use super::part::{is_done, shard};
use crate::cli::VariantsArguments;

pub(crate) fn run(arguments: &VariantsArguments, json: bool) -> Result<()> {
    let kinds: Vec<Variant> = if arguments.kind.is_empty() {
        Variant::ALL.to_vec()
    } else {
        arguments.kind.iter().map(|name| name.parse()).collect::<Result<_, _>>()?
    };
    if is_done(&arguments.part, &arguments.output, json)? {
        return Ok(());
    }
    let shard = shard(&arguments.part)?;
    let mut writer = RecordWriter::create(&arguments.output)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut num_read, mut num_without) = (0_u64, 0_u64);
    for numbered in records_of_shard("variants", &arguments.input, shard)? {
        let (_, record) = numbered?;
        num_read += 1;
        let mut any = false;
        for &kind in &kinds {
            if let Some(made) = variant(&record, kind, arguments.seed) {
                writer.write(&made)?;
                *counts.entry(kind.name()).or_default() += 1;
                any = true;
            }
        }
        num_without += u64::from(!any);
    }
    writer.finish()?;
    let report = json!({ "num_read": num_read, "num_without": num_without, "num_written": counts });
    conclude(&report, &arguments.output, json)
}
