//! Optimisers over flat buffers: `AdamW`, `AdamW` with 8-bit moments, Adafactor and Muon.
//!
//! The parameters of a group become views into one buffer, and so do their gradients,
//! so that a step is a dozen passes over memory whatever the number of parameters, and
//! the moments are a tensor or two to save each.
//!
//! Reading order: [`OptimizerConfig`], `group` (the buffers), then the rules: `adamw`,
//! `adamw_8bit`, `adafactor`, `muon`.

mod adafactor;
mod adamw;
mod adamw_8bit;
mod group;
mod kind;
mod muon;
mod stack;

use tch::{Tensor, no_grad};

pub use kind::{OptimizerConfig, OptimizerKind};
pub(crate) use stack::slabs;

use crate::{Error, Result};
use group::Group;
use kind::Update;

/// An optimiser with a group each of the blocks' matrices, other matrices and vectors.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    groups: Vec<Group>,
    updates: u64,
}

impl Optimizer {
    /// Moves the parameters into flat buffers and gives them gradients of zero. The
    /// tensors given stay the model's own: only their storage changes.
    ///
    /// # Errors
    /// [`Error::NoParameters`]; libtorch's.
    pub fn new(parameters: Vec<(String, Tensor)>, config: OptimizerConfig) -> Result<Self> {
        if parameters.is_empty() {
            return Err(Error::NoParameters);
        }
        let (mut hidden, mut matrices, mut vectors) = (Vec::new(), Vec::new(), Vec::new());
        for (name, tensor) in parameters {
            let by_token = name.contains("embed_tokens") || name.contains("lm_head");
            let place = match tensor.dim() {
                // Rows by token get sparse gradients, which Muon would blow up.
                2 if config.muon_ratio.is_some() && !by_token => &mut hidden,
                0 | 1 => &mut vectors,
                _ => &mut matrices,
            };
            place.push(tensor);
        }
        // Equal shapes side by side, to be taken together.
        hidden.sort_by_key(Tensor::size);
        if config.kind == OptimizerKind::Adafactor {
            matrices.sort_by_key(Tensor::size);
        }
        let mut groups = Vec::new();
        for (name, parameters) in [("hidden", hidden), ("matrices", matrices), ("vectors", vectors)]
        {
            if !parameters.is_empty() {
                groups.push(Group::new(name, parameters, &config)?);
            }
        }
        Ok(Self { config, groups, updates: 0 })
    }

    /// Scales the gradients so that their norm over all parameters is at most `max_norm`
    /// (no limit at 0), and returns the norm before.
    ///
    /// # Errors
    /// libtorch's.
    pub fn clip_gradients(&mut self, max_norm: f64) -> Result<f64> {
        no_grad(|| {
            let mut square = 0.0;
            for group in &self.groups {
                let norm = group.gradient.f_norm()?.f_double_value(&[])?;
                square += norm * norm;
            }
            let norm = square.sqrt();
            if max_norm > 0.0 && norm > max_norm {
                for group in &mut self.groups {
                    let _ = group.gradient.f_mul_scalar_(max_norm / norm)?;
                }
            }
            Ok(norm)
        })
    }

    /// One update at this learning rate (Muon's is a multiple of it).
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(&mut self, learning_rate: f64) -> Result<()> {
        self.updates += 1;
        no_grad(|| {
            for group in &self.groups {
                group.update(&Update {
                    config: &self.config,
                    rate: learning_rate,
                    weight_decay: group.weight_decay,
                    number: self.updates,
                })?;
            }
            Ok(())
        })
    }

