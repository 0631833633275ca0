//! A smaller decoder out of a larger one: chosen blocks, and of each the chosen heads and
//! neurons, all on the chosen dimensions of the residual stream.
//!
//! Whatever is left out is as if it were zero in the teacher. For that to be exact, two
//! factors make up for the width: a root-mean-square norm divides by the mean over
//! `hidden_size` entries, so that over `h` of `H` entries its output is `√(h/H)` of what it
//! was, and its weight is multiplied by `√(H/h)`; and Gemma multiplies embeddings by the root
//! of `hidden_size`, so that they are multiplied by `√(H/h)` (where the head is the embedding,
//! the final norm gives that factor back). The norm's epsilon stays. Nothing else is scaled;
//! `head_dim`, and with it the scale of attention, is the teacher's.

use limbeck_model::config::NormStyle;
use limbeck_model::{Decoder, DecoderConfig};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use crate::Result;

/// Indices that are kept, ascending; `None` for all.
pub type Kept = Option<Vec<i64>>;

/// What is kept of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Blocks, from 0.
    pub layers: Vec<usize>,
    /// Dimensions of the residual stream, the same in all blocks.
    pub hidden: Kept,
    /// Heads and neurons of each of `layers`; the same number in all of them.
    pub blocks: Vec<BlockCut>,
}

/// What is kept of a block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockCut {
    /// Query heads.
    pub heads: Kept,
    /// Key and value heads.
    pub key_value_heads: Kept,
    /// Neurons of the MLP.
    pub neurons: Kept,
}

/// How the axes of a tensor follow the cut.
#[derive(Clone, Copy)]
enum Axis {
    Hidden,
    Heads,
    KeyValueHeads,
    Neurons,
    Whole,
}

impl Cut {
    /// Whole blocks.
    pub fn of_layers(layers: Vec<usize>) -> Self {
        let blocks = vec![BlockCut::default(); layers.len()];
        Self { layers, hidden: None, blocks }
    }

    /// The factor on the weights of norms over the residual stream.
    pub fn norm_factor(&self, config: &DecoderConfig) -> f64 {
        self.hidden
            .as_ref()
            .map_or(1.0, |kept| (config.hidden_size as f64 / kept.len() as f64).sqrt())
    }

    /// The factor on the embeddings.
    pub fn embedding_factor(&self, config: &DecoderConfig) -> f64 {
        if config.embedding_scale.is_some() { self.norm_factor(config) } else { 1.0 }
    }

    /// The part of `teacher` that is kept, in float32 on `device`; it shares no storage with
    /// the teacher, which may be packed.
    ///
    /// # Errors
    /// Those of the model.
    pub fn assemble(&self, teacher: &Decoder, device: Device) -> Result<Decoder> {
        let hf_config = self.hf_config(teacher);
        let _guard = tch::no_grad_guard();
        let decoder = Decoder::assemble(&hf_config, device, Kind::Float, &mut |name| {
            self.tensor(teacher, name)
        })?;
        Ok(decoder)
    }

    /// The `config.json` of what is kept. Keys that say which block slides follow the chosen
    /// blocks, whatever pattern they were generated from.
    fn hf_config(&self, teacher: &Decoder) -> Value {
        let config = teacher.config();
        let mut keys = text_config(teacher.hf_config());
        let mut set = |key: &str, value: Value| keys.insert(key.to_owned(), value);
        set("num_hidden_layers", json!(self.layers.len()));
        if let Some(kept) = &self.hidden {
            set("hidden_size", json!(kept.len()));
        }
        let first = self.blocks.first().cloned().unwrap_or_default();
        if let Some(kept) = &first.neurons {
            set("intermediate_size", json!(kept.len()));
        }
        let count = |kept: &Kept, all: i64| kept.as_ref().map_or(all, |kept| kept.len() as i64);
        if self.hidden.is_some() || first.heads.is_some() || first.key_value_heads.is_some() {
            let heads = count(&first.heads, config.num_attention_heads);
            let shared = count(&first.key_value_heads, config.num_key_value_heads);
            set("num_attention_heads", json!(heads));
            set("num_key_value_heads", json!(shared));
            // Where it is left out, it is the even share of a hidden size that has changed.
            set("head_dim", json!(config.head_dim));
        }

        let types = match keys.get("layer_types") {
            Some(Value::Array(types)) => {
                Some(self.layers.iter().filter_map(|layer| types.get(*layer)).cloned().collect())
            }
            _ if config.layers.windows(2).any(|pair| pair[0] != pair[1]) => {
                let name = |layer: &usize| match config.layers[*layer].sliding_window {
                    Some(_) => json!("sliding_attention"),
                    None => json!("full_attention"),
                };
                Some(self.layers.iter().map(name).collect::<Vec<_>>())
            }
            _ => None,
        };
        if let Some(types) = types {
            // Qwen's shorthand for the same.
            if keys.contains_key("max_window_layers") {
                let full = types.iter().take_while(|name| *name == "full_attention").count();
                keys.insert("max_window_layers".to_owned(), json!(full));
            }
            keys.insert("layer_types".to_owned(), Value::Array(types));
            // Gemma's.
            keys.remove("sliding_window_pattern");
            keys.remove("_sliding_window_pattern");
        }
        // The cut is dense, whatever it was taken from.
        keys.remove("quantization_config");
        Value::Object(keys)
    }

