//! Fits the model of Bloom's levels to its seeds and prints `src/stratify/weight.rs`; what
//! cross-validation says goes to the other stream.
//!
//! `cargo run --release -p limbeck-cot-data --example train_bloom > weight.rs`

use limbeck_cot_data::stratify::{Bloom, BloomExample, bloom_seeds, fit_bloom, most_likely};

fn main() {
    let examples: Vec<BloomExample> =
        bloom_seeds().iter().map(|seed| (seed.features(), seed.level as usize)).collect();
    let weights = fit_bloom(&examples);
    println!("//! Weights of the model of Bloom's levels, printed by `examples/train_bloom.rs`.\n");
    println!("use super::logistic::BloomWeights;\n");
    println!("/// A row for each level, in the order of `bloom_features`.");
    println!("pub(crate) const BLOOM_WEIGHTS: BloomWeights = [");
    for row in weights {
        let row: Vec<String> = row.iter().map(|weight| format!("{weight:.4}")).collect();
        println!("    [{}],", row.join(", "));
    }
    println!("];");

    let right =
        examples.iter().filter(|(features, level)| most_likely(&weights, features) == *level);
    eprintln!("seeds right: {} of {}", right.count(), examples.len());
    // Seeds are listed by level, so every fifth is a fold with all levels in it.
    let mut confusion = [[0_usize; 6]; 6];
    for fold in 0..5 {
        let kept: Vec<BloomExample> = examples
            .iter()
            .enumerate()
            .filter(|(place, _)| place % 5 != fold)
            .map(|(_, example)| *example)
            .collect();
        let weights = fit_bloom(&kept);
        for (features, level) in examples.iter().skip(fold).step_by(5) {
            confusion[*level][most_likely(&weights, features)] += 1;
        }
    }
    let right: usize = (0..6).map(|level| confusion[level][level]).sum();
    eprintln!("five-fold cross-validation: {right} of {}", examples.len());
    for (level, row) in Bloom::ALL.iter().zip(confusion) {
        eprintln!("{:>10} {row:?}", level.name());
    }
}
