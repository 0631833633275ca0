//! Records from generators. A record depends only on its version, family, level, seed
//! and index, so shard `i` of `n` (the indices equal to `i` modulo `n`) merges line for
//! line into the whole.

pub(crate) mod arithmetic;
mod calendar;
pub(crate) mod chinese;
pub(crate) mod cube;
pub(crate) mod divisors;
mod dose;
pub(crate) mod fractions;
pub(crate) mod interest;
pub(crate) mod knights;
mod layout;
pub(crate) mod legal;
pub(crate) mod linear;
pub(crate) mod medical;
pub(crate) mod ordering;
pub(crate) mod paths;
pub(crate) mod percent;
pub(crate) mod propositional;
pub(crate) mod ratio;
pub(crate) mod risk;
pub(crate) mod route;
mod score;
pub(crate) mod seating;
pub(crate) mod stacking;
pub(crate) mod syllogism;
pub(crate) mod weekday;
pub(crate) mod words;
pub(crate) mod zebra;

use std::ops::Range;
use std::str::FromStr;

use rayon::prelude::*;
use serde_json::Map;

use crate::check::check_chain;
use crate::error::{Error, Result};
use crate::family::Family;
use crate::label::Label;
use crate::language::Language;
use crate::problem::{Alteration, Problem};
use crate::record::{Checks, CotRecord, Source};
use crate::rng::{CounterRng, stable_hash};

/// Version of the generators: it changes when any record would.
pub const GENERATOR_VERSION: u32 = 9;

/// The highest difficulty level.
pub const MAX_LEVEL: u8 = 4;

/// The extra field of a generated record that holds its problem's signature.
pub const SIGNATURE_FIELD: &str = "signature";

/// The extra field of a generated record's source that holds its language's code; a record
/// without one is in English.
pub const LANGUAGE_FIELD: &str = "language";

/// Licence of generated records, as an SPDX expression.
pub const GENERATED_LICENSE: &str = "MIT OR Apache-2.0";

/// What to generate: a family in one of its languages. A [`Family`] alone is told in its
/// default language. The same index in another language is the same problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The family.
    pub family: Family,
    /// The language.
    pub language: Language,
}

impl From<Family> for Recipe {
    fn from(family: Family) -> Self {
        Self { family, language: family.languages()[0] }
    }
}

/// The record of an index; its text has passed [`check_chain`].
///
/// # Errors
/// A level outside 1 to [`MAX_LEVEL`], a language that the family lacks, or a text that the
/// checker refuses, which is a defect of this crate.
pub fn generate(recipe: impl Into<Recipe>, level: u8, seed: u64, index: u64) -> Result<CotRecord> {
    let Recipe { family, language } = recipe.into();
    if !family.languages().contains(&language) {
        let codes: Vec<&str> = family.languages().iter().map(|known| known.code()).collect();
        return Err(Error::UnknownLanguage {
            expected: format!("{} for {}", codes.join(" or "), family.name()),
            got: language.code().to_owned(),
        });
    }
    if !(1..=MAX_LEVEL).contains(&level) {
        return Err(Error::UnknownLevel { max: MAX_LEVEL, got: level });
    }
    let mut rng = CounterRng::for_record(GENERATOR_VERSION, family.name(), level, seed, index);
    let problem = family.draw(level, &mut rng);
    told(&*problem, Recipe { family, language }, level, seed, index, &mut rng)
}

/// A generated record's problem as it was drawn.
pub(crate) struct Drawn {
    problem: Box<dyn Problem>,
    recipe: Recipe,
    level: u8,
    seed: u64,
    index: u64,
    /// What the record was told with.
    rng: CounterRng,
}

impl Drawn {
    /// Draws the problem again; nothing for a record of another version, or of no generator.
    pub(crate) fn of(record: &CotRecord) -> Option<Self> {
        let (_, version) = record.source.generator.as_deref()?.split_once('@')?;
        let (family, index) = record.id.split_once('-')?;
        let index = index.strip_suffix("-short").unwrap_or(index);
        let (family, index): (Family, u64) = (family.parse().ok()?, index.parse().ok()?);
        let level = record.difficulty;
        if version.parse() != Ok(GENERATOR_VERSION) || !(1..=MAX_LEVEL).contains(&level) {
            return None;
        }
        let code = record.source.extra.get(LANGUAGE_FIELD).and_then(|code| code.as_str());
        let language = code.map_or(Some(Language::En), |code| code.parse().ok())?;
        let seed = record.source.seed?;
        let mut rng = CounterRng::for_record(GENERATOR_VERSION, family.name(), level, seed, index);
        let problem = family.draw(level, &mut rng);
        (hashed_signature(&*problem) == signature(record)).then_some(Self {
            problem,
            recipe: Recipe { family, language },
            level,
            seed,
            index,
            rng,
        })
    }

    /// Another problem made of this one, told with the same choice of words and with its own
    /// chain. Nothing where [`Problem::altered`] gives none.
    pub(crate) fn altered(
        &self,
        alteration: Alteration,
        rng: &mut CounterRng,
    ) -> Option<CotRecord> {
        let problem = self.problem.altered(alteration, rng)?;
        self.told(&*problem, &mut self.rng.clone())
    }

    fn told(&self, problem: &dyn Problem, rng: &mut CounterRng) -> Option<CotRecord> {
        told(problem, self.recipe, self.level, self.seed, self.index, rng).ok()
    }
}

