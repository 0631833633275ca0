//! The engine against the plain forward pass, on small random decoders.

use std::cell::{Cell, RefCell};

use limbeck_core::test_device;
use limbeck_infer::{
    Engine, EngineConfig, Error, FinishReason, Generation, RowRouter, SamplingParams,
};
use limbeck_model::{CacheDtype, Decoder, Input};
use limbeck_run::{Diagnose, Exit};
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// Weights ten times as wide as usual: the logits lie far enough apart for the arg max
/// not to hang on rounding.
fn decoder(sliding: bool) -> Decoder {
    let mut config = json!({
        "model_type": "qwen2", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "hidden_act": "silu", "initializer_range": 0.2,
        "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": false
    });
    if sliding {
        config["model_type"] = json!("mistral");
        config["sliding_window"] = json!(6);
    }
    Decoder::init(&config, 5, test_device(), Kind::Float).unwrap()
}

fn prompts() -> Vec<Vec<i64>> {
    [7, 3, 12, 1, 7, 9, 20, 2, 5, 12]
        .iter()
        .enumerate()
        .map(|(row, &length)| {
            (0..length).map(|slot| (row as i64 * 31 + slot * 17 + 3) % 97).collect()
        })
        .collect()
}

/// Logits `[tokens, vocab]` by one pass over the whole sequence, alone and without cache.
fn full_logits(decoder: &Decoder, tokens: &[i64]) -> Tensor {
    let _no_grad = tch::no_grad_guard();
    let tokens = Tensor::from_slice(tokens).unsqueeze(0).to_device(test_device());
    let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
    decoder.logits(&hidden).unwrap().squeeze_dim(0)
}

fn reference_greedy(decoder: &Decoder, prompt: &[i64], stop: &[i64], max: usize) -> Vec<i64> {
    let mut sequence = prompt.to_vec();
    while sequence.len() < prompt.len() + max {
        let token = full_logits(decoder, &sequence).get(-1).argmax(-1, false).int64_value(&[]);
        if stop.contains(&token) {
            break;
        }
        sequence.push(token);
    }
    sequence[prompt.len()..].to_vec()
}

fn engine(decoder: &Decoder, max_batch: usize) -> Engine<'_> {
    Engine::new(decoder, EngineConfig { max_batch, ..EngineConfig::default() }).unwrap()
}

#[test]
fn greedy_generation_equals_full_passes_for_any_batch_size() {
    for sliding in [false, true] {
        let decoder = decoder(sliding);
        let prompts = prompts();
        // Stop tokens that some rows meet early and others never do.
        let probe = reference_greedy(&decoder, &prompts[0], &[], 12);
        let params = SamplingParams {
            max_new_tokens: 40,
            stop_token_ids: vec![probe[4], 11, 60],
            ..SamplingParams::default()
        };
        let expected: Vec<Vec<i64>> = prompts
            .iter()
            .map(|prompt| reference_greedy(&decoder, prompt, &params.stop_token_ids, 40))
            .collect();
        let lengths: Vec<usize> = expected.iter().map(Vec::len).collect();
        assert!(lengths.contains(&40) && lengths.iter().any(|&length| length < 40), "{lengths:?}");
        for max_batch in [1, 3, 10] {
            let mut finished = 0;
            let generations = engine(&decoder, max_batch)
                .generate(&prompts, &params, &mut |count| finished += count)
                .unwrap();
            assert_eq!(finished, prompts.len());
            for (generation, expected) in generations.iter().zip(&expected) {
                assert_eq!(&generation.tokens, expected, "batches of {max_batch}");
                let cut = generation.finish_reason == FinishReason::Length;
                assert_eq!(cut, expected.len() == 40);
            }
        }
    }
}

#[test]
fn a_cache_outgrown_by_the_chain_changes_nothing() {
    let decoder = decoder(false);
    let prompts = prompts()[..3].to_vec();
    let params = SamplingParams { max_new_tokens: 180, ..SamplingParams::default() };
    let generations = engine(&decoder, 8).generate(&prompts, &params, &mut |_| {}).unwrap();
    for (generation, prompt) in generations.iter().zip(&prompts) {
        assert_eq!(generation.tokens, reference_greedy(&decoder, prompt, &[], 180));
    }
}

#[test]
fn sampling_depends_on_the_request_and_not_on_its_batch() {
    let decoder = decoder(false);
    let params = SamplingParams {
        max_new_tokens: 12,
        temperature: 1.0,
        top_p: 0.95,
        seed: 3,
        ..SamplingParams::default()
    };
    let run = |max_batch, params: &SamplingParams| {
        engine(&decoder, max_batch).generate(&prompts(), params, &mut |_| {}).unwrap()
    };
    let together = run(10, &params);
    assert_eq!(together, run(10, &params));
    assert_eq!(together, run(1, &params));
    assert_ne!(together, run(10, &SamplingParams { seed: 4, ..params.clone() }));
}

