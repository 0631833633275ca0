//! The decoder: embedding, blocks, final norm and head.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::attention::{AttentionContext, KeyValues};
use crate::block::{self, Block};
use crate::cache::KvCache;
use crate::config::DecoderConfig;
use crate::embedding::{Embedding, TiedHead};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::linear::{Linear, Vacant};
use crate::mask::{self, Mask, Span};
use crate::norm::RmsNorm;
use crate::rope::{Rope, Rotation};
use crate::taps::Taps;

const EMBEDDING: &str = "model.embed_tokens";
const FINAL_NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head";

/// A decoder-only language model of any supported family.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) hf_config: Value,
    pub(crate) device: Device,
    pub(crate) compute_dtype: Kind,
    pub(crate) embed_tokens: Box<dyn Embedding>,
    pub(crate) layers: Vec<Block>,
    pub(crate) final_norm: RmsNorm,
    /// `None` when the head is the embedding and nothing has been put around it.
    pub(crate) lm_head: Option<Box<dyn Linear>>,
    pub(crate) ropes: Vec<Rope>,
}

/// Masks by window and rotations by rope index: computed once a pass, shared by layers.
pub(crate) struct Shared {
    masks: BTreeMap<Option<i64>, Mask>,
    rotations: BTreeMap<usize, Rotation>,
}

impl Decoder {
    /// The descriptor.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The `config.json` that the model came from or will be saved with.
    pub fn hf_config(&self) -> &Value {
        &self.hf_config
    }

    /// Changes what [`Self::save`] writes as `config.json`; the model itself stays.
    pub fn hf_config_mut(&mut self) -> &mut Value {
        &mut self.hf_config
    }

    /// Device of the parameters.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Dtype of the activations.
    pub fn compute_dtype(&self) -> Kind {
        self.compute_dtype
    }

    /// Changes the dtype of the activations; parameters keep theirs and are cast.
    pub fn set_compute_dtype(&mut self, compute_dtype: Kind) {
        self.compute_dtype = compute_dtype;
    }

    /// Runs the model up to the final norm.
    ///
    /// With a cache, the new slots are appended to it; call it without gradients then.
    ///
    /// # Shapes
    /// Tokens `[batch, seq]` → `[batch, seq, hidden]` in the compute dtype.
    pub fn forward(
        &self,
        input: &Input<'_>,
        mut cache: Option<&mut KvCache>,
        mut taps: Option<&mut Taps>,
    ) -> Result<Tensor> {
        let (batch, seq) = input.tokens.size2()?;
        if let Some(taps) = taps.as_deref_mut() {
            taps.start(self.layers.len())?;
        }
        if let Some(cache) = cache.as_deref_mut() {
            if cache.batch() != batch {
                return Err(Error::shape(
                    "key-value cache",
                    format!("{batch} rows"),
                    cache.batch().to_string(),
                ));
            }
            cache.reserve(seq)?;
        }
        let start = cache.as_deref().map_or(0, KvCache::len);
        let mut hidden = self.embed(input)?;
        if let Some(taps) = taps.as_deref_mut() {
            taps.offer_hidden(0, &hidden);
        }
        let shared = self.shared(input, start, 0..self.layers.len())?;
        for (index, layer) in self.layers.iter().enumerate() {
            let (mut probabilities, mut projections) = (None, None);
            let wanted = |of: fn(&Taps) -> &Vec<usize>| {
                taps.as_deref().is_some_and(|taps| of(taps).contains(&index))
            };
            let mask = self.mask(&shared, index)?;
            let context = AttentionContext {
                rotation: self.rotation(&shared, index)?,
                keys: match cache.as_deref_mut() {
                    Some(cache) => KeyValues::Cached { mask, layer: index, cache },
                    None => KeyValues::Pass { mask },
                },
                probabilities: wanted(|taps| &taps.want_attention).then_some(&mut probabilities),
                projections: wanted(|taps| &taps.want_projections).then_some(&mut projections),
            };
            hidden = layer.forward(&hidden, context)?;
            if let Some(taps) = taps.as_deref_mut() {
                taps.offer_hidden(index + 1, &hidden);
                if let Some(probabilities) = probabilities {
                    taps.attention.insert(index, probabilities);
                }
                if let Some(projections) = projections {
                    taps.projections.insert(index, projections);
                }
            }
        }
        if let Some(cache) = cache {
            cache.advance(seq);
        }
        self.final_norm.forward(&hidden)
    }

