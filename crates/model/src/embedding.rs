//! The token embedding as a trait, and the dense one.

use std::any::Any;
use std::fmt::Debug;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::linear::Linear;

/// A table of a vector for each token, which the decoder reads without knowing how it is
/// stored. A tied head is the same table used the other way round.
///
/// Adapters wrap another `Embedding` and change what [`Self::forward`] reads; the tied head,
/// which is all the other functions, stays that of the table underneath, as in PEFT.
/// Quantised ones hold packed rows. `Any` as a supertrait lets their crates recognise their
/// own through [`crate::Decoder::embedding`].
pub trait Embedding: Any + Debug + Send {
    /// The vectors of the tokens, before any scale that the model's family puts on them.
    ///
    /// # Shapes
    /// i64 `[batch, seq]` → `[batch, seq, embedding_dim]` in `kind`.
    ///
    /// # Errors
    /// libtorch's, such as a token outside of the table.
    fn forward(&self, tokens: &Tensor, kind: Kind) -> Result<Tensor>;

    /// The table as a tied head.
    ///
    /// # Shapes
    /// `[.., embedding_dim]` → `[.., num_embeddings]` in the input's dtype.
    ///
    /// # Errors
    /// libtorch's.
    fn project(&self, hidden: &Tensor) -> Result<Tensor>;

    /// Rows of the table: the vocabulary.
    fn num_embeddings(&self) -> i64;

    /// Width of a row.
    fn embedding_dim(&self) -> i64;

    /// Some rows of the table in `kind`, for a head that is computed slice by slice.
    ///
    /// # Shapes
    /// `[length, embedding_dim]`.
    ///
    /// # Errors
    /// libtorch's.
    fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor>;

    /// The tied head's matrix, where it is held as one.
    fn weight(&self) -> Option<&Tensor>;

    /// The tied head's matrix `[num_embeddings, embedding_dim]`.
    ///
    /// # Errors
    /// libtorch's.
    fn dense_weight(&self) -> Result<Tensor>;

    /// Shallow clones of the tensors with their suffixes, as [`Linear::tensors`].
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Another handle on the same tensors: what a tied head holds.
    fn share(&self) -> Box<dyn Embedding>;
}

/// An embedding with a plain matrix.
#[derive(Debug)]
pub struct DenseEmbedding {
    weight: Tensor,
}

impl DenseEmbedding {
    /// A table of `weight` `[num_embeddings, embedding_dim]`.
    ///
    /// # Errors
    /// When that is no matrix.
    pub fn new(weight: Tensor) -> Result<Self> {
        weight.size2().map_err(|_| {
            Error::shape("embedding", "weight [vocab, hidden]", format!("{:?}", weight.size()))
        })?;
        Ok(Self { weight })
    }
}

impl Embedding for DenseEmbedding {
    fn forward(&self, tokens: &Tensor, kind: Kind) -> Result<Tensor> {
        Ok(Tensor::f_embedding(&self.weight, tokens, -1, false, false)?.f_to_kind(kind)?)
    }

    fn project(&self, hidden: &Tensor) -> Result<Tensor> {
        let weight = self.weight.f_to_kind(hidden.kind())?;
        Ok(hidden.f_linear(&weight, None::<Tensor>)?)
    }

    fn num_embeddings(&self) -> i64 {
        self.weight.size()[0]
    }

    fn embedding_dim(&self) -> i64 {
        self.weight.size()[1]
    }

    fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        Ok(self.weight.f_narrow(0, start, length)?.f_to_kind(kind)?)
    }

    fn weight(&self) -> Option<&Tensor> {
        Some(&self.weight)
    }

    fn dense_weight(&self) -> Result<Tensor> {
        Ok(self.weight.shallow_clone())
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        vec![("weight".to_owned(), self.weight.shallow_clone())]
    }

    fn share(&self) -> Box<dyn Embedding> {
        Box::new(Self { weight: self.weight.shallow_clone() })
    }
}

/// A head that is the embedding, made where something is to be put around it. Its tensors
/// are the embedding's and are listed there.
#[derive(Debug)]
pub(crate) struct TiedHead {
    pub(crate) embedding: Box<dyn Embedding>,
}

impl Linear for TiedHead {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.embedding.project(input)
    }

    fn in_features(&self) -> i64 {
        self.embedding.embedding_dim()
    }

    fn out_features(&self) -> i64 {
        self.embedding.num_embeddings()
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn dense_weight(&self) -> Result<Tensor> {
        self.embedding.dense_weight()
    }

    fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        self.embedding.rows(start, length, kind)
    }

    fn weight(&self) -> Option<&Tensor> {
        self.embedding.weight()
    }

    fn bias(&self) -> Option<Tensor> {
        None
    }
}
