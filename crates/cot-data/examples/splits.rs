//! Writes a whole data set of the default configuration, with its card.
//!
//! `cargo run --release -p limbeck-cot-data --example splits -- NUM_TRAIN SEED FOLDER`

use std::path::Path;

use limbeck_cot_data::{DataConfig, build_splits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [num_train, seed, folder] = arguments.as_slice() else {
        return Err("usage: splits NUM_TRAIN SEED FOLDER".into());
    };
    let config =
        DataConfig { num_train: num_train.parse()?, seed: seed.parse()?, ..DataConfig::default() };
    let splits = build_splits(&config)?;
    splits.write(Path::new(folder))?;
    eprint!("{}", splits.card());
    Ok(())
}
