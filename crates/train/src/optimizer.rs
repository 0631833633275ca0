//! `AdamW` (Loshchilov and Hutter 2019, algorithm 2) and Muon (Jordan et al. 2024) over
//! flat buffers.
//!
//! The parameters of a group become views into one buffer, and so do their gradients,
//! so that a step is a dozen passes over memory whatever the number of parameters, and
//! the moments are one tensor to save each.

use tch::{Kind, Tensor, no_grad};

use crate::muon::orthogonalized;
use crate::{Error, Result};

/// The constants of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerConfig {
    /// `AdamW`'s decay of the first moment.
    pub beta1: f64,
    /// `AdamW`'s decay of the second moment.
    pub beta2: f64,
    /// `AdamW`'s epsilon, added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices; vectors (norms, biases) have none.
    pub weight_decay: f64,
    /// Muon for the blocks' matrices: its learning rate as a multiple of `AdamW`'s. `AdamW`
    /// alone if `None`.
    pub muon_ratio: Option<f64>,
}

/// Decay of Muon's momentum.
const MUON_MOMENTUM: f64 = 0.95;

/// How a group is updated, with its state.
#[derive(Debug)]
enum Rule {
    AdamW { exp_avg: Tensor, exp_avg_sq: Tensor },
    Muon { momentum: Tensor, ratio: f64, stacks: Vec<Stack> },
}

/// Matrices of one shape that lie one after another in the buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stack {
    start: i64,
    count: i64,
    rows: i64,
    columns: i64,
}

/// Parameters updated alike, stored in one buffer.
#[derive(Debug)]
struct Group {
    name: &'static str,
    parameters: Vec<Tensor>,
    spans: Vec<(i64, i64)>,
    flat: Tensor,
    gradient: Tensor,
    gradients_adopted: bool,
    rule: Rule,
    weight_decay: f64,
}

/// An optimiser with a group each of the blocks' matrices, other matrices and vectors.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    groups: Vec<Group>,
    updates: u64,
}

/// Views start on 64-byte borders, which libtorch's kernels are fastest on.
const ALIGNMENT: i64 = 16;

