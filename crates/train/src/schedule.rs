//! The learning rate over the run: linear warm-up, then a decay to a floor.

use serde::{Deserialize, Serialize};

/// The shape of the decay after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Half a cosine (Loshchilov and Hutter 2017, without restarts).
    #[default]
    Cosine,
    /// A straight line.
    Linear,
    /// None.
    Constant,
}

/// A learning-rate schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate, reached at the end of the warm-up.
    pub peak: f64,
    /// The last rate as a share of the peak.
    pub floor_ratio: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps in all.
    pub steps: u64,
    /// The decay's shape.
    pub decay: Decay,
}

impl Schedule {
    /// The rate of a step, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / decay_steps as f64).min(1.0);
        let share = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Decay::Linear => 1.0 - progress,
            Decay::Constant => 1.0,
        };
        self.peak * (self.floor_ratio + (1.0 - self.floor_ratio) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_peak_and_falls_to_the_floor() {
        let schedule = Schedule {
            peak: 2.0,
            floor_ratio: 0.1,
            warmup_steps: 10,
            steps: 110,
            decay: Decay::Cosine,
        };
        assert!((schedule.rate(0) - 0.2).abs() < 1e-12);
        assert!((schedule.rate(9) - 2.0).abs() < 1e-12);
        assert!((schedule.rate(60) - 1.1).abs() < 1e-12);
        assert!((schedule.rate(110) - 0.2).abs() < 1e-12);
        assert!((schedule.rate(1000) - 0.2).abs() < 1e-12);
        let linear = Schedule { decay: Decay::Linear, ..schedule };
        assert!((linear.rate(35) - (0.2 + 1.8 * 0.75)).abs() < 1e-12);
        assert!((Schedule { decay: Decay::Constant, ..schedule }.rate(100) - 2.0).abs() < 1e-12);
    }
}
