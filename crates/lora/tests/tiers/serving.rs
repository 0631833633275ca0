//! What batches compute, what is evicted, what is trained.

use limbeck_core::test_device;
use limbeck_infer::{Engine, EngineConfig, SamplingParams};
use limbeck_lora::tiers::{StackRouter, TierError, TierLimits};
use limbeck_lora::{Error, Stack, Tier, Tiers};
use limbeck_model::Decoder;
use limbeck_run::Diagnose;
use tch::{Kind, Tensor, no_grad};

use crate::fixture::{
    ALL, ATTENTION, VOCAB, adapter, assert_close, decoder, logits, merged, stack, stacks, step,
    tier_error, tiered, tokens, try_logits,
};

#[test]
fn one_stack_is_the_merged_model_and_no_stack_the_base_bit_by_bit() {
    let (tiered, tiers) = tiered();
    let tokens = tokens(3, 20);
    let plain = logits(&decoder(), &tokens);
    assert_eq!(logits(&tiered, &tokens), plain);
    for stack in stacks() {
        tiers.route_all(&stack).unwrap();
        let found = logits(&tiered, &tokens);
        if stack.names().next().is_none() {
            assert_eq!(found, plain);
        } else {
            assert_close(&found, &logits(&merged(&tiers, &stack), &tokens));
            assert!((&found - &plain).abs().max().double_value(&[]) > 1e-2, "{stack:?}");
        }
        // The same by the effective weight of a layer.
        let weight = |decoder: &Decoder| {
            let name = "model.layers.1.self_attn.v_proj";
            decoder.linear(name).unwrap().dense_weight().unwrap()
        };
        assert_close(&weight(&tiered), &weight(&merged(&tiers, &stack)));
    }
    tiers.route_all(&stack(&[("task", 0.0), ("medical", 0.0)])).unwrap();
    assert_eq!(logits(&tiered, &tokens), plain);
}

#[test]
fn a_projection_is_the_formula() {
    let (tiered, tiers) = tiered();
    let entries = [("task", 0.5), ("medical", 1.0), ("ada", 2.0)];
    tiers.route_all(&stack(&entries)).unwrap();
    let name = "model.layers.0.mlp.down_proj";
    let input = Tensor::randn([2, 3, 96], (Kind::Float, test_device()));
    let mut expected = decoder().linear(name).unwrap().forward(&input).unwrap();
    for (adapter, gate) in entries {
        let modules = tiers.weights(adapter).unwrap().modules;
        let module = modules.into_iter().find(|module| module.plan.name == name).unwrap();
        let low = input.matmul(&module.lora_a.tr());
        expected += low.matmul(&module.lora_b.tr()) * (gate * module.plan.scale);
    }
    assert_close(&tiered.linear(name).unwrap().forward(&input).unwrap(), &expected);
}

#[test]
fn a_mixed_batch_is_each_request_alone() {
    let (decoder, tiers) = tiered();
    let stacks = stacks();
    // One token a row is computed together, many are computed by group.
    for seq in [1, 200] {
        let tokens = tokens(stacks.len() as i64, seq);
        tiers.route(&stacks).unwrap();
        let found = logits(&decoder, &tokens);
        let alone = |row: i64| {
            tiers.route_all(&stacks[row as usize]).unwrap();
            logits(&decoder, &tokens.narrow(0, row, 1))
        };
        for row in 0..stacks.len() as i64 {
            assert_close(&found.narrow(0, row, 1), &alone(row));
        }
        // Rows dropped and put into another order.
        tiers.route(&stacks).unwrap();
        let kept = [7_i64, 2, 1, 4];
        tiers.keep_rows(&kept.map(|row| row as usize)).unwrap();
        let found = logits(
            &decoder,
            &tokens.index_select(0, &Tensor::from_slice(&kept).to_device(test_device())),
        );
        for (place, row) in kept.into_iter().enumerate() {
            assert_close(&found.narrow(0, place as i64, 1), &alone(row));
        }
        // What is left has one adapter.
        tiers.route(&stacks).unwrap();
        tiers.keep_rows(&[0, 4, 7]).unwrap();
        tiers.keep_rows(&[2, 1]).unwrap();
        let found = logits(
            &decoder,
            &tokens.index_select(0, &Tensor::from_slice(&[7_i64, 4]).to_device(test_device())),
        );
        assert_close(&found.narrow(0, 0, 1), &alone(7));
        assert_close(&found.narrow(0, 1, 1), &alone(4));
    }
}

