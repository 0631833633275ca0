//! An exponential moving average of the parameters (Polyak and Juditsky 1992 for the idea;
//! the decay's warm-up is that of TensorFlow's `ExponentialMovingAverage`).

use tch::{Tensor, no_grad};

use crate::Result;
use crate::optimizer::slabs;

/// Averages of an optimiser's buffers.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    buffers: Vec<(String, Tensor)>,
}

impl Average {
    /// Begins with the parameters as they are.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(mut buffers: Vec<(String, Tensor)>, decay: f64) -> Result<Self> {
        for (_, buffer) in &mut buffers {
            *buffer = no_grad(|| copied(buffer))?;
        }
        Ok(Self { decay, buffers })
    }

    /// Takes the parameters after an update in. After n updates the decay is at most
    /// (1 + n) / (10 + n), so that the average soon forgets where it began.
    ///
    /// # Errors
    /// libtorch's.
    pub fn update(&mut self, buffers: Vec<(String, Tensor)>, updates: u64) -> Result<()> {
        let updates = updates as f64;
        let decay = self.decay.min((1.0 + updates) / (10.0 + updates));
        no_grad(|| {
            for ((_, average), (_, buffer)) in self.buffers.iter_mut().zip(buffers) {
                let _ = average.f_lerp_(&buffer, 1.0 - decay)?;
            }
            Ok(())
        })
    }

    /// Exchanges the average and the parameters: the model computes with the average until
    /// the next exchange.
    ///
    /// # Errors
    /// libtorch's.
    pub fn exchange(&mut self, buffers: Vec<(String, Tensor)>) -> Result<()> {
        no_grad(|| {
            for ((_, average), (_, buffer)) in self.buffers.iter().zip(buffers) {
                for (start, length) in slabs(buffer.size1()?) {
                    let mut parameters = buffer.f_narrow(0, start, length)?;
                    let mut average = average.f_narrow(0, start, length)?;
                    let kept = copied(&parameters)?;
                    parameters.f_copy_(&average)?;
                    average.f_copy_(&kept)?;
                }
            }
            Ok(())
        })
    }

    /// The averages with their names in a checkpoint, as shallow clones.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named =
            |(name, buffer): &(String, Tensor)| (format!("{name}.average"), buffer.shallow_clone());
        self.buffers.iter().map(named).collect()
    }
}

fn copied(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};

    fn optimizer() -> (Tensor, Optimizer) {
        let parameter = Tensor::from_slice(&[1.0_f32, -2.0]).set_requires_grad(true);
        let config = OptimizerConfig {
            kind: OptimizerKind::AdamW,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            weight_decay: 0.0,
            muon_ratio: None,
        };
        let own = vec![("w".to_owned(), parameter.shallow_clone())];
        (parameter, Optimizer::new(own, config).unwrap())
    }

    #[test]
    fn it_is_the_recurrence_and_comes_back_exactly() {
        let (parameter, mut optimizer) = optimizer();
        let mut average = Average::new(optimizer.buffers(), 0.5).unwrap();
        let (mut expected, mut values) = (1.0, Vec::new());
        for number in 1..=8_u32 {
            optimizer.zero_gradients().unwrap();
            (&parameter * Tensor::from_slice(&[1.0_f32, 2.0])).sum(Kind::Float).backward();
            optimizer.step(0.1).unwrap();
            average.update(optimizer.buffers(), optimizer.updates()).unwrap();
            let decay = (f64::from(1 + number) / f64::from(10 + number)).min(0.5);
            expected = decay * expected + (1.0 - decay) * parameter.double_value(&[0]);
            values.push(decay);
        }
        assert!(values[0] < 0.2 && (values[7] - 0.5).abs() < 1e-12, "{values:?}");
        let before = parameter.copy();
        average.exchange(optimizer.buffers()).unwrap();
        assert!((parameter.double_value(&[0]) - expected).abs() < 1e-6);
        assert_eq!(parameter.device(), Device::Cpu);
        average.exchange(optimizer.buffers()).unwrap();
        assert_eq!(parameter, before);
    }
}
