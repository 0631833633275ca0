//! Layers of several widths.

use std::any::Any;

use limbeck_core::DType;
use limbeck_model::Decoder;
use limbeck_quant::{Error, Method, PackedLinear, QuantizeConfig, load_decoder, quantize, save};
use limbeck_run::Diagnose;

use super::{config, fp32, logits, relative, sequences, small};

/// Bits of each projection; 0 = dense.
fn bits(decoder: &Decoder) -> Vec<(String, u32)> {
    let width = |name: &str| {
        let layer: &dyn Any = decoder.linear(name).unwrap();
        layer.downcast_ref::<PackedLinear>().map_or(0, |layer| layer.packed().bits().width())
    };
    decoder.linear_names().into_iter().map(|name| (name.clone(), width(&name))).collect()
}

#[test]
fn patterns_say_which_layers_are_wide_and_which_are_dense() {
    for method in [Method::Rtn, Method::Gptq, Method::Awq] {
        let mut decoder = small(true);
        let sequences = sequences(&decoder, 1);
        let config = QuantizeConfig {
            keep_bits8: vec![r".*\.down_proj$".to_owned()],
            dense: vec![r"model\.layers\.1\.self_attn\.(q|k|v)_proj".to_owned()],
            ..config(method)
        };
        let report = quantize(&mut decoder, &sequences, &config, &mut |_, total, _| {
            assert_eq!(total, 11);
        })
        .unwrap();
        assert_eq!(report.layers.len(), 11);
        for (name, bits) in bits(&decoder) {
            let dense = name.contains("layers.1.self_attn") && !name.ends_with("o_proj");
            let expected = if name.ends_with("down_proj") { 8 } else { 4 };
            assert_eq!(bits, if dense { 0 } else { expected }, "{name}");
        }
        assert!((4.0..6.0).contains(&report.average_bits), "{}", report.average_bits);
        let folder = tempfile::tempdir().unwrap();
        save(&decoder, folder.path(), DType::Float32).unwrap();
        let loaded = load_decoder(folder.path(), &fp32()).unwrap();
        assert_eq!(bits(&loaded), bits(&decoder), "{method:?}");
        assert_eq!(logits(&loaded), logits(&decoder), "{method:?}");
    }
}

#[test]
fn a_pattern_of_nothing_is_refused() {
    for field in ["dense", "keep_bits8"] {
        let mut config = config(Method::Rtn);
        let patterns = vec![r"layers\.0".to_owned()];
        if field == "dense" {
            config.dense = patterns;
        } else {
            config.keep_bits8 = patterns;
        }
        let error = quantize(&mut small(true), &[], &config, &mut |_, _, _| {}).unwrap_err();
        assert!(matches!(error, Error::UnmatchedPattern { .. }), "{error}");
        assert!(error.to_string().contains(field), "{error}");
        assert!(error.hint().unwrap().contains("model.layers.0.self_attn.q_proj"));
    }
    let config = QuantizeConfig { dense: vec!["(".to_owned()], ..config(Method::Rtn) };
    let error = quantize(&mut small(true), &[], &config, &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("regular expression"), "{error}");
}

#[test]
fn a_budget_is_kept_and_spent_where_it_helps() {
    let original = logits(&small(true));
    let run = |bits_budget| {
        let mut decoder = small(true);
        let sequences = sequences(&decoder, 2);
        let config = QuantizeConfig { bits_budget, bits: 3, ..config(Method::Gptq) };
        let report = quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap();
        let folder = tempfile::tempdir().unwrap();
        save(&decoder, folder.path(), DType::Float32).unwrap();
        let loaded = load_decoder(folder.path(), &fp32()).unwrap();
        assert_eq!(bits(&loaded), bits(&decoder));
        (relative(&original, &logits(&decoder)), report)
    };
    let mut errors = Vec::new();
    for budget in [0.0, 4.5, 6.0, 8.0] {
        let (error, report) = run(budget);
        errors.push(error);
        let bound = if budget == 0.0 { 3.0 } else { budget };
        assert!(report.average_bits <= bound + 1e-9, "{budget}: {}", report.average_bits);
        assert!(report.average_bits > bound - 1.0, "{budget}: {}", report.average_bits);
        assert_eq!(report.sensitivities.len(), if budget == 0.0 { 0 } else { 14 });
        for sensitivity in &report.sensitivities {
            assert!(sensitivity.error8 < 0.01 * sensitivity.error, "{sensitivity:?}");
            let layer = report.layers.iter().find(|layer| layer.name == sensitivity.name);
            assert_eq!(layer.unwrap().bits, sensitivity.bits);
        }
    }
    assert!(errors.is_sorted_by(|before, after| before > after), "{errors:?}");
}
