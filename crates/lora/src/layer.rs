//! The adapted projection.

use limbeck_core::seed::{self, CounterRng};
use limbeck_model::{Linear, Result as ModelResult};
use tch::{Device, Kind, Tensor, no_grad};

use crate::magnitude::{self, Magnitude};
use crate::{Error, Rank, Result};

/// `y = base(x) + s·B(A(dropout(x)))` around any projection, dense or packed.
///
/// A and B are float32 and are cast to the input's dtype at each call. Dropout acts where
/// gradients are recorded and nowhere else: neither a frozen adapter nor a validation
/// pass within `no_grad` sees it.
#[derive(Debug)]
pub struct LoraLinear {
    base: Box<dyn Linear>,
    lora_a: Tensor,
    lora_b: Tensor,
    scale: f64,
    dropout: f64,
    origin: Option<Origin>,
    magnitude: Option<Magnitude>,
}

/// What the matrices began as, where that is taken off the update: `s·(B·A − B₀·A₀)`.
#[derive(Debug)]
pub struct Origin {
    /// `[rank, in_features]`.
    pub lora_a: Tensor,
    /// `[out_features, rank]`.
    pub lora_b: Tensor,
}

impl LoraLinear {
    /// Wraps `base`.
    ///
    /// # Shapes
    /// `lora_a` `[rank, in_features]`, `lora_b` `[out_features, rank]`, both f32.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn new(
        base: Box<dyn Linear>,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: f64,
        dropout: f64,
    ) -> Result<Self> {
        let rank = lora_a.size().first().copied().unwrap_or_default();
        let expected = [
            ("lora_A", &lora_a, vec![rank, base.in_features()]),
            ("lora_B", &lora_b, vec![base.out_features(), rank]),
        ];
        for (tensor, matrix, expected) in expected {
            if matrix.size() != expected {
                return Err(Error::Shape { tensor, expected, found: matrix.size() });
            }
        }
        Ok(Self { base, lora_a, lora_b, scale, dropout, origin: None, magnitude: None })
    }

    /// Takes what the matrices began as off the update.
    #[must_use]
    pub fn with_origin(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }

    /// Gives the rows of the adapted weight these lengths, f32 `[out_features]`: DoRA.
    ///
    /// # Errors
    /// [`Error::Shape`]; those of the base's weight.
    pub fn with_magnitude(mut self, vector: Tensor) -> Result<Self> {
        let expected = vec![self.base.out_features()];
        if vector.size() != expected {
            let tensor = "lora_magnitude_vector";
            return Err(Error::Shape { tensor, expected, found: vector.size() });
        }
        self.magnitude = Some(Magnitude::new(vector, self.base.as_ref())?);
        Ok(self)
    }

    /// The projection underneath.
    pub fn base(&self) -> &dyn Linear {
        self.base.as_ref()
    }

    /// Takes the adapter off.
    pub fn into_base(self) -> Box<dyn Linear> {
        self.base
    }

    /// A and B of the whole update, its origin's beside them with the other sign.
    fn factors(&self) -> Result<(Tensor, Tensor)> {
        match &self.origin {
            None => Ok((self.lora_a.shallow_clone(), self.lora_b.shallow_clone())),
            Some(origin) => Ok((
                Tensor::f_cat(&[&self.lora_a, &origin.lora_a], 0)?,
                Tensor::f_cat(&[&self.lora_b, &origin.lora_b.f_neg()?], 1)?,
            )),
        }
    }

    /// The update `s·B·A` in float32, `[out_features, in_features]`, without what it began as
    /// and before DoRA's scaling.
    ///
    /// # Errors
    /// libtorch's.
    pub fn delta_weight(&self) -> Result<Tensor> {
        let (lora_a, lora_b) = self.factors()?;
        Ok(lora_b.f_detach()?.f_matmul(&lora_a.f_detach()?)?.f_mul_scalar(self.scale)?)
    }

    /// `W + s·B·A`, its rows scaled under DoRA, computed in float32 and then rounded to
    /// `dtype`.
    ///
    /// # Errors
    /// Those of the base layer; libtorch's.
    pub fn merged_weight(&self, dtype: Kind) -> Result<Tensor> {
        no_grad(|| {
            let weight = self.base.dense_weight()?.f_detach()?.f_to_kind(Kind::Float)?;
            let mut merged = weight.f_add(&self.delta_weight()?)?;
            if let Some(magnitude) = &self.magnitude {
                merged = merged.f_mul(&magnitude.of_merged(&merged)?)?;
            }
            Ok(merged.f_to_kind(dtype)?)
        })
    }

    fn update(&self, input: &Tensor) -> Result<Tensor> {
        let kind = input.kind();
        let (lora_a, lora_b) = self.factors()?;
        // A is smaller than what it makes of the tokens, so the scale goes here.
        let lora_a = lora_a.f_mul_scalar(self.scale)?.f_to_kind(kind)?;
        let lora_b = lora_b.f_to_kind(kind)?;
        let low = if self.dropout > 0.0 && lora_a.requires_grad() {
            input.f_dropout(self.dropout, true)?.f_linear(&lora_a, None::<&Tensor>)?
        } else {
            input.f_linear(&lora_a, None::<&Tensor>)?
        };
        // low: [.., rank]
        Ok(low.f_linear(&lora_b, None::<&Tensor>)?)
    }

    fn adapted(&self, input: &Tensor) -> Result<Tensor> {
        let output = self.base.forward(input)?;
        let update = self.update(input)?;
        let Some(magnitude) = &self.magnitude else { return Ok(output.f_add(&update)?) };
        let (lora_a, lora_b) = self.factors()?;
        let factors = magnitude.of_update(self.base.as_ref(), &lora_a, &lora_b, self.scale)?;
        magnitude::scale_rows(&output, &update, self.base.bias(), &factors)
    }
}

