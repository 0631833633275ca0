//! What training an adapter touches, and what it must not.

use limbeck_core::{seed::CounterRng, test_device};
use limbeck_lora::{Adapter, AdapterConfig, Error, Init, MergeGate, TargetModules, merge, train};
use limbeck_model::Decoder;
use limbeck_run::{Diagnose, Exit};
use limbeck_train::schedule::Decay;
use limbeck_train::{
    Example, ParameterGroup, SupervisedObjective, TrainConfig, Trainer, UpdateSchedule,
};
use tch::{Kind, Tensor};

use crate::fixture;

/// Sequences that repeat a short pattern: easy to learn, so that a few steps show.
fn examples() -> Vec<Example> {
    let mut stream = CounterRng::new(5);
    (0..32)
        .map(|index| {
            let offset = 10 + stream.below(4) as i64;
            let tokens: Vec<i64> = (0..12).map(|position| offset + position % 3).collect();
            let weights = (0..12).map(|position| f32::from(u8::from(position > 3))).collect();
            Example { id: index.to_string(), tokens, weights, ..Example::default() }
        })
        .collect()
}

fn train_config(steps: u64) -> TrainConfig {
    TrainConfig {
        steps,
        micro_batch_tokens: 64,
        warmup_steps: 2,
        learning_rate: 5e-3,
        log_every: 1,
        checkpoint_every: 0,
        ..TrainConfig::default()
    }
}

fn run(decoder: &Decoder, adapter: &Adapter, steps: u64) -> limbeck_train::TrainReport {
    let (output, config) = (tempfile::tempdir().unwrap(), train_config(steps));
    let trainer = Trainer {
        config: &config,
        output: output.path(),
        seed: 1,
        pad_token_id: 0,
        device: test_device(),
        label: "lora",
        run: "test",
    };
    let examples = examples();
    train(decoder, adapter, &examples, &examples, &trainer).unwrap()
}

fn copies(parameters: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    parameters.into_iter().map(|(name, tensor)| (name, tensor.detach().copy())).collect()
}

fn sequences() -> Vec<Vec<i64>> {
    examples().into_iter().take(4).map(|example| example.tokens).collect()
}

#[test]
fn a_new_adapter_computes_exactly_what_the_base_does() {
    let mut decoder = fixture::qwen2();
    let (tokens, _) = fixture::expected("parity/qwen2");
    let before = fixture::logits(&decoder, &tokens);
    let adapter =
        Adapter::attach(&mut decoder, fixture::config(TargetModules::AllLinear), 1).unwrap();
    assert_eq!(fixture::logits(&decoder, &tokens), before);
    assert_eq!(adapter.num_modules(), decoder.linear_names().len());
}

#[test]
fn only_the_adapter_learns_and_the_base_keeps_its_bits() {
    let mut decoder = fixture::qwen2();
    let (tokens, _) = fixture::expected("parity/qwen2");
    let untouched = copies(decoder.named_parameters());
    let base_logits = fixture::logits(&decoder, &tokens);
    let mut config = fixture::config(TargetModules::AllLinear);
    config.dropout = 0.1;
    let adapter = Adapter::attach(&mut decoder, config, 1).unwrap();
    let before = copies(adapter.trainable_parameters());

    let first = run(&decoder, &adapter, 1);
    for (name, tensor) in decoder.named_parameters() {
        let is_adapter = name.contains(".lora_A.") || name.contains(".lora_B.");
        assert_eq!(tensor.grad().defined(), is_adapter, "{name}");
        assert_eq!(tensor.requires_grad(), is_adapter, "{name}");
    }
    let last = run(&decoder, &adapter, 25);
    assert!(last.validation_loss.unwrap() < 0.8 * first.validation_loss.unwrap(), "{last:?}");
    assert_eq!(last.trainable_parameters, adapter.trainable_share(&decoder).trainable);
    for ((name, tensor), (_, before)) in adapter.trainable_parameters().iter().zip(&before) {
        assert_ne!(tensor, before, "{name} was not trained");
    }
    assert!(fixture::largest_difference(&fixture::logits(&decoder, &tokens), &base_logits) > 1e-3);

    adapter.detach(&mut decoder).unwrap();
    assert_eq!(decoder.named_parameters().len(), untouched.len());
    for ((name, tensor), (_, before)) in decoder.named_parameters().iter().zip(&untouched) {
        assert_eq!(tensor, before, "{name}");
    }
    assert_eq!(fixture::logits(&decoder, &tokens), base_logits);
}

