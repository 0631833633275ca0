//! The router of a server's engine: keys of stacks that come and go.

use limbeck_core::test_device;
use limbeck_infer::{Engine, EngineConfig, Output, Request, RowRouter, SamplingParams, Session};
use limbeck_lora::Stack;
use limbeck_lora::tiers::LiveRouter;
use tch::Device;

use crate::fixture::{VOCAB, stack, stacks, tiered};

#[test]
fn a_stack_has_one_key_for_as_long_as_it_is_remembered() {
    let (_decoder, tiers) = tiered();
    let router = LiveRouter::new(tiers);
    let medical = router.key(&stack(&[("medical", 1.0)])).unwrap();
    let half = router.key(&stack(&[("medical", 0.5)])).unwrap();
    let both = router.key(&stack(&[("medical", 1.0), ("ada", 1.0)])).unwrap();
    assert_eq!(router.key(&stack(&[("medical", 1.0)])).unwrap(), medical);
    assert!(medical != half && half != both);
    // What is computed together has the same adapters, what is the same has the same gates too.
    assert_eq!(router.affinity(half), router.affinity(medical));
    assert_ne!(router.affinity(both), router.affinity(medical));
    let identity = |key| RowRouter::identity(&router, key);
    assert_ne!(identity(half).unwrap(), identity(medical).unwrap());
    let error = router.key(&stack(&[("tax", 1.0)])).unwrap_err();
    assert!(error.to_string().contains("adapter tax is not loaded"), "{error}");
    for number in 0..5000 {
        router.key(&stack(&[("legal", f64::from(number) / 5000.0)])).unwrap();
    }
    let error = identity(medical).unwrap_err();
    assert!(matches!(error, limbeck_infer::Error::Router { .. }), "{error}");
    assert!(router.route(&[Some(medical)]).is_err());
    assert_ne!(router.key(&stack(&[("medical", 1.0)])).unwrap(), medical);
}

/// Tokens of each request, and the bits of their log-probabilities.
fn run(session: &mut Session<'_>, count: usize) -> Vec<Vec<(i64, u32)>> {
    let mut got = vec![Vec::new(); count];
    while !session.is_idle() {
        for output in session.step().unwrap() {
            match output {
                Output::Token { request, token, logprobs, .. } => {
                    got[request.0 as usize].push((token, logprobs.unwrap().logprob.to_bits()));
                }
                Output::Failed { error, .. } => panic!("{error}"),
                Output::Prompt { .. } | Output::Finished { .. } => {}
            }
        }
    }
    got
}

#[test]
fn a_deterministic_reply_does_not_depend_on_the_adapters_beside_it() {
    if test_device() != Device::Cpu {
        return;
    }
    let (decoder, tiers) = tiered();
    let router = LiveRouter::new(tiers);
    let config = EngineConfig { deterministic: true, ..EngineConfig::default() };
    let engine = Engine::new(&decoder, config).unwrap().with_router(&router);
    let request = |row: usize, stack: &Stack| Request {
        prompt: (0..9 + 5 * row as i64).map(|slot| (row as i64 + slot * 17) % VOCAB).collect(),
        params: SamplingParams {
            max_new_tokens: 12 + row,
            logprobs: Some(0),
            ..SamplingParams::default()
        },
        adapters: stack.names().next().map(|_| router.key(stack).unwrap()),
        ..Request::default()
    };
    let stacks = stacks();
    let mut session = engine.session().unwrap();
    for (row, stack) in stacks.iter().enumerate() {
        session.submit(request(row, stack)).unwrap();
    }
    let together = run(&mut session, stacks.len());
    for (row, stack) in stacks.iter().enumerate() {
        let mut session = engine.session().unwrap();
        session.submit(request(row, stack)).unwrap();
        assert_eq!(run(&mut session, 1)[0], together[row], "{stack:?}");
    }
}
