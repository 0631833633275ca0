//! A whole data set: splits of generated records, without a problem in two of them or
//! twice in one, and the files that hold them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use crate::card::{Card, CardCounts};
use crate::config::DataConfig;
use crate::error::{Error, Result};
use crate::family::Family;
use crate::generate::{GENERATED_LICENSE, GENERATOR_VERSION, MAX_LEVEL, generate, signature};
use crate::jsonl::write_jsonl;
use crate::prepare::{PrepareReport, Prepared, prepare};
use crate::record::CotRecord;
use crate::split::{Split, split_of};

/// Records drawn at a time.
const BLOCK: u64 = 2_048;

/// A cell counts as used up when this many draws in a row bring nothing that is wanted.
const MOST_IDLE_DRAWS: u64 = 40_000;

/// What was drawn for one family and level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellReport {
    /// Short name of the family.
    pub family: &'static str,
    /// Difficulty level.
    pub level: u8,
    /// Problems drawn.
    pub num_drawn: u64,
    /// Problems drawn again, and so left out.
    pub num_duplicates: u64,
    /// Records by split.
    pub num_records: BTreeMap<&'static str, usize>,
}

/// How a data set came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// One entry for each family and level.
    pub cells: Vec<CellReport>,
    /// What a reader should know, such as a level with too few distinct problems.
    pub notes: Vec<String>,
}

/// A data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// To train on.
    pub train: Vec<CotRecord>,
    /// To watch training with.
    pub validation: Vec<CotRecord>,
    /// To evaluate on.
    pub test: Vec<CotRecord>,
    /// To calibrate a quantiser with.
    pub calibration: Vec<CotRecord>,
    /// Wrong chains with one labelled mistake each, and corrected ones, made from the
    /// training split.
    pub negatives: Vec<CotRecord>,
    /// How it came about.
    pub report: SplitReport,
    /// How the training split was prepared.
    pub prepared: PrepareReport,
    /// What it was made from.
    pub config: DataConfig,
}

impl Splits {
    /// The records of a split.
    pub fn of(&self, split: Split) -> &[CotRecord] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
            Split::Calibration => &self.calibration,
        }
    }
}

/// The records of one family and level, by split.
type Cell = [Vec<CotRecord>; 4];

/// Generates a data set. Records of all cells take turns, so that any first part of a
/// split is balanced too.
///
/// A record's index gives its level (`1 + index mod 4`), so it is the one that
/// [`generate_many`](crate::generate_many) without a level has at that index.
///
/// # Errors
/// An impossible configuration, or a record that the checker refuses.
pub fn build_splits(config: &DataConfig) -> Result<Splits> {
    config.validate()?;
    let cells: Vec<(Family, u8)> = config
        .families
        .iter()
        .flat_map(|&family| config.levels.iter().map(move |&level| (family, level)))
        .collect();
    let weights: Vec<f64> = cells.iter().map(|&(family, _)| config.weight(family)).collect();
    let quotas: Vec<Vec<usize>> =
        Split::ALL.iter().map(|&split| shares(config.num_records(split), &weights)).collect();
    let mut report = SplitReport::default();
    let mut drawn: Vec<Cell> = Vec::with_capacity(cells.len());
    for (place, &(family, level)) in cells.iter().enumerate() {
        let wanted = [0, 1, 2, 3].map(|split: usize| quotas[split][place]);
        let (cell, cell_report) = draw_cell(config, family, level, wanted)?;
        for split in Split::ALL {
            let (found, asked) = (cell[split as usize].len(), wanted[split as usize]);
            if found < asked {
                report.notes.push(format!(
                    "{} level {level} has only {found} distinct problems for {}, {asked} were \
                     asked for",
                    family.name(),
                    split.name()
                ));
            }
        }
        report.cells.push(cell_report);
        drawn.push(cell);
    }
    let mut take = |split: Split| {
        // Stable, and by the part of its cell that comes before: the cells take turns.
        let mut ranked: Vec<(f64, CotRecord)> = Vec::new();
        for cell in &mut drawn {
            let records = std::mem::take(&mut cell[split as usize]);
            let length = records.len() as f64;
            ranked.extend(
                records
                    .into_iter()
                    .enumerate()
                    .map(|(rank, record)| (rank as f64 / length, record)),
            );
        }
        ranked.sort_by(|(first, _), (second, _)| first.total_cmp(second));
        ranked.into_iter().map(|(_, record)| record).collect()
    };
    let generated: Vec<CotRecord> = take(Split::Train);
    let (validation, test, calibration): (Vec<_>, Vec<_>, Vec<_>) =
        (take(Split::Validation), take(Split::Test), take(Split::Calibration));
    let held_out = [&validation, &test, &calibration].into_iter().flatten().map(signature);
    let Prepared { train, negatives, report: prepared } =
        prepare(config, generated, &held_out.collect())?;
    Ok(Splits {
        train,
        validation,
        test,
        calibration,
        negatives,
        report,
        prepared,
        config: config.clone(),
    })
}