impl Linear for LoraLinear {
    fn forward(&self, input: &Tensor) -> ModelResult<Tensor> {
        self.adapted(input).map_err(model_error)
    }

    fn in_features(&self) -> i64 {
        self.base.in_features()
    }

    fn out_features(&self) -> i64 {
        self.base.out_features()
    }

    /// The base's tensors and the adapter's own. A model saved with an adapter on it is
    /// thus no plain checkpoint and is refused by its reader, instead of losing the
    /// adapter unnoticed.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.base.tensors();
        tensors.push(("lora_A.weight".to_owned(), self.lora_a.shallow_clone()));
        tensors.push(("lora_B.weight".to_owned(), self.lora_b.shallow_clone()));
        if let Some(magnitude) = &self.magnitude {
            let vector = magnitude.vector().shallow_clone();
            tensors.push(("lora_magnitude_vector".to_owned(), vector));
        }
        tensors
    }

    fn dense_weight(&self) -> ModelResult<Tensor> {
        let kind = self.base.dense_weight()?.kind();
        self.merged_weight(kind).map_err(model_error)
    }

    fn bias(&self) -> Option<Tensor> {
        self.base.bias()
    }
}

/// What a decoder is told of an adapter's error: the model's own as they are.
pub(crate) fn model_error(error: Error) -> limbeck_model::Error {
    match error {
        Error::Model(error) => error,
        Error::Torch(error) => error.into(),
        error => limbeck_model::Error::layer("lora", error),
    }
}

/// A fresh A, `[rank, in_features]` in f32: uniform within ±`1/√in_features`, which is
/// PEFT's `kaiming_uniform_(a=√5)`. The stream is keyed by seed and name, so that it
/// depends neither on libtorch's generator nor on which other projections are adapted.
///
/// # Errors
/// libtorch's.
pub fn initial_a(
    name: &str,
    rank: Rank,
    in_features: i64,
    seed: u64,
    device: Device,
) -> Result<Tensor> {
    let bound = 1.0 / (in_features as f64).sqrt();
    let mut stream = CounterRng::new(seed::derive(seed, &format!("{name}.lora_A"), 0));
    let values: Vec<f32> = (0..rank.get() * in_features)
        .map(|_| (bound * (2.0 * stream.next_f64() - 1.0)) as f32)
        .collect();
    Ok(Tensor::f_from_slice(&values)?.f_view([rank.get(), in_features])?.f_to_device(device)?)
}

/// A fresh B, `[out_features, rank]` in f32: zero, so that the adapter begins as nothing.
///
/// # Errors
/// libtorch's.
pub fn initial_b(rank: Rank, out_features: i64, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_zeros([out_features, rank.get()], (Kind::Float, device))?)
}

#[cfg(test)]
mod tests {
    use limbeck_model::DenseLinear;

    use super::*;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn layer(dropout: f64) -> LoraLinear {
        let base = DenseLinear::new(random(&[5, 4]), Some(random(&[5]))).unwrap();
        let lora_a = random(&[2, 4]).set_requires_grad(true);
        let lora_b = random(&[5, 2]).set_requires_grad(true);
        LoraLinear::new(Box::new(base), lora_a, lora_b, 1.5, dropout).unwrap()
    }

    #[test]
    fn forward_is_the_formula() {
        tch::manual_seed(1);
        let layer = layer(0.0);
        let input = random(&[2, 3, 4]);
        let update = input.matmul(&layer.lora_a.tr()).matmul(&layer.lora_b.tr()) * 1.5;
        let expected = layer.base.forward(&input).unwrap() + update;
        let output = layer.forward(&input).unwrap();
        assert_eq!(output.size(), [2, 3, 5]);
        assert!(output.allclose(&expected, 1e-5, 1e-5, false));
        let merged = input.matmul(&layer.dense_weight().unwrap().tr()) + layer.bias().unwrap();
        assert!(output.allclose(&merged, 1e-5, 1e-5, false));
    }

