//! How much each weight matters to a task: the diagonal of the Fisher information of ΔW.
//!
//! `Ω = E[(∂L/∂ΔW)²]` over examples, where L is an example's negative log-likelihood (the
//! empirical Fisher: labels are the data's). Exactly, that is a matrix of the weight's size a
//! projection. The separable form takes the gradient by the output and the input for
//! independent, as K-FAC does (Martens and Grosse 2015, arXiv:1503.05671), and keeps of both
//! only diagonals: `Ω ≈ g xᵀ` with `g = E[δ²]` and `x = E[input²]` over positions, two vectors
//! a projection.
//!
//! Several tasks add up online (Schwarz et al. 2018, arXiv:1805.06370): `Ω ← γΩ + Ω_t`. A sum
//! of separable forms is not separable, so their vectors are kept beside each other, one pair
//! a task, and the penalty is exact on them.

mod file;

use limbeck_model::Decoder;
use limbeck_train::{Batch, Objective as _};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad};

use super::probe::{Observation, Probes};
use crate::{Error, FrozenHeadObjective, Result};

/// Rows of logits at a time while gradients are observed.
const HEAD_ROWS: i64 = 2048;

/// Which form of the Fisher diagonal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FisherKind {
    /// Every entry of the diagonal: as many numbers as weights.
    Exact,
    /// A vector for the inputs and one for the outputs of each projection and task.
    #[default]
    Separable,
}

/// The importances of a projection's weights.
#[derive(Debug)]
pub enum Importance {
    /// f32 `[out_features, in_features]`.
    Exact(Tensor),
    /// The sum over tasks of `output[task] ⊗ input[task]`.
    Separable {
        /// f32 `[tasks, out_features]`.
        output: Tensor,
        /// f32 `[tasks, in_features]`.
        input: Tensor,
    },
}

/// The importances of the weights of some projections.
#[derive(Debug)]
pub struct Fisher {
    kind: FisherKind,
    modules: Vec<(String, Importance)>,
}

impl Fisher {
    /// Estimates the importances of the named projections on batches of a task's examples,
    /// as they are: see [`Self::normalise`]. The decoder's own parameters are frozen.
    ///
    /// Examples of a batch do not see each other, so that how they are batched does not
    /// matter.
    ///
    /// # Errors
    /// [`Error::NoImportance`] without a batch; an unknown projection; those of the model.
    pub fn estimate(
        decoder: &mut Decoder,
        modules: &[String],
        batches: &[Batch],
        kind: FisherKind,
    ) -> Result<Self> {
        let probes = Probes::attach(decoder, modules)?;
        let sums = Sums::of(decoder, &probes, batches, kind);
        let names = probes.names().map(str::to_owned).collect::<Vec<_>>();
        probes.detach(decoder)?;
        let sums = sums?;
        if sums.modules.is_empty() {
            return Err(Error::NoImportance { found: 0.0 });
        }
        let modules = names.into_iter().zip(sums.mean()?).collect();
        Ok(Self { kind, modules })
    }

    /// The form that is kept.
    pub fn kind(&self) -> FisherKind {
        self.kind
    }

