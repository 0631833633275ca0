//! Projections as a trait, and the dense one.

use std::any::Any;
use std::fmt::Debug;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// A projection `y = x Wᵀ + b` that the decoder calls without knowing how `W` is stored.
///
/// Adapters wrap another `Linear`; quantised layers hold packed weights. `Any` as a
/// supertrait lets their crates recognise their own layers through
/// [`crate::Decoder::linear`].
pub trait Linear: Any + Debug + Send {
    /// Applies the projection.
    ///
    /// # Shapes
    /// `[.., in_features]` → `[.., out_features]`, in the input's dtype.
    fn forward(&self, input: &Tensor) -> Result<Tensor>;

    /// Width of the input.
    fn in_features(&self) -> i64;

    /// Width of the output.
    fn out_features(&self) -> i64;

    /// Shallow clones of the layer's tensors with their suffixes (`weight`, `bias`,
    /// `qweight`, …). A checkpoint key is the layer's name, a dot and the suffix.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// The effective weight `[out_features, in_features]`.
    fn dense_weight(&self) -> Result<Tensor>;

    /// Some rows of the effective weight in `kind`, `[length, in_features]`: for a head that
    /// is computed slice by slice.
    ///
    /// # Errors
    /// Those of [`Self::dense_weight`], which this makes whole unless the layer can do
    /// without.
    fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        Ok(self.dense_weight()?.f_narrow(0, start, length)?.f_to_kind(kind)?)
    }

    /// The weight, where it is held as one matrix and is the effective one.
    fn weight(&self) -> Option<&Tensor> {
        None
    }

    /// The bias `[out_features]`, if there is one.
    fn bias(&self) -> Option<Tensor>;
}

/// A projection with a plain weight matrix.
///
/// When the input's dtype differs from the weight's (fp32 master weights under bf16
/// compute), weight and bias are cast at each call, and gradients flow back through the
/// cast.
#[derive(Debug)]
pub struct DenseLinear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl DenseLinear {
    /// A layer of `weight` `[out, in]` and `bias` `[out]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (out_features, _) = weight.size2().map_err(|_| {
            Error::shape("linear", "weight [out, in]", format!("{:?}", weight.size()))
        })?;
        if let Some(bias) = &bias
            && bias.size() != [out_features]
        {
            return Err(Error::shape(
                "linear",
                format!("bias [{out_features}]"),
                format!("{:?}", bias.size()),
            ));
        }
        Ok(Self { weight, bias })
    }
}

impl Linear for DenseLinear {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let kind = input.kind();
        // What has the dtype already is handed on as it is.
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        Ok(input.f_linear(&self.weight.f_to_kind(kind)?, bias)?)
    }

    fn in_features(&self) -> i64 {
        self.weight.size()[1]
    }

    fn out_features(&self) -> i64 {
        self.weight.size()[0]
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = vec![("weight".to_owned(), self.weight.shallow_clone())];
        if let Some(bias) = &self.bias {
            tensors.push(("bias".to_owned(), bias.shallow_clone()));
        }
        tensors
    }

    fn dense_weight(&self) -> Result<Tensor> {
        Ok(self.weight.shallow_clone())
    }

    fn weight(&self) -> Option<&Tensor> {
        Some(&self.weight)
    }

    fn bias(&self) -> Option<Tensor> {
        self.bias.as_ref().map(Tensor::shallow_clone)
    }
}

/// Stands in for a layer while its replacement is being made.
#[derive(Debug)]
pub(crate) struct Vacant {
    pub(crate) name: String,
    pub(crate) in_features: i64,
    pub(crate) out_features: i64,
}

impl Linear for Vacant {
    fn forward(&self, _: &Tensor) -> Result<Tensor> {
        Err(Error::LinearMissing { name: self.name.clone() })
    }

    fn in_features(&self) -> i64 {
        self.in_features
    }

    fn out_features(&self) -> i64 {
        self.out_features
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn dense_weight(&self) -> Result<Tensor> {
        Err(Error::LinearMissing { name: self.name.clone() })
    }

    fn bias(&self) -> Option<Tensor> {
        None
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{DenseLinear, Linear};

    #[test]
    fn casts_master_weights_and_returns_gradients_to_them() {
        let weight = Tensor::randn([3, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let layer = DenseLinear::new(weight.shallow_clone(), None).unwrap();
        let input = Tensor::ones([2, 4], (Kind::BFloat16, Device::Cpu));
        let output = layer.forward(&input).unwrap();
        assert_eq!(output.kind(), Kind::BFloat16);
        output.sum(Kind::Float).backward();
        let expected = Tensor::full([3, 4], 2.0, (Kind::Float, Device::Cpu));
        assert_eq!(weight.grad(), expected);
    }

    #[test]
    fn refuses_a_bias_of_another_width() {
        let weight = Tensor::zeros([3, 4], (Kind::Float, Device::Cpu));
        let bias = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        let error = DenseLinear::new(weight, Some(bias)).unwrap_err();
        assert_eq!(error.to_string(), "linear: expected bias [3], found [4]");
    }
}
