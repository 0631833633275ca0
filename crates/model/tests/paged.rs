//! The paged forward pass against the contiguous one, for every family.

use std::path::Path;

use limbeck_core::seed::CounterRng;
use limbeck_core::test_device;
use limbeck_model::paged::BLOCK_SIZE;
use limbeck_model::{
    CacheDtype, Decoder, Input, KvCache, LoadOptions, PagedCache, PagedPass, PagedSpan,
};
use serde_json::json;
use tch::{Kind, Tensor};

const FAMILIES: [&str; 7] =
    ["llama2", "llama3", "mistral", "qwen2", "qwen2_untied", "qwen3", "gemma3"];

fn load(family: &str) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(family);
    Decoder::load(&folder, &LoadOptions::dense(test_device(), Kind::Float)).unwrap()
}

/// Hidden states `[tokens, hidden]` of one sequence in one contiguous pass.
fn contiguous(decoder: &Decoder, tokens: &[i64]) -> Tensor {
    let tokens = Tensor::from_slice(tokens).unsqueeze(0).to_device(test_device());
    decoder.forward(&Input::causal(&tokens), None, None).unwrap().squeeze_dim(0)
}

fn random_tokens(rng: &mut CounterRng, count: usize, vocab: i64) -> Vec<i64> {
    (0..count).map(|_| rng.below(vocab as usize) as i64).collect()
}