#[test]
fn scores_are_the_log_softmax_of_full_logits() {
    let decoder = decoder(true);
    let sequences = prompts();
    let scores = engine(&decoder, 4).score_with(&sequences, true, &mut |_| {}).unwrap();
    let plain = engine(&decoder, 4).score(&sequences).unwrap();
    for ((sequence, score), plain) in sequences.iter().zip(&scores).zip(&plain) {
        let logits = full_logits(&decoder, sequence).to_device(Device::Cpu);
        let given = score.logits.as_ref().unwrap();
        assert_eq!(given.size(), [sequence.len() as i64, 97]);
        let difference = (given - &logits).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{difference}");
        let expected = logits.log_softmax(-1, Kind::Float);
        assert_eq!(score.logprobs.len(), sequence.len());
        assert_eq!(score.logprobs[0], None);
        assert_eq!(&score.logprobs, plain);
        for (position, logprob) in score.logprobs.iter().enumerate().skip(1) {
            let target = sequence[position];
            let expected = expected.double_value(&[position as i64 - 1, target]);
            assert!((f64::from(logprob.unwrap()) - expected).abs() < 1e-4);
        }
    }
}

#[test]
fn bad_requests_are_named() {
    let decoder = decoder(false);
    let engine = engine(&decoder, 4);
    let params = SamplingParams { max_new_tokens: 10, ..SamplingParams::default() };
    let generate = |prompts: &[Vec<i64>], params: &SamplingParams| {
        engine.generate(prompts, params, &mut |_| {}).unwrap_err()
    };
    let error = generate(&[vec![1], vec![]], &params);
    assert!(matches!(error, Error::Empty { index: 1 }), "{error}");
    let error = generate(&[vec![1, 97]], &params);
    assert!(matches!(error, Error::TokenOutOfRange { index: 0, token: 97, .. }), "{error}");
    let error = generate(&[vec![1; 247]], &params);
    assert!(matches!(error, Error::TooLong { prompt_tokens: 247, limit: 256, .. }), "{error}");
    assert_eq!(error.exit(), Exit::BadInput);
    assert!(error.hint().is_some());
    let error = generate(&[vec![1]], &SamplingParams { top_p: 0.0, ..params.clone() });
    assert!(matches!(&error, Error::Setting(invalid) if invalid.field == "top_p"), "{error}");
    assert_eq!(error.exit(), Exit::Usage);
    // 3 layers of keys and values, 2 heads of 8 in 4 bytes: 384 bytes a token.
    let limited = EngineConfig { max_cache_bytes: 384 * 20, ..EngineConfig::default() };
    let limited = Engine::new(&decoder, limited).unwrap();
    limited.generate(&[vec![1; 10], vec![2; 10]], &params, &mut |_| {}).unwrap();
    let error = limited.generate(&[vec![1; 10], vec![1; 11]], &params, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::OverBudget { index: 1, bytes: 8064, .. }), "{error}");
    assert_eq!(error.exit(), Exit::Usage);
    let error = engine.score(&[vec![1], vec![5; 257]]).unwrap_err();
    assert!(matches!(error, Error::TooLong { index: 1, .. }), "{error}");
    assert!(engine.generate(&[], &params, &mut |_| {}).unwrap().is_empty());
    assert!(engine.score(&[]).unwrap().is_empty());
}

