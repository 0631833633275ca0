//! An embedding whose table is stored in few bits, which serves a tied head.

use limbeck_model::{Embedding, Result};
use tch::{Kind, Tensor};

use crate::formats::Format;
use crate::packed_linear::of_model;
use crate::packed_weight::PackedWeight;

/// A packed embedding.
#[derive(Debug)]
pub struct PackedEmbedding {
    weight: PackedWeight,
    format: Format,
}

impl PackedEmbedding {
    /// An embedding of a table `[vocab, hidden]`, stored in `format`.
    pub fn new(weight: PackedWeight, format: Format) -> Self {
        Self { weight, format }
    }

    /// The table.
    pub fn packed(&self) -> &PackedWeight {
        &self.weight
    }
}

impl Embedding for PackedEmbedding {
    fn forward(&self, tokens: &Tensor, kind: Kind) -> Result<Tensor> {
        self.weight.select(tokens, kind).map_err(of_model)
    }

    fn project(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = if hidden.requires_grad() {
            self.weight.dense_product(hidden)
        } else {
            self.weight.product(hidden)
        };
        logits.map_err(of_model)
    }

    fn num_embeddings(&self) -> i64 {
        self.weight.size().0
    }

    fn embedding_dim(&self) -> i64 {
        self.weight.size().1
    }

    fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        self.weight.rows(start, length, kind).map_err(of_model)
    }

    fn weight(&self) -> Option<&Tensor> {
        None
    }

    fn dense_weight(&self) -> Result<Tensor> {
        self.rows(0, self.num_embeddings(), Kind::Float)
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        let packed = self.weight.to_quantized().and_then(|weight| self.format.pack(&weight));
        packed.ok().flatten().unwrap_or_default()
    }

    fn share(&self) -> Box<dyn Embedding> {
        Box::new(Self { weight: self.weight.clone(), format: self.format })
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;
    use limbeck_core::test_device;
    use tch::Device;

    use super::*;
    use crate::bits::Bits;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    #[test]
    fn it_is_its_own_head() {
        let weight = WeightMatrix::new(CounterRng::new(13).normals(48 * 64), 48, 64).unwrap();
        let weight = rtn::quantize(&weight, GridRule::symmetric(Bits::Four), 32).unwrap();
        let dense = weight.dequantize().to_tensor(Kind::Float, test_device()).unwrap();
        let weight = PackedWeight::new(weight, test_device()).unwrap();
        let embedding = PackedEmbedding::new(weight, Format::Gptq);
        let tokens = Tensor::from_slice(&[47_i64, 0, 16]).view([1, 3]).to_device(test_device());
        let hidden = embedding.forward(&tokens, Kind::Float).unwrap();
        assert_eq!(hidden, dense.index_select(0, &tokens.view(-1)).view([1, 3, 64]));
        let logits = embedding.share().project(&hidden).unwrap();
        let difference = (logits - hidden.matmul(&dense.tr())).abs().max().double_value(&[]);
        assert!(difference < 1e-3, "{difference}");
        assert_eq!(embedding.tensors().len(), 4);
        // A GPU looks at rows when the call has returned, and is lost to the process after one
        // that is none; decoders check their tokens before.
        if test_device() == Device::Cpu {
            let error = embedding.forward(&(tokens + 1), Kind::Float);
            assert!(error.is_err(), "row 48 does not exist");
        }
    }
}
