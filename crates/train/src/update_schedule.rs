//! Two groups of parameters that are trained by turns: an adapter on tasks every few steps,
//! the base on chains in the others.

use limbeck_run::config::Invalid;

use crate::Kind;

/// Which group of parameters each step updates, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateSchedule {
    adapt_interval: u64,
}

/// What a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The base learns from chains.
    Base,
    /// The adapter learns from tasks.
    Adapter,
}

impl UpdateSchedule {
    /// Every `adapt_interval`-th step is the adapter's, the first after `adapt_interval - 1`
    /// of the base.
    ///
    /// # Errors
    /// An interval below 2, which would leave the base no step.
    pub fn new(adapt_interval: u64) -> Result<Self, Invalid> {
        if adapt_interval < 2 {
            return Err(Invalid::new("adapt_interval", "at least 2 steps", adapt_interval));
        }
        Ok(Self { adapt_interval })
    }

    /// What a step, counted from 0, is for.
    pub fn phase(self, step: u64) -> Phase {
        if (step + 1).is_multiple_of(self.adapt_interval) { Phase::Adapter } else { Phase::Base }
    }
}

impl Phase {
    /// The name of the group of parameters that is updated.
    pub fn group(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Adapter => "adapter",
        }
    }

    /// The kind of the examples that it is updated on.
    pub fn kind(self) -> Kind {
        match self {
            Self::Base => Kind::Chain,
            Self::Adapter => Kind::Task,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_so_many_steps_are_the_adapters() {
        let schedule = UpdateSchedule::new(4).unwrap();
        let adapter: Vec<u64> =
            (0..12).filter(|&step| schedule.phase(step) == Phase::Adapter).collect();
        assert_eq!(adapter, [3, 7, 11]);
        assert_eq!((Phase::Adapter.group(), Phase::Adapter.kind()), ("adapter", Kind::Task));
        assert_eq!((Phase::Base.group(), Phase::Base.kind()), ("base", Kind::Chain));
    }

    #[test]
    fn an_interval_without_a_step_for_the_base_is_refused() {
        for interval in [0, 1] {
            assert_eq!(UpdateSchedule::new(interval).unwrap_err().field, "adapt_interval");
        }
    }
}