#[test]
fn a_batch_of_another_size_than_routed_is_an_error() {
    let (decoder, tiers) = tiered();
    tiers.route(&stacks()).unwrap();
    let error = try_logits(&decoder, &tokens(3, 4)).unwrap_err();
    assert!(matches!(tier_error(&error), TierError::Rows { routed: 8, found: 3 }), "{error}");
    assert!(error.to_string().contains("model.layers.0"), "{error}");
    let error = tiers.keep_rows(&[8]).unwrap_err();
    assert!(matches!(tier_error(&error), TierError::NoSuchRow { row: 8, rows: 8 }), "{error}");
    let linear = decoder.linear("model.layers.0.self_attn.q_proj").unwrap();
    assert!(matches!(tier_error(&linear.dense_weight().unwrap_err()), TierError::NoOneWeight));
    let error = tiers.route(&[stack(&[("tax", 1.0)])]).unwrap_err();
    assert_eq!(error.to_string(), "adapter tax is not loaded; loaded: ada, legal, medical, task");
    // The route is as it was.
    let _ = logits(&decoder, &tokens(8, 4));
}

#[test]
fn the_engine_runs_requests_with_different_stacks_in_one_batch() {
    let (decoder, tiers) = tiered();
    let stacks = stacks();
    let prompts: Vec<Vec<i64>> = (0..stacks.len() as i64)
        .map(|row| (0..5 + 7 * (row % 3)).map(|slot| (row * 31 + slot * 17 + 3) % VOCAB).collect())
        .collect();
    let params = SamplingParams {
        max_new_tokens: 24,
        stop_token_ids: (0..6).collect(),
        ..SamplingParams::default()
    };
    let generate = |max_batch, prompts: &[Vec<i64>], stacks: &[Stack]| {
        let router = StackRouter::new(&tiers, stacks);
        let config = EngineConfig { max_batch, ..EngineConfig::default() };
        let engine = Engine::new(&decoder, config).unwrap().with_router(&router);
        engine.generate(prompts, &params, &mut |_| {}).unwrap()
    };
    let together = generate(16, &prompts, &stacks);
    let mut lengths: Vec<usize> = together.iter().map(|reply| reply.tokens.len()).collect();
    lengths.dedup();
    assert!(lengths.len() > 2, "rows are dropped at different times: {lengths:?}");
    assert_eq!(together, generate(3, &prompts, &stacks));
    for (row, reply) in together.iter().enumerate() {
        let alone = generate(1, &prompts[row..=row], &stacks[row..=row]);
        assert_eq!(*reply, alone[0], "request {row}");
    }
    assert!(tiers.adapters().iter().all(|adapter| !adapter.in_use));

    let router = StackRouter::new(&tiers, &stacks);
    let engine = Engine::new(&decoder, EngineConfig::default()).unwrap().with_router(&router);
    let scores = engine.score(&prompts).unwrap();
    for (row, score) in scores.iter().enumerate() {
        let router = StackRouter::new(&tiers, &stacks[row..=row]);
        let engine = Engine::new(&decoder, EngineConfig::default()).unwrap().with_router(&router);
        let alone = &engine.score(&prompts[row..=row]).unwrap()[0];
        for (found, expected) in score.iter().flatten().zip(alone.iter().flatten()) {
            assert!((found - expected).abs() < 1e-4, "request {row}: {found} {expected}");
        }
    }
    // Fewer stacks than requests, and an adapter that is gone.
    let router = StackRouter::new(&tiers, &stacks[..2]);
    let engine = Engine::new(&decoder, EngineConfig::default()).unwrap().with_router(&router);
    let error = engine.score(&prompts).unwrap_err();
    assert!(error.request().is_some_and(|request| request >= 2), "{error}");
    let gone = [stack(&[("tax", 1.0)])];
    let router = StackRouter::new(&tiers, &gone);
    let engine = Engine::new(&decoder, EngineConfig::default()).unwrap().with_router(&router);
    let error = engine.score(&prompts[..1]).unwrap_err();
    assert!(matches!(tier_error(&error), TierError::NotLoaded { .. }), "{error}");
    assert_eq!(error.exit(), limbeck_run::Exit::Usage);
}

