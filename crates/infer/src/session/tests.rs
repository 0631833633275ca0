//! Random requests on a tiny pool: what comes out is what each request alone gives, and the
//! books are right after every step.

use limbeck_core::seed::CounterRng;
use limbeck_core::test_device;
use limbeck_model::CacheDtype;
use serde_json::json;
use tch::Kind;

use super::*;
use crate::engine::FinishReason;
use crate::sampling::SamplingParams;

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

/// What a request has got.
#[derive(Debug, Default, Clone, PartialEq)]
struct Got {
    prompt: Option<Vec<i64>>,
    tokens: BTreeMap<usize, Vec<i64>>,
    finished: BTreeMap<usize, (FinishReason, Option<i64>)>,
}

fn collect(outputs: Vec<Output>, got: &mut HashMap<RequestId, Got>) {
    for output in outputs {
        match output {
            Output::Prompt { request, logprobs } => {
                let got = got.entry(request).or_default();
                assert!(got.prompt.is_none() && got.tokens.is_empty() && logprobs[0].is_none());
                let ids = logprobs.iter().flatten().map(|logprobs| logprobs.token).collect();
                got.prompt = Some(ids);
            }
            Output::Token { request, choice, token, logprobs } => {
                let got = got.entry(request).or_default();
                assert!(logprobs.is_none() && !got.finished.contains_key(&choice));
                got.tokens.entry(choice).or_default().push(token);
            }
            Output::Finished { request, choice, reason, stop_token, .. } => {
                let finished = &mut got.entry(request).or_default().finished;
                assert_eq!(finished.insert(choice, (reason, stop_token)), None);
            }
            Output::Failed { error, .. } => panic!("{error}"),
        }
    }
}

/// The draw of a request, twice the same.
fn request(rng: &mut CounterRng) -> Request {
    let start = [3, 11, 40][rng.below(3)];
    let length = 1 + rng.below(50) as i64;
    let mut prompt: Vec<i64> = (0..length).map(|slot| (start + slot * 17) % 97).collect();
    if rng.below(3) == 0 {
        prompt.push(rng.below(97) as i64);
    }
    let temperature = [0.0, 0.8][rng.below(2)];
    let params = SamplingParams {
        max_new_tokens: 1 + rng.below(40),
        temperature,
        seed: rng.next_u64(),
        stop_token_ids: vec![11, 60],
        n: 1 + rng.below(3),
        min_tokens: 0,
        ..SamplingParams::default()
    };
    Request {
        prompt,
        params,
        priority: rng.below(3) as i32,
        prompt_logprobs: (rng.below(4) == 0).then_some(0),
        salt: (rng.below(4) == 0).then(|| "salt".to_owned()),
        ..Request::default()
    }
}

fn copy(request: &Request) -> Request {
    Request {
        prompt: request.prompt.clone(),
        params: request.params.clone(),
        salt: request.salt.clone(),
        constraint: None,
        ..*request
    }
}

