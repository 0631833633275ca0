//! Orders of training from easy to hard (Bengio et al. 2009, "Curriculum learning").

use serde::{Deserialize, Serialize};

use crate::rng::{CounterRng, stable_hash};

/// An order of records. All are deterministic for a seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Curriculum {
    /// From the lowest score to the highest; equal scores shuffled.
    Strict,
    /// Buckets of equal size from easy to hard, shuffled inside.
    Bucketed {
        /// Number of buckets; one is a plain shuffle, none is taken for one.
        num_buckets: usize,
    },
    /// Strict, but a share of the places, spread evenly by chance, holds records drawn from
    /// all scores: late training then forgets the easy ones less.
    Mixed {
        /// The share, from 0 (strict) to 1 (a plain shuffle); one outside is taken for the
        /// nearer end.
        random_share: f64,
    },
}

/// The places of records in the order of a curriculum, given each one's score.
pub fn curriculum_order(scores: &[f64], curriculum: Curriculum, seed: u64) -> Vec<usize> {
    let mut rng = CounterRng::new(stable_hash(format!("curriculum/{seed}").as_bytes()));
    let mut order: Vec<usize> = (0..scores.len()).collect();
    rng.shuffle(&mut order);
    // The sort is stable: equal scores keep their shuffled order.
    order.sort_by(|first, second| scores[*first].total_cmp(&scores[*second]));
    match curriculum {
        Curriculum::Strict => {}
        Curriculum::Bucketed { num_buckets } => {
            let num_buckets = num_buckets.max(1);
            let mut start = 0;
            for bucket in 1..=num_buckets {
                let end = order.len() * bucket / num_buckets;
                rng.shuffle(&mut order[start..end]);
                start = end;
            }
        }
        Curriculum::Mixed { random_share } => {
            let num_random = (order.len() as f64 * random_share.clamp(0.0, 1.0)).round() as usize;
            let mut places: Vec<usize> = (0..order.len()).collect();
            rng.shuffle(&mut places);
            places.truncate(num_random);
            // The records of those places change places among themselves alone.
            let mut held: Vec<usize> = places.iter().map(|place| order[*place]).collect();
            rng.shuffle(&mut held);
            for (place, record) in places.into_iter().zip(held) {
                order[place] = record;
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(curriculum: Curriculum) -> Vec<f64> {
        let scores: Vec<f64> = (0..400).map(|place| f64::from(place * 37 % 100)).collect();
        let order = curriculum_order(&scores, curriculum, 5);
        assert_eq!(order, curriculum_order(&scores, curriculum, 5), "deterministic");
        assert_ne!(order, curriculum_order(&scores, curriculum, 6), "the seed matters");
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..400), "every record once");
        order.into_iter().map(|place| scores[place]).collect()
    }

    fn mean(scores: &[f64]) -> f64 {
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    #[test]
    fn strict_is_sorted() {
        assert!(ordered(Curriculum::Strict).is_sorted());
    }

    #[test]
    fn buckets_are_sorted_and_their_insides_are_not() {
        let scores = ordered(Curriculum::Bucketed { num_buckets: 4 });
        for (bucket, inside) in scores.chunks(100).enumerate() {
            let low = bucket as f64 * 25.0;
            assert!(inside.iter().all(|score| (low..low + 25.0).contains(score)));
            assert!(!inside.is_sorted());
        }
    }

    #[test]
    fn a_mixed_order_rises_less() {
        assert!(ordered(Curriculum::Mixed { random_share: 0.0 }).is_sorted());
        let rise = |random_share: f64| {
            let scores = ordered(Curriculum::Mixed { random_share });
            mean(&scores[300..]) - mean(&scores[..100])
        };
        let (strict, mixed, shuffled) = (rise(0.0), rise(0.4), rise(1.0));
        assert!(strict > mixed + 10.0 && mixed > shuffled + 10.0, "{strict} {mixed} {shuffled}");
    }

    #[test]
    fn no_records_and_odd_settings_are_no_fault() {
        assert_eq!(curriculum_order(&[], Curriculum::Strict, 0), [0_usize; 0]);
        let order = curriculum_order(&[1.0, f64::NAN], Curriculum::Bucketed { num_buckets: 0 }, 0);
        assert_eq!(order.len(), 2);
        let mixed = Curriculum::Mixed { random_share: f64::NAN };
        assert_eq!(curriculum_order(&[2.0, 1.0], mixed, 0), [1, 0]);
    }
}