    /// Zeroes the gradients, keeping their buffers.
    ///
    /// # Errors
    /// libtorch's.
    pub fn zero_gradients(&mut self) -> Result<()> {
        no_grad(|| {
            for group in &mut self.groups {
                let _ = group.gradient.f_zero_()?;
            }
            Ok(())
        })
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Number of scalars that are trained.
    pub fn num_parameters(&self) -> i64 {
        self.groups.iter().map(Group::num_parameters).sum()
    }

    /// The groups' buffers of parameters with their names, as shallow clones: f32, padded
    /// between parameters.
    pub fn buffers(&self) -> Vec<(String, Tensor)> {
        let named = |group: &Group| (group.name.to_owned(), group.flat.shallow_clone());
        self.groups.iter().map(named).collect()
    }

    /// Whether every parameter is a finite number.
    ///
    /// # Errors
    /// libtorch's.
    pub fn is_finite(&self) -> Result<bool> {
        for group in &self.groups {
            if !no_grad(|| group.flat.f_norm()?.f_double_value(&[]))?.is_finite() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes of the moments.
    pub fn state_bytes(&self) -> u64 {
        let bytes = |tensor: &Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
        self.groups.iter().flat_map(Group::moments).map(|(_, tensor)| bytes(&tensor)).sum()
    }

    /// What a checkpoint keeps: parameters and moments of each group.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for group in &self.groups {
            let parameters = ("parameters", group.flat.shallow_clone());
            for (what, tensor) in std::iter::once(parameters).chain(group.moments()) {
                state.push((format!("{}.{what}", group.name), tensor));
            }
        }
        state
    }

    /// Takes a checkpoint's state back, asking `read` for each tensor by name and shape.
    ///
    /// # Errors
    /// Those of `read`; libtorch's.
    pub fn restore(
        &mut self,
        updates: u64,
        read: &mut dyn FnMut(&str, &[i64]) -> Result<Tensor>,
    ) -> Result<()> {
        self.updates = updates;
        for (name, mut tensor) in self.state() {
            let stored = read(&name, &tensor.size())?;
            no_grad(|| tensor.f_copy_(&stored))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const CONFIG: OptimizerConfig = OptimizerConfig {
        kind: OptimizerKind::AdamW,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        muon_ratio: None,
    };

    fn parameters() -> Vec<(String, Tensor)> {
        let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]) / 10.0;
        let vector = Tensor::from_slice(&[0.5_f32, -0.25, 1.0]);
        vec![
            ("w".to_owned(), matrix.set_requires_grad(true)),
            ("b".to_owned(), vector.set_requires_grad(true)),
        ]
    }

    fn loss(parameters: &[(String, Tensor)]) -> Tensor {
        let input = Tensor::from_slice(&[1.0_f32, -2.0]).view([1, 2]);
        (input.matmul(&parameters[0].1) + &parameters[1].1).square().sum(Kind::Float)
    }

    /// The textbook update, one scalar at a time in double precision.
    fn reference(value: f64, gradients: &[f64], learning_rate: f64, decay: f64) -> f64 {
        let (mut value, mut m, mut v) = (value, 0.0, 0.0);
        for (index, gradient) in gradients.iter().enumerate() {
            m = 0.9 * m + 0.1 * gradient;
            v = 0.95 * v + 0.05 * gradient * gradient;
            let power = index as i32 + 1;
            let m_hat = m / (1.0 - 0.9_f64.powi(power));
            let v_hat = v / (1.0 - 0.95_f64.powi(power));
            value -= learning_rate * decay * value;
            value -= learning_rate * m_hat / (v_hat.sqrt() + 1e-8);
        }
        value
    }

    #[test]
    fn three_steps_equal_the_textbook() {
        let parameters = parameters();
        let shares: Vec<(String, Tensor)> = parameters
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let start: Vec<f32> = Vec::try_from(parameters[0].1.reshape([-1])).unwrap();
        let start_bias: Vec<f32> = Vec::try_from(&parameters[1].1).unwrap();
        let mut optimizer = Optimizer::new(shares, CONFIG).unwrap();
        let mut gradients = vec![Vec::new(); 9];
        for _ in 0..3 {
            optimizer.zero_gradients().unwrap();
            loss(&parameters).backward();
            let mut all: Vec<f32> = Vec::try_from(parameters[0].1.grad().reshape([-1])).unwrap();
            all.extend(Vec::<f32>::try_from(parameters[1].1.grad()).unwrap());
            for (list, gradient) in gradients.iter_mut().zip(all) {
                list.push(f64::from(gradient));
            }
            optimizer.step(0.01).unwrap();
        }
        let after: Vec<f32> = Vec::try_from(parameters[0].1.reshape([-1])).unwrap();
        for index in 0..6 {
            let expected = reference(f64::from(start[index]), &gradients[index], 0.01, 0.1);
            assert!((f64::from(after[index]) - expected).abs() < 1e-6, "{index}");
        }
        let after: Vec<f32> = Vec::try_from(&parameters[1].1).unwrap();
        for index in 0..3 {
            let expected =
                reference(f64::from(start_bias[index]), &gradients[6 + index], 0.01, 0.0);
            assert!((f64::from(after[index]) - expected).abs() < 1e-6, "{index}");
        }
        assert_eq!(optimizer.num_parameters(), 9);
    }

    #[test]
    fn clipping_leaves_the_direction() {
        let parameters = parameters();
        let shares = parameters.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let mut optimizer = Optimizer::new(shares, CONFIG).unwrap();
        loss(&parameters).backward();
        let before = parameters[1].1.grad().copy();
        let norm = optimizer.clip_gradients(0.5).unwrap();
        assert!(norm > 0.5);
        let after = parameters[1].1.grad();
        assert!(after.allclose(&(before * (0.5 / norm)), 1e-5, 1e-7, false));
        assert!((optimizer.clip_gradients(10.0).unwrap() - 0.5).abs() < 1e-5);
    }

    #[test]
    fn gradients_accumulate_over_backwards_also_after_adoption() {
        let parameters = parameters();
        let shares = parameters.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let mut optimizer = Optimizer::new(shares, CONFIG).unwrap();
        loss(&parameters).backward();
        let once = optimizer.clip_gradients(0.0).unwrap();
        loss(&parameters).backward();
        assert!((optimizer.clip_gradients(0.0).unwrap() - 2.0 * once).abs() < 1e-4);
        optimizer.zero_gradients().unwrap();
        assert!(optimizer.clip_gradients(0.0).unwrap() == 0.0);
    }

    #[test]
    fn a_stack_steps_as_its_matrices_would_alone() {
        let all: Vec<Tensor> =
            (0..3).map(|_| Tensor::randn([16, 8], (Kind::Float, Device::Cpu))).collect();
        let stepped = |chosen: &[usize]| {
            let parameters: Vec<(String, Tensor)> = chosen
                .iter()
                .map(|&i| (format!("{i}.weight"), all[i].copy().set_requires_grad(true)))
                .collect();
            let own = parameters.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
            let config = OptimizerConfig { muon_ratio: Some(10.0), ..CONFIG };
            let mut optimizer = Optimizer::new(own, config).unwrap();
            for (_, parameter) in &parameters {
                (parameter * parameter.sin()).sum(Kind::Float).backward();
            }
            optimizer.step(0.01).unwrap();
            parameters.into_iter().map(|(_, tensor)| tensor.detach()).collect::<Vec<_>>()
        };
        let together = stepped(&[0, 1, 2]);
        for (index, stacked) in together.iter().enumerate() {
            let alone = stepped(&[index]).remove(0);
            assert!((stacked - alone).abs().max().double_value(&[]) < 1e-5, "{index}");
        }
    }

    #[test]
    fn muon_steps_by_an_orthogonal_matrix() {
        let parameters = parameters();
        let before = parameters[0].1.copy();
        let shares = parameters.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let config = OptimizerConfig { muon_ratio: Some(10.0), weight_decay: 0.0, ..CONFIG };
        let mut optimizer = Optimizer::new(shares, config).unwrap();
        // A gradient of full rank: one row each for two inputs.
        let input = Tensor::from_slice(&[1.0_f32, -2.0, 0.5, 1.0]).view([2, 2]);
        input.matmul(&parameters[0].1).square().sum(Kind::Float).backward();
        optimizer.clip_gradients(0.0).unwrap();
        optimizer.step(0.01).unwrap();
        let step = (&parameters[0].1 - before) / -0.1;
        let (_, singular, _) = step.detach().svd(true, true);
        let values: Vec<f32> = Vec::try_from(singular).unwrap();
        // Five iterations bring the singular values near 1, not onto it.
        assert!(values.iter().all(|value| (0.6..1.3).contains(value)), "{values:?}");
    }
}
