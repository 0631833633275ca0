//! What is loaded, what is refused, and over which bases.

use std::path::Path;

use limbeck_core::test_device;
use limbeck_lora::tiers::TierLimits;
use limbeck_lora::{Adapter, AdapterWeights, Error, SavedModule, Tier, Tiers};
use limbeck_model::{Decoder, LoadOptions};
use limbeck_quant::{Method, QuantizeConfig};
use limbeck_run::Diagnose;
use tch::{Kind, Tensor};

use crate::fixture::{
    ALL, VOCAB, adapter, assert_close, decoder, logits, merged_into, stack, stacks, step, tokens,
};

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let mut decoder = decoder();
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).unwrap();
    let refused = |tier, weights: AdapterWeights| {
        let error = tiers.load("x", tier, weights).unwrap_err();
        assert!(tiers.adapters().is_empty());
        assert_eq!(error.exit(), limbeck_run::Exit::BadInput, "{error}");
        error.to_string()
    };
    let fresh = || adapter(&decoder, 1, 4, &ALL);
    let mut other = fresh();
    other.modules[2].plan.name = "model.layers.7.self_attn.v_proj".to_owned();
    assert!(refused(Tier::Domain, other).contains("x adapts model.layers.7.self_attn.v_proj"));
    let mut twice = fresh();
    twice.modules[2].plan.name = twice.modules[0].plan.name.clone();
    refused(Tier::Domain, twice);
    let mut narrow = fresh();
    narrow.modules[1].lora_a = narrow.modules[1].lora_a.narrow(1, 0, 60);
    let error = refused(Tier::Domain, narrow);
    assert!(error.contains("lora_A of model.layers.0.self_attn.k_proj"), "{error}");
    assert!(error.contains("expected shape [4, 64], found [4, 60]"), "{error}");
    let mut uneven = fresh();
    uneven.modules[1].lora_b = uneven.modules[1].lora_b.narrow(1, 0, 3);
    assert!(refused(Tier::Domain, uneven).contains("lora_B of"));
    let error = refused(Tier::User, adapter(&decoder, 1, 9, &ALL));
    assert!(error.contains("has rank 9, the user tier takes at most 8"), "{error}");
}

#[test]
fn what_is_no_sum_of_updates_is_refused_with_the_reason() {
    let mut decoder = decoder();
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).unwrap();
    let refused = |weights: AdapterWeights| {
        let error = tiers.load("x", Tier::Domain, weights).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(tiers.adapters().is_empty());
        assert_eq!(error.exit(), limbeck_run::Exit::BadInput);
        error.to_string()
    };
    let fresh = || adapter(&decoder, 1, 4, &ALL);
    let mut dora = fresh();
    dora.modules[0].magnitude = Some(Tensor::ones([64], (Kind::Float, test_device())));
    let error = refused(dora);
    assert!(error.starts_with("adapter x, which uses DoRA, cannot be put in a tier: "), "{error}");
    let mut saved = fresh();
    let weight = Tensor::ones([VOCAB, 64], (Kind::Float, test_device()));
    saved.saved.push(SavedModule { name: "lm_head".to_owned(), weight, bias: None });
    assert!(refused(saved).contains("keeps lm_head whole"));
    for name in ["model.embed_tokens", "lm_head"] {
        let mut outer = fresh();
        outer.modules[3].plan.name = name.to_owned();
        assert!(refused(outer).contains(&format!("adapts {name}")));
    }
}

#[test]
fn a_peft_folder_is_loaded_and_what_was_trained_is_written_back() {
    let fixture =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    let options = LoadOptions {
        device: test_device(),
        parameter_dtype: Kind::Float,
        compute_dtype: Kind::Float,
        linear_loader: None,
    };
    let load = || Decoder::load(&fixture("parity/qwen2"), &options).unwrap();
    let (mut decoder, mut attached) = (load(), load());
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).unwrap();
    for name in ["all_linear", "rslora_patterns"] {
        tiers.load_folder(name, Tier::Domain, &fixture("lora").join(name)).unwrap();
    }
    for name in ["dora", "ends", "saved"] {
        let error = tiers.load_folder(name, Tier::Domain, &fixture("lora").join(name)).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{name}: {error}");
    }
    let folder = fixture("lora/rslora_patterns");
    Adapter::load(&mut attached, &folder).unwrap();
    tiers.route(&[stack(&[("rslora_patterns", 1.0)]), stack(&[("all_linear", 1.0)])]).unwrap();
    let tokens = tokens(2, 9);
    let expected = logits(&attached, &tokens).narrow(0, 0, 1);
    assert_close(&logits(&decoder, &tokens).narrow(0, 0, 1), &expected);

    let one = stack(&[("all_linear", 1.0)]);
    let parameters = tiers.train(&decoder, &one, "all_linear").unwrap();
    step(&decoder, &tokens, &parameters);
    tiers.finish_training(&decoder).unwrap();
    let written = tempfile::tempdir().unwrap();
    tiers.weights("all_linear").unwrap().write(written.path()).unwrap();
    let mut trained = load();
    Adapter::load(&mut trained, written.path()).unwrap();
    tiers.route_all(&one).unwrap();
    assert_close(&logits(&decoder, &tokens), &logits(&trained, &tokens));
}

#[test]
fn a_quantised_base_takes_tiers_as_well() {
    let packed = || {
        let mut decoder = decoder();
        let config = QuantizeConfig { method: Method::Rtn, group_size: 32, ..Default::default() };
        limbeck_quant::quantize(&mut decoder, &[], &config, &mut |_, _, _| {}).unwrap();
        decoder
    };
    let tokens = tokens(8, 5);
    let mut decoder = packed();
    let plain = logits(&decoder, &tokens);
    let before: Vec<(String, Tensor)> = decoder.named_parameters();
    assert!(before.iter().any(|(name, _)| name.ends_with("qweight")));
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).unwrap();
    for (name, tier, seed) in [
        ("task", Tier::BaseTask, 1),
        ("medical", Tier::Domain, 2),
        ("legal", Tier::Domain, 3),
        ("ada", Tier::User, 4),
    ] {
        tiers.load(name, tier, adapter(&decoder, seed, 4, &ALL)).unwrap();
    }
    assert_eq!(logits(&decoder, &tokens), plain);
    tiers.route(&stacks()).unwrap();
    let found = logits(&decoder, &tokens);
    for (row, stack) in stacks().iter().enumerate() {
        let expected = logits(&merged_into(packed(), &tiers, stack), &tokens);
        let row = row as i64;
        assert_close(&found.narrow(0, row, 1), &expected.narrow(0, row, 1));
    }
    for ((name, before), (_, after)) in before.iter().zip(decoder.named_parameters()) {
        // Packed layers make their file's tensors when they are asked for them.
        assert!(before.equal(&after), "{name} was changed");
    }
}
