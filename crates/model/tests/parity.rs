//! The seven families against transformers' own values (`fixtures/parity`, written by
//! `scripts/make_parity_fixtures.py`): fp32 within 1e-4.

use std::path::{Path, PathBuf};

use limbeck_core::{TensorFile, test_device};
use limbeck_model::{Attention, Decoder, Input, KvCache, LoadOptions, Taps};
use tch::{Kind, Tensor};

const TOLERANCE: f64 = 1e-4;

const FAMILIES: [&str; 7] =
    ["llama2", "llama3", "mistral", "qwen2", "qwen2_untied", "qwen3", "gemma3"];

struct Fixture {
    family: &'static str,
    model: Decoder,
    expected: TensorFile,
}

impl Fixture {
    fn load(family: &'static str) -> Self {
        let folder = folder(family);
        Self {
            family,
            model: Decoder::load(&folder, &options()).unwrap(),
            expected: TensorFile::open(&folder.join("expected.safetensors")).unwrap(),
        }
    }

    fn tensor(&self, name: &str) -> Tensor {
        self.expected.tensor(name).unwrap().to_device(test_device())
    }

    fn check(&self, what: &str, found: &Tensor, expected: &Tensor) {
        assert_eq!(found.size(), expected.size(), "{}: {what}", self.family);
        let error = (found - expected).abs().max().double_value(&[]);
        assert!(error < TOLERANCE, "{}: {what} differs by {error}", self.family);
    }
}

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(family)
}

fn options() -> LoadOptions<'static> {
    LoadOptions::dense(test_device(), Kind::Float)
}

fn logits(model: &Decoder, input: &Input<'_>, cache: Option<&mut KvCache>) -> Tensor {
    let hidden = model.forward(input, cache, None).unwrap();
    model.logits(&hidden).unwrap()
}

#[test]
fn one_sequence() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let tokens = fixture.tensor("tokens");
        let logits = logits(&fixture.model, &Input::causal(&tokens), None);
        fixture.check("logits", &logits.squeeze_dim(0), &fixture.tensor("logits"));
    }
}

#[test]
fn newer_spelling_of_the_configuration() {
    for family in ["llama2", "llama3", "qwen2", "gemma3"] {
        let fixture = Fixture::load(family);
        let text = std::fs::read(folder(family).join("config.transformers5.json")).unwrap();
        let newer = serde_json::from_slice(&text).unwrap();
        let newer = limbeck_model::DecoderConfig::from_hf(&newer).unwrap();
        assert_eq!(&newer, fixture.model.config(), "{family}");
    }
}

#[test]
fn left_padded_batch() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let tokens = fixture.tensor("batch_tokens");
        let mask = fixture.tensor("batch_mask").to_kind(Kind::Bool);
        let positions = fixture.tensor("batch_positions");
        let expected = fixture.tensor("batch_logits");
        let input = Input {
            tokens: &tokens,
            positions: Some(&positions),
            attention: Attention::KeyMask(&mask),
        };
        let whole = logits(&fixture.model, &input, None) * mask.unsqueeze(-1);
        fixture.check("padded batch", &whole, &expected);

        // Four slots at once, then one at a time, from a cache that must grow.
        let _guard = tch::no_grad_guard();
        let (rows, length) = tokens.size2().unwrap();
        let mut cache = KvCache::new(&fixture.model, rows, 2).unwrap();
        let mut parts = Vec::new();
        let mut start = 0;
        while start < length {
            let count = if start == 0 { 4 } else { 1 };
            let input = Input {
                tokens: &tokens.narrow(1, start, count),
                positions: Some(&positions.narrow(1, start, count)),
                attention: Attention::KeyMask(&mask.narrow(1, 0, start + count)),
            };
            parts.push(logits(&fixture.model, &input, Some(&mut cache)));
            start += count;
        }
        let stepped = Tensor::cat(&parts, 1) * mask.unsqueeze(-1);
        fixture.check("padded batch through the cache", &stepped, &expected);
    }
}

