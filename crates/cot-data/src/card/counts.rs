//! Counts over the records of a data set, one record at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::CotRecord;

/// A property that records are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Field of knowledge.
    Domain,
    /// Difficulty level.
    Level,
    /// Level of Bloom's taxonomy.
    Bloom,
    /// Whether the chain is right.
    Label,
    /// The generator and kind, without its version.
    Generator,
    /// The data set or tool that the record comes from.
    Source,
    /// The model that wrote the chain.
    Teacher,
    /// Licence.
    License,
    /// What checked the answer.
    AnswerCheck,
}

impl Property {
    /// All properties, in the card's order.
    pub const ALL: [Self; 9] = [
        Self::Domain,
        Self::Level,
        Self::Bloom,
        Self::Label,
        Self::Generator,
        Self::Source,
        Self::Teacher,
        Self::License,
        Self::AnswerCheck,
    ];

    /// Title of its table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Domain => "Domain",
            Self::Level => "Level",
            Self::Bloom => "Bloom level",
            Self::Label => "Label",
            Self::Generator => "Generator",
            Self::Source => "Source",
            Self::Teacher => "Teacher",
            Self::License => "Licence",
            Self::AnswerCheck => "Answer check",
        }
    }

    /// What stands for a record without the property.
    pub(super) fn absent(self) -> &'static str {
        match self {
            Self::Generator | Self::Teacher => "none",
            Self::AnswerCheck => "not checked",
            _ => "unknown",
        }
    }

    fn of(self, record: &CotRecord) -> String {
        match self {
            Self::Domain => record.domain.clone(),
            Self::Level if record.difficulty == 0 => String::new(),
            Self::Level => record.difficulty.to_string(),
            Self::Bloom => record.bloom.clone(),
            Self::Label => record.label.kind().to_owned(),
            Self::Generator => {
                let generator = record.source.generator.as_deref().unwrap_or_default();
                generator.split_once('@').map_or(generator, |(kind, _)| kind).to_owned()
            }
            Self::Source => record.source.name.clone(),
            Self::Teacher => record.source.teacher.clone().unwrap_or_default(),
            Self::License => record.source.license.clone(),
            Self::AnswerCheck => record.checks.answer.clone(),
        }
    }
}

/// Counts of one split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SplitCounts {
    pub(super) num_records: u64,
    pub(super) num_without_chain: u64,
    pub(super) num_steps: u64,
    pub(super) num_steps_verified: u64,
    pub(super) num_answers_checked: u64,
    pub(super) num_chains_verified: u64,
    pub(super) by_property: BTreeMap<Property, BTreeMap<String, u64>>,
}

/// Counts over the records of a data set, by split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardCounts {
    pub(super) splits: Vec<(String, SplitCounts)>,
    pub(super) seeds: BTreeSet<u64>,
}

impl CardCounts {
    /// Counts a record of a split. Splits keep the order of their first records.
    pub fn add(&mut self, split: &str, record: &CotRecord) {
        let known = self.splits.iter().position(|(name, _)| name == split);
        let place = known.unwrap_or(self.splits.len());
        if known.is_none() {
            self.splits.push((split.to_owned(), SplitCounts::default()));
        }
        let counts = &mut self.splits[place].1;
        let steps = &record.checks.steps;
        counts.num_records += 1;
        counts.num_without_chain += u64::from(record.thought_process.is_empty());
        counts.num_steps += record.thought_process.len() as u64;
        counts.num_steps_verified += steps.iter().filter(|step| **step).count() as u64;
        counts.num_answers_checked += u64::from(!record.checks.answer.is_empty());
        counts.num_chains_verified +=
            u64::from(!steps.is_empty() && steps.iter().all(|step| *step));
        for property in Property::ALL {
            let by_value = counts.by_property.entry(property).or_default();
            *by_value.entry(property.of(record)).or_default() += 1;
        }
        self.seeds.extend(record.source.seed);
    }

    /// Records in all splits.
    pub fn num_records(&self) -> u64 {
        self.splits.iter().map(|(_, counts)| counts.num_records).sum()
    }

    /// Values of a property, in order: by number where all are numbers.
    pub(super) fn values(&self, property: Property) -> Vec<&str> {
        let values: BTreeSet<&str> = self
            .splits
            .iter()
            .filter_map(|(_, counts)| counts.by_property.get(&property))
            .flat_map(|by_value| by_value.keys().map(String::as_str))
            .collect();
        let mut values: Vec<&str> = values.into_iter().collect();
        values.sort_by_key(|value| value.parse::<u64>().unwrap_or(0));
        values
    }
}

impl SplitCounts {
    pub(super) fn with(&self, property: Property, value: &str) -> u64 {
        let by_value = self.by_property.get(&property);
        by_value.and_then(|by_value| by_value.get(value)).copied().unwrap_or(0)
    }
}