/// The problem of a generated record in other words: other names, another order where that
/// is free, other phrases. Nothing for a record of another version, or of no generator.
pub(crate) fn retold(record: &CotRecord, rng: &mut CounterRng) -> Option<CotRecord> {
    let drawn = Drawn::of(record)?;
    drawn.told(&*drawn.problem, rng)
}

/// A problem's signature as records hold it.
fn hashed_signature(problem: &dyn Problem) -> String {
    format!("{:016x}", stable_hash(problem.signature().as_bytes()))
}

/// The record of a problem, told with what `rng` draws next.
fn told(
    problem: &dyn Problem,
    Recipe { family, language }: Recipe,
    level: u8,
    seed: u64,
    index: u64,
    rng: &mut CounterRng,
) -> Result<CotRecord> {
    let rendered = problem.render(language, rng);
    let mut extra = Map::new();
    extra.insert(SIGNATURE_FIELD.to_owned(), hashed_signature(problem).into());
    let mut source_extra = Map::new();
    if language != Language::En {
        source_extra.insert(LANGUAGE_FIELD.to_owned(), language.code().into());
    }
    for (key, value) in problem.source_extra() {
        source_extra.insert(key.to_owned(), value.into());
    }
    let mut record = CotRecord {
        id: format!("{}-{index:06}", family.name()),
        question: rendered.question,
        thought_process: rendered.steps,
        answer: rendered.answer,
        domain: family.domain().to_owned(),
        difficulty: level,
        bloom: family.bloom().to_owned(),
        label: Label::Correct,
        source: Source {
            name: "limbeck".to_owned(),
            license: GENERATED_LICENSE.to_owned(),
            teacher: None,
            generator: Some(format!(
                "{}/{}@{GENERATOR_VERSION}",
                family.domain(),
                problem.kind_name()
            )),
            seed: Some(seed),
            extra: source_extra,
        },
        checks: Checks::default(),
        extra,
    };
    let check = check_chain(&record.question, &record.thought_process, &record.answer);
    if let Some(reason) = check.complaint(&record.thought_process) {
        return Err(Error::Rejected { id: record.id, reason });
    }
    record.checks = Checks {
        answer: "verified".to_owned(),
        steps: vec![true; record.thought_process.len()],
        extra: Map::new(),
    };
    Ok(record)
}

/// A part of a data set: the records `index`, `index + count`, `index + 2 count`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Number of the shard, from 0.
    pub index: u64,
    /// Number of shards.
    pub count: u64,
}

impl Shard {
    /// The whole data set.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Whether it has the record, or object of a file, of a number counted from 0.
    pub fn has(self, number: u64) -> bool {
        number % self.count.max(1) == self.index
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl FromStr for Shard {
    type Err = Error;

    /// From `i/n`, where `i` counts from 0 and is below `n`.
    fn from_str(text: &str) -> Result<Self> {
        text.split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)))
            .filter(|(index, count)| index < count)
            .map(|(index, count)| Self { index, count })
            .ok_or_else(|| Error::Shard { got: text.to_owned() })
    }
}

/// The shard's records of `0..count`, in order of index and in parallel. With no level
/// given, record `i` has level `1 + i mod 4`.
///
/// # Errors
/// As [`generate`].
pub fn generate_many(
    recipe: impl Into<Recipe>,
    level: Option<u8>,
    count: u64,
    seed: u64,
    shard: Shard,
) -> Result<Vec<CotRecord>> {
    generate_range(recipe, level, 0..count, seed, shard)
}

/// The shard's records of some indices, as [`generate_many`]: what does not fit in memory is
/// made range by range.
///
/// # Errors
/// As [`generate`].
pub fn generate_range(
    recipe: impl Into<Recipe>,
    level: Option<u8>,
    range: Range<u64>,
    seed: u64,
    shard: Shard,
) -> Result<Vec<CotRecord>> {
    let recipe = recipe.into();
    let indices: Vec<u64> = range.filter(|&index| shard.has(index)).collect();
    indices
        .into_par_iter()
        .map(|index| {
            let level = level.unwrap_or(1 + (index % u64::from(MAX_LEVEL)) as u8);
            generate(recipe, level, seed, index)
        })
        .collect()
}

/// The signature of a record's problem: equal for two records of the same problem in
/// other words. A record without one gets the hash of its question, with white space
/// and case made even.
pub fn signature(record: &CotRecord) -> String {
    if let Some(signature) = record.extra.get(SIGNATURE_FIELD).and_then(|value| value.as_str()) {
        return signature.to_owned();
    }
    let words: Vec<String> = record.question.split_whitespace().map(str::to_lowercase).collect();
    format!("{:016x}", stable_hash(words.join(" ").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_version_gives_the_same_bytes_as_ever() {
        assert_eq!(GENERATOR_VERSION, 9, "a new version gets a new digest");
        let mut lines = String::new();
        for family in Family::CORE {
            for record in generate_many(family, None, 1_200, 17, Shard::WHOLE).unwrap() {
                lines.push_str(&serde_json::to_string(&record).unwrap());
                lines.push('\n');
            }
        }
        assert_eq!(format!("{:016x}", stable_hash(lines.as_bytes())), "cf0e8111855a8223");
    }
}