#[test]
fn the_least_recently_used_domain_makes_room_and_never_one_in_use() {
    let mut decoder = decoder();
    let limits = TierLimits { domain_capacity: 2, ..TierLimits::default() };
    let tiers = Tiers::install(&mut decoder, limits).unwrap();
    let load =
        |name: &str, tier, seed| tiers.load(name, tier, adapter(&decoder, seed, 2, &ATTENTION));
    let names =
        || -> Vec<String> { tiers.adapters().into_iter().map(|adapter| adapter.name).collect() };
    load("task", Tier::BaseTask, 1).unwrap();
    load("a", Tier::Domain, 2).unwrap();
    assert_eq!(load("b", Tier::Domain, 3).unwrap().evicted, None);
    // b came last, but a was used last.
    tiers.route_all(&stack(&[("a", 1.0)])).unwrap();
    tiers.clear_route();
    assert_eq!(load("c", Tier::Domain, 4).unwrap().evicted, Some("b".to_owned()));
    assert_eq!(names(), ["a", "c", "task"]);
    // a is older than c now, but runs.
    tiers.route_all(&stack(&[("c", 1.0)])).unwrap();
    tiers.route(&[stack(&[("a", 1.0)]), stack(&[("task", 1.0)])]).unwrap();
    tiers.keep_rows(&[0, 1]).unwrap();
    assert_eq!(load("d", Tier::Domain, 5).unwrap().evicted, Some("c".to_owned()));
    tiers.route(&[stack(&[("a", 1.0)]), stack(&[("d", 1.0)])]).unwrap();
    let error = load("e", Tier::Domain, 6).unwrap_err();
    assert!(matches!(tier_error(&error), TierError::Full { capacity: 2, .. }), "{error}");
    assert!(error.to_string().ends_with("all of them: a, d"), "{error}");
    assert!(error.hint().is_some());
    let error = tiers.unload("a").unwrap_err();
    assert!(matches!(tier_error(&error), TierError::InUse { .. }), "{error}");
    // Adapters of the other tiers take no room of the domains'.
    load("ada", Tier::User, 7).unwrap();
    tiers.clear_route();
    tiers.unload("a").unwrap();
    assert_eq!(names(), ["ada", "d", "task"]);
    let error = load("d", Tier::User, 8).unwrap_err();
    assert!(matches!(tier_error(&error), TierError::AlreadyLoaded { .. }), "{error}");
}

