//! Multinomial logistic regression, small enough to need no library.

use super::bloom::NUM_BLOOM_LEVELS;
use super::feature::NUM_FEATURES;

/// A row of weights for each level.
pub type BloomWeights = [[f64; NUM_FEATURES]; NUM_BLOOM_LEVELS];

/// A question's features, and the place of its level.
pub type BloomExample = ([f64; NUM_FEATURES], usize);

/// Steps of gradient descent.
const NUM_STEPS: usize = 1000;
const LEARNING_RATE: f64 = 0.4;
/// Penalty of the squared weights: 120 examples must not be learnt by heart.
const PENALTY: f64 = 0.01;

/// The probability of each level.
pub(crate) fn probabilities(
    weights: &BloomWeights,
    features: &[f64; NUM_FEATURES],
) -> [f64; NUM_BLOOM_LEVELS] {
    let logits =
        weights.map(|row| row.iter().zip(features).map(|(weight, value)| weight * value).sum());
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers = logits.map(|logit: f64| (logit - highest).exp());
    let total: f64 = powers.iter().sum();
    powers.map(|power| power / total)
}

/// Fits weights to examples by gradient descent from zero, which is deterministic.
pub fn fit_bloom(examples: &[BloomExample]) -> BloomWeights {
    let mut weights = [[0.0; NUM_FEATURES]; NUM_BLOOM_LEVELS];
    let scale = 1.0 / examples.len().max(1) as f64;
    for _ in 0..NUM_STEPS {
        let mut gradient = weights.map(|row| row.map(|weight| weight * PENALTY));
        for (features, level) in examples {
            let chances = probabilities(&weights, features);
            for (place, (row, chance)) in gradient.iter_mut().zip(chances).enumerate() {
                let error = chance - if place == *level { 1.0 } else { 0.0 };
                for (gradient, value) in row.iter_mut().zip(features) {
                    *gradient += scale * error * value;
                }
            }
        }
        for (row, gradient) in weights.iter_mut().zip(&gradient) {
            for (weight, gradient) in row.iter_mut().zip(gradient) {
                *weight -= LEARNING_RATE * gradient;
            }
        }
    }
    weights
}

/// The place of the most likely level.
pub fn most_likely(weights: &BloomWeights, features: &[f64; NUM_FEATURES]) -> usize {
    let chances = probabilities(weights, features);
    (0..chances.len())
        .fold(0, |best, place| if chances[place] > chances[best] { place } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stratify::seed::bloom_seeds;
    use crate::stratify::weight::BLOOM_WEIGHTS;

    #[test]
    fn the_committed_weights_are_those_of_the_seeds() {
        let examples: Vec<BloomExample> =
            bloom_seeds().iter().map(|seed| (seed.features(), seed.level as usize)).collect();
        let fitted = fit_bloom(&examples);
        for (row, committed) in fitted.iter().zip(&BLOOM_WEIGHTS) {
            for (weight, committed) in row.iter().zip(committed) {
                assert!((weight - committed).abs() < 2e-3, "{weight} against {committed}");
            }
        }
        let right = examples
            .iter()
            .filter(|(features, level)| most_likely(&BLOOM_WEIGHTS, features) == *level)
            .count();
        assert!(right >= 115, "{right} of {} seeds", examples.len());
    }

    #[test]
    fn probabilities_sum_to_one() {
        let chances = probabilities(&BLOOM_WEIGHTS, &[1e3; NUM_FEATURES]);
        assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
