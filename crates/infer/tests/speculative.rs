//! Replies with a draft are the replies without.

use std::path::Path;

use limbeck_core::Tokenizer;
use limbeck_infer::{Engine, EngineConfig, SamplingParams, Speculative};
use limbeck_model::{Decoder, LoadOptions};
use tch::{Device, Kind};

fn fixture(name: &str) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    Decoder::load(&folder, &LoadOptions::dense(Device::Cpu, Kind::Float)).unwrap()
}

fn prompts() -> Vec<Vec<i64>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/teacher");
    let tokenizer = Tokenizer::load(&folder).unwrap();
    [
        "Start with 61.\n#A add 38\n#B multiply by 4\nWhat is the result?",
        "Take 30.\n#A multiply by 4\nWhat number is it now?",
        "Start with 8.\n#A times 4\n#B times 5\n#C add 17\nWhat is it now?",
    ]
    .iter()
    .map(|question| {
        tokenizer
            .encode(&format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"))
            .unwrap()
    })
    .collect()
}

fn params(temperature: f64) -> SamplingParams {
    SamplingParams {
        max_new_tokens: 60,
        temperature,
        seed: 5,
        stop_token_ids: vec![2],
        ..SamplingParams::default()
    }
}

#[test]
fn a_draft_changes_no_reply() {
    let (teacher, student, prompts) = (fixture("teacher"), fixture("student"), prompts());
    let engine = Engine::new(&teacher, EngineConfig::default()).unwrap();
    let varied = SamplingParams {
        top_p: 0.9,
        top_k: 20,
        repetition_penalty: 1.1,
        presence_penalty: 0.2,
        min_tokens: 4,
        ..params(1.2)
    };
    for params in [params(0.0), params(1.0), varied] {
        let expected = engine.generate(&prompts, &params, &mut |_| {}).unwrap();
        for proposals in [1, 4] {
            let pair = Speculative::new(&engine, &student, proposals).unwrap();
            let mut done = 0;
            let (found, stats) =
                pair.generate(&prompts, &params, &mut |count| done += count).unwrap();
            assert_eq!(found, expected, "{params:?}");
            assert_eq!(done, prompts.len());
            assert!(stats.accepted <= stats.proposed, "{stats:?}");
            let longest = expected.iter().map(|reply| reply.tokens.len() as u64).max().unwrap();
            assert!(stats.passes <= longest + 1, "{stats:?}");
        }
    }
}

#[test]
fn the_model_itself_guesses_all() {
    let (teacher, prompts) = (fixture("teacher"), prompts());
    // Small passes and groups cut prompts and requests anywhere.
    let config = EngineConfig { max_step_tokens: 7, max_batch: 2, ..EngineConfig::default() };
    let engine = Engine::new(&teacher, config).unwrap();
    for temperature in [0.0, 1.0] {
        let params =
            SamplingParams { max_new_tokens: 41, stop_token_ids: vec![], ..params(temperature) };
        let expected = engine.generate(&prompts, &params, &mut |_| {}).unwrap();
        let pair = Speculative::new(&engine, &teacher, 4).unwrap();
        let (found, stats) = pair.generate(&prompts, &params, &mut |_| {}).unwrap();
        assert_eq!(found, expected);
        // 41 tokens are 8 times 5 and one more; two groups.
        assert_eq!((stats.passes, stats.proposed), (18, 3 * 9 * 4), "{stats:?}");
        assert_eq!(stats.accepted, 3 * (8 * 4 + 1), "{stats:?}");
    }
}

#[test]
fn drafts_that_do_not_fit_are_refused() {
    let (teacher, student) = (fixture("teacher"), fixture("student"));
    let engine = Engine::new(&teacher, EngineConfig::default()).unwrap();
    let error = Speculative::new(&engine, &student, 0).unwrap_err().to_string();
    assert!(error.contains("draft_tokens"), "{error}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/llama3");
    let other = Decoder::load(&folder, &LoadOptions::dense(Device::Cpu, Kind::Float)).unwrap();
    let error = Speculative::new(&engine, &other, 3).unwrap_err().to_string();
    assert!(error.contains("640"), "{error}");
    let config = EngineConfig { deterministic: true, ..EngineConfig::default() };
    let engine = Engine::new(&teacher, config).unwrap();
    let error = Speculative::new(&engine, &student, 3).unwrap_err().to_string();
    assert!(error.contains("deterministic"), "{error}");
}