impl Optimizer {
    /// Moves the parameters into flat buffers. The tensors given stay the model's own:
    /// only their storage changes.
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
        // Equal shapes side by side, so that Muon takes them together.
        hidden.sort_by_key(Tensor::size);
        let mut groups = Vec::new();
        for (name, parameters, weight_decay, muon_ratio) in [
            ("hidden", hidden, config.weight_decay, config.muon_ratio),
            ("matrices", matrices, config.weight_decay, None),
            ("vectors", vectors, 0.0, None),
        ] {
            if !parameters.is_empty() {
                groups.push(Group::new(name, parameters, weight_decay, muon_ratio)?);
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
            for group in &mut self.groups {
                group.adopt_gradients()?;
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

    /// One update at this learning rate (`AdamW`'s; Muon's is a multiple of it).
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(&mut self, learning_rate: f64) -> Result<()> {
        self.updates += 1;
        no_grad(|| {
            for group in &mut self.groups {
                group.adopt_gradients()?;
                group.update(&self.config, learning_rate, self.updates)?;
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
                if group.gradients_adopted {
                    let _ = group.gradient.f_zero_()?;
                } else {
                    group.parameters.iter_mut().for_each(Tensor::zero_grad);
                }
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
        self.groups.iter().flat_map(|group| &group.spans).map(|(_, length)| length).sum()
    }

    /// What a checkpoint keeps: parameters and moments of each group.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for group in &self.groups {
            let mut push = |what: &str, tensor: &Tensor| {
                state.push((format!("{}.{what}", group.name), tensor.shallow_clone()));
            };
            push("parameters", &group.flat);
            match &group.rule {
                Rule::AdamW { exp_avg, exp_avg_sq } => {
                    push("exp_avg", exp_avg);
                    push("exp_avg_sq", exp_avg_sq);
                }
                Rule::Muon { momentum, .. } => push("momentum", momentum),
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

/// The fewest stacks of these matrices; padding between two of them parts them.
fn stacks(parameters: &[Tensor], spans: &[(i64, i64)]) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    for (parameter, &(start, length)) in parameters.iter().zip(spans) {
        let size = parameter.size();
        match stacks.last_mut() {
            Some(last)
                if [last.rows, last.columns] == size[..]
                    && last.start + last.count * length == start =>
            {
                last.count += 1;
            }
            _ => stacks.push(Stack { start, count: 1, rows: size[0], columns: size[1] }),
        }
    }
    stacks
}

impl Group {
    fn new(
        name: &'static str,
        mut parameters: Vec<Tensor>,
        weight_decay: f64,
        muon_ratio: Option<f64>,
    ) -> Result<Self> {
        let mut spans = Vec::with_capacity(parameters.len());
        let mut length = 0;
        for parameter in &parameters {
            let count = parameter.numel() as i64;
            spans.push((length, count));
            length = (length + count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        }
        let device = parameters[0].device();
        let zeros = || Tensor::f_zeros([length], (Kind::Float, device));
        let (flat, gradient) = (zeros()?, zeros()?);
        no_grad(|| -> Result<()> {
            for (parameter, &(start, count)) in parameters.iter_mut().zip(&spans) {
                let view = flat.f_narrow(0, start, count)?.f_view(parameter.size().as_slice())?;
                view.shallow_clone().f_copy_(&parameter.f_detach()?)?;
                parameter.f_set_data(&view)?;
            }
            Ok(())
        })?;
        let rule = match muon_ratio {
            Some(ratio) => {
                Rule::Muon { momentum: zeros()?, ratio, stacks: stacks(&parameters, &spans) }
            }
            None => Rule::AdamW { exp_avg: zeros()?, exp_avg_sq: zeros()? },
        };
        let gradients_adopted = false;
        Ok(Self { name, parameters, spans, flat, gradient, gradients_adopted, rule, weight_decay })
    }

    fn update(&mut self, config: &OptimizerConfig, rate: f64, updates: u64) -> Result<()> {
        let gradient = &self.gradient;
        let rate = match &mut self.rule {
            Rule::AdamW { exp_avg, exp_avg_sq } => {
                let OptimizerConfig { beta1, beta2, epsilon, .. } = *config;
                let correction1 = 1.0 - beta1.powf(updates as f64);
                let correction2 = 1.0 - beta2.powf(updates as f64);
                let _ = exp_avg.f_lerp_(gradient, 1.0 - beta1)?;
                let _ = exp_avg_sq.f_mul_scalar_(beta2)?;
                let square = gradient.f_square()?.f_mul_scalar_(1.0 - beta2)?;
                let _ = exp_avg_sq.f_add_(&square)?;
                let mut denominator = exp_avg_sq.f_sqrt()?;
                let _ = denominator.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(epsilon)?;
                let mut update = exp_avg.f_div(&denominator)?;
                let _ = update.f_mul_scalar_(-rate / correction1)?;
                let _ = self.flat.f_mul_scalar_(1.0 - rate * self.weight_decay)?;
                let _ = self.flat.f_add_(&update)?;
                return Ok(());
            }
            Rule::Muon { momentum, ratio, .. } => {
                let _ = momentum.f_lerp_(gradient, 1.0 - MUON_MOMENTUM)?;
                rate * *ratio
            }
        };
        let Rule::Muon { momentum, stacks, .. } = &self.rule else { return Ok(()) };
        // Nesterov: look one step ahead along the momentum.
        let ahead = gradient.f_lerp(momentum, MUON_MOMENTUM)?;
        let _ = self.flat.f_mul_scalar_(1.0 - rate * self.weight_decay)?;
        for &Stack { start, count, rows, columns } in stacks {
            let length = count * rows * columns;
            let direction = ahead.f_narrow(0, start, length)?.f_view([count, rows, columns])?;
            let mut update = orthogonalized(&direction)?.f_reshape([-1])?;
            // The update's root mean square shall not depend on the matrix's shape.
            let shape = (rows as f64 / columns as f64).max(1.0).sqrt();
            let _ = update.f_mul_scalar_(-rate * shape)?;
            let _ = self.flat.f_narrow(0, start, length)?.f_add_(&update)?;
        }
        Ok(())
    }

    /// After the first backward the gradients are tensors of their own; from then on they
    /// are views into the flat buffer, which autograd accumulates into in place.
    fn adopt_gradients(&mut self) -> Result<()> {
        if self.gradients_adopted {
            return Ok(());
        }
        let mut complete = true;
        for (parameter, &(start, count)) in self.parameters.iter().zip(&self.spans) {
            let mut gradient = parameter.f_grad()?;
            if !gradient.defined() {
                complete = false;
                continue;
            }
            let view =
                self.gradient.f_narrow(0, start, count)?.f_view(parameter.size().as_slice())?;
            if gradient.data_ptr() != view.data_ptr() {
                view.shallow_clone().f_copy_(&gradient)?;
                gradient.f_set_data(&view)?;
            }
        }
        self.gradients_adopted = complete;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const CONFIG: OptimizerConfig = OptimizerConfig {
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
    fn matrices_of_one_shape_are_stacked_unless_padding_parts_them() {
        let of = |rows, columns| Tensor::zeros([rows, columns], (Kind::Float, Device::Cpu));
        let parameters = [of(4, 8), of(4, 8), of(8, 4), of(3, 3), of(3, 3)];
        let stack = |start, count, rows, columns| Stack { start, count, rows, columns };
        assert_eq!(
            stacks(&parameters, &[(0, 32), (32, 32), (64, 32), (96, 9), (112, 9)]),
            [stack(0, 2, 4, 8), stack(64, 1, 8, 4), stack(96, 1, 3, 3), stack(112, 1, 3, 3)]
        );
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
