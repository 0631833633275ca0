//! Strata of records: Bloom's level, difficulty, orders from easy to hard, balanced samples.
//!
//! [`fill_bloom`] and [`fill_difficulty`] label records; [`curriculum_order`] and
//! [`balanced_sample`] choose by the labels. All depend on their arguments alone.

mod balance;
mod bloom;
mod curriculum;
mod difficulty;
mod feature;
mod lexicon;
mod logistic;
mod seed;
mod weight;

pub use balance::{Stratum, balanced_sample};
pub use bloom::{
    BLOOM_CONFIDENCE_FIELD, Bloom, BloomGuess, NUM_BLOOM_LEVELS, fill_bloom, guess_bloom,
};
pub use curriculum::{Curriculum, curriculum_order};
pub use difficulty::{
    DEFAULT_CUTS, NUM_LEVELS, Structure, level_of, level_of_pass_rate, passes, quartile_cuts,
};
pub use feature::{NUM_FEATURES, bloom_features};
pub use logistic::{BloomExample, BloomWeights, fit_bloom, most_likely};
pub use seed::{BloomSeed, bloom_seeds};

use crate::record::CotRecord;

/// Sets the level of each record by its structure. Generated records have theirs by
/// construction, and keep it.
pub fn fill_difficulty(records: &mut [CotRecord], cuts: &[f64; 3]) {
    for record in records.iter_mut().filter(|record| record.source.generator.is_none()) {
        record.difficulty = level_of(Structure::of(record).score(), cuts);
    }
}
