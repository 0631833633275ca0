//! GPTAQ on a model.

use limbeck_quant::{Method, QuantizeConfig, quantize};

use super::{config, logits, relative, sequences, small};

/// Relative error of the logits, and of the second block's first projection on its own inputs.
fn run(gptaq: bool, gptaq_alpha: f64, bits: u64) -> (f64, f64, tch::Tensor) {
    let mut decoder = small(true);
    let original = logits(&decoder);
    let sequences = sequences(&decoder, 1);
    let config = QuantizeConfig { gptaq, gptaq_alpha, bits, ..config(Method::Gptq) };
    let report = quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap();
    let found = logits(&decoder);
    (relative(&original, &found), report.layers[7].output_error.unwrap(), found)
}

#[test]
fn without_a_share_it_is_plain_gptq_and_with_one_it_comes_nearer() {
    let (plain, _, expected) = run(false, 0.25, 3);
    let (_, _, none) = run(true, 0.0, 3);
    assert_eq!(none, expected);
    let (with, ..) = run(true, 0.25, 3);
    // Random weights leave little to make up for; it must not harm.
    assert!(with < 1.02 * plain, "GPTAQ {with}, GPTQ {plain}");
    assert!((with - plain).abs() > 1e-6);
}
