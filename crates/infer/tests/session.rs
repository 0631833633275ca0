//! Sessions from outside: log-probabilities, the prefix cache, several replies, constraints,
//! and replies that are the same bit by bit.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use limbeck_core::seed::CounterRng;
use limbeck_core::test_device;
use limbeck_infer::{
    Constraint, ConstraintFactory, Engine, EngineConfig, Error, FinishReason, Output, Request,
    RequestId, Result, RowRouter, SamplingParams, Session, TokenLogprobs, TokenMask,
};
use limbeck_model::{Decoder, Input};
use limbeck_run::{Diagnose, Exit};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const VOCAB: i64 = 97;

fn decoder() -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "hidden_act": "silu", "initializer_range": 0.2
    });
    Decoder::init(&config, 5, test_device(), Kind::Float).unwrap()
}

fn tokens(start: i64, count: usize) -> Vec<i64> {
    (0..count as i64).map(|slot| (start + slot * 17) % VOCAB).collect()
}

fn engine<'m>(decoder: &'m Decoder, config: &EngineConfig) -> Engine<'m> {
    // 384 bytes a token: a pool of 1000 blocks.
    let config = EngineConfig { max_cache_bytes: 384 * 16_000, ..config.clone() };
    Engine::new(decoder, config).unwrap()
}

fn greedy(max_new_tokens: usize) -> SamplingParams {
    SamplingParams { max_new_tokens, ..SamplingParams::default() }
}

fn request(prompt: Vec<i64>, params: SamplingParams) -> Request {
    Request { prompt, params, ..Request::default() }
}

fn run(session: &mut Session<'_>) -> Vec<Output> {
    let mut outputs = Vec::new();
    while !session.is_idle() {
        outputs.extend(session.step().unwrap());
    }
    outputs
}

/// Tokens of each choice of a request.
fn replies(outputs: &[Output], of: RequestId) -> BTreeMap<usize, Vec<i64>> {
    let mut replies: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    for output in outputs {
        if let Output::Token { request, choice, token, .. } = output
            && *request == of
        {
            replies.entry(*choice).or_default().push(*token);
        }
    }
    replies
}

fn cached_tokens(outputs: &[Output], of: RequestId) -> usize {
    let cached = outputs.iter().find_map(|output| match output {
        Output::Finished { request, cached_tokens, .. } if *request == of => Some(*cached_tokens),
        _ => None,
    });
    cached.unwrap()
}

/// Log-probabilities `[tokens, vocab]` by one pass over the whole sequence.
fn log_softmax(decoder: &Decoder, tokens: &[i64]) -> Tensor {
    let _no_grad = tch::no_grad_guard();
    let tokens = Tensor::from_slice(tokens).unsqueeze(0).to_device(test_device());
    let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
    let logits = decoder.logits(&hidden).unwrap().squeeze_dim(0);
    logits.log_softmax(-1, Kind::Float).to_device(Device::Cpu)
}

fn check_logprobs(found: &TokenLogprobs, expected: &Tensor, position: i64, top: usize) {
    let row: Vec<f32> = Vec::try_from(&expected.get(position)).unwrap();
    assert!((found.logprob - row[found.token as usize]).abs() < 1e-4, "{found:?}");
    assert_eq!(found.top.len(), top);
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|left, right| row[*right].total_cmp(&row[*left]));
    for (entry, token) in found.top.iter().zip(&order) {
        assert!((entry.1 - row[*token]).abs() < 1e-4, "{found:?}");
    }
    let rank = order.iter().position(|token| *token == found.token as usize).unwrap() + 1;
    assert!(found.rank.abs_diff(rank) <= 1);
    for (token, logprob) in &found.top {
        if *token == found.token {
            assert_eq!(logprob.to_bits(), found.logprob.to_bits());
        }
    }
}