#[test]
fn token_by_token() {
    let _guard = tch::no_grad_guard();
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let tokens = fixture.tensor("tokens");
        let (_, length) = tokens.size2().unwrap();
        for first in [1, 9] {
            let mut cache = KvCache::new(&fixture.model, 1, 4).unwrap();
            let mut parts = Vec::new();
            while cache.len() < length {
                let count = if cache.is_empty() { first } else { 1 };
                let next = tokens.narrow(1, cache.len(), count);
                parts.push(logits(&fixture.model, &Input::causal(&next), Some(&mut cache)));
            }
            let stepped = Tensor::cat(&parts, 1).squeeze_dim(0);
            fixture.check("token by token", &stepped, &fixture.tensor("logits"));
        }
    }
}

#[test]
fn chunks_through_the_cache() {
    let _guard = tch::no_grad_guard();
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let tokens = fixture.tensor("tokens");
        let mut cache = KvCache::new(&fixture.model, 1, 24).unwrap();
        let parts: Vec<Tensor> = [(0, 5), (5, 11), (16, 8)]
            .into_iter()
            .map(|(start, count)| {
                let chunk = tokens.narrow(1, start, count);
                logits(&fixture.model, &Input::causal(&chunk), Some(&mut cache))
            })
            .collect();
        let chunked = Tensor::cat(&parts, 1).squeeze_dim(0);
        fixture.check("chunks", &chunked, &fixture.tensor("logits"));
    }
}

#[test]
fn taps() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let tokens = fixture.tensor("tokens");
        let layers = fixture.model.num_layers();
        let mut taps = Taps::all_hidden(layers);
        taps.want_attention = vec![0, layers - 1];
        let input = Input::causal(&tokens);
        let hidden = fixture.model.forward(&input, None, Some(&mut taps)).unwrap();
        fixture.check("final hidden", &hidden.squeeze_dim(0), &fixture.tensor("final_hidden"));
        let states: Vec<&Tensor> = taps.hidden.values().collect();
        assert_eq!(states.len(), layers + 1);
        fixture.check("hidden states", &Tensor::cat(&states, 0), &fixture.tensor("hidden_states"));
        let first = taps.attention[&0].squeeze_dim(0);
        fixture.check("first attention", &first, &fixture.tensor("attention.first"));
        let last = taps.attention[&(layers - 1)].squeeze_dim(0);
        fixture.check("last attention", &last, &fixture.tensor("attention.last"));
    }
}

#[test]
fn packed_rows_equal_separate_ones() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let tokens = fixture.tensor("tokens");
        let lengths = [9, 4, 11];
        let mut segments = Vec::new();
        let mut alone = Vec::new();
        let mut start = 0;
        for (id, length) in lengths.into_iter().enumerate() {
            segments.extend(std::iter::repeat_n(id as i64, length as usize));
            let part = tokens.narrow(1, start, length);
            alone.push(logits(&fixture.model, &Input::causal(&part), None));
            start += length;
        }
        let segments = Tensor::from_slice(&segments).unsqueeze(0).to_device(test_device());
        let input =
            Input { tokens: &tokens, positions: None, attention: Attention::Segments(&segments) };
        let packed = logits(&fixture.model, &input, None);
        fixture.check("packed", &packed, &Tensor::cat(&alone, 1));
    }
}

#[test]
fn block_by_block_equals_the_whole() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let tokens = fixture.tensor("tokens");
        let input = Input::causal(&tokens);
        let mut hidden = fixture.model.embed(&input).unwrap();
        for index in 0..fixture.model.num_layers() {
            hidden = fixture.model.layer_forward(index, &hidden, &input).unwrap();
            let expected = fixture.tensor("hidden_states").narrow(0, index as i64 + 1, 1);
            fixture.check("block", &hidden, &expected);
        }
    }
}

#[test]
fn saved_model_is_the_same_to_the_bit() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let target = tempfile::tempdir().unwrap();
        fixture.model.save(target.path(), Kind::Float).unwrap();
        let again = Decoder::load(target.path(), &options()).unwrap();
        assert_eq!(again.config(), fixture.model.config());
        let (before, after) = (fixture.model.named_parameters(), again.named_parameters());
        assert_eq!(before.len(), after.len());
        for ((name, left), (other, right)) in before.iter().zip(&after) {
            assert_eq!(name, other);
            assert!(left.equal(right), "{family}: {name}");
        }
        let counted: usize = before.iter().map(|(_, tensor)| tensor.numel()).sum();
        assert_eq!(fixture.model.num_parameters(), counted as i64, "{family}");
    }
}