    /// The projections with their importances.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &Importance)> {
        self.modules.iter().map(|(name, importance)| (name.as_str(), importance))
    }

    /// The importances of a projection.
    pub fn get(&self, name: &str) -> Option<&Importance> {
        self.modules().find(|(known, _)| *known == name).map(|(_, importance)| importance)
    }

    /// Mean over all weights of all projections.
    ///
    /// # Errors
    /// libtorch's.
    pub fn mean(&self) -> Result<f64> {
        let (mut sum, mut count) = (0.0, 0.0);
        for (_, importance) in &self.modules {
            let total = |tensor: &Tensor| tensor.f_sum(Kind::Double)?.f_double_value(&[]);
            match importance {
                Importance::Exact(diagonal) => {
                    sum += total(diagonal)?;
                    count += diagonal.numel() as f64;
                }
                Importance::Separable { output, input } => {
                    let rows = |factor: &Tensor| factor.f_sum_dim_intlist(-1, false, Kind::Double);
                    sum += total(&rows(output)?.f_mul(&rows(input)?)?)?;
                    count += (output.size2()?.1 * input.size2()?.1) as f64;
                }
            }
        }
        Ok(sum / count.max(1.0))
    }

    /// Divides by the mean, so that the strength of a penalty means the same for another
    /// model, task or form.
    ///
    /// # Errors
    /// [`Error::NoImportance`] if no weight has any, or the mean is not finite.
    pub fn normalise(&mut self) -> Result<()> {
        let mean = self.mean()?;
        if !(mean > 0.0 && mean.is_finite()) {
            return Err(Error::NoImportance { found: mean });
        }
        self.scale(1.0 / mean)
    }

    /// `Ω ← γΩ + next`.
    ///
    /// # Errors
    /// [`Error::FisherMismatch`] if the other is of another form or of other projections.
    pub fn accumulate(&mut self, gamma: f64, next: &Self) -> Result<()> {
        let mismatch = |expected: String, found: String| Error::FisherMismatch { expected, found };
        if self.kind != next.kind {
            return Err(mismatch(format!("{:?}", self.kind), format!("{:?}", next.kind)));
        }
        let names = |fisher: &Self| fisher.modules().map(|(name, _)| name.to_owned()).collect();
        let (expected, found): (Vec<String>, Vec<String>) = (names(self), names(next));
        if expected != found {
            return Err(mismatch(expected.join(", "), found.join(", ")));
        }
        self.scale(gamma)?;
        for ((_, sum), (_, next)) in self.modules.iter_mut().zip(&next.modules) {
            *sum = sum.joined(next)?;
        }
        Ok(())
    }

    fn scale(&mut self, factor: f64) -> Result<()> {
        for (_, importance) in &mut self.modules {
            let scaled = match importance {
                // One factor of the product carries it.
                Importance::Exact(scaled) | Importance::Separable { output: scaled, .. } => scaled,
            };
            *scaled = scaled.f_mul_scalar(factor)?;
        }
        Ok(())
    }
}

impl Importance {
    /// Both together: a sum, or the pairs of vectors beside each other.
    fn joined(&self, other: &Self) -> Result<Self> {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => Ok(Self::Exact(one.f_add(other)?)),
            (
                Self::Separable { output, input },
                Self::Separable { output: other_output, input: other_input },
            ) => Ok(Self::Separable {
                output: Tensor::f_cat(&[output, other_output], 0)?,
                input: Tensor::f_cat(&[input, other_input], 0)?,
            }),
            _ => Err(Error::FisherMismatch {
                expected: "one form of importances".to_owned(),
                found: "both".to_owned(),
            }),
        }
    }

    /// The whole diagonal, `[out_features, in_features]`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Exact(diagonal) => Ok(diagonal.shallow_clone()),
            Self::Separable { output, input } => Ok(output.f_tr()?.f_matmul(input)?),
        }
    }
}

/// Sums over examples, or over positions in the separable form.
struct Sums {
    modules: Vec<Importance>,
    count: f64,
}

impl Sums {
    fn of(decoder: &Decoder, probes: &Probes, batches: &[Batch], kind: FisherKind) -> Result<Self> {
        let mut sums = Self { modules: Vec::new(), count: 0.0 };
        let mut objective = FrozenHeadObjective { chunk_rows: HEAD_ROWS };
        for batch in batches {
            // Summed, not averaged, over the tokens: an example's log-likelihood.
            objective.accumulate(decoder, batch, 1.0)?;
            let observations = probes.take()?;
            no_grad(|| -> Result<()> {
                let real = batch.real_positions()?; // [batch, seq]
                for (index, observation) in observations.iter().enumerate() {
                    let seen = match kind {
                        FisherKind::Exact => exact(observation)?,
                        FisherKind::Separable => separable(observation, &real)?,
                    };
                    match sums.modules.get_mut(index) {
                        None => sums.modules.push(seen),
                        Some(sum) => *sum = sum.plus(&seen)?,
                    }
                }
                sums.count += match kind {
                    FisherKind::Exact => batch.examples.len() as f64,
                    FisherKind::Separable => batch.num_tokens as f64,
                };
                Ok(())
            })?;
        }
        Ok(sums)
    }

    fn mean(self) -> Result<Vec<Importance>> {
        let count = self.count;
        let mean = |sum: &Tensor| sum.f_div_scalar(count)?.f_to_device(Device::Cpu);
        let mean = |sum: &Importance| -> Result<Importance> {
            Ok(match sum {
                Importance::Exact(sum) => Importance::Exact(mean(sum)?),
                Importance::Separable { output, input } => {
                    Importance::Separable { output: mean(output)?, input: mean(input)? }
                }
            })
        };
        self.modules.iter().map(mean).collect()
    }
}

