//! Runs that were killed go on to the same bits.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use limbeck_model::Decoder;
use limbeck_quant::{
    Error, LayerReport, Method, QuantizeConfig, QuantizeReport, quantize, quantize_resumably,
};
use limbeck_run::Diagnose;

use super::{config, logits, sequences, small};

fn resumable(
    decoder: &mut Decoder,
    config: &QuantizeConfig,
    folder: &Path,
) -> limbeck_quant::Result<QuantizeReport> {
    let sequences = sequences(decoder, 1);
    quantize_resumably(decoder, &sequences, config, folder, &mut |_, _, _| {})
}

/// A run that dies after the third layer of block 1.
fn interrupted(config: &QuantizeConfig, folder: &Path) {
    let mut decoder = small(true);
    let sequences = sequences(&decoder, 1);
    let mut dies = |done: usize, _: usize, _: &LayerReport| assert!(done < 10, "killed");
    let run = || quantize_resumably(&mut decoder, &sequences, config, folder, &mut dies);
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert!(folder.join("block-0000.json").exists());
    assert!(!folder.join("block-0001.json").exists());
}

#[test]
fn an_interrupted_run_ends_with_the_same_bits() {
    let cases = [
        config(Method::Gptq),
        config(Method::Awq),
        QuantizeConfig { gptaq: true, head_bits: 8, ..config(Method::Gptq) },
        QuantizeConfig { dense: vec![".*v_proj".to_owned()], ..config(Method::Awq) },
    ];
    for config in cases {
        let mut decoder = small(true);
        let sequences = sequences(&decoder, 1);
        let expected = quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap();
        let folder = tempfile::tempdir().unwrap();
        interrupted(&config, folder.path());

        let mut resumed = small(true);
        let report = resumable(&mut resumed, &config, folder.path()).unwrap();
        assert_eq!(report.resumed_blocks, 1);
        assert_eq!(report.layers, expected.layers);
        for ((name, one), (_, other)) in
            decoder.named_parameters().iter().zip(resumed.named_parameters())
        {
            assert_eq!(one, &other, "{name} {config:?}");
        }
        assert_eq!(logits(&resumed), logits(&decoder));

        // And once more, from all blocks.
        let mut again = small(true);
        let report = resumable(&mut again, &config, folder.path()).unwrap();
        assert_eq!(report.resumed_blocks, 2);
        assert_eq!(logits(&again), logits(&decoder));
    }
}

#[test]
fn blocks_of_another_run_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    interrupted(&config(Method::Gptq), folder.path());
    let other = QuantizeConfig { damping: 0.02, ..config(Method::Gptq) };
    let report = resumable(&mut small(true), &other, folder.path()).unwrap();
    assert_eq!(report.resumed_blocks, 0);

    let mut changed = small(true);
    let weight = changed.linear("model.layers.1.mlp.up_proj").unwrap().dense_weight().unwrap();
    let _ = weight.get(3).get(5).fill_(0.5);
    let report = resumable(&mut changed, &other, folder.path()).unwrap();
    assert_eq!(report.resumed_blocks, 0);
}

#[test]
fn damaged_blocks_are_named() {
    let folder = tempfile::tempdir().unwrap();
    interrupted(&config(Method::Gptq), folder.path());
    let record = folder.path().join("block-0000.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"in_features\": 96", "\"in_features\": 95")).unwrap();
    let error = resumable(&mut small(true), &config(Method::Gptq), folder.path()).unwrap_err();
    assert!(matches!(error, Error::Resume { .. }), "{error}");
    assert!(error.to_string().contains("mlp.down_proj"), "{error}");
    assert!(error.hint().is_some());
    fs::write(&record, "{}").unwrap();
    let error = resumable(&mut small(true), &config(Method::Gptq), folder.path()).unwrap_err();
    assert!(error.to_string().contains("block-0000.json"), "{error}");
}