#[test]
fn the_bases_weights_are_never_copied_or_touched() {
    let mut decoder = decoder();
    let places = |decoder: &Decoder| -> Vec<(String, usize)> {
        let parameters = decoder.named_parameters().into_iter();
        parameters.map(|(name, tensor)| (name, tensor.data_ptr() as usize)).collect()
    };
    let before = places(&decoder);
    let tokens = tokens(8, 6);
    let plain = logits(&decoder, &tokens);
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).unwrap();
    for (name, seed) in [("task", 1), ("medical", 2), ("legal", 3), ("ada", 4)] {
        tiers.load(name, Tier::Domain, adapter(&decoder, seed, 4, &ALL)).unwrap();
    }
    assert_eq!(places(&decoder), before);
    for stack in stacks() {
        tiers.route_all(&stack).unwrap();
        let _ = logits(&decoder, &tokens);
    }
    tiers.route(&stacks()).unwrap();
    let _ = logits(&decoder, &tokens);
    assert_eq!(places(&decoder), before);
    tiers.clear_route();
    for adapter in tiers.adapters() {
        tiers.unload(&adapter.name).unwrap();
    }
    assert_eq!(logits(&decoder, &tokens), plain);
    tiers.uninstall(&mut decoder).unwrap();
    assert_eq!(places(&decoder), before);
    assert_eq!(logits(&decoder, &tokens), plain);
    // Taken off is taken off.
    let tiers = Tiers::install(&mut decoder, TierLimits::default()).unwrap();
    assert!(Tiers::install(&mut decoder, TierLimits::default()).is_err());
    tiers.clone().uninstall(&mut decoder).unwrap();
    assert!(matches!(tiers.uninstall(&mut decoder), Err(Error::NotAdapted { .. })));
}

#[test]
fn a_live_update_comes_with_the_next_route() {
    let (decoder, tiers) = tiered();
    let tokens = tokens(2, 6);
    let rows = [stack(&[("ada", 1.0)]), stack(&[("task", 1.0), ("ada", 1.0)])];
    tiers.route(&rows).unwrap();
    let before = logits(&decoder, &tokens);
    let hash = tiers.stack_hash(&rows[0]).unwrap();
    let loaded = tiers.replace("ada", adapter(&decoder, 9, 4, &ALL)).unwrap();
    assert_eq!(logits(&decoder, &tokens), before);
    tiers.keep_rows(&[1]).unwrap();
    assert_close(&logits(&decoder, &tokens.narrow(0, 1, 1)), &before.narrow(0, 1, 1));
    tiers.route(&rows).unwrap();
    let after = logits(&decoder, &tokens);
    assert!((&after - &before).abs().max().double_value(&[]) > 1e-2);
    assert_close(
        &after.narrow(0, 1, 1),
        &logits(&merged(&tiers, &rows[1]), &tokens).narrow(0, 1, 1),
    );
    assert_ne!(tiers.stack_hash(&rows[0]).unwrap(), hash);
    let status = tiers.adapters().into_iter().find(|adapter| adapter.name == "ada").unwrap();
    assert_eq!(status.hash, loaded.hash);
    assert!(status.in_use && status.tier == Tier::User);

    tiers.release("task").unwrap();
    let error = tiers.replace("task", adapter(&decoder, 9, 4, &ALL)).unwrap_err();
    assert!(matches!(tier_error(&error), TierError::Released { .. }), "{error}");
}

#[test]
fn a_stacks_hash_is_of_what_it_computes() {
    let (decoder, tiers) = tiered();
    let hash = |entries: &[(&str, f64)]| tiers.stack_hash(&stack(entries)).unwrap();
    let both = hash(&[("task", 1.0), ("medical", 0.5)]);
    assert_eq!(both, hash(&[("medical", 0.5), ("task", 1.0), ("ada", 0.0)]));
    assert_ne!(both, hash(&[("medical", 1.0), ("task", 0.5)]));
    assert_ne!(both, hash(&[("task", 1.0)]));
    assert_eq!(hash(&[]), hash(&[("task", 0.0)]));
    // The same content by another name; another scale of the same matrices.
    tiers.load("copy", Tier::Domain, adapter(&decoder, 1, 8, &ALL)).unwrap();
    assert_eq!(hash(&[("task", 1.0)]), hash(&[("copy", 1.0)]));
    let mut scaled = adapter(&decoder, 1, 8, &ALL);
    scaled.modules[0].plan.scale += 1e-9;
    tiers.load("scaled", Tier::Domain, scaled).unwrap();
    assert_ne!(hash(&[("task", 1.0)]), hash(&[("scaled", 1.0)]));
}