impl Importance {
    /// The sums of two batches of one task.
    fn plus(&self, other: &Self) -> Result<Self> {
        match (self, other) {
            (
                Self::Separable { output, input },
                Self::Separable { output: other_output, input: other_input },
            ) => Ok(Self::Separable {
                output: output.f_add(other_output)?,
                input: input.f_add(other_input)?,
            }),
            _ => self.joined(other),
        }
    }
}

/// `Σ (Σ δ xᵀ)²`: the inner sum over an example's positions, the outer one over examples. At
/// padding δ is 0.
fn exact(observation: &Observation) -> Result<Importance> {
    let Observation { input, output_gradient } = observation;
    let (examples, _, in_features) = input.size3()?;
    let out_features = output_gradient.size3()?.2;
    let mut sum = Tensor::f_zeros([out_features, in_features], (Kind::Float, input.device()))?;
    for example in 0..examples {
        // One example at a time: a batch's gradients at once would be as many weights.
        let gradient = output_gradient.f_get(example)?.f_tr()?.f_matmul(&input.f_get(example)?)?;
        let _ = sum.f_addcmul_(&gradient, &gradient)?;
    }
    Ok(Importance::Exact(sum))
}

/// `Σ δ²` and `Σ x²` over positions that are no padding.
fn separable(observation: &Observation, real: &Tensor) -> Result<Importance> {
    let squares = |tensor: &Tensor| -> Result<Tensor> {
        let square = tensor.f_square()?.f_mul(&real.f_unsqueeze(-1)?)?; // [batch, seq, features]
        Ok(square.f_sum_dim_intlist([0, 1].as_slice(), false, Kind::Float)?.f_unsqueeze(0)?)
    };
    Ok(Importance::Separable {
        output: squares(&observation.output_gradient)?,
        input: squares(&observation.input)?,
    })
}

#[cfg(test)]
mod tests {
    use limbeck_model::{Linear, Result as ModelResult};
    use limbeck_train::Example;

    use super::super::fixture::{batch, examples, model};
    use super::*;

    /// A projection with an explicit ΔW to differentiate by.
    #[derive(Debug)]
    struct WithDelta {
        base: Box<dyn Linear>,
        delta: Tensor,
    }

    impl Linear for WithDelta {
        fn forward(&self, input: &Tensor) -> ModelResult<Tensor> {
            Ok(self.base.forward(input)? + input.matmul(&self.delta.tr()))
        }

        fn in_features(&self) -> i64 {
            self.base.in_features()
        }

        fn out_features(&self) -> i64 {
            self.base.out_features()
        }

        fn tensors(&self) -> Vec<(String, Tensor)> {
            self.base.tensors()
        }

        fn dense_weight(&self) -> ModelResult<Tensor> {
            self.base.dense_weight()
        }

        fn bias(&self) -> Option<Tensor> {
            self.base.bias()
        }
    }

    /// `E[(∂L/∂ΔW)²]` by autograd, an example at a time.
    fn by_autograd(name: &str, examples: &[Example]) -> Tensor {
        let mut model = model();
        model.set_requires_grad(false).unwrap();
        let layer = model.linear(name).unwrap();
        let shape = [layer.out_features(), layer.in_features()];
        let delta = Tensor::zeros(shape, (Kind::Float, model.device())).set_requires_grad(true);
        model
            .map_linear(name, &mut |base| {
                Ok(Box::new(WithDelta { base, delta: delta.shallow_clone() }))
            })
            .unwrap();
        let mut objective = FrozenHeadObjective { chunk_rows: 100 };
        let mut sum = Tensor::zeros(shape, (Kind::Float, model.device()));
        for example in examples {
            objective.accumulate(&model, &batch(std::slice::from_ref(example)), 1.0).unwrap();
            sum += delta.grad().square();
            let _ = delta.grad().zero_();
        }
        sum / examples.len() as f64
    }

    fn estimate(kind: FisherKind, batches: &[&[Example]]) -> Fisher {
        let mut model = model();
        let names = model.linear_names();
        let batches: Vec<Batch> = batches.iter().map(|examples| batch(examples)).collect();
        Fisher::estimate(&mut model, &names, &batches, kind).unwrap()
    }

