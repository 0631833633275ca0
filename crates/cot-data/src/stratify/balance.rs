//! Samples in which every cell of domain, level and Bloom's level weighs the same.

use std::collections::BTreeMap;

use crate::record::CotRecord;
use crate::rng::{CounterRng, stable_hash};

/// What a sample is balanced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stratum<'record> {
    /// Field of knowledge.
    pub domain: &'record str,
    /// Difficulty.
    pub difficulty: u8,
    /// Level of Bloom's taxonomy.
    pub bloom: &'record str,
}

impl<'record> Stratum<'record> {
    /// The cell of a record.
    pub fn of(record: &'record CotRecord) -> Self {
        Self { domain: &record.domain, difficulty: record.difficulty, bloom: &record.bloom }
    }
}

/// The places, in order, of `num_records` records, as many of each cell as of another. A cell
/// that is too small gives all it has, and the others share what it lacks; the sample is
/// smaller than asked for only where there are not so many records.
pub fn balanced_sample(strata: &[Stratum<'_>], num_records: usize, seed: u64) -> Vec<usize> {
    let mut cells: BTreeMap<Stratum<'_>, Vec<usize>> = BTreeMap::new();
    for (place, &stratum) in strata.iter().enumerate() {
        cells.entry(stratum).or_default().push(place);
    }
    let mut cells: Vec<(Stratum<'_>, Vec<usize>)> = cells.into_iter().collect();
    // Whom a remainder goes to is chance, not the alphabet.
    CounterRng::new(stable_hash(format!("balance/{seed}").as_bytes())).shuffle(&mut cells);
    // From the smallest cell, so that what it lacks is known when the next is served.
    cells.sort_by_key(|(_, places)| places.len());
    let mut left = num_records;
    let mut sample = Vec::with_capacity(num_records.min(strata.len()));
    let num_cells = cells.len();
    for (number, (stratum, mut places)) in cells.into_iter().enumerate() {
        let share = left / (num_cells - number);
        let taken = share.min(places.len());
        left -= taken;
        // A stream for each cell: what is drawn of one does not depend on the others.
        let Stratum { domain, difficulty, bloom } = stratum;
        let key = format!("balance/{seed}/{domain}/{difficulty}/{bloom}");
        CounterRng::new(stable_hash(key.as_bytes())).shuffle(&mut places);
        sample.extend_from_slice(&places[..taken]);
    }
    sample.sort_unstable();
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strata(counts: &[usize]) -> Vec<Stratum<'static>> {
        let mut strata = Vec::new();
        for (cell, count) in counts.iter().enumerate() {
            let stratum = Stratum {
                domain: ["first", "second"][cell % 2],
                difficulty: cell as u8,
                bloom: "apply",
            };
            strata.extend(std::iter::repeat_n(stratum, *count));
        }
        strata
    }

    fn check(counts: &[usize], num_records: usize, expect: &[usize]) {
        let strata = strata(counts);
        let sample = balanced_sample(&strata, num_records, 1);
        assert!(sample.is_sorted_by(|first, second| first < second), "each once, in order");
        assert_eq!(sample, balanced_sample(&strata, num_records, 1), "deterministic");
        let mut found = vec![0; counts.len()];
        for place in sample {
            found[usize::from(strata[place].difficulty)] += 1;
        }
        assert_eq!(found, expect, "{counts:?}, {num_records}");
    }

    #[test]
    fn cells_weigh_the_same_and_small_ones_give_all() {
        check(&[100, 100, 100], 60, &[20, 20, 20]);
        check(&[5, 100, 100], 65, &[5, 30, 30]);
        check(&[5, 10, 100], 65, &[5, 10, 50]);
        check(&[5, 10, 20], 100, &[5, 10, 20]);
        check(&[7, 7], 0, &[0, 0]);
        check(&[], 10, &[]);
    }

    #[test]
    fn a_remainder_is_given_out_and_the_seed_matters() {
        let strata = strata(&[50, 50, 50]);
        let sample = balanced_sample(&strata, 20, 1);
        assert_eq!(sample.len(), 20);
        assert_ne!(sample, balanced_sample(&strata, 20, 2));
    }
}