    /// The language-model head on final-norm hidden states.
    ///
    /// # Shapes
    /// `[.., hidden]` → `[.., vocab]` in the input's dtype.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        if let Some(head) = &self.lm_head {
            return head.forward(hidden);
        }
        self.embed_tokens.project(hidden)
    }

    /// The head's matrix `[vocab, hidden]`: the embedding itself when tied.
    pub fn head_weight(&self) -> Result<Tensor> {
        match &self.lm_head {
            Some(head) => head.dense_weight(),
            None => self.embed_tokens.dense_weight(),
        }
    }

    /// The head's matrix where it is held as one in this dtype.
    pub fn held_head_weight(&self, kind: Kind) -> Option<Tensor> {
        let weight = match &self.lm_head {
            Some(head) => head.weight(),
            None => self.embed_tokens.weight(),
        };
        weight.filter(|weight| weight.kind() == kind).map(Tensor::shallow_clone)
    }

    /// Rows of the head's matrix in `kind`, `[length, hidden]`.
    ///
    /// # Errors
    /// Those of the head.
    pub fn head_rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        match &self.lm_head {
            Some(head) => head.rows(start, length, kind),
            None => self.embed_tokens.rows(start, length, kind),
        }
    }

    /// Name of the head's projection, if it has a matrix of its own.
    pub fn head_name(&self) -> Option<&'static str> {
        (!self.config.tie_word_embeddings).then_some(HEAD)
    }

    /// Name of the token embedding.
    pub fn embedding_name(&self) -> &'static str {
        EMBEDDING
    }

    /// The token embedding.
    pub fn embedding(&self) -> &dyn Embedding {
        self.embed_tokens.as_ref()
    }

    /// Replaces the token embedding by what `replace` makes of it. A tied head that nothing
    /// was put around goes with it; one that is wrapped keeps what it was put around.
    ///
    /// # Errors
    /// The error of `replace`; the embedding is as it was then.
    pub fn map_embedding(
        &mut self,
        replace: &mut dyn FnMut(Box<dyn Embedding>) -> Result<Box<dyn Embedding>>,
    ) -> Result<()> {
        self.embed_tokens = replace(self.embed_tokens.share())?;
        Ok(())
    }

    /// Puts in a head with a matrix of its own; a tied model is one no more, and its
    /// `config.json` will say so.
    ///
    /// # Errors
    /// A head of another shape.
    pub fn set_head(&mut self, head: Box<dyn Linear>) -> Result<()> {
        let expected = (self.config.vocab_size, self.config.hidden_size);
        let found = (head.out_features(), head.in_features());
        if found != expected {
            return Err(Error::shape("lm_head", format!("{expected:?}"), format!("{found:?}")));
        }
        self.lm_head = Some(head);
        self.config.tie_word_embeddings = false;
        if let Some(object) = self.hf_config.as_object_mut() {
            object.insert("tie_word_embeddings".to_owned(), false.into());
        }
        Ok(())
    }

    /// Number of blocks.
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// Embeds the tokens: the input of block 0.
    ///
    /// # Shapes
    /// `[batch, seq]` → `[batch, seq, hidden]` in the compute dtype.
    ///
    /// # Errors
    /// A token id outside the vocabulary, named.
    pub fn embed(&self, input: &Input<'_>) -> Result<Tensor> {
        input.tokens.size2()?;
        if input.tokens.numel() == 0 {
            return Err(Error::shape(
                "embedding",
                "at least one token",
                format!("{:?}", input.tokens.size()),
            ));
        }
        let vocab_size = self.config.vocab_size;
        for extreme in [input.tokens.f_min()?, input.tokens.f_max()?] {
            let token = extreme.f_int64_value(&[])?;
            if !(0..vocab_size).contains(&token) {
                return Err(Error::TokenOutOfRange { token, vocab_size });
            }
        }
        self.embed_known(input.tokens)
    }

    /// As [`Self::embed`], of ids that have been checked.
    pub(crate) fn embed_known(&self, tokens: &Tensor) -> Result<Tensor> {
        let embedded = self.embed_tokens.forward(tokens, self.compute_dtype)?;
        match self.config.embedding_scale {
            None => Ok(embedded),
            Some(scale) => {
                let rounded = Tensor::f_from_slice(&[scale])?
                    .f_to_kind(self.compute_dtype)?
                    .f_double_value(&[0])?;
                Ok(embedded.f_mul_scalar(rounded)?)
            }
        }
    }

    /// The norm between the last block and the head.
    ///
    /// # Shapes
    /// `[batch, seq, hidden]` → the same.
    pub fn final_norm(&self, hidden: &Tensor) -> Result<Tensor> {
        self.final_norm.forward(hidden)
    }

    /// Runs one block on `hidden`, without a cache: for quantisation, block by block.
    ///
    /// # Shapes
    /// `[batch, seq, hidden]` → the same; `input` gives positions and attention.
    pub fn layer_forward(
        &self,
        index: usize,
        hidden: &Tensor,
        input: &Input<'_>,
    ) -> Result<Tensor> {
        self.layer_forward_tapped(index, hidden, input, None)
    }

    /// As [`Self::layer_forward`]; `probabilities` is filled with the block's attention,
    /// `[batch, heads, queries, keys]`, when given.
    pub fn layer_forward_tapped(
        &self,
        index: usize,
        hidden: &Tensor,
        input: &Input<'_>,
        probabilities: Option<&mut Option<Tensor>>,
    ) -> Result<Tensor> {
        let Some(layer) = self.layers.get(index) else {
            return Err(Error::shape(
                "layer",
                format!("an index below {}", self.layers.len()),
                index.to_string(),
            ));
        };
        let shared = self.shared(input, 0, index..index + 1)?;
        let context = AttentionContext {
            rotation: self.rotation(&shared, index)?,
            keys: KeyValues::Pass { mask: self.mask(&shared, index)? },
            probabilities,
            projections: None,
        };
        layer.forward(hidden, context)
    }

    pub(crate) fn shared(
        &self,
        input: &Input<'_>,
        start: i64,
        layers: std::ops::Range<usize>,
    ) -> Result<Shared> {
        let (batch, seq) = input.tokens.size2()?;
        if let Some(positions) = input.positions
            && positions.size() != [batch, seq]
        {
            return Err(Error::shape(
                "positions",
                format!("[{batch}, {seq}]"),
                format!("{:?}", positions.size()),
            ));
        }
        let span = Span { batch, start, seq };
        let options = (self.compute_dtype, self.device);
        let mut shared = Shared { masks: BTreeMap::new(), rotations: BTreeMap::new() };
        for layer in &self.config.layers[layers] {
            let window = layer.sliding_window;
            if let Entry::Vacant(slot) = shared.masks.entry(window) {
                slot.insert(mask::build(&input.attention, window, span, options)?);
            }
            if let Entry::Vacant(slot) = shared.rotations.entry(layer.rope) {
                let rope = &self.ropes[layer.rope];
                slot.insert(rope.rotation(input.positions, start, seq, self.compute_dtype)?);
            }
        }
        Ok(shared)
    }

    pub(crate) fn rotation<'a>(&self, shared: &'a Shared, index: usize) -> Result<&'a Rotation> {
        shared
            .rotations
            .get(&self.config.layers[index].rope)
            .ok_or_else(|| Error::shape("layer", "a prepared rotation", index.to_string()))
    }

    pub(crate) fn mask<'a>(&self, shared: &'a Shared, index: usize) -> Result<&'a Mask> {
        shared
            .masks
            .get(&self.config.layers[index].sliding_window)
            .ok_or_else(|| Error::shape("layer", "a prepared mask", index.to_string()))
    }

    /// Every tensor under its checkpoint key, as shallow clones; a tied head is not
    /// listed.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let mut parameters: Vec<(String, Tensor)> = Vec::new();
        for (suffix, tensor) in self.embed_tokens.tensors() {
            parameters.push((format!("{EMBEDDING}.{suffix}"), tensor));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let prefix = format!("model.layers.{index}");
            for name in block::LINEARS {
                if let Some(linear) = layer.linear(name) {
                    for (suffix, tensor) in linear.tensors() {
                        parameters.push((format!("{prefix}.{name}.{suffix}"), tensor));
                    }
                }
            }
            for (name, norm) in layer.norms() {
                parameters.push((format!("{prefix}.{name}.weight"), norm.weight().shallow_clone()));
            }
        }
        parameters.push((FINAL_NORM.to_owned(), self.final_norm.weight().shallow_clone()));
        if let Some(head) = &self.lm_head {
            for (suffix, tensor) in head.tensors() {
                parameters.push((format!("{HEAD}.{suffix}"), tensor));
            }
        }
        parameters
    }

    /// Weights of all norms under their checkpoint keys, as shallow clones.
    pub fn norm_weights(&self) -> Vec<(String, Tensor)> {
        let blocks = self.layers.iter().enumerate().flat_map(|(index, layer)| {
            layer.norms().into_iter().map(move |(name, norm)| {
                let key = format!("model.layers.{index}.{name}.weight");
                (key, norm.weight().shallow_clone())
            })
        });
        let last = (FINAL_NORM.to_owned(), self.final_norm.weight().shallow_clone());
        blocks.chain([last]).collect()
    }

    /// Weights that the model has, however they are stored: a packed layer counts as the
    /// matrix it stands for, a tied head is counted once, adapters are not counted.
    pub fn num_parameters(&self) -> i64 {
        let linear = |linear: &dyn Linear| {
            let bias = linear.bias().map_or(0, |bias| bias.numel() as i64);
            linear.in_features() * linear.out_features() + bias
        };
        let blocks: i64 = self
            .layers
            .iter()
            .map(|layer| {
                let linears: i64 =
                    block::LINEARS.iter().filter_map(|name| layer.linear(name)).map(linear).sum();
                let norms: i64 =
                    layer.norms().iter().map(|(_, norm)| norm.weight().numel() as i64).sum();
                linears + norms
            })
            .sum();
        let embedding = self.embed_tokens.num_embeddings() * self.embed_tokens.embedding_dim();
        let outer = embedding + self.final_norm.weight().numel() as i64;
        let head = self.lm_head.as_deref().filter(|_| !self.config.tie_word_embeddings);
        blocks + outer + head.map_or(0, linear)
    }

    /// Names of the blocks' projections (`model.layers.0.self_attn.q_proj`, …), without
    /// the head.
    pub fn linear_names(&self) -> Vec<String> {
        (0..self.layers.len())
            .flat_map(|index| {
                block::LINEARS.iter().map(move |name| format!("model.layers.{index}.{name}"))
            })
            .collect()
    }

    /// The projection `name`; the head goes by `lm_head`, and is none where it is the
    /// embedding and nothing has been put around it.
    pub fn linear(&self, name: &str) -> Option<&dyn Linear> {
        if name == HEAD {
            return self.lm_head.as_deref();
        }
        let (index, name) = split_name(name)?;
        self.layers.get(index)?.linear(name)
    }

    /// Replaces the projection `name` by what `replace` makes of it. A tied head can have
    /// something put around it; a matrix of its own it gets by [`Self::set_head`].
    ///
    /// # Errors
    /// An unknown name; a weight of its own for a tied head, which a saved model would lose; or
    /// the error of `replace`: the layer is lost then, and running the model is an error until
    /// another one takes its place (a tied head is the embedding again).
    pub fn map_linear(
        &mut self,
        name: &str,
        replace: &mut dyn FnMut(Box<dyn Linear>) -> Result<Box<dyn Linear>>,
    ) -> Result<()> {
        if name == HEAD && self.config.tie_word_embeddings {
            let tied = || Box::new(TiedHead { embedding: self.embed_tokens.share() });
            let head = replace(self.lm_head.take().unwrap_or_else(|| tied()))?;
            if head.tensors().iter().any(|(suffix, _)| suffix == "weight") {
                let expected = "a layer around the embedding, since the head is tied";
                return Err(Error::shape(HEAD, expected, "one with a weight of its own"));
            }
            // What is the embedding again needs no head of its own.
            self.lm_head = (!(head.as_ref() as &dyn Any).is::<TiedHead>()).then_some(head);
            return Ok(());
        }
        let slot = if name == HEAD {
            self.lm_head.as_mut()
        } else {
            split_name(name).and_then(|(index, name)| self.layers.get_mut(index)?.linear_mut(name))
        };
        let Some(slot) = slot else {
            let mut available = format!("model.layers.0..{}.", self.layers.len());
            available.push_str(&block::LINEARS.join("|"));
            if self.lm_head.is_some() {
                available.push_str(", lm_head");
            }
            return Err(Error::UnknownLinear { name: name.to_owned(), available });
        };
        let vacant = Vacant {
            name: name.to_owned(),
            in_features: slot.in_features(),
            out_features: slot.out_features(),
        };
        let layer = std::mem::replace(slot, Box::new(vacant));
        *slot = replace(layer)?;
        Ok(())
    }

    /// Turns gradients of every floating-point parameter on or off.
    pub fn set_requires_grad(&self, requires_grad: bool) -> Result<()> {
        for (_, tensor) in self.named_parameters() {
            if matches!(tensor.f_kind()?, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16)
            {
                let _ = tensor.f_set_requires_grad(requires_grad)?;
            }
        }
        Ok(())
    }
}

/// Splits `model.layers.{index}.{name}`.
pub(crate) fn split_name(name: &str) -> Option<(usize, &str)> {
    let (index, name) = name.strip_prefix("model.layers.")?.split_once('.')?;
    Some((index.parse().ok()?, name))
}