    fn dense(fisher: &Fisher, name: &str) -> Tensor {
        fisher.get(name).unwrap().dense().unwrap()
    }

    #[test]
    fn exact_importances_are_those_of_an_explicit_update() {
        let examples = examples(5);
        let fisher = estimate(FisherKind::Exact, &[&examples[..2], &examples[2..]]);
        for name in [3, 4, 13].map(|place: usize| model().linear_names()[place].clone()) {
            let (found, expected) = (dense(&fisher, &name), by_autograd(&name, &examples));
            let largest = expected.abs().max().double_value(&[]);
            assert!(largest > 0.0 && found.allclose(&expected, 1e-3, 1e-5 * largest, false));
        }
    }

    #[test]
    fn separable_importances_are_means_of_squares_over_real_positions() {
        let all = examples(3);
        let together = estimate(FisherKind::Separable, &[&all]);
        // An example alone has no padding.
        let apart = estimate(FisherKind::Separable, &[&all[..1], &all[1..2], &all[2..]]);
        for (name, _) in together.modules() {
            let (found, expected) = (dense(&together, name), dense(&apart, name));
            assert!(found.allclose(&expected, 1e-3, 1e-9, false), "{name}");
        }
        let mut model = model();
        let name = model.linear_names()[0].clone();
        let probes = Probes::attach(&mut model, std::slice::from_ref(&name)).unwrap();
        let batch = batch(&all[..1]);
        FrozenHeadObjective { chunk_rows: 9 }.accumulate(&model, &batch, 1.0).unwrap();
        let seen = probes.take().unwrap().pop().unwrap();
        let mean =
            |tensor: &Tensor| tensor.square().mean_dim([0, 1].as_slice(), false, Kind::Float);
        let expected = mean(&seen.output_gradient).outer(&mean(&seen.input));
        let alone = estimate(FisherKind::Separable, &[&all[..1]]);
        assert!(dense(&alone, &name).allclose(&expected, 1e-4, 1e-12, false));
    }

    #[test]
    fn the_separable_form_ranks_weights_as_the_exact_one_does() {
        let all = examples(12);
        let (exact, separable) =
            (estimate(FisherKind::Exact, &[&all]), estimate(FisherKind::Separable, &[&all]));
        let flat = |fisher: &Fisher| {
            let all: Vec<Tensor> =
                fisher.modules().map(|(name, _)| dense(fisher, name).flatten(0, -1)).collect();
            Tensor::cat(&all, 0).log()
        };
        let both = Tensor::stack(&[flat(&exact), flat(&separable)], 0);
        let correlation = both.corrcoef().double_value(&[0, 1]);
        assert!(correlation > 0.6, "{correlation}");
    }

    #[test]
    fn a_normalised_mean_is_one_and_tasks_add_up() {
        for kind in [FisherKind::Exact, FisherKind::Separable] {
            let all = examples(4);
            let mut first = estimate(kind, &[&all[..2]]);
            let mut second = estimate(kind, &[&all[2..]]);
            first.normalise().unwrap();
            second.normalise().unwrap();
            assert!((first.mean().unwrap() - 1.0).abs() < 1e-5);
            let name = model().linear_names()[5].clone();
            let expected = dense(&first, &name) * 0.5 + dense(&second, &name);
            first.accumulate(0.5, &second).unwrap();
            assert!(dense(&first, &name).allclose(&expected, 1e-5, 1e-9, false));
            assert!((first.mean().unwrap() - 1.5).abs() < 1e-5);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let all = examples(2);
        let mut exact = estimate(FisherKind::Exact, &[&all]);
        let other = estimate(FisherKind::Separable, &[&all]);
        assert!(matches!(exact.accumulate(1.0, &other), Err(Error::FisherMismatch { .. })));
        let mut model = model();
        let name = model.linear_names()[0].clone();
        let part = Fisher::estimate(&mut model, &[name], &[batch(&all)], FisherKind::Exact);
        assert!(exact.accumulate(1.0, &part.unwrap()).is_err());
        let names = model.linear_names();
        let none = Fisher::estimate(&mut model, &names, &[], FisherKind::Exact);
        assert!(matches!(none, Err(Error::NoImportance { .. })));
        exact.scale(0.0).unwrap();
        assert!(matches!(exact.normalise(), Err(Error::NoImportance { .. })));
    }
}