#[test]
fn diverged_weights_are_an_error_and_no_token() {
    let decoder = decoder(false);
    let (_, norm) = decoder
        .named_parameters()
        .into_iter()
        .find(|(name, _)| name == "model.norm.weight")
        .unwrap();
    let _filled = tch::no_grad(|| norm.shallow_clone().fill_(f64::NAN));
    let params = SamplingParams::default();
    let engine = Engine::new(&decoder, EngineConfig::default()).unwrap();
    let prompts = [vec![1], vec![2]];
    let params = SamplingParams { max_new_tokens: 4, ..params };
    let error = engine.generate(&prompts, &params, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    let error = engine.score(&[vec![1, 2]]).unwrap_err();
    assert!(matches!(error, Error::NotFinite { index: 0, position: 1 }), "{error}");
}

/// Writes down the rows that it hears of; odd keys are alike.
#[derive(Debug, Default)]
struct Witness {
    heard: RefCell<Vec<Vec<Option<u64>>>>,
    ended: Cell<usize>,
    fails: bool,
}

impl RowRouter for Witness {
    fn identity(&self, key: u64) -> limbeck_infer::Result<String> {
        if self.fails && key == 1 {
            return Err(Error::router(Some(1), Error::Empty { index: 1 }));
        }
        Ok((key % 2).to_string())
    }

    fn affinity(&self, key: u64) -> u64 {
        key % 2
    }

    fn route(&self, rows: &[Option<u64>]) -> limbeck_infer::Result<()> {
        self.heard.borrow_mut().push(rows.to_vec());
        if self.fails && rows.contains(&Some(1)) {
            return Err(Error::router(Some(1), Error::Empty { index: 1 }));
        }
        Ok(())
    }

    fn end(&self) {
        self.ended.set(self.ended.get() + 1);
    }
}

#[test]
fn a_router_hears_of_each_row_of_each_pass() {
    let decoder = decoder(false);
    let prompts = prompts();
    let probe = reference_greedy(&decoder, &prompts[0], &[], 12);
    let params = SamplingParams {
        max_new_tokens: 20,
        stop_token_ids: vec![probe[4], 11, 60],
        ..SamplingParams::default()
    };
    let expected = engine(&decoder, 10).generate(&prompts, &params, &mut |_| {}).unwrap();
    let witness = Witness::default();
    let routed = engine(&decoder, 10).with_router(&witness);
    assert_eq!(routed.generate(&prompts, &params, &mut |_| {}).unwrap(), expected);
    let heard = witness.heard.take();
    // The first pass reads all prompts, those alike beside each other.
    let rows = |key: usize| vec![Some(key as u64); prompts[key].len()];
    let order = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    assert_eq!(heard[0], order.map(rows).concat());
    // Each pass after it reads a token of whoever goes on.
    for (pass, rows) in heard.iter().enumerate().skip(1) {
        let goes_on = |key: &u64| {
            let Generation { tokens, finish_reason } = &expected[*key as usize];
            tokens.len() >= pass + usize::from(*finish_reason == FinishReason::Length)
        };
        let alike = |rest: u64| (0..10).filter(move |key| key % 2 == rest).filter(goes_on);
        let expected: Vec<Option<u64>> = alike(0).chain(alike(1)).map(Some).collect();
        assert_eq!(*rows, expected);
    }
    assert_eq!(witness.ended.take(), 1);

    let scores = engine(&decoder, 5).score(&prompts).unwrap();
    let found = routed.score(&prompts).unwrap();
    for (found, expected) in found.iter().flatten().flatten().zip(scores.iter().flatten().flatten())
    {
        assert!((found - expected).abs() < 1e-4);
    }
    let heard = witness.heard.take();
    assert_eq!((heard.len(), heard[0].len()), (1, prompts.len()));
    assert!(heard[0].iter().flatten().is_sorted_by_key(|key| *key % 2), "{heard:?}");
    assert_eq!(witness.ended.take(), 1);

    let failing = Witness { fails: true, ..Witness::default() };
    let routed = engine(&decoder, 5).with_router(&failing);
    let error = routed.score(&prompts).unwrap_err();
    assert_eq!((error.request(), error.exit()), (Some(1), Exit::BadInput));
    assert_eq!(failing.ended.take(), 1);
    let error = routed.generate(&prompts, &params, &mut |_| {}).unwrap_err();
    assert_eq!(error.request(), Some(1));
}

#[test]
fn a_cache_in_eight_bits_says_nearly_the_same_in_a_third_of_the_memory() {
    let decoder = decoder(false);
    let prompts: Vec<Vec<i64>> =
        (0..6).map(|row| (0..20).map(|place| (row * 13 + place * 5) % 97).collect()).collect();
    let params = SamplingParams { max_new_tokens: 8, ..SamplingParams::default() };
    let run = |cache_dtype| {
        let config = EngineConfig { cache_dtype, ..EngineConfig::default() };
        let engine = Engine::new(&decoder, config).unwrap();
        engine.generate(&prompts, &params, &mut |_| {}).unwrap()
    };
    let (plain, int8) = (run(CacheDtype::Compute), run(CacheDtype::Int8));
    let same = |(left, right): (&Generation, &Generation)| left.tokens == right.tokens;
    let agreeing = plain.iter().zip(&int8).filter(|pair| same(*pair)).count();
    assert!(agreeing >= 4, "{agreeing} of 6 agree");
    // 3 layers of keys and values, 2 heads of 8 codes and a scale: 144 bytes a token.
    let max_cache_bytes = 144 * 28;
    let tight =
        EngineConfig { max_cache_bytes, cache_dtype: CacheDtype::Int8, ..EngineConfig::default() };
    Engine::new(&decoder, tight.clone()).unwrap().generate(&prompts, &params, &mut |_| {}).unwrap();
    let plain = EngineConfig { cache_dtype: CacheDtype::Compute, ..tight };
    let error = Engine::new(&decoder, plain).unwrap().generate(&prompts, &params, &mut |_| {});
    assert!(matches!(error, Err(Error::OverBudget { .. })), "{error:?}");
}