    /// The student's tensor of a checkpoint key.
    fn tensor(&self, teacher: &Decoder, name: &str) -> limbeck_model::Result<Tensor> {
        let config = teacher.config();
        let (block, source) = self.source(name);
        let found = teacher_tensor(teacher, &source)?;
        let part = source.rsplit_once('.').map_or("", |(part, _)| part);
        let part = part.rsplit('.').next().unwrap_or_default();
        let axes = axes(part);
        let axes = if found.dim() == 1 { &axes[..1] } else { &axes[..] };
        let (mut tensor, mut is_copy) = (found, false);
        for (axis, kind) in (0_i64..).zip(axes) {
            let cut = block.and_then(|block| self.blocks.get(block));
            let kept = match kind {
                Axis::Hidden => self.hidden.clone(),
                Axis::Heads => cut.and_then(|cut| spread(&cut.heads, config.head_dim)),
                Axis::KeyValueHeads => {
                    cut.and_then(|cut| spread(&cut.key_value_heads, config.head_dim))
                }
                Axis::Neurons => cut.and_then(|cut| cut.neurons.clone()),
                Axis::Whole => None,
            };
            if let Some(kept) = kept {
                let kept = Tensor::f_from_slice(&kept)?.f_to_device(tensor.device())?;
                tensor = tensor.f_index_select(axis, &kept)?;
                is_copy = true;
            }
        }
        let tensor = tensor.f_to_dtype(Kind::Float, false, !is_copy)?;
        self.rescale(config, part, tensor)
    }

    /// Block of the student and key of the teacher's tensor behind a key of the student's.
    fn source(&self, name: &str) -> (Option<usize>, String) {
        let parsed = name.strip_prefix("model.layers.").and_then(|rest| {
            let (index, suffix) = rest.split_once('.')?;
            let index: usize = index.parse().ok()?;
            Some((index, format!("model.layers.{}.{suffix}", self.layers.get(index)?)))
        });
        match parsed {
            Some((index, source)) => (Some(index), source),
            None => (None, name.to_owned()),
        }
    }

    fn rescale(
        &self,
        config: &DecoderConfig,
        part: &str,
        tensor: Tensor,
    ) -> limbeck_model::Result<Tensor> {
        if self.hidden.is_none() {
            return Ok(tensor);
        }
        let factor = match part {
            "embed_tokens" => return Ok(tensor.f_mul_scalar(self.embedding_factor(config))?),
            "norm" if config.tie_word_embeddings => {
                self.norm_factor(config) / self.embedding_factor(config)
            }
            "norm"
            | "input_layernorm"
            | "post_attention_layernorm"
            | "pre_feedforward_layernorm"
            | "post_feedforward_layernorm" => self.norm_factor(config),
            _ => return Ok(tensor),
        };
        Ok(match config.norm_style {
            NormStyle::Weight => tensor.f_mul_scalar(factor)?,
            NormStyle::OnePlusWeight => {
                tensor.f_add_scalar(1.0)?.f_mul_scalar(factor)?.f_sub_scalar(1.0)?
            }
        })
    }
}

/// What the axes of a tensor are, outputs first; a bias has the first alone.
fn axes(part: &str) -> [Axis; 2] {
    match part {
        "embed_tokens" | "lm_head" => [Axis::Whole, Axis::Hidden],
        "q_proj" => [Axis::Heads, Axis::Hidden],
        "k_proj" | "v_proj" => [Axis::KeyValueHeads, Axis::Hidden],
        "o_proj" => [Axis::Hidden, Axis::Heads],
        "gate_proj" | "up_proj" => [Axis::Neurons, Axis::Hidden],
        "down_proj" => [Axis::Hidden, Axis::Neurons],
        // Over one head, whose width stays.
        "q_norm" | "k_norm" => [Axis::Whole, Axis::Whole],
        _ => [Axis::Hidden, Axis::Whole],
    }
}

/// Heads as rows of a projection.
fn spread(heads: &Kept, head_dim: i64) -> Kept {
    let heads = heads.as_ref()?;
    Some(heads.iter().flat_map(|head| head * head_dim..(head + 1) * head_dim).collect())
}

/// A tensor of the teacher, dense even where it is packed.
fn teacher_tensor(teacher: &Decoder, key: &str) -> limbeck_model::Result<Tensor> {
    let missing = || limbeck_model::Error::LinearMissing { name: key.to_owned() };
    let (name, suffix) = key.rsplit_once('.').ok_or_else(missing)?;
    if let Some(linear) = teacher.linear(name) {
        return match suffix {
            "weight" => linear.dense_weight(),
            _ => linear.bias().ok_or_else(missing),
        };
    }
    let found = teacher.named_parameters().into_iter().find(|(known, _)| known == key);
    found.map(|(_, tensor)| tensor).ok_or_else(missing)
}

/// The keys of the text model: Gemma 3's image-and-text folders hold them one level down.
fn text_config(hf_config: &Value) -> Map<String, Value> {
    let whole = hf_config.as_object().cloned().unwrap_or_default();
    let Some(Value::Object(text)) = whole.get("text_config") else { return whole };
    let mut keys = text.clone();
    for key in ["bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype", "dtype"] {
        if let (Some(value), false) = (whole.get(key), keys.contains_key(key)) {
            keys.insert(key.to_owned(), value.clone());
        }
    }
    keys.insert("model_type".to_owned(), json!("gemma3_text"));
    keys.insert("architectures".to_owned(), json!(["Gemma3ForCausalLM"]));
    keys
}
