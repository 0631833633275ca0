//! `limbeck data stratify`: Bloom level and difficulty filled in, samples and orders by
//! them.
//!
//! The file is read twice: first to learn what levels, sample and order rest on, a few
//! numbers a record, then to write. Only an order keeps the records that it writes in memory.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use limbeck_cot_data::stratify::{
    Curriculum, Stratum, Structure, balanced_sample, curriculum_order, fill_bloom, level_of,
    level_of_pass_rate, passes, quartile_cuts,
};
use limbeck_cot_data::{CotRecord, Error, RecordWriter, Shard};
use serde_json::json;

use super::conclude;
use super::counted::records;
use super::negatives::Reply;
use super::part::{is_done, shard};
use crate::cli::{CurriculumName, StratifyArguments};

pub(crate) fn run(arguments: &StratifyArguments, json: bool) -> Result<()> {
    let shard = shard(&arguments.part)?;
    if is_done(&arguments.part, &arguments.output, json)? {
        return Ok(());
    }
    let replies = Replies::read(arguments.replies.as_deref())?;
    let survey = Survey::of(&arguments.input, &replies)?;
    let chosen = survey.chosen(arguments);
    let mut writer = RecordWriter::create(&arguments.output)?;
    survey.write(&arguments.input, &chosen, arguments.curriculum.is_some(), shard, &mut writer)?;
    let num_records = writer.num_written();
    writer.finish()?;
    let report = json!({
        "num_records": num_records,
        "num_bloom_filled": survey.num_bloom_filled,
        "num_with_replies": survey.num_with_replies,
        "difficulty_cuts": survey.cuts,
    });
    conclude(&report, &arguments.output, json)
}

/// What a model replied to each record, by the record's id.
struct Replies {
    texts: HashMap<String, Vec<String>>,
}

impl Replies {
    fn read(path: Option<&Path>) -> Result<Self> {
        let lines: Vec<Reply> = path.map_or(Ok(Vec::new()), crate::commands::read_lines)?;
        let mut texts: HashMap<String, Vec<String>> = HashMap::new();
        for reply in lines {
            texts.entry(reply.id).or_default().push(reply.text);
        }
        Ok(Self { texts })
    }

    /// The difficulty of a record by how often it was solved; nothing where it was not tried.
    fn level(&self, record: &CotRecord) -> Option<u8> {
        let texts = self.texts.get(&record.id)?;
        let num_passed = texts.iter().filter(|text| passes(record, text)).count();
        Some(level_of_pass_rate(num_passed as u64, texts.len() as u64))
    }
}

/// What is known of a record before it is written.
struct Surveyed {
    score: f64,
    /// The difficulty that does not rest on the other records' scores.
    level: Option<u8>,
    /// Place of its domain and Bloom level in the survey's list.
    cell: usize,
}

/// What is known of all records.
#[derive(Default)]
struct Survey {
    records: Vec<Surveyed>,
    /// Domains and Bloom levels that occur together.
    cells: Vec<(String, String)>,
    cuts: [f64; 3],
    num_bloom_filled: u64,
    num_with_replies: u64,
}

impl Survey {
    fn of(input: &Path, replies: &Replies) -> Result<Self> {
        let mut survey = Self::default();
        let mut places: HashMap<(String, String), usize> = HashMap::new();
        for record in records("stratify, reading", input)? {
            let mut record = record?;
            survey.num_bloom_filled += u64::from(fill_bloom(&mut record));
            let tried = replies.level(&record);
            survey.num_with_replies += u64::from(tried.is_some());
            // Generated records have their difficulty by construction.
            let made = record.source.generator.is_some().then_some(record.difficulty);
            let (score, level) = (Structure::of(&record).score(), tried.or(made));
            let next = places.len();
            let cell = *places.entry((record.domain, record.bloom)).or_insert(next);
            survey.records.push(Surveyed { score, level, cell });
        }
        let scores: Vec<f64> = survey.records.iter().map(|record| record.score).collect();
        survey.cuts = quartile_cuts(&scores);
        let mut cells: Vec<_> = places.into_iter().collect();
        cells.sort_unstable_by_key(|(_, place)| *place);
        survey.cells = cells.into_iter().map(|(cell, _)| cell).collect();
        Ok(survey)
    }

    fn level(&self, record: &Surveyed) -> u8 {
        record.level.unwrap_or_else(|| level_of(record.score, &self.cuts))
    }

    /// The numbers of the records that come out, in their order.
    fn chosen(&self, arguments: &StratifyArguments) -> Vec<usize> {
        let all = 0..self.records.len();
        let chosen: Vec<usize> = match arguments.sample {
            None => all.collect(),
            Some(wanted) => {
                let stratum = |record: &Surveyed| {
                    let (domain, bloom) = &self.cells[record.cell];
                    Stratum { domain, difficulty: self.level(record), bloom }
                };
                let strata: Vec<Stratum<'_>> = self.records.iter().map(stratum).collect();
                balanced_sample(&strata, wanted, arguments.seed)
            }
        };
        let Some(name) = arguments.curriculum else { return chosen };
        let curriculum = match name {
            CurriculumName::Strict => Curriculum::Strict,
            CurriculumName::Bucketed => Curriculum::Bucketed { num_buckets: 4 },
            CurriculumName::Mixed => Curriculum::Mixed { random_share: 0.2 },
        };
        let scores: Vec<f64> = chosen.iter().map(|&number| self.records[number].score).collect();
        let order = curriculum_order(&scores, curriculum, arguments.seed);
        order.into_iter().map(|place| chosen[place]).collect()
    }

    /// Writes the shard's part of the chosen records, with their levels.
    fn write(
        &self,
        input: &Path,
        chosen: &[usize],
        is_ordered: bool,
        shard: Shard,
        writer: &mut RecordWriter,
    ) -> Result<()> {
        let mut wanted: Vec<(usize, u64)> =
            chosen.iter().copied().zip(0..).filter(|(_, place)| shard.has(*place)).collect();
        wanted.sort_unstable();
        let mut wanted = wanted.into_iter().peekable();
        let mut held: Vec<(u64, CotRecord)> = Vec::new();
        let mut num_read = 0;
        for (number, record) in records("stratify, writing", input)?.enumerate() {
            let mut record = record?;
            num_read += 1;
            let Some((_, place)) = wanted.next_if(|(wanted, _)| *wanted == number) else {
                continue;
            };
            fill_bloom(&mut record);
            record.difficulty = self.level(&self.records[number]);
            if is_ordered {
                held.push((place, record));
            } else {
                writer.write(&record)?;
            }
        }
        if num_read != self.records.len() {
            let (first, second) = (self.records.len() as u64, num_read as u64);
            return Err(Error::SourceChanged { first, second }.into());
        }
        held.sort_unstable_by_key(|(place, _)| *place);
        Ok(held.iter().try_for_each(|(_, record)| writer.write(record))?)
    }
}
