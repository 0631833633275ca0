//! Folders that other quantisers packed must compute here what they compute there: what
//! `scripts/peers/make_quant_folders.py` makes, of which `fixtures/quant/peers` has some.
//! `LIMBECK_PEER_FOLDERS` names a folder with more of them.

use std::path::{Path, PathBuf};

use limbeck_core::{DType, TensorFile, test_device};
use limbeck_model::{Decoder, Input, LoadOptions};
use limbeck_quant::{load_decoder, save};
use tch::Kind;

/// Norm of the difference over the norm of the logits. Theirs are of float32 weights, which their
/// packages dequantise to in float16 where scales are float16.
const TOLERANCE: f64 = 1e-3;

fn folders() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/quant/peers");
    let root = std::env::var_os("LIMBECK_PEER_FOLDERS").map_or(own, PathBuf::from);
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> =
        entries.filter(|path| path.join("logits.safetensors").exists()).collect();
    folders.sort();
    assert!(folders.len() >= 6, "{folders:?}");
    folders
}

#[test]
fn logits_are_those_of_the_packer() {
    let options = LoadOptions::dense(test_device(), Kind::Float);
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let file = TensorFile::open(&folder.join("logits.safetensors")).unwrap();
        let tokens = file.tensor("tokens").unwrap().to_device(test_device());
        let expected = file.tensor("logits").unwrap().to_device(test_device());
        let check = |decoder: &Decoder| {
            let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
            let logits = decoder.logits(&hidden).unwrap().squeeze_dim(0);
            let error = ((logits - &expected).norm() / expected.norm()).double_value(&[]);
            println!("{name}: relative error of the logits {error:.1e}");
            assert!(error < TOLERANCE, "{name}: relative error {error}");
        };
        let decoder = load_decoder(&folder, &options).unwrap();
        check(&decoder);
        // What is written again is the same model.
        let again = tempfile::tempdir().unwrap();
        save(&decoder, again.path(), DType::Float32).unwrap();
        check(&load_decoder(again.path(), &options).unwrap());
    }
}
