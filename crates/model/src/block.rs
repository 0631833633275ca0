//! One transformer block: attention and feed-forward with their norms and residuals.

use tch::Tensor;

use crate::attention::{AttentionContext, SelfAttention};
use crate::error::Result;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;

#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) input_norm: RmsNorm,
    pub(crate) attention: SelfAttention,
    /// Gemma: on the output of attention.
    pub(crate) attention_output_norm: Option<RmsNorm>,
    pub(crate) mlp_norm: RmsNorm,
    pub(crate) mlp: Mlp,
    /// Gemma: on the output of the feed-forward layer.
    pub(crate) mlp_output_norm: Option<RmsNorm>,
}

/// Projections of a block in checkpoint order.
pub(crate) const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

impl Block {
    /// `[batch, seq, hidden]` → the same.
    pub(crate) fn forward(&self, hidden: &Tensor, context: AttentionContext<'_>) -> Result<Tensor> {
        let mixed = self.attention.mixed(&self.input_norm.forward(hidden)?, context)?;
        let hidden = self.add_attention(hidden, &mixed)?;
        let inner = self.mlp.inner(&self.mlp_norm.forward(&hidden)?)?;
        self.add_mlp(&hidden, &inner)
    }

    /// The residual stream after attention, of that before it and the input of `o_proj`.
    pub(crate) fn add_attention(&self, hidden: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let mut output = self.attention.o_proj.forward(mixed)?;
        if let Some(norm) = &self.attention_output_norm {
            output = norm.forward(&output)?;
        }
        Ok(hidden.f_add(&output)?)
    }

    /// The residual stream after the block, of that after attention and the input of
    /// `down_proj`.
    pub(crate) fn add_mlp(&self, hidden: &Tensor, inner: &Tensor) -> Result<Tensor> {
        let mut output = self.mlp.down_proj.forward(inner)?;
        if let Some(norm) = &self.mlp_output_norm {
            output = norm.forward(&output)?;
        }
        Ok(hidden.f_add(&output)?)
    }

    pub(crate) fn linear(&self, name: &str) -> Option<&dyn Linear> {
        Some(match name {
            "self_attn.q_proj" => &*self.attention.q_proj,
            "self_attn.k_proj" => &*self.attention.k_proj,
            "self_attn.v_proj" => &*self.attention.v_proj,
            "self_attn.o_proj" => &*self.attention.o_proj,
            "mlp.gate_proj" => &*self.mlp.gate_proj,
            "mlp.up_proj" => &*self.mlp.up_proj,
            "mlp.down_proj" => &*self.mlp.down_proj,
            _ => return None,
        })
    }

    pub(crate) fn linear_mut(&mut self, name: &str) -> Option<&mut Box<dyn Linear>> {
        Some(match name {
            "self_attn.q_proj" => &mut self.attention.q_proj,
            "self_attn.k_proj" => &mut self.attention.k_proj,
            "self_attn.v_proj" => &mut self.attention.v_proj,
            "self_attn.o_proj" => &mut self.attention.o_proj,
            "mlp.gate_proj" => &mut self.mlp.gate_proj,
            "mlp.up_proj" => &mut self.mlp.up_proj,
            "mlp.down_proj" => &mut self.mlp.down_proj,
            _ => return None,
        })
    }

    /// The norm whose output `gate_proj` and `up_proj` read.
    pub(crate) fn mlp_norm_name(&self) -> &'static str {
        match (&self.attention_output_norm, &self.mlp_output_norm) {
            (Some(_), Some(_)) => "pre_feedforward_layernorm",
            _ => "post_attention_layernorm",
        }
    }

    pub(crate) fn norm_mut(&mut self, name: &str) -> Option<&mut RmsNorm> {
        if name == self.mlp_norm_name() {
            return Some(&mut self.mlp_norm);
        }
        match name {
            "input_layernorm" => Some(&mut self.input_norm),
            "self_attn.q_norm" => self.attention.q_norm.as_mut(),
            "self_attn.k_norm" => self.attention.k_norm.as_mut(),
            "post_attention_layernorm" => self.attention_output_norm.as_mut(),
            "post_feedforward_layernorm" => self.mlp_output_norm.as_mut(),
            _ => None,
        }
    }

    /// Norm weights with their names, in checkpoint order.
    pub(crate) fn norms(&self) -> Vec<(&'static str, &RmsNorm)> {
        let mut norms = vec![("input_layernorm", &self.input_norm)];
        if let Some(norm) = &self.attention.q_norm {
            norms.push(("self_attn.q_norm", norm));
        }
        if let Some(norm) = &self.attention.k_norm {
            norms.push(("self_attn.k_norm", norm));
        }
        // The same key names the norm before the feed-forward layer in Llama's scheme
        // and the one after attention in Gemma's.
        match (&self.attention_output_norm, &self.mlp_output_norm) {
            (Some(after_attention), Some(after_mlp)) => {
                norms.push(("post_attention_layernorm", after_attention));
                norms.push(("pre_feedforward_layernorm", &self.mlp_norm));
                norms.push(("post_feedforward_layernorm", after_mlp));
            }
            _ => norms.push(("post_attention_layernorm", &self.mlp_norm)),
        }
        norms
    }
}
