//! Root-mean-square layer norm (arXiv 1910.07467).

use tch::{Kind, Tensor};

use crate::config::NormStyle;
use crate::error::{Error, Result};
use crate::single_pass;

/// `x / sqrt(mean(x²) + eps)`, scaled by a weight over the last axis; computed in fp32.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    eps: f64,
    style: NormStyle,
}

impl RmsNorm {
    pub(crate) fn new(weight: Tensor, eps: f64, style: NormStyle) -> Self {
        Self { weight, eps, style }
    }

    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub(crate) fn set_weight(&mut self, weight: Tensor) -> Result<()> {
        if weight.size() != self.weight.size() {
            let [expected, found] =
                [&self.weight, &weight].map(|weight| format!("{:?}", weight.size()));
            return Err(Error::shape("norm", expected, found));
        }
        self.weight = weight;
        Ok(())
    }

    /// # Shapes
    /// `[.., width]` → `[.., width]`, in the input's dtype.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        // Whatever a weight is stored in, it is computed with in the same way to the last bit.
        let stored = (self.weight.kind() != Kind::Float)
            .then(|| self.weight.f_to_kind(Kind::Float))
            .transpose()?;
        let weight = stored.as_ref().unwrap_or(&self.weight);
        if let Some(normed) = single_pass::rms_norm(input, weight, self.eps, self.style) {
            return normed;
        }
        let kind = input.kind();
        let wide = input.f_to_kind(Kind::Float)?;
        let width = self.weight.size1()?;
        // A dot product keeps no square for the backward pass: a sixth less time on a CPU
        // than the mean of squares.
        let mean_square =
            Tensor::f_linalg_vecdot(&wide, &wide, -1)?.f_div_scalar(width)?.f_unsqueeze(-1)?;
        let normed = wide.f_mul(&mean_square.f_add_scalar(self.eps)?.f_rsqrt()?)?;
        match self.style {
            NormStyle::Weight => {
                Ok(normed.f_to_kind(kind)?.f_mul(&self.weight.f_to_kind(kind)?)?)
            }
            NormStyle::OnePlusWeight => {
                let scale = self.weight.f_to_kind(Kind::Float)?.f_add_scalar(1.0)?;
                Ok(normed.f_mul(&scale)?.f_to_kind(kind)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::RmsNorm;
    use crate::config::NormStyle;

    #[test]
    fn scales_to_unit_mean_square() {
        let input = Tensor::from_slice(&[3.0_f32, 4.0]).view([1, 2]);
        let weight = Tensor::from_slice(&[1.0_f32, 2.0]);
        let norm = RmsNorm::new(weight, 0.0, NormStyle::Weight);
        let root = 12.5_f64.sqrt();
        let output = norm.forward(&input).unwrap();
        assert!((output.double_value(&[0, 0]) - 3.0 / root).abs() < 1e-6);
        assert!((output.double_value(&[0, 1]) - 8.0 / root).abs() < 1e-6);
    }

    #[test]
    fn the_dtype_that_a_weight_is_stored_in_changes_no_bit() {
        let _no_grad = tch::no_grad_guard();
        let input = Tensor::randn([4, 48], (Kind::Float, Device::Cpu));
        let weight = Tensor::randn([48], (Kind::BFloat16, Device::Cpu));
        for style in [NormStyle::Weight, NormStyle::OnePlusWeight] {
            let [stored, wide] = [Kind::BFloat16, Kind::Float]
                .map(|kind| RmsNorm::new(weight.to_kind(kind), 1e-6, style));
            assert_eq!(stored.forward(&input).unwrap(), wide.forward(&input).unwrap());
        }
    }

    #[test]
    fn one_plus_weight_is_rounded_once() {
        let input = Tensor::randn([4, 8], (Kind::BFloat16, Device::Cpu));
        let weight = Tensor::randn([8], (Kind::Float, Device::Cpu)) * 0.1;
        let gemma = RmsNorm::new(weight.shallow_clone(), 1e-6, NormStyle::OnePlusWeight);
        let wide = RmsNorm::new(weight + 1.0, 1e-6, NormStyle::Weight);
        let expected = wide.forward(&input.to_kind(Kind::Float)).unwrap().to_kind(Kind::BFloat16);
        assert_eq!(gemma.forward(&input).unwrap(), expected);
    }
}
