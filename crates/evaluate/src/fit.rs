//! How well a model's replies fit a domain.

use limbeck_core::seed::{CounterRng, derive};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::scorer::binary::auroc;
use crate::statistics::Estimate;

/// A model's replies beside the chains that the records of the task hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainFit {
    /// From 0 (a classifier always tells replies from the records' own chains) to 1 (it cannot):
    /// `1 - (2·AUROC - 1)`, at most 1: below one half nothing was learnt that holds.
    pub score: f64,
    /// Area under the curve of that classifier, on held-out folds.
    pub auroc: Estimate,
    /// Perplexity of the records' chains under the model over that under the reference model;
    /// none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_ratio: Option<f64>,
}

/// Fewer problems leave a classifier nothing to learn from.
const FEWEST_PROBLEMS: usize = 20;

/// Parts that the problems are divided into: each is judged by what was learnt on the others.
const FOLDS: usize = 5;

/// Passes over the texts.
const EPOCHS: usize = 8;

/// Length of a text's vector, a power of 2.
const NUM_FEATURES: usize = 1 << 15;

const LEARNING_RATE: f64 = 0.5;

/// Penalty of the squared weights.
const PENALTY: f64 = 1e-4;

/// A text as the places of its features, with their values; of length 1.
type Features = Vec<(usize, f64)>;

impl DomainFit {
    /// The classifier two-sample test of Lopez-Paz and Oquab (2017): how well a classifier tells the
    /// replies from the records' own chains, of which each pair is of one problem.
    ///
    /// The classifier is a logistic regression over hashed words, pairs of words and runs of four
    /// characters. A problem's two texts are in the same fold: what is said of it, on both sides,
    /// tells nothing then. `seed` fixes folds and order. `None` for fewer than 20 problems.
    ///
    /// The interval takes the texts' scores as independent. As the folds' classifiers learn from
    /// overlapping texts it is a little narrow, and where there is nothing to learn the area falls
    /// rather below one half than above it: what is frequent by chance on one side of the held-out
    /// texts is rare there in the others.
    pub fn measure(
        replies: &[&str],
        records: &[&str],
        seed: u64,
        perplexity_ratio: Option<f64>,
    ) -> Option<Self> {
        let problems = replies.len().min(records.len());
        if problems < FEWEST_PROBLEMS {
            return None;
        }
        let of = |texts: &[&str]| -> Vec<Features> {
            texts[..problems].par_iter().map(|text| features(text)).collect()
        };
        let (replies, records) = (of(replies), of(records));
        let mut order: Vec<usize> = (0..problems).collect();
        CounterRng::new(derive(seed, "domain fit folds", 0)).shuffle(&mut order);
        let scored_by = |fold: usize| -> Vec<(bool, f64)> {
            let held_out = |place: usize| place % FOLDS == fold;
            let mut examples: Vec<(&Features, bool)> = Vec::with_capacity(2 * problems);
            for (_, &problem) in order.iter().enumerate().filter(|(place, _)| !held_out(*place)) {
                examples.push((&replies[problem], true));
                examples.push((&records[problem], false));
            }
            let random = CounterRng::new(derive(seed, "domain fit order", fold as u64));
            let weights = fitted(&mut examples, random);
            let judged: Vec<(bool, f64)> = order
                .iter()
                .enumerate()
                .filter(|(place, _)| held_out(*place))
                .flat_map(|(_, &problem)| [(true, &replies[problem]), (false, &records[problem])])
                .map(|(reply, features)| (reply, product(&weights, features)))
                .collect();
            // Folds are judged by different classifiers, whose zeros differ.
            let mean = judged.iter().map(|(_, score)| score).sum::<f64>() / judged.len() as f64;
            judged.into_iter().map(|(reply, score)| (reply, score - mean)).collect()
        };
        let scored: Vec<(bool, f64)> = (0..FOLDS).into_par_iter().flat_map(scored_by).collect();
        let auroc = auroc(&scored)?;
        let score = 1.0 - (2.0 * auroc.value - 1.0).max(0.0);
        Some(Self { score, auroc, perplexity_ratio })
    }
}