/// Feeds sequences into a pool in pieces of random size, several in a pass, with blocks in
/// random order, and gives each sequence's hidden states.
fn paged(
    decoder: &Decoder,
    sequences: &[Vec<i64>],
    cache: &mut PagedCache,
    rng: &mut CounterRng,
) -> Vec<Tensor> {
    let mut free: Vec<u32> = (0..cache.num_blocks() as u32).collect();
    rng.shuffle(&mut free);
    let tables: Vec<Vec<u32>> = sequences
        .iter()
        .map(|tokens| free.split_off(free.len() - tokens.len().div_ceil(BLOCK_SIZE)))
        .collect();
    let mut done = vec![0; sequences.len()];
    let mut pieces: Vec<Vec<Tensor>> = sequences.iter().map(|_| Vec::new()).collect();
    while done.iter().zip(sequences).any(|(done, tokens)| *done < tokens.len()) {
        let (mut tokens, mut spans, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for (index, sequence) in sequences.iter().enumerate() {
            let left = sequence.len() - done[index];
            // Half of the pieces are single tokens, as in decoding.
            let most = if rng.below(2) == 0 { 1 } else { 20 };
            let count = rng.below(most + 1).min(left);
            if count == 0 {
                continue;
            }
            let end = done[index] + count;
            spans.push(PagedSpan {
                query_start: tokens.len(),
                query_len: count,
                kv_len: end,
                blocks: &tables[index],
            });
            tokens.extend_from_slice(&sequence[done[index]..end]);
            done[index] = end;
            members.push(index);
        }
        if tokens.is_empty() {
            continue;
        }
        let hidden = decoder
            .forward_paged(&PagedPass { tokens: &tokens, spans: &spans, apart: false }, cache)
            .unwrap();
        for (span, &index) in spans.iter().zip(&members) {
            pieces[index].push(hidden.narrow(0, span.query_start as i64, span.query_len as i64));
        }
    }
    pieces.iter().map(|pieces| Tensor::cat(pieces, 0)).collect()
}

#[test]
fn paged_states_are_those_of_the_contiguous_pass() {
    let _no_grad = tch::no_grad_guard();
    let mut rng = CounterRng::new(7);
    for family in FAMILIES {
        let decoder = load(family);
        let vocab = decoder.config().vocab_size;
        let sequences: Vec<Vec<i64>> =
            [1, 5, 16, 17, 40, 61].map(|count| random_tokens(&mut rng, count, vocab)).into();
        let mut cache = PagedCache::new(&decoder, 20, CacheDtype::Compute).unwrap();
        let found = paged(&decoder, &sequences, &mut cache, &mut rng);
        for (found, tokens) in found.iter().zip(&sequences) {
            let expected = contiguous(&decoder, tokens);
            let scale = expected.abs().max().double_value(&[]).max(1.0);
            let error = (found - expected).abs().max().double_value(&[]);
            assert!(error < 1e-4 * scale, "{family}: {} tokens differ by {error}", tokens.len());
        }
    }
}

#[test]
fn several_spans_of_one_sequence_in_a_pass_are_one() {
    let _no_grad = tch::no_grad_guard();
    let decoder = load("gemma3");
    let tokens = random_tokens(&mut CounterRng::new(2), 24, decoder.config().vocab_size);
    let mut cache = PagedCache::new(&decoder, 3, CacheDtype::Compute).unwrap();
    let blocks = [2, 0];
    let spans: Vec<PagedSpan<'_>> = (0..24)
        .map(|at| PagedSpan { query_start: at, query_len: 1, kv_len: at + 1, blocks: &blocks })
        .collect();
    for apart in [false, true] {
        let pass = PagedPass { tokens: &tokens, spans: &spans, apart };
        let found = decoder.forward_paged(&pass, &mut cache).unwrap();
        assert!(found.allclose(&contiguous(&decoder, &tokens), 1e-3, 1e-4, false));
    }
}

#[test]
fn a_copied_block_serves_as_well() {
    let _no_grad = tch::no_grad_guard();
    let decoder = load("qwen3");
    let tokens = random_tokens(&mut CounterRng::new(3), 22, decoder.config().vocab_size);
    for dtype in [CacheDtype::Compute, CacheDtype::Int8] {
        let mut cache = PagedCache::new(&decoder, 4, dtype).unwrap();
        let run = |cache: &mut PagedCache, range: std::ops::Range<usize>, blocks: &[u32]| {
            let span =
                PagedSpan { query_start: 0, query_len: range.len(), kv_len: range.end, blocks };
            let pass = PagedPass { tokens: &tokens[range], spans: &[span], apart: false };
            decoder.forward_paged(&pass, cache).unwrap()
        };
        let _ = run(&mut cache, 0..20, &[1, 3]);
        cache.copy_block(3, 0, 4).unwrap();
        let expected = run(&mut cache, 20..22, &[1, 3]);
        assert_eq!(run(&mut cache, 20..22, &[1, 0]), expected);
        assert!(cache.copy_block(3, 4, 4).is_err());
    }
}

#[test]
fn eight_bits_are_those_of_the_contiguous_cache() {
    let _no_grad = tch::no_grad_guard();
    let config = json!({
        "model_type": "qwen2", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "hidden_act": "silu", "initializer_range": 0.2
    });
    let decoder = Decoder::init(&config, 5, test_device(), Kind::Float).unwrap();
    let tokens = random_tokens(&mut CounterRng::new(4), 40, 97);
    let mut rng = CounterRng::new(5);
    let mut cache = PagedCache::new(&decoder, 5, CacheDtype::Int8).unwrap();
    let found = paged(&decoder, std::slice::from_ref(&tokens), &mut cache, &mut rng);
    let mut cache = KvCache::with_dtype(&decoder, 1, 40, CacheDtype::Int8).unwrap();
    let tensor = Tensor::from_slice(&tokens).unsqueeze(0).to_device(test_device());
    let expected = decoder.forward(&Input::causal(&tensor), Some(&mut cache), None).unwrap();
    let error = (&found[0] - expected.squeeze_dim(0)).abs().max().double_value(&[]);
    assert!(error < 1e-3, "{error}");
    let error = (&found[0] - contiguous(&decoder, &tokens)).abs().max().double_value(&[]);
    assert!(error > 1e-4, "eight bits round: {error}");
}

#[test]
fn a_cache_of_another_decoder_is_refused() {
    let decoder = load("qwen2");
    assert!(PagedCache::new(&decoder, 0, CacheDtype::Compute).is_err());
    let mut cache = PagedCache::new(&decoder, 1, CacheDtype::Compute).unwrap();
    let span = PagedSpan { query_start: 0, query_len: 1, kv_len: 1, blocks: &[1] };
    let pass = PagedPass { tokens: &[1], spans: &[span], apart: false };
    let error = decoder.forward_paged(&pass, &mut cache).unwrap_err();
    assert!(error.to_string().contains("blocks below 1"), "{error}");
}
