//! AdamW (Loshchilov and Hutter 2019, algorithm 2) over flat buffers.
//!
//! The parameters of a group become views into one buffer, and so do their gradients,
//! so that a step is a dozen passes over memory whatever the number of parameters, and
//! the moments are one tensor to save each.

use tch::{Kind, Tensor, no_grad};

use crate::{Error, Result};

/// The constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices; vectors (norms, biases) have none.
    pub weight_decay: f64,
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
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    weight_decay: f64,
}

/// AdamW with one group of matrices and one of vectors.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    groups: Vec<Group>,
    updates: u64,
}

/// Views start on 64-byte borders, which libtorch's kernels are fastest on.
const ALIGNMENT: i64 = 16;

impl AdamW {
    /// Moves the parameters into flat buffers. The tensors given stay the model's own:
    /// only their storage changes.
    ///
    /// # Errors
    /// [`Error::NoParameters`]; libtorch's.
    pub fn new(parameters: Vec<(String, Tensor)>, config: AdamWConfig) -> Result<Self> {
        if parameters.is_empty() {
            return Err(Error::NoParameters);
        }
        let (matrices, vectors): (Vec<_>, Vec<_>) =
            parameters.into_iter().map(|(_, tensor)| tensor).partition(|tensor| tensor.dim() >= 2);
        let mut groups = Vec::new();
        for (name, parameters, weight_decay) in
            [("matrices", matrices, config.weight_decay), ("vectors", vectors, 0.0)]
        {
            if !parameters.is_empty() {
                groups.push(Group::new(name, parameters, weight_decay)?);
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

    /// One update at this learning rate.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(&mut self, learning_rate: f64) -> Result<()> {
        self.updates += 1;
        let AdamWConfig { beta1, beta2, epsilon, .. } = self.config;
        let correction1 = 1.0 - beta1.powf(self.updates as f64);
        let correction2 = 1.0 - beta2.powf(self.updates as f64);
        no_grad(|| {
            for group in &mut self.groups {
                group.adopt_gradients()?;
                let gradient = &group.gradient;
                let _ = group.exp_avg.f_lerp_(gradient, 1.0 - beta1)?;
                let _ = group.exp_avg_sq.f_mul_scalar_(beta2)?;
                let square = gradient.f_square()?.f_mul_scalar_(1.0 - beta2)?;
                let _ = group.exp_avg_sq.f_add_(&square)?;
                let mut denominator = group.exp_avg_sq.f_sqrt()?;
                let _ = denominator.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(epsilon)?;
                let mut update = group.exp_avg.f_div(&denominator)?;
                let _ = update.f_mul_scalar_(-learning_rate / correction1)?;
                let _ = group.flat.f_mul_scalar_(1.0 - learning_rate * group.weight_decay)?;
                let _ = group.flat.f_add_(&update)?;
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
        self.groups
            .iter()
            .flat_map(|group| {
                [
                    (format!("{}.parameters", group.name), group.flat.shallow_clone()),
                    (format!("{}.exp_avg", group.name), group.exp_avg.shallow_clone()),
                    (format!("{}.exp_avg_sq", group.name), group.exp_avg_sq.shallow_clone()),
                ]
            })
            .collect()
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

impl Group {
    fn new(name: &'static str, mut parameters: Vec<Tensor>, weight_decay: f64) -> Result<Self> {
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
        Ok(Self {
            name,
            parameters,
            spans,
            flat,
            gradient,
            gradients_adopted: false,
            exp_avg: zeros()?,
            exp_avg_sq: zeros()?,
            weight_decay,
        })
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
            let view = self.gradient.f_narrow(0, start, count)?.f_view(parameter.size().as_slice())?;
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

    const CONFIG: AdamWConfig =
        AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };

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
    fn reference(
        value: f64,
        gradients: &[f64],
        learning_rate: f64,
        decay: f64,
    ) -> f64 {
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
        let shares: Vec<(String, Tensor)> =
            parameters.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        let start: Vec<f32> = Vec::try_from(parameters[0].1.reshape([-1])).unwrap();
        let start_bias: Vec<f32> = Vec::try_from(&parameters[1].1).unwrap();
        let mut optimizer = AdamW::new(shares, CONFIG).unwrap();
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
            let expected = reference(f64::from(start_bias[index]), &gradients[6 + index], 0.01, 0.0);
            assert!((f64::from(after[index]) - expected).abs() < 1e-6, "{index}");
        }
        assert_eq!(optimizer.num_parameters(), 9);
    }

    #[test]
    fn clipping_leaves_the_direction() {
        let parameters = parameters();
        let shares = parameters.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let mut optimizer = AdamW::new(shares, CONFIG).unwrap();
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
        let mut optimizer = AdamW::new(shares, CONFIG).unwrap();
        loss(&parameters).backward();
        let once = optimizer.clip_gradients(0.0).unwrap();
        loss(&parameters).backward();
        assert!((optimizer.clip_gradients(0.0).unwrap() - 2.0 * once).abs() < 1e-4);
        optimizer.zero_gradients().unwrap();
        assert!(optimizer.clip_gradients(0.0).unwrap() == 0.0);
    }
}