#[test]
fn one_tier_trains_and_the_others_are_the_same_bits() {
    let (decoder, tiers) = tiered();
    decoder.set_requires_grad(true).unwrap();
    let tokens = tokens(4, 12);
    let training = stack(&[("task", 1.0), ("ada", 0.5)]);
    let hashes = || -> Vec<(String, String)> {
        tiers.adapters().into_iter().map(|adapter| (adapter.name, adapter.hash)).collect()
    };
    let before = hashes();
    let base: Vec<Tensor> =
        decoder.named_parameters().into_iter().map(|(_, tensor)| tensor.copy()).collect();
    // Whatever of it was joined before must not be used when it has changed.
    tiers.route_all(&training).unwrap();
    let start = logits(&decoder, &tokens);

    let parameters = tiers.train(&decoder, &training, "ada").unwrap();
    assert_eq!(parameters.len(), 2 * 14);
    assert_close(&logits(&decoder, &tokens), &start);
    let losses: Vec<f64> = (0..4).map(|_| step(&decoder, &tokens, &parameters)).collect();
    assert!(losses[3] < losses[0] - 0.05, "{losses:?}");
    // Also without gradients, such as in validation, it is the adapter of this step.
    let trained = logits(&decoder, &tokens);
    assert!((&trained - &start).abs().max().double_value(&[]) > 1e-2);
    for refused in [
        tiers.route(&[]),
        tiers.replace("ada", adapter(&decoder, 1, 2, &ALL)).map(|_| ()),
        tiers.unload("ada"),
        tiers.release("ada"),
        tiers.train(&decoder, &training, "task").map(|_| ()),
        tiers.stack_hash(&training).map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(tier_error(&error), TierError::InTraining { .. }), "{error}");
    }
    let hash = tiers.finish_training(&decoder).unwrap();

    for ((name, before), (_, after)) in before.iter().zip(hashes()) {
        assert_eq!(*before == after, name != "ada", "{name}");
        assert!(name != "ada" || after == hash);
    }
    for ((name, now), before) in decoder.named_parameters().iter().zip(&base) {
        assert_eq!(now, before, "{name}");
        assert!(!now.grad().defined() && !now.requires_grad(), "{name}");
    }
    tiers.route_all(&training).unwrap();
    assert_close(&logits(&decoder, &tokens), &trained);
    assert_close(&logits(&merged(&tiers, &training), &tokens), &trained);
    assert!(matches!(
        tier_error(&tiers.finish_training(&decoder).unwrap_err()),
        TierError::NotInTraining
    ));
}

#[test]
fn what_training_may_not_do_is_an_error_that_names_it() {
    let (decoder, tiers) = tiered();
    let both = stack(&[("task", 1.0), ("ada", 1.0)]);
    tiers.release("task").unwrap();
    let error = tiers.train(&decoder, &both, "task").unwrap_err();
    assert!(matches!(tier_error(&error), TierError::Released { .. }), "{error}");
    let error = tiers.train(&decoder, &both, "medical").unwrap_err();
    assert!(matches!(tier_error(&error), TierError::TrainedAside { .. }), "{error}");

    let change = |tensor: &Tensor| {
        no_grad(|| {
            let _ = tensor.shallow_clone().get(0).f_add_scalar_(1e-3).unwrap();
        });
    };
    tiers.train(&decoder, &both, "ada").unwrap();
    change(&tiers.weights("task").unwrap().modules[3].lora_b);
    let error = tiers.finish_training(&decoder).unwrap_err();
    assert_eq!(
        error.to_string(),
        "training ada changed base_model.model.model.layers.0.self_attn.o_proj.lora_B.weight \
         of adapter task, which was frozen"
    );
    tiers.train(&decoder, &both, "ada").unwrap();
    change(&decoder.named_parameters().pop().unwrap().1);
    let error = tiers.finish_training(&decoder).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight of the base"), "{error}");
}
