//! Modules that an adapter keeps whole (PEFT's `modules_to_save`): a matrix of its own in
//! place of the base's, which stays underneath for when the adapter is taken off.

use limbeck_model::{DenseLinear, Embedding, Linear, Result as ModelResult};
use tch::{Kind, Tensor};

/// A projection, or the head, with a weight of the adapter's.
#[derive(Debug)]
pub struct SavedLinear {
    base: Box<dyn Linear>,
    own: DenseLinear,
}

impl SavedLinear {
    /// Puts `weight` f32 `[out_features, in_features]` and `bias` f32 `[out_features]` in the
    /// place of the base's.
    ///
    /// # Errors
    /// Shapes that do not fit each other.
    pub fn new(base: Box<dyn Linear>, weight: Tensor, bias: Option<Tensor>) -> ModelResult<Self> {
        Ok(Self { base, own: DenseLinear::new(weight, bias)? })
    }

    /// Takes the adapter off.
    pub fn into_base(self) -> Box<dyn Linear> {
        self.base
    }
}

impl Linear for SavedLinear {
    fn forward(&self, input: &Tensor) -> ModelResult<Tensor> {
        self.own.forward(input)
    }

    fn in_features(&self) -> i64 {
        self.own.in_features()
    }

    fn out_features(&self) -> i64 {
        self.own.out_features()
    }

    /// The base's, and the adapter's under names that no plain checkpoint has.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let own = self.own.tensors().into_iter();
        let own = own.map(|(suffix, tensor)| (format!("modules_to_save.{suffix}"), tensor));
        self.base.tensors().into_iter().chain(own).collect()
    }

    fn dense_weight(&self) -> ModelResult<Tensor> {
        self.own.dense_weight()
    }

    fn weight(&self) -> Option<&Tensor> {
        self.own.weight()
    }

    fn bias(&self) -> Option<Tensor> {
        self.own.bias()
    }
}

/// The token embedding with a table of the adapter's. A tied head stays the base's, as in
/// PEFT.
#[derive(Debug)]
pub struct SavedEmbedding {
    base: Box<dyn Embedding>,
    own: Tensor,
}

impl SavedEmbedding {
    /// Puts `own` f32 `[vocab, hidden]` in the place of the base's table.
    pub fn new(base: Box<dyn Embedding>, own: Tensor) -> Self {
        Self { base, own }
    }

    /// The embedding underneath.
    pub fn base(&self) -> &dyn Embedding {
        self.base.as_ref()
    }

    /// The adapter's table.
    pub fn own_weight(&self) -> &Tensor {
        &self.own
    }
}

impl Embedding for SavedEmbedding {
    fn forward(&self, tokens: &Tensor, kind: Kind) -> ModelResult<Tensor> {
        Ok(Tensor::f_embedding(&self.own, tokens, -1, false, false)?.f_to_kind(kind)?)
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
        tensors.push(("modules_to_save.weight".to_owned(), self.own.shallow_clone()));
        tensors
    }

    fn share(&self) -> Box<dyn Embedding> {
        Box::new(Self { base: self.base.share(), own: self.own.shallow_clone() })
    }
}