    #[test]
    fn an_origin_is_taken_off_the_update() {
        tch::manual_seed(6);
        let layer = layer(0.0);
        let clone = |tensor: &Tensor| tensor.detach().copy();
        let origin = Origin { lora_a: clone(&layer.lora_a), lora_b: clone(&layer.lora_b) };
        let layer = layer.with_origin(Some(origin));
        let input = random(&[3, 4]);
        let base = layer.base.forward(&input).unwrap();
        assert!(layer.forward(&input).unwrap().allclose(&base, 1e-5, 1e-5, false));
        let moved = no_grad(|| layer.lora_a.shallow_clone().fill_(0.5));
        let expected = layer.merged_weight(Kind::Float).unwrap();
        assert!(moved.requires_grad() && !expected.equal(&layer.base.dense_weight().unwrap()));
        let expected = input.matmul(&expected.tr()) + layer.bias().unwrap();
        assert!(layer.forward(&input).unwrap().allclose(&expected, 1e-5, 1e-5, false));
    }

    #[test]
    fn dora_gives_the_rows_their_lengths() {
        tch::manual_seed(5);
        let vector = (random(&[5]).abs() + 0.5).set_requires_grad(true);
        let layer = layer(0.0).with_magnitude(vector.shallow_clone()).unwrap();
        let merged = layer.merged_weight(Kind::Float).unwrap();
        let lengths = merged.square().sum_dim_intlist([1].as_slice(), false, Kind::Float).sqrt();
        assert!(lengths.allclose(&vector.detach(), 1e-5, 1e-5, false));
        let input = random(&[2, 3, 4]);
        let output = layer.forward(&input).unwrap();
        let expected = input.matmul(&merged.tr()) + layer.bias().unwrap();
        assert!(output.allclose(&expected, 1e-5, 1e-5, false));
        output.square().sum(Kind::Float).backward();
        for tensor in [&vector, &layer.lora_a, &layer.lora_b] {
            assert!(tensor.grad().abs().max().double_value(&[]) > 0.0);
        }
        let wrong = self::layer(0.0).with_magnitude(random(&[4])).unwrap_err();
        assert!(wrong.to_string().contains("lora_magnitude_vector"), "{wrong}");
    }

    #[test]
    fn gradients_reach_a_b_and_the_input_in_the_inputs_dtype() {
        tch::manual_seed(2);
        let layer = layer(0.0);
        let input = random(&[3, 4]).to_kind(Kind::BFloat16).set_requires_grad(true);
        let output = layer.forward(&input).unwrap();
        assert_eq!(output.kind(), Kind::BFloat16);
        output.sum(Kind::Float).backward();
        assert_eq!(layer.lora_a.grad().kind(), Kind::Float);
        assert!(layer.lora_a.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0);
        assert!(layer.lora_b.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0);
        assert!(input.grad().defined());
        assert!(!layer.base.tensors()[0].1.grad().defined());
    }

    #[test]
    fn dropout_acts_only_where_gradients_are_recorded() {
        tch::manual_seed(3);
        let layer = layer(0.5);
        let input = random(&[16, 4]);
        let clean = no_grad(|| layer.forward(&input).unwrap());
        assert_eq!(clean, no_grad(|| layer.forward(&input).unwrap()));
        assert_ne!(clean, layer.forward(&input).unwrap());
        let frozen = layer.lora_a.set_requires_grad(false);
        assert!(!frozen.requires_grad());
        assert_eq!(clean, layer.forward(&input).unwrap());
    }

    #[test]
    fn dropout_keeps_the_mean() {
        tch::manual_seed(4);
        let layer = layer(0.25);
        let input = random(&[1, 4]).repeat([20_000, 1]);
        let mean = layer.forward(&input).unwrap().mean_dim(0, false, Kind::Float);
        let clean = no_grad(|| layer.forward(&input).unwrap()).get(0);
        assert!((mean - clean).abs().max().double_value(&[]) < 0.1);
    }

    #[test]
    fn matrices_that_do_not_fit_are_refused() {
        let base = || Box::new(DenseLinear::new(random(&[5, 4]), None).unwrap());
        for (a, b, tensor) in [
            (random(&[2, 5]), random(&[5, 2]), "lora_A"),
            (random(&[2, 4]), random(&[5, 3]), "lora_B"),
            (random(&[2, 4]), random(&[4, 2]), "lora_B"),
            (random(&[4]), random(&[5, 4]), "lora_A"),
        ] {
            let error = LoraLinear::new(base(), a, b, 1.0, 0.0).unwrap_err();
            assert!(
                matches!(&error, Error::Shape { tensor: named, .. } if *named == tensor),
                "{error}"
            );
        }
    }

    #[test]
    fn a_is_uniform_within_its_bound_and_repeatable() {
        let rank = Rank::new(8).unwrap();
        let matrix = |name: &str, seed| initial_a(name, rank, 400, seed, Device::Cpu).unwrap();
        let first = matrix("x", 1);
        assert_eq!(first, matrix("x", 1));
        assert_ne!(first, matrix("x", 2));
        assert_ne!(first, matrix("y", 1));
        let bound = 1.0 / 20.0;
        assert!(first.abs().max().double_value(&[]) <= bound);
        let deviation = first.std(false).double_value(&[]);
        assert!((deviation - bound / 3.0_f64.sqrt()).abs() < 0.001, "{deviation}");
        assert!(first.mean(Kind::Float).double_value(&[]).abs() < 0.002);
    }
}
