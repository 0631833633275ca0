//! Making a decoder from a few numbers: a student, or a teacher to be trained from
//! scratch. The architecture is Qwen2's.

use limbeck_core::Tokenizer;
use limbeck_core::seed::derive;
use limbeck_model::Decoder;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind};

use crate::{Result, look_back};

/// The shape of a new model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudentConfig {
    /// Width of the residual stream. Default 128.
    pub hidden_size: i64,
    /// Blocks. Default 3.
    pub num_hidden_layers: i64,
    /// Query heads. Default 4.
    pub num_attention_heads: i64,
    /// Key and value heads; must divide the query heads. Default 2.
    pub num_key_value_heads: i64,
    /// Width of the gated MLP. Default 192.
    pub intermediate_size: i64,
    /// The longest sequence, in tokens. Default 1024.
    pub max_position_embeddings: i64,
    /// Base of the rotary position embedding. Default 10000.
    pub rope_theta: f64,
    /// Whether the head shares the embedding's weight. Default true.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the initial weights. About one over the root of
    /// `hidden_size` is right for small models; large ones usually take 0.02. Default 0.09.
    pub initializer_range: f64,
    /// For the first query heads of the first layer, one after another: how many tokens
    /// the head looks back at the start of training. Without any, small models spend most
    /// of their training on finding the token before. Default 1 and 2.
    pub look_back_heads: Vec<i64>,
}

impl Default for StudentConfig {
    fn default() -> Self {
        Self {
            hidden_size: 128,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            intermediate_size: 192,
            max_position_embeddings: 1024,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            initializer_range: 0.09,
            look_back_heads: vec![1, 2],
        }
    }
}

impl Validate for StudentConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        let positive = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((field, value)) = positive.into_iter().find(|(_, value)| *value < 1) {
            return Err(Invalid::new(field, "at least 1", value));
        }
        if self.hidden_size % (2 * self.num_attention_heads) != 0 {
            let expected = "a multiple of twice num_attention_heads (heads of even width)";
            return Err(Invalid::new("hidden_size", expected, self.hidden_size));
        }
        if self.num_attention_heads % self.num_key_value_heads != 0 {
            let expected = "a divisor of num_attention_heads";
            return Err(Invalid::new("num_key_value_heads", expected, self.num_key_value_heads));
        }
        if !(self.initializer_range > 0.0 && self.initializer_range.is_finite()) {
            return Err(Invalid::new(
                "initializer_range",
                "a number above 0",
                self.initializer_range,
            ));
        }
        if self.look_back_heads.len() as i64 > self.num_attention_heads {
            let expected = "at most num_attention_heads";
            let got = format!("{} of them", self.look_back_heads.len());
            return Err(Invalid::new("look_back_heads", expected, got));
        }
        let offsets = 1..self.max_position_embeddings;
        if let Some(offset) = self.look_back_heads.iter().find(|offset| !offsets.contains(*offset))
        {
            let expected = "from 1 to below max_position_embeddings";
            return Err(Invalid::new("look_back_heads", expected, offset));
        }
        Ok(())
    }
}

impl StudentConfig {
    /// The model's `config.json`.
    pub fn hf_config(&self, tokenizer: &Tokenizer, vocab_size: i64) -> Value {
        json!({
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "vocab_size": vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": 1e-6,
            "rope_theta": self.rope_theta,
            "use_sliding_window": false,
            "attention_dropout": 0.0,
            "tie_word_embeddings": self.tie_word_embeddings,
            "use_cache": true,
            "eos_token_id": tokenizer.eos_token_ids().first(),
            "pad_token_id": tokenizer.pad_token_id(),
        })
    }

    /// A decoder of this shape with random weights and the look-back heads, for the tokenizer's vocabulary or,
    /// beside a teacher, for the teacher's `vocab_size`.
    ///
    /// # Errors
    /// A tokenizer with more ids than `vocab_size`; those of the model.
    pub fn build(
        &self,
        tokenizer: &Tokenizer,
        vocab_size: Option<i64>,
        seed: u64,
        device: Device,
    ) -> Result<Decoder> {
        let vocab_size = vocab_size.unwrap_or_else(|| tokenizer.vocab_size());
        tokenizer.check_fits(vocab_size)?;
        let config = self.hf_config(tokenizer, vocab_size);
        let seed = derive(seed, "initialisation", 0);
        let decoder = Decoder::init(&config, seed, device, Kind::Float)?;
        look_back::initialise(&decoder, &self.look_back_heads, self.rope_theta)?;
        Ok(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_shapes_name_their_key() {
        StudentConfig::default().validate().unwrap();
        let default = StudentConfig::default;
        let cases = [
            ("hidden_size", StudentConfig { hidden_size: 130, ..default() }),
            ("num_key_value_heads", StudentConfig { num_key_value_heads: 3, ..default() }),
            ("num_hidden_layers", StudentConfig { num_hidden_layers: 0, ..default() }),
            ("look_back_heads", StudentConfig { look_back_heads: vec![1; 5], ..default() }),
            ("look_back_heads", StudentConfig { look_back_heads: vec![0], ..default() }),
            ("initializer_range", StudentConfig { initializer_range: f64::NAN, ..default() }),
        ];
        for (field, config) in cases {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