#[test]
fn logprobs_are_the_models_own_of_prompt_and_reply() {
    let decoder = decoder();
    let engine = engine(&decoder, &EngineConfig { max_step_tokens: 13, ..EngineConfig::default() });
    let mut session = engine.session().unwrap();
    let prompt = tokens(3, 40);
    // Neither temperature nor bias has a part in them.
    let params = SamplingParams {
        temperature: 0.7,
        logprobs: Some(3),
        logit_bias: [(5, 2.0)].into(),
        repetition_penalty: 1.3,
        ..greedy(9)
    };
    for round in 0..2 {
        let submitted =
            Request { prompt_logprobs: Some(2), ..request(prompt.clone(), params.clone()) };
        let id = session.submit(submitted).unwrap();
        let outputs = run(&mut session);
        let mut sequence = prompt.clone();
        sequence.extend(&replies(&outputs, id)[&0]);
        let expected = log_softmax(&decoder, &sequence);
        let Output::Prompt { logprobs, .. } = &outputs[0] else { panic!("{:?}", outputs[0]) };
        assert_eq!((logprobs.len(), &logprobs[0]), (40, &None));
        for (position, found) in logprobs.iter().flatten().enumerate() {
            assert_eq!(found.token, prompt[position + 1]);
            check_logprobs(found, &expected, position as i64, 2);
        }
        let mut position = 39;
        for output in &outputs {
            if let Output::Token { logprobs, token, .. } = output {
                let logprobs = logprobs.as_ref().unwrap();
                assert_eq!(logprobs.token, *token);
                check_logprobs(logprobs, &expected, position, 3);
                position += 1;
            }
        }
        assert_eq!(position, 48);
        // The second time the prompt's blocks are there, and are not used.
        assert_eq!((cached_tokens(&outputs, id), session.stats().prefix_hits), (0, 0), "{round}");
    }
}

#[test]
fn a_prompt_that_begins_alike_is_read_from_there() {
    let decoder = decoder();
    let engine = engine(&decoder, &EngineConfig::default());
    let off =
        Engine::new(&decoder, EngineConfig { prefix_cache: false, ..EngineConfig::default() });
    let expected =
        off.unwrap().generate(&[tokens(3, 48), tokens(3, 60)], &greedy(20), &mut |_| {}).unwrap();
    let mut session = engine.session().unwrap();
    let mut ask = |prompt: Vec<i64>, salt: Option<&str>| {
        let salt = salt.map(str::to_owned);
        let id = session.submit(Request { salt, ..request(prompt, greedy(20)) }).unwrap();
        let outputs = run(&mut session);
        (replies(&outputs, id)[&0].clone(), cached_tokens(&outputs, id))
    };
    assert_eq!(ask(tokens(3, 48), None), (expected[0].tokens.clone(), 0));
    // At least one token is computed.
    assert_eq!(ask(tokens(3, 48), None), (expected[0].tokens.clone(), 32));
    assert_eq!(ask(tokens(3, 60), None), (expected[1].tokens.clone(), 48));
    // With another salt nothing is shared; with the same it is.
    assert_eq!(ask(tokens(3, 48), Some("a")), (expected[0].tokens.clone(), 0));
    assert_eq!(ask(tokens(3, 48), Some("a")), (expected[0].tokens.clone(), 32));
    // What was said is found as part of the next prompt.
    let mut conversation = tokens(3, 48);
    conversation.extend(&expected[0].tokens);
    conversation.push(1);
    assert_eq!(ask(conversation, None).1, 64);
    let stats = session.stats();
    assert_eq!(stats.prefix_hits, 32 + 48 + 32 + 64);
    assert_eq!(stats.prefix_queries, 48 * 4 + 60 + 69);
    assert_eq!((stats.free_blocks, stats.total_blocks), (1000, 1000));
    assert!(stats.cached_blocks > 8 && stats.used_slots == 0);
}