#[test]
fn a_trained_adapter_survives_saving_loading_and_merging() {
    let mut decoder = fixture::qwen2();
    let (tokens, _) = fixture::expected("parity/qwen2");
    let mut config =
        fixture::config(TargetModules::Names(vec!["q_proj".into(), "mlp.down_proj".into()]));
    config.use_rslora = true;
    config.rank_pattern = vec![("down_proj".to_owned(), limbeck_lora::Rank::new(2).unwrap())];
    let adapter = Adapter::attach(&mut decoder, config, 1).unwrap();
    run(&decoder, &adapter, 10);
    let trained = fixture::logits(&decoder, &tokens);
    let folder = tempfile::tempdir().unwrap();
    adapter.save(folder.path()).unwrap();

    let mut again = fixture::qwen2();
    let loaded = Adapter::load(&mut again, folder.path()).unwrap();
    assert_eq!(fixture::logits(&again, &tokens), trained);
    assert_eq!(loaded.config(), adapter.config());
    assert!(loaded.trainable_parameters().iter().all(|(_, tensor)| !tensor.requires_grad()));

    let sequences = sequences();
    let gate = MergeGate { sequences: &sequences, tolerance: 1e-5 };
    let (merged, _) = merge(decoder, &adapter, Kind::Float, &gate).unwrap();
    let folder = tempfile::tempdir().unwrap();
    merged.save(folder.path(), Kind::Float).unwrap();
    let reloaded = fixture::load(folder.path()).unwrap();
    let difference = fixture::largest_difference(&fixture::logits(&reloaded, &tokens), &trained);
    let largest = trained.abs().max().double_value(&[]);
    assert!(difference < 1e-5 * largest, "{difference:e} of {largest}");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Every variant begins as the base, learns, leaves the base's bits alone, comes out of a file
/// as it went in, and merges into what it computed.
#[test]
fn every_variant_trains_saves_loads_and_merges() {
    let (tokens, _) = fixture::expected("parity/qwen2");
    let plain = fixture::config(TargetModules::AllLinear);
    let ends = TargetModules::Names(names(&["embed_tokens", "v_proj", "lm_head"]));
    let variants = [
        ("dora", AdapterConfig { use_dora: true, ..plain.clone() }),
        ("pissa", AdapterConfig { init: Init::Pissa, ..plain.clone() }),
        ("pissa rslora", AdapterConfig { init: Init::Pissa, use_rslora: true, ..plain.clone() }),
        ("ends", AdapterConfig { target_modules: ends, ..plain.clone() }),
        ("saved", AdapterConfig { modules_to_save: names(&["lm_head", "embed_tokens"]), ..plain }),
    ];
    for (name, config) in variants {
        let mut decoder = fixture::qwen2();
        let untouched = copies(decoder.named_parameters());
        let base = fixture::logits(&decoder, &tokens);
        let largest = base.abs().max().double_value(&[]);
        let adapter = Adapter::attach(&mut decoder, config, 1).unwrap();
        let begun = fixture::logits(&decoder, &tokens);
        let difference = fixture::largest_difference(&begun, &base);
        assert!(difference < 2e-5 * largest, "{name} begins {difference:e} away");
        let before = copies(adapter.trainable_parameters());
        let first = run(&decoder, &adapter, 1);
        let last = run(&decoder, &adapter, 25);
        assert!(last.validation_loss < first.validation_loss.map(|loss| 0.8 * loss), "{name}");
        for ((key, tensor), (_, before)) in adapter.trainable_parameters().iter().zip(&before) {
            assert_ne!(tensor, before, "{name}: {key} was not trained");
        }
        let trained = fixture::logits(&decoder, &tokens);
        let folder = tempfile::tempdir().unwrap();
        adapter.save(folder.path()).unwrap();

        let mut again = fixture::qwen2();
        Adapter::load(&mut again, folder.path()).unwrap();
        let close = |logits: &Tensor, what: &str| {
            let difference = fixture::largest_difference(logits, &trained);
            let largest = trained.abs().max().double_value(&[]);
            assert!(difference < 2e-5 * largest, "{name} {what}: {difference:e} of {largest}");
        };
        close(&fixture::logits(&again, &tokens), "loaded");
        let sequences = sequences();
        let gate = MergeGate { sequences: &sequences, tolerance: 2e-5 };
        let (mut merged, _) = merge(decoder, &adapter, Kind::Float, &gate).unwrap();
        close(&fixture::logits(&merged, &tokens), "merged");
        let error = adapter.detach(&mut merged).unwrap_err();
        assert!(matches!(error, Error::NotAdapted { .. }), "{error}");

        let adapter = Adapter::load(&mut fixture::qwen2(), folder.path()).unwrap();
        assert!(adapter.num_modules() > 1);
        let mut off = fixture::qwen2();
        Adapter::load(&mut off, folder.path()).unwrap().detach(&mut off).unwrap();
        for ((key, tensor), (_, before)) in off.named_parameters().iter().zip(&untouched) {
            assert_eq!(tensor, before, "{name}: {key}");
        }
    }
}

#[test]
fn variants_that_a_module_cannot_have_are_refused() {
    let plain = fixture::config(TargetModules::AllLinear);
    let embedding = TargetModules::Names(names(&["embed_tokens"]));
    let refused = |config: AdapterConfig, part: &str| {
        let mut decoder = fixture::qwen2();
        let error = Adapter::attach(&mut decoder, config, 1).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
        assert_eq!(decoder.named_parameters().len(), fixture::qwen2().named_parameters().len());
    };
    let dora = AdapterConfig { use_dora: true, ..plain.clone() };
    refused(AdapterConfig { target_modules: embedding.clone(), ..dora.clone() }, "use_dora");
    refused(AdapterConfig { init: Init::Pissa, ..dora }, "PiSSA");
    let pissa = AdapterConfig { init: Init::Pissa, ..plain.clone() };
    refused(AdapterConfig { target_modules: embedding, ..pissa }, "PiSSA");
    let both = AdapterConfig { modules_to_save: names(&["q_proj"]), ..plain };
    refused(both, "q_proj cannot be both adapted and saved whole");
}

#[test]
fn lora_plus_gives_b_a_learning_rate_of_its_own() {
    let mut decoder = fixture::qwen2();
    let config = fixture::config(TargetModules::AllLinear);
    let adapter = Adapter::attach(&mut decoder, config, 1).unwrap();
    let groups = adapter.parameter_groups(16.0);
    let [of_a, of_b] = groups.as_slice() else { panic!("{} groups", groups.len()) };
    assert_eq!((of_a.learning_rate_ratio, of_b.learning_rate_ratio), (1.0, 16.0));
    assert!(of_a.parameters.iter().all(|(name, _)| name.ends_with("lora_A.weight")));
    assert!(of_b.parameters.iter().all(|(name, _)| name.ends_with("lora_B.weight")));
    assert_eq!(of_a.parameters.len(), adapter.num_modules());
    assert_eq!(adapter.parameter_groups(1.0).len(), 1);
}

#[test]
fn merging_in_bfloat16_is_close_but_not_within_float32s_tolerance() {
    let folder = fixture::path("lora/all_linear");
    let sequences = sequences();
    let merged = |tolerance| {
        let mut decoder = fixture::qwen2();
        let adapter = Adapter::load(&mut decoder, &folder).unwrap();
        merge(decoder, &adapter, Kind::BFloat16, &MergeGate { sequences: &sequences, tolerance })
    };
    let (decoder, report) = merged(MergeGate::default_tolerance(Kind::BFloat16)).unwrap();
    println!("bfloat16: {report:?}");
    assert!(report.max_logit_difference > 1e-3 && report.mean_kl < 1e-2, "{report:?}");
    let name = &decoder.linear_names()[0];
    assert_eq!(decoder.linear(name).unwrap().dense_weight().unwrap().kind(), Kind::BFloat16);
    let error = merged(1e-5).unwrap_err();
    assert!(matches!(error, Error::MergeDiffers { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Gate);
}

#[test]
fn a_gate_with_nothing_to_compare_is_refused() {
    let mut decoder = fixture::qwen2();
    let adapter = Adapter::load(&mut decoder, &fixture::path("lora/all_linear")).unwrap();
    let gate = MergeGate { sequences: &[vec![]], tolerance: 1.0 };
    assert!(matches!(merge(decoder, &adapter, Kind::Float, &gate), Err(Error::EmptyGate)));
}

#[test]
fn the_share_is_counted() {
    let mut decoder = fixture::qwen2();
    let base = decoder.num_parameters();
    let config = fixture::config(TargetModules::Names(vec!["q_proj".into()]));
    let adapter = Adapter::attach(&mut decoder, config, 1).unwrap();
    let share = adapter.trainable_share(&decoder);
    // Three layers of rank 4 on a projection from 32 to 32.
    assert_eq!((share.trainable, share.total), (3 * 4 * 64, base + 3 * 4 * 64));
    let text = share.to_string();
    assert!(text.starts_with("768 of ") && text.ends_with("%)"), "{text}");
}

type Named = Vec<(String, Tensor)>;

/// Base and adapter after so many steps of turns, an adapter's every second.
fn after_turns(steps: u64) -> (Named, Named) {
    let mut decoder = fixture::qwen2();
    let adapter =
        Adapter::attach(&mut decoder, fixture::config(TargetModules::AllLinear), 1).unwrap();
    let is_adapter = |name: &str| name.contains(".lora_A.") || name.contains(".lora_B.");
    let base = || {
        let all = decoder.named_parameters().into_iter();
        all.filter(|(name, _)| !is_adapter(name)).collect::<Vec<_>>()
    };
    let group = |name: &str, parameters, learning_rate_ratio| ParameterGroup {
        name: name.to_owned(),
        parameters,
        learning_rate_ratio,
    };
    let groups =
        vec![group("base", base(), 1.0), group("adapter", adapter.trainable_parameters(), 10.0)];
    let mut examples = examples();
    for example in examples.iter_mut().step_by(2) {
        example.traits.kind = limbeck_train::Kind::Task;
    }
    let output = tempfile::tempdir().unwrap();
    let config = TrainConfig { warmup_steps: 0, decay: Decay::Constant, ..train_config(steps) };
    let trainer = Trainer {
        config: &config,
        output: output.path(),
        seed: 1,
        pad_token_id: 0,
        device: test_device(),
        label: "turns",
        run: "test",
    };
    let mut objective = SupervisedObjective { chunk_rows: 64 };
    let updates = Some(UpdateSchedule::new(2).unwrap());
    trainer.run_with(&decoder, groups, updates, &examples, &[], &mut objective, None).unwrap();
    (copies(base()), copies(adapter.trainable_parameters()))
}

#[test]
fn base_and_adapter_learn_by_turns_in_one_run() {
    tch::set_num_threads(1);
    let equal = |left: &[(String, Tensor)], right: &[(String, Tensor)]| {
        let same: Vec<bool> =
            left.iter().zip(right).map(|((_, left), (_, right))| left.equal(right)).collect();
        (same.iter().all(|&same| same), same.iter().any(|&same| same))
    };
    let untouched = fixture::qwen2();
    let start = copies(untouched.named_parameters());
    let ((base1, adapter1), (base2, adapter2)) = (after_turns(1), after_turns(2));
    let ((base3, adapter3), (_, adapter4)) = (after_turns(3), after_turns(4));
    assert_eq!(start.len(), base1.len());
    assert_eq!(equal(&start, &base1), (false, false), "the first step is the base's");
    assert!(equal(&base1, &base2).0 && !equal(&adapter1, &adapter2).0, "then the adapter's");
    assert!(!equal(&base2, &base3).1 && equal(&adapter2, &adapter3).0, "and so on");
    assert!(!equal(&adapter3, &adapter4).1, "B is no longer zero, so that A learns too");
}