/// Parts of a whole in proportion to weights, by largest remainder.
fn shares(whole: usize, weights: &[f64]) -> Vec<usize> {
    let total: f64 = weights.iter().sum();
    let exact: Vec<f64> = weights.iter().map(|weight| whole as f64 * weight / total).collect();
    let mut parts: Vec<usize> = exact.iter().map(|part| part.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let missing = whole.saturating_sub(parts.iter().sum());
    for &place in by_remainder.iter().cycle().take(missing) {
        parts[place] += 1;
    }
    parts
}

fn draw_cell(
    config: &DataConfig,
    family: Family,
    level: u8,
    wanted: [usize; 4],
) -> Result<(Cell, CellReport)> {
    let mut cell = Cell::default();
    let mut seen: HashSet<String> = HashSet::new();
    let (mut num_drawn, mut num_duplicates, mut idle) = (0_u64, 0_u64, 0_u64);
    let full = |cell: &Cell| cell.iter().zip(wanted).all(|(have, want)| have.len() >= want);
    while !full(&cell) && idle < MOST_IDLE_DRAWS {
        let block: Vec<CotRecord> = (num_drawn..num_drawn + BLOCK)
            .into_par_iter()
            .map(|draw| {
                let index = draw * u64::from(MAX_LEVEL) + u64::from(level - 1);
                generate(family, level, config.seed, index)
            })
            .collect::<Result<_>>()?;
        for record in block {
            if full(&cell) {
                break;
            }
            num_drawn += 1;
            idle += 1;
            let signature = signature(&record);
            let split = split_of(&signature, &config.fractions) as usize;
            if !seen.insert(signature) {
                num_duplicates += 1;
            } else if cell[split].len() < wanted[split] {
                cell[split].push(record);
                idle = 0;
            }
        }
    }
    let num_records =
        Split::ALL.iter().map(|&split| (split.name(), cell[split as usize].len())).collect();
    let report =
        CellReport { family: family.name(), level, num_drawn, num_duplicates, num_records };
    Ok((cell, report))
}

impl Splits {
    /// Writes `train.jsonl`, `validation.jsonl`, `test.jsonl`, `calibration.jsonl` and
    /// `negatives.jsonl` (those that have records), the report `prepared.json` and the card `README.md` into a folder, which is made
    /// if need be.
    ///
    /// # Errors
    /// What the system refused.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        for split in Split::ALL {
            if !self.of(split).is_empty() {
                write_jsonl(&folder.join(format!("{}.jsonl", split.name())), self.of(split))?;
            }
        }
        if !self.negatives.is_empty() {
            write_jsonl(&folder.join("negatives.jsonl"), &self.negatives)?;
        }
        let path = folder.join("prepared.json");
        let write = |source| Error::Write { path: path.clone(), source };
        let text =
            serde_json::to_string_pretty(&self.prepared).map_err(|error| write(error.into()))?;
        fs::write(&path, text + "\n").map_err(write)?;
        self.described().write(folder)
    }

    /// The text of the data set's card.
    pub fn card(&self) -> String {
        self.described().render()
    }

    /// The data set's card, in the Hub's format; a program can add its command line.
    pub fn described(&self) -> Card {
        let mut counts = CardCounts::default();
        let mut files = Vec::new();
        for split in Split::ALL.into_iter().filter(|&split| !self.of(split).is_empty()) {
            for record in self.of(split) {
                counts.add(split.name(), record);
            }
            files.push((split.name().to_owned(), format!("{}.jsonl", split.name())));
        }
        let mut card = Card::new("Generated chains of thought", counts);
        card.files = files;
        card.tags.push("synthetic".to_owned());
        card.summary = format!(
            "Problems from limbeck's generators, version {GENERATOR_VERSION}, seed {}. Every chain \
             and answer was read back from its text and verified by a separate checker with its \
             own solver.\n\n**Licence.** {GENERATED_LICENSE}, as the generators.",
            self.config.seed
        );
        card.sections = vec![
            ("Problems".to_owned(), self.problems_table()),
            ("Split rule".to_owned(), self.split_rule()),
        ];
        if let Some(text) = self.prepared_text() {
            card.sections.push(("Preparation".to_owned(), text));
        }
        let notes = &self.report.notes;
        if !notes.is_empty() {
            card.sections.push(("Notes".to_owned(), format!("{}.", notes.join(".\n\n"))));
        }
        card
    }

    fn problems_table(&self) -> String {
        let mut text = String::from(
            "| family | level | train | validation | test | calibration | drawn | drawn again |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for cell in &self.report.cells {
            let counts: Vec<String> = Split::ALL
                .iter()
                .map(|split| cell.num_records.get(split.name()).unwrap_or(&0).to_string())
                .collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                cell.family,
                cell.level,
                counts.join(" | "),
                cell.num_drawn,
                cell.num_duplicates
            );
        }
        text
    }

    /// What became of the training split; nothing where it is as it was generated.
    fn prepared_text(&self) -> Option<String> {
        let mut lines = Vec::new();
        let report = &self.prepared;
        if report.num_from_sources > 0 {
            lines.push(format!(
                "{} records are from files; {} of them were left out, as their problem is in \
                 another split.",
                report.num_from_sources, report.num_held_out
            ));
        }
        if let Some(cleaned) = &report.clean {
            let removed: Vec<String> = (cleaned.num_removed.iter())
                .map(|(reason, count)| format!("{count} as {reason:?}"))
                .collect();
            let removed = if removed.is_empty() { "none".to_owned() } else { removed.join(", ") };
            lines.push(format!(
                "Cleaning read {} training records, changed {} and removed {removed}.",
                cleaned.num_read, cleaned.num_changed
            ));
        }
        if !self.negatives.is_empty() {
            let kinds: Vec<String> = (report.negatives.iter())
                .map(|(mistake, count)| format!("{mistake} {count}"))
                .collect();
            lines.push(format!(
                "`negatives.jsonl` holds {} chains with one labelled mistake each, every second \
                 one with its correction: {}.",
                self.negatives.len(),
                kinds.join(", ")
            ));
        }
        (!lines.is_empty()).then(|| lines.join("\n\n"))
    }

    fn split_rule(&self) -> String {
        let fractions = &self.config.fractions;
        format!(
            "A hash of the problem's signature (family, kind, structure and numbers, whatever the \
             words) gives its split: train {}, validation {}, test {}, calibration {} of all \
             problems. So no problem is in two splits, and none is twice in one.",
            fractions.train, fractions.validation, fractions.test, fractions.calibration
        )
    }
}
