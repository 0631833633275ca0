//! The labelled questions that the model of Bloom's levels is fitted to.

use super::bloom::Bloom;
use super::feature::{NUM_FEATURES, bloom_features};

/// A labelled question.
#[derive(Clone, Debug)]
pub struct BloomSeed {
    /// Its level.
    pub level: Bloom,
    /// Steps that an answer would take.
    pub num_steps: usize,
    /// The question.
    pub question: String,
}

impl BloomSeed {
    /// The features of the question.
    pub fn features(&self) -> [f64; NUM_FEATURES] {
        bloom_features(&self.question, self.num_steps)
    }
}

/// All seeds; a line that is none is passed over, and a test counts them.
pub fn bloom_seeds() -> Vec<BloomSeed> {
    include_str!("bloom_seeds.tsv")
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, '\t');
            Some(BloomSeed {
                level: fields.next()?.parse().ok()?,
                num_steps: fields.next()?.parse().ok()?,
                question: fields.next()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_twenty_seeds() {
        let seeds = bloom_seeds();
        for level in Bloom::ALL {
            assert_eq!(seeds.iter().filter(|seed| seed.level == level).count(), 20, "{level:?}");
        }
    }
}
