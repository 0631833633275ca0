//! Folders that other quantisers packed must compute here what they compute there: what
//! `scripts/peers/make_quant_folders.py` makes, of which `fixtures/quant/peers` has some.
//! `LIMBECK_PEER_FOLDERS` names a folder with more of them. And the other way round:
//! `LIMBECK_KEEP_FOLDERS` names a folder to leave ours in, for `scripts/peers/quant_load.py`.

use std::path::{Path, PathBuf};

use limbeck_core::{DType, TensorFile, Tokenizer, test_device, write_tensors};
use limbeck_model::{Decoder, Input, LoadOptions};
use limbeck_quant::{Format, Method, QuantizeConfig, load_decoder, quantize, save};
use tch::{Device, Kind, Tensor};

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

#[test]
fn our_folders_hold_what_their_readers_find() {
    let student = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/student");
    let options = LoadOptions::dense(Device::Cpu, Kind::Float);
    for (name, format, bits, symmetric) in [
        ("gptq-2", Format::Gptq, 2, true),
        ("gptq-3", Format::Gptq, 3, true),
        ("gptq-4", Format::Gptq, 4, true),
        ("gptq-v2-4", Format::GptqV2, 4, false),
        ("awq-4", Format::Awq, 4, false),
        ("awq-4-symmetric", Format::Awq, 4, true),
        ("compressed-4", Format::CompressedTensors, 4, true),
        ("compressed-4-asymmetric", Format::CompressedTensors, 4, false),
        ("compressed-8", Format::CompressedTensors, 8, true),
    ] {
        let config = QuantizeConfig {
            method: Method::Rtn,
            group_size: 32,
            format,
            bits,
            symmetric: Some(symmetric),
            ..QuantizeConfig::default()
        };
        let mut decoder = Decoder::load(&student, &options).unwrap();
        quantize(&mut decoder, &[], &config, &mut |_, _, _| {}).unwrap();
        let folder = tempfile::tempdir().unwrap();
        save(&decoder, folder.path(), DType::BFloat16).unwrap();
        let Some(keep) = std::env::var_os("LIMBECK_KEEP_FOLDERS") else { continue };
        let keep = Path::new(&keep).join(name);
        std::fs::create_dir_all(&keep).unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), keep.join(entry.file_name())).unwrap();
        }
        Tokenizer::load(&student).unwrap().copy_files(&keep).unwrap();
        let tokens: Vec<i64> = (0..24).map(|place| (place * 37 + 5) % 640).collect();
        let line = format!("{{\"id\":\"probe\",\"tokens\":{tokens:?}}}\n");
        std::fs::write(keep.join("tokens.jsonl"), line).unwrap();
        let tokens = Tensor::from_slice(&tokens).unsqueeze(0);
        let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
        let logits = decoder.logits(&hidden).unwrap().squeeze_dim(0);
        write_tensors(&keep.join("ours.safetensors"), &[("probe".to_owned(), logits)], &[])
            .unwrap();
    }
}