/// Words, pairs of them, and runs of four characters, by the logarithm of their count.
fn features(text: &str) -> Features {
    let mut places = Vec::with_capacity(2 * text.len());
    let mut hash = |kind: u8, parts: [&str; 2]| {
        // FNV-1a; the kind keeps a word and a run of the same letters apart.
        let bytes = parts[0].bytes().chain([0xff]).chain(parts[1].bytes());
        let hash = [kind].into_iter().chain(bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        places.push(((hash ^ (hash >> 32)) as usize) & (NUM_FEATURES - 1));
    };
    let mut before = "";
    for word in text.split_whitespace() {
        hash(0, [word, ""]);
        hash(1, [before, word]);
        before = word;
    }
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    for run in starts.windows(5) {
        hash(2, [&text[run[0]..run[4]], ""]);
    }
    places.sort_unstable();
    let mut features: Features = places
        .chunk_by(|left, right| left == right)
        .map(|same| (same[0], (same.len() as f64).ln_1p()))
        .collect();
    let length = features.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
    for (_, value) in &mut features {
        *value /= length;
    }
    features
}

/// Weights by stochastic gradient descent with a step of its own for each (`AdaGrad`, Duchi et al.
/// 2011); the last one is the constant's.
fn fitted(examples: &mut [(&Features, bool)], mut random: CounterRng) -> Vec<f64> {
    let mut weights = vec![0.0; NUM_FEATURES + 1];
    let mut squares = vec![1e-8; NUM_FEATURES + 1];
    for _ in 0..EPOCHS {
        random.shuffle(examples);
        for (features, reply) in &*examples {
            let chance = 1.0 / (1.0 + (-product(&weights, features)).exp());
            let error = chance - if *reply { 1.0 } else { 0.0 };
            for (place, value) in features.iter().copied().chain([(NUM_FEATURES, 1.0)]) {
                let gradient = error * value + PENALTY * weights[place];
                squares[place] += gradient * gradient;
                weights[place] -= LEARNING_RATE * gradient / squares[place].sqrt();
            }
        }
    }
    weights
}

fn product(weights: &[f64], features: &Features) -> f64 {
    let sum: f64 = features.iter().map(|(place, value)| weights[*place] * value).sum();
    sum + weights[NUM_FEATURES]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sets of texts of one kind, on the same problems.
    fn texts(seed: u64, count: usize, style: &str) -> Vec<String> {
        (0..count)
            .map(|problem| {
                let mut random = CounterRng::new(derive(seed, "text", problem as u64));
                let steps = (0..4).map(|_| {
                    let (a, b) = (random.below(50), random.below(50));
                    format!("{style} {a} + {b} = {}", a + b)
                });
                format!("Problem {problem}. {}", steps.collect::<Vec<_>>().join("\n"))
            })
            .collect()
    }

    fn fit(replies: &[String], records: &[String], seed: u64) -> DomainFit {
        let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        DomainFit::measure(&replies, &records, seed, Some(1.5)).unwrap()
    }

    #[test]
    fn texts_of_one_kind_are_not_told_apart() {
        let mut total = 0.0;
        for seed in 0..8 {
            let found = fit(&texts(2 * seed, 80, "So"), &texts(2 * seed + 1, 80, "So"), 3);
            assert!(found.auroc.low < 0.55 && found.score > 0.75, "{found:?}");
            total += found.auroc.value;
        }
        assert!((total / 8.0 - 0.5).abs() < 0.08, "{total}");
        let (replies, records) = (texts(1, 30, "So"), texts(2, 30, "So"));
        let found = fit(&replies, &records, 3);
        assert_eq!(found, fit(&replies, &records, 3));
        assert_eq!(found.perplexity_ratio, Some(1.5));
    }

    #[test]
    fn texts_of_another_kind_are() {
        let found = fit(&texts(1, 60, "Therefore"), &texts(2, 60, "So"), 3);
        assert!(found.auroc.value > 0.99 && found.score < 0.02, "{found:?}");
    }

    #[test]
    fn the_same_texts_score_one_half() {
        let same = texts(1, 40, "So");
        let found = fit(&same, &same, 3);
        assert!((found.auroc.value - 0.5).abs() < 1e-12 && (found.score - 1.0).abs() < 1e-12);
        assert!(DomainFit::measure(&["a"; 19], &["b"; 19], 0, None).is_none());
        let empty = DomainFit::measure(&[""; 20], &[""; 20], 0, None).unwrap();
        assert!((empty.auroc.value - 0.5).abs() < 1e-12);
    }
}
