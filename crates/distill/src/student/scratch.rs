//! A decoder from a few numbers, with random weights and look-back heads. The architecture
//! is Qwen2's.

use limbeck_core::Tokenizer;
use limbeck_core::seed::derive;
use limbeck_model::Decoder;
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::StudentConfig;
use crate::{Result, look_back};

impl StudentConfig {
    /// The `config.json` of a random model.
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

    /// A decoder of this shape with random weights and the look-back heads, for the
    /// tokenizer's vocabulary or, beside a teacher, for the teacher's `vocab_size`.
    ///
    /// # Errors
    /// A tokenizer with more ids than `vocab_size`; those of the model.
    pub(super) fn random(
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
