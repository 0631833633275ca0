//! Adapters combined and made portable: against PEFT's own combinations, and against what the
//! parts compute. `scripts/make_lora_fixtures.py` made the expected updates.

use limbeck_core::{TensorFile, test_device};
use limbeck_lora::combine::MajoritySign;
use limbeck_lora::{Adapter, AdapterWeights, CombineConfig, CombineMethod, Error, Rank, combine};
use limbeck_run::{Diagnose, Exit};
use tch::{Kind, Tensor};

use crate::fixture;

const WEIGHTS: [f64; 2] = [0.75, 1.5];

fn read(variant: &str) -> AdapterWeights {
    AdapterWeights::read(&fixture::path(&format!("lora/{variant}")), test_device()).unwrap()
}

fn parts() -> Vec<(AdapterWeights, f64)> {
    ["combined/one", "combined/two"].into_iter().map(read).zip(WEIGHTS).collect()
}

fn config(method: CombineMethod) -> CombineConfig {
    let svd_rank = Some(Rank::new(4).unwrap());
    let majority_sign = MajoritySign::Total;
    CombineConfig { method, svd_rank, density: 0.5, majority_sign, seed: 1 }
}

fn share(left: &Tensor, right: &Tensor) -> f64 {
    ((left - right).norm() / right.norm()).double_value(&[])
}

#[test]
fn updates_equal_pefts() {
    let file = TensorFile::open(&fixture::path("lora/combined/updates.safetensors")).unwrap();
    for (name, method) in [
        ("cat", CombineMethod::Cat),
        ("svd", CombineMethod::Svd),
        ("linear", CombineMethod::Linear),
        ("ties", CombineMethod::Ties),
        ("ties_svd", CombineMethod::TiesSvd),
        ("ties_frequency", CombineMethod::Ties),
    ] {
        let mut config = config(method);
        if name == "ties_frequency" {
            config.majority_sign = MajoritySign::Frequency;
        }
        let combined = combine(&parts(), &config).unwrap();
        assert_eq!(combined.modules.len(), 6);
        for module in &combined.modules {
            let expected = file.tensor(&format!("{name}.{}", module.plan.name)).unwrap();
            let found = module.delta().unwrap().to_device(tch::Device::Cpu);
            let share = share(&found, &expected);
            assert!(share < 1e-5, "{name} {}: {share:e}", module.plan.name);
        }
    }
}

#[test]
fn cat_and_svd_of_enough_rank_are_the_weighted_sum() {
    let parts = parts();
    let enough =
        CombineConfig { svd_rank: Some(Rank::new(8).unwrap()), ..config(CombineMethod::Svd) };
    for config in [config(CombineMethod::Cat), enough] {
        let combined = combine(&parts, &config).unwrap();
        for module in &combined.modules {
            let sum: Tensor = parts
                .iter()
                .map(|(part, weight)| {
                    part.module(&module.plan.name).unwrap().delta().unwrap() * *weight
                })
                .sum();
            assert!(share(&module.delta().unwrap(), &sum) < 1e-5, "{:?}", config.method);
        }
    }
}

#[test]
fn an_adapter_alone_stays_itself_whatever_its_scale() {
    for variant in ["all_linear", "rslora_patterns", "combined/one", "ends"] {
        let original = read(variant);
        for method in [
            CombineMethod::Cat,
            CombineMethod::Svd,
            CombineMethod::Linear,
            CombineMethod::Ties,
            CombineMethod::DareLinear,
            CombineMethod::DareTiesSvd,
        ] {
            let config = CombineConfig { density: 1.0, svd_rank: None, ..config(method) };
            let combined = combine(&[(read(variant), 1.0)], &config).unwrap();
            for module in &combined.modules {
                let expected = original.module(&module.plan.name).unwrap().delta().unwrap();
                let share = share(&module.delta().unwrap(), &expected);
                assert!(share < 1e-5, "{variant} {method:?} {}: {share:e}", module.plan.name);
            }
        }
        let negative = combine(&[(read(variant), -0.5)], &config(CombineMethod::Linear)).unwrap();
        for module in &negative.modules {
            let expected = original.module(&module.plan.name).unwrap().delta().unwrap() * -0.5;
            assert!(share(&module.delta().unwrap(), &expected) < 1e-5);
        }
    }
}

#[test]
fn a_portable_adapter_computes_the_same_and_has_nothing_to_know() {
    for variant in ["rslora_patterns", "ends"] {
        let folder = tempfile::tempdir().unwrap();
        read(variant).portable().unwrap().write(folder.path()).unwrap();
        let config = limbeck_lora::AdapterConfig::read(folder.path()).unwrap();
        assert_eq!(config.alpha, limbeck_lora::Alpha::new(config.rank.get() as f64).unwrap());
        assert!(!config.use_rslora && config.rank_pattern.is_empty());
        assert!(config.alpha_pattern.is_empty());
        let (tokens, expected) = fixture::expected(&format!("lora/{variant}"));
        let mut decoder = fixture::qwen2();
        Adapter::load(&mut decoder, folder.path()).unwrap();
        let logits = fixture::logits(&decoder, &tokens);
        let difference = fixture::largest_difference(&logits, &expected);
        assert!(difference < 1e-5 * 8.0, "{variant}: {difference:e}");
    }
}

#[test]
fn what_is_no_sum_of_updates_is_refused_with_the_reason() {
    for (variant, reason) in [("dora", "DoRA"), ("saved", "modules_to_save"), ("pissa", "PiSSA")] {
        let errors = [
            read(variant).portable().unwrap_err(),
            combine(&[(read(variant), 1.0)], &config(CombineMethod::Cat)).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Refused { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
            assert!(error.to_string().contains(variant), "{error}");
            assert_eq!(error.exit(), Exit::BadInput);
        }
    }
}

#[test]
fn adapters_that_do_not_fit_each_other_are_named() {
    let refused = |adapters: &[(AdapterWeights, f64)], config: &CombineConfig, part: &str| {
        let error = combine(adapters, config).unwrap_err().to_string();
        assert!(error.contains(part), "`{part}` is not in: {error}");
    };
    let linear = config(CombineMethod::Linear);
    refused(&[], &linear, "no adapter");
    let mut parts = parts();
    parts[1].0.config.base_model = Some("another".to_owned());
    refused(&parts, &linear, "another and fixtures/parity/qwen2");
    let parts = vec![(read("combined/one"), 1.0), (read("rslora_patterns"), 1.0)];
    refused(&parts, &linear, "down_proj.lora_A.weight");
    refused(&parts, &linear, "rank 4, as the first adapter's");
    let mut parts = self::parts();
    parts[1].0.modules[0].lora_a = Tensor::zeros([4, 7], (Kind::Float, test_device()));
    refused(&parts, &linear, "7 inputs");
    let mut parts = self::parts();
    parts[0].1 = f64::NAN;
    refused(&parts, &linear, "weight of an adapter");
    let density = CombineConfig { density: 0.0, ..linear };
    refused(&self::parts(), &density, "density");
}