#[test]
fn several_replies_are_drawn_apart_and_each_ends_by_itself() {
    let decoder = decoder();
    let engine = engine(&decoder, &EngineConfig::default());
    let mut session = engine.session().unwrap();
    let params = SamplingParams { n: 3, temperature: 1.0, seed: 4, ..greedy(30) };
    let id = session.submit(request(tokens(3, 21), params.clone())).unwrap();
    let outputs = run(&mut session);
    let replies = replies(&outputs, id);
    assert_eq!(replies.len(), 3);
    assert!(replies[&0] != replies[&1] && replies[&1] != replies[&2]);
    // The prompt was read once.
    assert_eq!(session.stats().prompt_tokens, 21);
    // The same seed draws the same, and the first choice is that of one alone.
    let again = session.submit(request(tokens(3, 21), params.clone())).unwrap();
    assert_eq!(self::replies(&run(&mut session), again), replies);
    let one = SamplingParams { n: 1, ..params.clone() };
    let alone = session.submit(request(tokens(3, 21), one)).unwrap();
    assert_eq!(self::replies(&run(&mut session), alone)[&0], replies[&0]);
    // A token that one reply has early ends that one.
    let stop = replies[&1][2];
    let params = SamplingParams { stop_token_ids: vec![stop], ..params };
    let stopped = session.submit(request(tokens(3, 21), params)).unwrap();
    let outputs = run(&mut session);
    let ends: BTreeMap<usize, (FinishReason, Option<i64>)> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Finished { choice, reason, stop_token, .. } => {
                Some((*choice, (*reason, *stop_token)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(ends[&1], (FinishReason::Stop, Some(stop)));
    for (choice, reply) in self::replies(&outputs, stopped) {
        let whole = &replies[&choice];
        let end = whole.iter().position(|token| *token == stop).unwrap_or(whole.len());
        assert_eq!(reply, whole[..end]);
    }
}

#[test]
fn what_can_never_run_is_refused_and_what_is_cancelled_leaves_nothing() {
    let decoder = decoder();
    let config =
        EngineConfig { max_cache_bytes: 384 * 48, max_batch: 2, ..EngineConfig::default() };
    let engine = Engine::new(&decoder, config).unwrap();
    let mut session = engine.session().unwrap();
    let refused = |session: &mut Session<'_>, request| session.submit(request).unwrap_err();
    let error = refused(&mut session, request(tokens(1, 40), greedy(9)));
    assert!(matches!(error, Error::OverBudget { bytes: 18_816, .. }), "{error}");
    let error = refused(&mut session, request(vec![], greedy(9)));
    assert!(matches!(error, Error::Empty { index: 0 }), "{error}");
    let error = refused(&mut session, request(vec![1], SamplingParams { n: 3, ..greedy(9) }));
    assert_eq!((error.to_string().contains("max_batch"), error.exit()), (true, Exit::Usage));
    let bias = SamplingParams { logit_bias: [(VOCAB, 1.0)].into(), ..greedy(9) };
    let error = refused(&mut session, request(vec![1], bias));
    assert!(matches!(error, Error::TokenOutOfRange { token: VOCAB, .. }), "{error}");
    let adapted = Request { adapters: Some(0), ..request(vec![1], greedy(9)) };
    let error = refused(&mut session, adapted);
    assert!(error.to_string().contains("router"), "{error}");
    assert!(session.is_idle());

    let first = session.submit(request(tokens(1, 39), greedy(9))).unwrap();
    let second = session.submit(request(tokens(2, 39), greedy(9))).unwrap();
    assert!(session.step().unwrap().len() == 1, "the pool has room for one");
    let stats = session.stats();
    assert_eq!((stats.running, stats.waiting, stats.free_blocks, stats.used_slots), (1, 1, 0, 39));
    assert!(session.cancel(first) && !session.cancel(first));
    let outputs = run(&mut session);
    assert!(replies(&outputs, first).is_empty());
    assert_eq!(replies(&outputs, second)[&0].len(), 9);
    assert_eq!(session.stats().free_blocks, 3);
}

#[test]
fn the_more_urgent_request_is_begun_first() {
    let decoder = decoder();
    let engine = engine(&decoder, &EngineConfig { max_batch: 1, ..EngineConfig::default() });
    let mut session = engine.session().unwrap();
    let mut submit = |priority| {
        session.submit(Request { priority, ..request(tokens(1, 5), greedy(2)) }).unwrap()
    };
    let ids = [submit(1), submit(0), submit(-1), submit(0)];
    let ended: Vec<RequestId> = run(&mut session)
        .iter()
        .filter_map(|output| match output {
            Output::Finished { request, .. } => Some(*request),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [ids[2], ids[1], ids[3], ids[0]]);
}

/// Lets tokens follow that are one more than those before, and a stop token after three.
#[derive(Debug, Clone)]
struct Counting {
    next: i64,
    stop: i64,
}

impl Constraint for Counting {
    fn allowed(&mut self) -> Result<TokenMask> {
        let mut mask = TokenMask::none(VOCAB as usize);
        mask.allow(if self.next > 12 { self.stop } else { self.next });
        Ok(mask)
    }

    fn accept(&mut self, token: i64) -> Result<()> {
        assert_eq!(token, self.next);
        self.next += 1;
        Ok(())
    }
}

impl ConstraintFactory for Counting {
    fn start(&self) -> Result<Box<dyn Constraint>> {
        Ok(Box::new(self.clone()))
    }
}

#[test]
fn a_constraint_decides_what_may_follow() {
    let decoder = decoder();
    let engine = engine(&decoder, &EngineConfig::default());
    let mut session = engine.session().unwrap();
    let params = SamplingParams { n: 2, temperature: 1.0, stop_token_ids: vec![50], ..greedy(9) };
    let constraint: Box<dyn ConstraintFactory> = Box::new(Counting { next: 10, stop: 50 });
    let constrained = Request { constraint: Some(constraint), ..request(tokens(1, 5), params) };
    let id = session.submit(constrained).unwrap();
    let outputs = run(&mut session);
    let replies = replies(&outputs, id);
    assert_eq!(replies, BTreeMap::from([(0, vec![10, 11, 12]), (1, vec![10, 11, 12])]));
}

/// Keys with identities that change.
#[derive(Debug, Default)]
struct Adapters {
    identities: RefCell<BTreeMap<u64, &'static str>>,
    version: Cell<u64>,
}

impl Adapters {
    fn set(&self, key: u64, identity: Option<&'static str>) {
        let mut identities = self.identities.borrow_mut();
        match identity {
            Some(identity) => identities.insert(key, identity),
            None => identities.remove(&key),
        };
        self.version.set(self.version.get() + 1);
    }
}

impl RowRouter for Adapters {
    fn identity(&self, key: u64) -> Result<String> {
        let identity = self.identities.borrow().get(&key).copied();
        identity
            .map(str::to_owned)
            .ok_or_else(|| Error::router(None, Error::Empty { index: key as usize }))
    }

    fn version(&self) -> u64 {
        self.version.get()
    }

    fn route(&self, _: &[Option<u64>]) -> Result<()> {
        Ok(())
    }

    fn end(&self) {}
}

#[test]
fn adapters_that_change_do_not_pass_for_what_they_were() {
    let decoder = decoder();
    let adapters = Adapters::default();
    let config = EngineConfig { max_step_tokens: 16, ..EngineConfig::default() };
    let engine = engine(&decoder, &config).with_router(&adapters);
    let mut session = engine.session().unwrap();
    adapters.set(1, Some("a"));
    adapters.set(2, Some("a"));
    let adapted = |key| Request { adapters: key, ..request(tokens(3, 40), greedy(2)) };
    let cached = |session: &mut Session<'_>, key| {
        let id = session.submit(adapted(key)).unwrap();
        cached_tokens(&run(session), id)
    };
    // The first block is computed with what the key stands for, the others are not.
    let changed = session.submit(adapted(Some(1))).unwrap();
    assert!(session.step().unwrap().is_empty());
    adapters.set(1, Some("b"));
    assert_eq!(cached_tokens(&run(&mut session), changed), 0);
    assert_eq!(cached(&mut session, Some(1)), 0);
    assert_eq!(cached(&mut session, Some(1)), 32);
    // Keys of one identity share; the model as it is has one of its own.
    assert_eq!(cached(&mut session, Some(2)), 16);
    assert_eq!(cached(&mut session, Some(2)), 32);
    assert_eq!(cached(&mut session, None), 0);

    let gone = session.submit(adapted(Some(1))).unwrap();
    let others = [Some(2), None].map(|key| session.submit(adapted(key)).unwrap());
    let mut outputs = session.step().unwrap();
    adapters.set(1, None);
    assert!(session.submit(adapted(Some(1))).is_err());
    outputs.extend(run(&mut session));
    let failed: Vec<RequestId> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Failed { request, .. } => Some(*request),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [gone]);
    for other in others {
        assert_eq!(replies(&outputs, other)[&0].len(), 2);
    }
    assert_eq!(session.stats().free_blocks, 1000);
}

/// Bits of everything that is said of a request's tokens.
fn bits(outputs: &[Output], of: RequestId) -> Vec<Vec<(i64, u32)>> {
    let entry = |logprobs: &TokenLogprobs| -> Vec<(i64, u32)> {
        let own = (logprobs.token, logprobs.logprob.to_bits());
        let top = logprobs.top.iter().map(|(token, logprob)| (*token, logprob.to_bits()));
        std::iter::once(own).chain(top).collect()
    };
    outputs
        .iter()
        .flat_map(|output| match output {
            Output::Prompt { request, logprobs } if *request == of => {
                logprobs.iter().flatten().map(entry).collect::<Vec<_>>()
            }
            Output::Token { request, logprobs, .. } if *request == of => {
                vec![entry(logprobs.as_ref().unwrap())]
            }
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn a_deterministic_reply_is_the_same_bit_by_bit_whatever_runs_beside_it() {
    let decoder = decoder();
    let config = EngineConfig { deterministic: true, ..EngineConfig::default() };
    if test_device() != Device::Cpu {
        assert!(engine(&decoder, &config).session().is_err());
        return;
    }
    let params = SamplingParams { logprobs: Some(4), temperature: 0.8, seed: 2, ..greedy(40) };
    let observed =
        |prompt_logprobs| Request { prompt_logprobs, ..request(tokens(3, 37), params.clone()) };
    let alone = |prompt_logprobs| {
        let engine = engine(&decoder, &config);
        let mut session = engine.session().unwrap();
        let id = session.submit(observed(prompt_logprobs)).unwrap();
        bits(&run(&mut session), id)
    };
    let expected = alone(Some(2));
    assert_eq!(expected.len(), 36 + 40);
    assert_eq!(alone(None), expected[36..]);

    let mut rng = CounterRng::new(9);
    let (mut preemptions, mut hits) = (0, 0);
    for neighbours in 1..8 {
        for with_prompt in [true, false] {
            let config = EngineConfig {
                max_step_tokens: 7 + rng.below(50),
                // From 6 blocks on.
                max_cache_bytes: 384 * 16 * (6 + rng.below(8) as u64),
                ..config.clone()
            };
            let engine = Engine::new(&decoder, config).unwrap();
            let mut session = engine.session().unwrap();
            let (mut id, mut outputs) = (None, Vec::new());
            for number in 0..=neighbours {
                if number == neighbours / 2 {
                    let observed = observed(with_prompt.then_some(2));
                    id = Some(session.submit(Request { priority: 1, ..observed }).unwrap());
                }
                // Some begin as the one that is looked at does.
                let start = [3, 8][rng.below(2)];
                let length = 1 + rng.below(50);
                let params = SamplingParams { temperature: 1.0, ..greedy(1 + rng.below(30)) };
                session.submit(request(tokens(start, length), params)).unwrap();
                for _ in 0..rng.below(4) {
                    outputs.extend(session.step().unwrap());
                }
            }
            outputs.extend(run(&mut session));
            let found = bits(&outputs, id.unwrap());
            let expected = if with_prompt { &expected[..] } else { &expected[36..] };
            assert_eq!(found, expected, "{neighbours} neighbours");
            preemptions += session.stats().preemptions;
            hits += session.stats().prefix_hits;
        }
    }
    assert!(preemptions > 3 && hits > 30, "{preemptions} {hits}");
}
