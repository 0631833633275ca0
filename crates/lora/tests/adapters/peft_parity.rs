//! Adapters made by PEFT: they load, compute what PEFT computes, and come out as they
//! went in. `scripts/make_lora_fixtures.py` made them.

use limbeck_core::{TensorFile, checkpoint::read_json};
use limbeck_lora::{Adapter, MergeGate, merge};
use tch::Kind;

use crate::fixture;

/// Of the largest logit, about 7 here. Float32 allows no more: the base without an adapter
/// differs from transformers' by 9e-6, and PEFT's logits from those in float64 by 2e-5.
const TOLERANCE: f64 = 1e-5;

const VARIANTS: [&str; 6] = ["all_linear", "rslora_patterns", "dora", "pissa", "ends", "saved"];

/// What is left of the base under `pissa` is a difference of matrices, and rounds as one.
fn tolerance(variant: &str) -> f64 {
    if variant == "pissa" { 3.0 * TOLERANCE } else { TOLERANCE }
}

#[test]
fn logits_equal_those_of_peft() {
    for variant in VARIANTS {
        let (tokens, expected) = fixture::expected(&format!("lora/{variant}"));
        let mut decoder = fixture::qwen2();
        let base = fixture::logits(&decoder, &tokens);
        Adapter::load(&mut decoder, &fixture::path(&format!("lora/{variant}"))).unwrap();
        let found = fixture::logits(&decoder, &tokens);
        let difference = fixture::largest_difference(&found, &expected);
        let largest = expected.abs().max().double_value(&[]);
        println!(
            "{variant}: differs from PEFT by up to {difference:.2e}, logits reach {largest:.1}"
        );
        assert!(difference < tolerance(variant) * largest, "{variant}: {difference:e}");
        assert!(fixture::largest_difference(&base, &expected) > 0.1, "{variant} does nothing");
    }
}

#[test]
fn a_peft_adapter_comes_out_as_it_went_in() {
    for variant in VARIANTS.into_iter().filter(|&variant| variant != "pissa") {
        let source = fixture::path(&format!("lora/{variant}"));
        let adapter = Adapter::load(&mut fixture::qwen2(), &source).unwrap();
        let folder = tempfile::tempdir().unwrap();
        adapter.save(folder.path()).unwrap();
        let open =
            |folder| TensorFile::open(&std::path::Path::join(folder, Adapter::TENSORS)).unwrap();
        let (before, after) = (open(source.as_path()), open(folder.path()));
        // PEFT keeps copies of the base's embedding and head beside updates of them.
        let mut names = before.names();
        names.retain(|name| !name.contains(".base_layer."));
        assert_eq!(names, after.names(), "{variant}");
        assert_eq!(after.metadata()["format"], "pt");
        for name in after.names() {
            assert_eq!(before.tensor(&name).unwrap(), after.tensor(&name).unwrap(), "{name}");
        }
        let before = read_json(&source.join("adapter_config.json")).unwrap();
        let after = read_json(&folder.path().join("adapter_config.json")).unwrap();
        for (key, value) in after.as_object().unwrap() {
            assert_eq!(&before[key], value, "{variant}: {key}");
        }
    }
}

#[test]
fn an_adapter_over_what_pissa_left_of_its_base_comes_out_as_a_plain_one() {
    let source = fixture::path("lora/pissa");
    let (tokens, expected) = fixture::expected("lora/pissa");
    let folder = tempfile::tempdir().unwrap();
    Adapter::load(&mut fixture::qwen2(), &source).unwrap().save(folder.path()).unwrap();
    let config = read_json(&folder.path().join("adapter_config.json")).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&8.into(), &16.into()));
    assert_eq!(config["init_lora_weights"], true);
    let mut decoder = fixture::qwen2();
    Adapter::load(&mut decoder, folder.path()).unwrap();
    let difference = fixture::largest_difference(&fixture::logits(&decoder, &tokens), &expected);
    assert!(difference < tolerance("pissa") * 8.0, "{difference:e}");
}

#[test]
fn merged_equals_adapted() {
    for variant in VARIANTS {
        let (tokens, expected) = fixture::expected(&format!("lora/{variant}"));
        let mut decoder = fixture::qwen2();
        let source = fixture::path(&format!("lora/{variant}"));
        let adapter = Adapter::load(&mut decoder, &source).unwrap();
        let sequences = [Vec::<i64>::try_from(tokens.view(-1)).unwrap(), vec![7, 8, 9]];
        let gate = MergeGate { sequences: &sequences, tolerance: tolerance(variant) };
        let (merged, report) = merge(decoder, &adapter, Kind::Float, &gate).unwrap();
        println!("{variant}: {report:?}");
        assert!((report.top1_agreement - 1.0).abs() < 1e-12 && report.mean_kl.abs() < 1e-6);
        assert_eq!(report.tokens, sequences[0].len() as i64 + 3);
        let folder = tempfile::tempdir().unwrap();
        merged.save(folder.path(), Kind::Float).unwrap();
        let read = fixture::load(folder.path()).unwrap();
        for decoder in [&merged, &read] {
            let logits = fixture::logits(decoder, &tokens);
            let difference = fixture::largest_difference(&logits, &expected);
            let allowed = 2.0 * tolerance(variant) * report.max_logit;
            assert!(difference < allowed, "{variant}: {difference:e}");
        }
        // A head that is no longer the embedding gets a matrix of its own.
        let mut names = names(&fixture::qwen2());
        names.extend(["ends", "saved"].contains(&variant).then(|| "lm_head.weight".to_owned()));
        assert_eq!(self::names(&merged), names, "{variant}");
    }
}

#[test]
fn taken_off_the_model_is_what_it_was() {
    let (tokens, _) = fixture::expected("lora/all_linear");
    let before = fixture::logits(&fixture::qwen2(), &tokens);
    for variant in VARIANTS {
        let mut decoder = fixture::qwen2();
        let parameters = decoder.named_parameters();
        let source = fixture::path(&format!("lora/{variant}"));
        Adapter::load(&mut decoder, &source).unwrap().detach(&mut decoder).unwrap();
        assert_eq!(fixture::logits(&decoder, &tokens), before, "{variant}");
        for ((name, now), (_, then)) in decoder.named_parameters().iter().zip(&parameters) {
            assert_eq!(now.data_ptr(), then.data_ptr(), "{variant}: {name}");
        }
    }
}

fn names(decoder: &limbeck_model::Decoder) -> Vec<String> {
    decoder.named_parameters().into_iter().map(|(name, _)| name).collect()
}
