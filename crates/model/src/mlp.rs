//! Gated feed-forward layer (arXiv 2002.05202): `SwiGLU` or `GeGLU`.

use tch::Tensor;

use crate::config::Activation;
use crate::error::Result;
use crate::linear::Linear;

#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_proj: Box<dyn Linear>,
    pub(crate) up_proj: Box<dyn Linear>,
    pub(crate) down_proj: Box<dyn Linear>,
    pub(crate) activation: Activation,
}

impl Mlp {
    /// The gated activations: the input of `down_proj`.
    ///
    /// `[batch, seq, hidden]` → `[batch, seq, intermediate]`.
    pub(crate) fn inner(&self, hidden: &Tensor) -> Result<Tensor> {
        let gate = self.gate_proj.forward(hidden)?;
        let gate = match self.activation {
            Activation::Silu => gate.f_silu()?,
            Activation::GeluTanh => gate.f_gelu("tanh")?,
            Activation::Gelu => gate.f_gelu("none")?,
        };
        Ok(gate.f_mul(&self.up_proj.forward(hidden)?)?)
    }
}
