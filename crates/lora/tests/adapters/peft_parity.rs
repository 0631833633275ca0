//! Adapters made by PEFT: they load, compute what PEFT computes, and come out as they
//! went in. `scripts/make_lora_fixtures.py` made them.

use limbeck_core::{TensorFile, checkpoint::read_json};
use limbeck_lora::{Adapter, MergeGate, merge};
use tch::Kind;

use crate::fixture;

/// Of the largest logit, about 7 here. Float32 allows no more: the base without an adapter
/// differs from transformers' by 9e-6, and PEFT's logits from those in float64 by 2e-5.
const TOLERANCE: f64 = 1e-5;

const VARIANTS: [&str; 2] = ["all_linear", "rslora_patterns"];

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
        assert!(difference < TOLERANCE * largest, "{variant}: {difference:e}");
        assert!(fixture::largest_difference(&base, &expected) > 0.1, "{variant} does nothing");
    }
}

#[test]
fn a_peft_adapter_comes_out_as_it_went_in() {
    for variant in VARIANTS {
        let source = fixture::path(&format!("lora/{variant}"));
        let adapter = Adapter::load(&mut fixture::qwen2(), &source).unwrap();
        let folder = tempfile::tempdir().unwrap();
        adapter.save(folder.path()).unwrap();
        let open =
            |folder| TensorFile::open(&std::path::Path::join(folder, Adapter::TENSORS)).unwrap();
        let (before, after) = (open(source.as_path()), open(folder.path()));
        assert_eq!(before.names(), after.names());
        assert_eq!(after.metadata()["format"], "pt");
        for name in before.names() {
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
fn merged_equals_adapted() {
    for variant in VARIANTS {
        let (tokens, expected) = fixture::expected(&format!("lora/{variant}"));
        let mut decoder = fixture::qwen2();
        let source = fixture::path(&format!("lora/{variant}"));
        let adapter = Adapter::load(&mut decoder, &source).unwrap();
        let sequences = [Vec::<i64>::try_from(tokens.view(-1)).unwrap(), vec![7, 8, 9]];
        let gate = MergeGate { sequences: &sequences, tolerance: TOLERANCE };
        let (merged, report) = merge(decoder, &adapter, Kind::Float, &gate).unwrap();
        println!("{variant}: {report:?}");
        assert!((report.top1_agreement - 1.0).abs() < 1e-12 && report.mean_kl.abs() < 1e-6);
        assert_eq!(report.tokens, sequences[0].len() as i64 + 3);
        let difference = fixture::largest_difference(&fixture::logits(&merged, &tokens), &expected);
        assert!(difference < 2.0 * TOLERANCE * report.max_logit, "{variant}: {difference:e}");
        let names = |decoder: &limbeck_model::Decoder| -> Vec<String> {
            decoder.named_parameters().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&merged), names(&fixture::qwen2()));
    }
}