#[test]
fn whatever_happens_beside_it_a_request_gets_what_it_gets_alone() {
    for (sliding, cache_dtype) in
        [(false, CacheDtype::Compute), (true, CacheDtype::Compute), (false, CacheDtype::Int8)]
    {
        let decoder = decoder(sliding);
        let config = EngineConfig {
            max_batch: 5,
            max_step_tokens: 24,
            cache_dtype,
            ..EngineConfig::default()
        };
        let engine = Engine::new(&decoder, config).unwrap();
        let mut rng = CounterRng::new(17);
        let mut session = Session::new(&engine, 9).unwrap();
        let mut got: HashMap<RequestId, Got> = HashMap::new();
        let mut submitted: Vec<(RequestId, Request)> = Vec::new();
        let mut cancelled = Vec::new();
        let mut stopped: Vec<(RequestId, usize)> = Vec::new();
        for _ in 0..400 {
            match rng.below(8) {
                0 if submitted.len() < 40 => {
                    let request = request(&mut rng);
                    submitted.push((session.submit(copy(&request)).unwrap(), request));
                }
                1 if rng.below(4) == 0 && !submitted.is_empty() => {
                    let id = submitted[rng.below(submitted.len())].0;
                    if session.cancel(id) {
                        cancelled.push(id);
                        assert!(!session.cancel(id));
                    }
                }
                2 if rng.below(4) == 0 && !submitted.is_empty() => {
                    let (id, request) = &submitted[rng.below(submitted.len())];
                    let choice = rng.below(request.params.n);
                    if session.cancel_choice(*id, choice) {
                        assert!(!session.cancel_choice(*id, choice));
                        stopped.push((*id, choice));
                    }
                }
                _ => collect(session.step().unwrap(), &mut got),
            }
            session.scheduler.assert_books();
        }
        while !session.is_idle() {
            collect(session.step().unwrap(), &mut got);
            session.scheduler.assert_books();
        }
        let stats = session.stats();
        assert_eq!((stats.free_blocks, stats.running, stats.waiting), (9, 0, 0), "{stats:?}");
        assert_eq!(stats.used_slots, 0);
        assert!(stats.preemptions > 5 && stats.prefix_hits > 100, "{stats:?}");
        assert!(submitted.len() > 20 && !cancelled.is_empty() && !stopped.is_empty());

        let mut same = 0;
        for (id, request) in &submitted {
            if cancelled.contains(id) {
                continue;
            }
            let mut alone = Session::new(&engine, 40).unwrap();
            let single = alone.submit(copy(request)).unwrap();
            let mut expected = HashMap::new();
            while !alone.is_idle() {
                collect(alone.step().unwrap(), &mut expected);
            }
            // What a stopped choice had is how it begins alone, and the others are whole.
            let (mut found, mut expected) = (got[id].clone(), expected[&single].clone());
            for (_, choice) in stopped.iter().filter(|(of, _)| of == id) {
                assert_eq!(found.finished.remove(choice), None);
                let had = found.tokens.remove(choice).unwrap();
                let whole = expected.tokens.remove(choice).unwrap();
                if cache_dtype == CacheDtype::Compute {
                    assert!(whole.starts_with(&had), "{had:?} {whole:?}");
                }
                expected.finished.remove(choice);
            }
            assert_eq!(found.prompt, expected.prompt);
            if cache_dtype == CacheDtype::Compute {
                assert_eq!(found, expected, "{request:?}");
            }
            same += usize::from(found == expected);
        }
        // Codes of 8 bits turn rounding of the last bit into steps.
        assert!(same * 10 >= (submitted.len() - cancelled.len()) * 9);
    }
}

#[test]
fn a_failed_request_leaves_the_others_alone() {
    #[derive(Debug)]
    struct Nothing;
    impl crate::Constraint for Nothing {
        fn allowed(&mut self) -> Result<crate::TokenMask> {
            Ok(crate::TokenMask::none(97))
        }
        fn accept(&mut self, _: i64) -> Result<()> {
            Ok(())
        }
    }
    impl crate::ConstraintFactory for Nothing {
        fn start(&self) -> Result<Box<dyn crate::Constraint>> {
            Ok(Box::new(Self))
        }
    }
    let decoder = decoder(false);
    let engine = Engine::new(&decoder, EngineConfig::default()).unwrap();
    let mut session = Session::new(&engine, 20).unwrap();
    let params = SamplingParams { max_new_tokens: 6, n: 2, ..SamplingParams::default() };
    let plain = |prompt: &[i64]| Request {
        prompt: prompt.to_vec(),
        params: params.clone(),
        ..Request::default()
    };
    let first = session.submit(plain(&[1, 2, 3])).unwrap();
    let constrained = Request { constraint: Some(Box::new(Nothing)), ..plain(&[1, 2, 3, 4]) };
    let failing = session.submit(constrained).unwrap();
    let last = session.submit(plain(&[5])).unwrap();
    let mut failed = Vec::new();
    let mut got = HashMap::new();
    while !session.is_idle() {
        let (bad, good): (Vec<Output>, Vec<Output>) = session
            .step()
            .unwrap()
            .into_iter()
            .partition(|output| matches!(output, Output::Failed { .. }));
        failed.extend(bad);
        collect(good, &mut got);
        session.scheduler.assert_books();
    }
    let [Output::Failed { request, error }] = failed.as_slice() else { panic!("{failed:?}") };
    assert_eq!((*request, error.request()), (failing, Some(1)));
    assert!(matches!(error, Error::NothingAllowed { position: 4, .. }), "{error}");
    assert_eq!(got.len(), 2);
    for id in [first, last] {
        let lengths: Vec<usize> = got[&id].tokens.values().map(Vec::len).collect();
        assert_eq!(lengths, [6, 6]);
    }
    assert_eq!(session.stats().free_blocks, 20);
}
