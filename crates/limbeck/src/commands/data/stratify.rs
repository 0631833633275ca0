//! `limbeck data stratify`: Bloom level and difficulty filled in, samples and orders by
//! them.

use anyhow::Result;
use limbeck_cot_data::stratify::{
    Curriculum, Stratum, Structure, balanced_sample, curriculum_order, fill_bloom, fill_difficulty,
    quartile_cuts,
};
use limbeck_cot_data::{CotRecord, RecordWriter, read_records};
use serde_json::json;

use super::conclude;
use crate::cli::{CurriculumName, StratifyArguments};

pub(crate) fn run(arguments: &StratifyArguments, json: bool) -> Result<()> {
    let mut records = read_records(&arguments.input)?;
    let num_filled = records.iter_mut().map(fill_bloom).filter(|filled| *filled).count();
    let scores = |records: &[CotRecord]| -> Vec<f64> {
        records.iter().map(|record| Structure::of(record).score()).collect()
    };
    let cuts = quartile_cuts(&scores(&records));
    fill_difficulty(&mut records, &cuts);
    if let Some(wanted) = arguments.sample {
        let strata: Vec<Stratum> = records.iter().map(Stratum::of).collect();
        records = chosen(records, &balanced_sample(&strata, wanted, arguments.seed));
    }
    if let Some(name) = arguments.curriculum {
        let curriculum = match name {
            CurriculumName::Strict => Curriculum::Strict,
            CurriculumName::Bucketed => Curriculum::Bucketed { num_buckets: 4 },
            CurriculumName::Mixed => Curriculum::Mixed { random_share: 0.2 },
        };
        let order = curriculum_order(&scores(&records), curriculum, arguments.seed);
        records = chosen(records, &order);
    }
    let mut writer = RecordWriter::create(&arguments.output)?;
    for record in &records {
        writer.write(record)?;
    }
    writer.finish()?;
    let report = json!({
        "num_records": records.len(), "num_bloom_filled": num_filled, "difficulty_cuts": cuts,
    });
    conclude(&report, &arguments.output, json)
}

/// Records of the given places, in that order.
fn chosen(records: Vec<CotRecord>, places: &[usize]) -> Vec<CotRecord> {
    let mut records: Vec<Option<CotRecord>> = records.into_iter().map(Some).collect();
    places.iter().filter_map(|&place| records[place].take()).collect()
}
