//! A projection and an embedding that hold their matrix in NF4.
//!
//! Each use dequantises what it needs to the dtype of the activations. The dense matrix is a
//! constant to autograd: gradients flow through the input. Where they do, autograd keeps it
//! until the backward pass, unless activations are computed again there
//! (`activation_checkpointing`), which leaves the matrices of one block alive at a time.

use limbeck_model::{Embedding, Linear, Result};
use tch::{Kind, Tensor};

use super::matrix::Nf4Matrix;
use crate::error::Error;

/// Rows of the vocabulary that a head dequantises at a time.
const HEAD_ROWS: i64 = 4096;

/// A projection in NF4; its bias stays as it is stored.
#[derive(Debug)]
pub struct Nf4Linear {
    matrix: Nf4Matrix,
    bias: Option<Tensor>,
}

impl Nf4Linear {
    /// A projection of `matrix` `[out, in]` and `bias` `[out]`.
    pub fn new(matrix: Nf4Matrix, bias: Option<Tensor>) -> Self {
        Self { matrix, bias }
    }

    /// The matrix.
    pub fn matrix(&self) -> &Nf4Matrix {
        &self.matrix
    }
}

impl Linear for Nf4Linear {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let kind = input.kind();
        let weight = self.rows(0, self.matrix.rows(), kind)?;
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        Ok(input.f_linear(&weight, bias)?)
    }

    fn in_features(&self) -> i64 {
        self.matrix.columns()
    }

    fn out_features(&self) -> i64 {
        self.matrix.rows()
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.matrix.named();
        if let Some(bias) = &self.bias {
            tensors.push(("bias".to_owned(), bias.shallow_clone()));
        }
        tensors
    }

    fn dense_weight(&self) -> Result<Tensor> {
        self.rows(0, self.matrix.rows(), Kind::Float)
    }

    fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        self.matrix.dequantize(start, length, kind).map_err(|error| of("projection", error))
    }

    fn bias(&self) -> Option<Tensor> {
        self.bias.as_ref().map(Tensor::shallow_clone)
    }
}

/// An embedding in NF4, which serves a tied head slice by slice.
#[derive(Debug)]
pub struct Nf4Embedding {
    matrix: Nf4Matrix,
}

impl Nf4Embedding {
    /// An embedding of `matrix` `[vocab, hidden]`.
    pub fn new(matrix: Nf4Matrix) -> Self {
        Self { matrix }
    }

    /// The matrix.
    pub fn matrix(&self) -> &Nf4Matrix {
        &self.matrix
    }
}

impl Embedding for Nf4Embedding {
    fn forward(&self, tokens: &Tensor, kind: Kind) -> Result<Tensor> {
        self.matrix.select(tokens, kind).map_err(|error| of("embedding", error))
    }

    fn project(&self, hidden: &Tensor) -> Result<Tensor> {
        let (kind, vocabulary) = (hidden.kind(), self.matrix.rows());
        let logits = (0..vocabulary)
            .step_by(HEAD_ROWS as usize)
            .map(|start| {
                let weight = self.rows(start, HEAD_ROWS.min(vocabulary - start), kind)?;
                Ok(hidden.f_linear(&weight, None::<&Tensor>)?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&logits, -1)?)
    }

    fn num_embeddings(&self) -> i64 {
        self.matrix.rows()
    }

    fn embedding_dim(&self) -> i64 {
        self.matrix.columns()
    }

    fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        self.matrix.dequantize(start, length, kind).map_err(|error| of("embedding", error))
    }

    fn weight(&self) -> Option<&Tensor> {
        None
    }

    fn dense_weight(&self) -> Result<Tensor> {
        self.rows(0, self.matrix.rows(), Kind::Float)
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.matrix.named()
    }

    fn share(&self) -> Box<dyn Embedding> {
        Box::new(Self { matrix: self.matrix.share() })
    }
}

fn of(layer: &str, error: Error) -> limbeck_model::Error {
    match error {
        Error::Model(error) => error,
        error => limbeck_model::Error::layer(layer, error),
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::test_device;
    use limbeck_model::DenseLinear;

    use super::*;

    fn matrix(rows: i64, columns: i64) -> Nf4Matrix {
        tch::manual_seed(6);
        let weight = Tensor::randn([rows, columns], (Kind::Float, tch::Device::Cpu));
        let read = &mut |start, length| Ok(weight.f_narrow(0, start, length)?);
        Nf4Matrix::quantize("layer", (rows, columns), test_device(), read).unwrap()
    }

    #[test]
    fn it_computes_and_differentiates_as_the_dense_layer_of_its_weights() {
        let device = test_device();
        let bias = Tensor::randn([24], (Kind::Float, device));
        let layer = Nf4Linear::new(matrix(24, 96), Some(bias.shallow_clone()));
        let dense = DenseLinear::new(layer.dense_weight().unwrap(), Some(bias)).unwrap();
        for kind in [Kind::Float, Kind::BFloat16] {
            let run = |layer: &dyn Linear| {
                let input = Tensor::linspace(-1.0, 1.0, 5 * 96, (kind, device)).view([5, 96]);
                let input = input.set_requires_grad(true);
                let output = layer.forward(&input).unwrap();
                output.square().sum(Kind::Float).backward();
                (output, input.grad())
            };
            assert_eq!(run(&layer), run(&dense));
        }
    }

    #[test]
    fn an_embedding_is_its_own_head_in_slices() {
        let embedding = Nf4Embedding::new(matrix(HEAD_ROWS + 300, 32));
        let dense = embedding.dense_weight().unwrap();
        let tokens = Tensor::from_slice(&[4395_i64, 0, 4096]).view([1, 3]).to_device(test_device());
        let hidden = embedding.forward(&tokens, Kind::Float).unwrap();
        assert_eq!(hidden, dense.index_select(0, &tokens.view(-1)).view([1, 3, 32]));
        let logits = embedding.share().project(&hidden).unwrap();
        let difference = (logits - hidden.matmul(&dense.tr())).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{difference}");
    }
}
