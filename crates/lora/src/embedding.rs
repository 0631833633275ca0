//! The adapted token embedding.

use limbeck_model::{Embedding, Result as ModelResult};
use tch::{Kind, Tensor, no_grad};

use crate::{Error, Result};

/// `E(t) + s·B·A[:, t]` around any embedding.
///
/// A tied head is not adapted with it, as in PEFT. A and B are float32; there is no dropout.
#[derive(Debug)]
pub struct LoraEmbedding {
    base: Box<dyn Embedding>,
    lora_a: Tensor,
    lora_b: Tensor,
    scale: f64,
}

impl LoraEmbedding {
    /// Wraps `base`.
    ///
    /// # Shapes
    /// `lora_a` `[rank, vocab]`, `lora_b` `[hidden, rank]`, both f32.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn new(
        base: Box<dyn Embedding>,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: f64,
    ) -> Result<Self> {
        let rank = lora_a.size().first().copied().unwrap_or_default();
        let expected = [
            ("lora_embedding_A", &lora_a, vec![rank, base.num_embeddings()]),
            ("lora_embedding_B", &lora_b, vec![base.embedding_dim(), rank]),
        ];
        for (tensor, matrix, expected) in expected {
            if matrix.size() != expected {
                return Err(Error::Shape { tensor, expected, found: matrix.size() });
            }
        }
        Ok(Self { base, lora_a, lora_b, scale })
    }

    /// The embedding underneath.
    pub fn base(&self) -> &dyn Embedding {
        self.base.as_ref()
    }

    /// `E + s·(B·A)ᵀ`, `[vocab, hidden]`, computed in float32 and then rounded to `dtype`.
    ///
    /// # Errors
    /// Those of the base; libtorch's.
    pub fn merged_weight(&self, dtype: Kind) -> Result<Tensor> {
        no_grad(|| {
            let weight = self.base.dense_weight()?.f_to_kind(Kind::Float)?;
            let delta = self.lora_a.f_tr()?.f_matmul(&self.lora_b.f_tr()?)?;
            Ok(weight.f_add(&delta.f_mul_scalar(self.scale)?)?.f_to_kind(dtype)?)
        })
    }
}

impl Embedding for LoraEmbedding {
    fn forward(&self, tokens: &Tensor, kind: Kind) -> ModelResult<Tensor> {
        let base = self.base.forward(tokens, kind)?;
        let low = Tensor::f_embedding(&self.lora_a.f_tr()?, tokens, -1, false, false)?;
        let lora_b = self.lora_b.f_mul_scalar(self.scale)?.f_to_kind(kind)?;
        // low: [batch, seq, rank]
        Ok(base.f_add(&low.f_to_kind(kind)?.f_linear(&lora_b, None::<&Tensor>)?)?)
    }

    fn project(&self, hidden: &Tensor) -> ModelResult<Tensor> {
        self.base.project(hidden)
    }

    fn num_embeddings(&self) -> i64 {
        self.base.num_embeddings()
    }

    fn embedding_dim(&self) -> i64 {
        self.base.embedding_dim()
    }

    fn rows(&self, start: i64, length: i64, kind: Kind) -> ModelResult<Tensor> {
        self.base.rows(start, length, kind)
    }

    fn weight(&self) -> Option<&Tensor> {
        self.base.weight()
    }

    fn dense_weight(&self) -> ModelResult<Tensor> {
        self.base.dense_weight()
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.base.tensors();
        tensors.push(("lora_embedding_A".to_owned(), self.lora_a.shallow_clone()));
        tensors.push(("lora_embedding_B".to_owned(), self.lora_b.shallow_clone()));
        tensors
    }

    fn share(&self) -> Box<dyn Embedding> {
        Box::new(Self {
            base: self.base.share(),
            lora_a: self.lora_a.shallow_clone(),
            lora_b: self.lora_b.shallow_clone(),
            scale: self.scale,
        })
    }
}
