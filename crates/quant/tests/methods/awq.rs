//! AWQ on every family: folding changes nothing, quantising and loading again little.

use limbeck_core::seed::CounterRng;
use limbeck_core::{DType, test_device};
use limbeck_quant::awq::{BlockScales, fold};
use limbeck_quant::{Error, Method, QuantizeConfig, load_decoder, quantize, save};
use tch::{Kind, Tensor};

use super::{FIXTURES, config, fp32, load, logits, relative, sequences, small};

/// Numbers from about a third to 3.
fn scales(rng: &mut CounterRng, width: i64) -> Tensor {
    let values: Vec<f32> = rng.normals(width as usize).iter().map(|x| (0.5 * x).exp()).collect();
    Tensor::from_slice(&values).to_device(test_device())
}

#[test]
fn folding_leaves_every_family_as_it_was() {
    for name in FIXTURES {
        let mut decoder = load(name);
        let expected = logits(&decoder);
        let mut rng = CounterRng::new(1);
        let shape = decoder.config().clone();
        let before = decoder.named_parameters();
        for block in 0..decoder.num_layers() {
            let heads = (shape.num_key_value_heads, shape.num_key_value_groups(), shape.head_dim);
            let shared = scales(&mut rng, heads.0 * heads.2).view([heads.0, 1, heads.2]);
            let shared = shared.expand([heads.0, heads.1, heads.2], false).reshape([-1]);
            let given = BlockScales {
                attention: Some(scales(&mut rng, shape.hidden_size)),
                output: Some(shared),
                gate: Some(scales(&mut rng, shape.hidden_size)),
                down: Some(scales(&mut rng, shape.intermediate_size)),
            };
            let exact = fold(&mut decoder, block, &given).unwrap();
            // bfloat16 rounds a factor by up to 1/256 of what is stored.
            let change = relative(&given.attention.unwrap(), &exact.attention.unwrap());
            assert!(change < 0.05, "{name}: {change}");
            let prefix = format!("model.layers.{block}.");
            let mlp_norm = decoder.block_parts(block).unwrap().mlp_norm_name();
            for (key, weight) in decoder.named_parameters() {
                let folded = key.strip_prefix(&prefix) == Some("input_layernorm.weight")
                    || key.strip_suffix(".weight") == Some(&*mlp_norm);
                let stored = weight.to_kind(Kind::BFloat16).to_kind(Kind::Float);
                assert!(!folded || stored == weight, "{name}: {key} is not as it is stored");
            }
        }
        let changed = before.iter().zip(decoder.named_parameters());
        let changed = changed.filter(|((_, before), (_, after))| *before != *after).count();
        assert!(changed >= 9 * decoder.num_layers(), "{name}: {changed} tensors changed");
        let difference = relative(&expected, &logits(&decoder));
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn heads_that_share_values_must_share_scales() {
    let mut decoder = load("qwen2");
    let width = decoder.linear("model.layers.0.self_attn.o_proj").unwrap().in_features();
    let output = Some(scales(&mut CounterRng::new(2), width));
    let scales = BlockScales { output, ..BlockScales::default() };
    let error = fold(&mut decoder, 0, &scales).unwrap_err();
    assert!(error.to_string().contains("model.layers.0.self_attn.o_proj"), "{error}");
}

#[test]
fn every_family_is_quantised_and_loads_again() {
    for name in FIXTURES {
        for symmetric in [None, Some(true)] {
            let mut decoder = load(name);
            let original = logits(&decoder);
            let sequences = sequences(&decoder, 3);
            let config = QuantizeConfig {
                symmetric,
                // 12 outputs of a projection are no whole words of 4 bits.
                bits: if name == "gemma3" { 8 } else { 4 },
                group_size: -1,
                format: limbeck_quant::Format::GptqV2,
                ..config(Method::Awq)
            };
            let report = quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap();
            assert!(report.mean_output_error().unwrap() < 0.2, "{name}");
            let expected = logits(&decoder);
            assert!(relative(&original, &expected) < 0.6, "{name}");
            let folder = tempfile::tempdir().unwrap();
            save(&decoder, folder.path(), DType::Float32).unwrap();
            let loaded = load_decoder(folder.path(), &fp32()).unwrap();
            assert_eq!(logits(&loaded), expected, "{name}");
        }
    }
}

/// A model some of whose features are much stronger than the rest, as in trained ones.
fn with_strong_features() -> limbeck_model::Decoder {
    let mut decoder = small(true);
    for block in 0..2 {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            let name = format!("model.layers.{block}.{norm}");
            let stronger = &mut |weight: &Tensor| {
                let stronger = weight.copy();
                for feature in [3, 17, 40] {
                    let _ = stronger.get(feature).fill_(12.0);
                }
                Ok(stronger)
            };
            decoder.map_norm(&name, stronger).unwrap();
        }
    }
    decoder
}

#[test]
fn strong_features_are_kept_and_the_result_is_the_same_each_time() {
    let original = logits(&with_strong_features());
    let run = |method, bits, clip| {
        let mut decoder = with_strong_features();
        let sequences = sequences(&decoder, 4);
        let config = QuantizeConfig { bits, clip, symmetric: Some(false), ..config(method) };
        let report = quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap();
        (relative(&original, &logits(&decoder)), logits(&decoder), report)
    };
    for bits in [3, 4, 8] {
        let (rounded, ..) = run(Method::Rtn, bits, false);
        let (scaled, first, _) = run(Method::Awq, bits, false);
        let (clipped, ..) = run(Method::Awq, bits, true);
        assert!(scaled < 0.85 * rounded, "{bits}: AWQ {scaled}, RTN {rounded}");
        assert!(clipped < 0.85 * rounded, "{bits}: clipped {clipped}, RTN {rounded}");
        let (_, again, report) = run(Method::Awq, bits, false);
        assert_eq!(first, again);
        assert!(report.calibration_tokens > 0);
    }
}

#[test]
fn scales_do_not_reach_into_layers_that_are_packed() {
    let mut decoder = small(true);
    let sequences = sequences(&decoder, 5);
    quantize(&mut decoder, &[], &config(Method::Rtn), &mut |_, _, _| {}).unwrap();
    let name = "model.layers.1.mlp.up_proj";
    decoder
        .map_linear(name, &mut |layer| {
            let dense = limbeck_model::DenseLinear::new(layer.dense_weight()?, layer.bias())?;
            Ok(Box::new(dense))
        })
        .unwrap();
    let again = limbeck_quant::requantize(
        &mut decoder,
        &sequences,
        &config(Method::Awq),
        &mut |_, _, _| {},
    );
    assert!(matches!(again, Err(Error::Config { .. })), "{again:?}");
}
