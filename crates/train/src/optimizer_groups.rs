//! An optimiser for each named group of parameters, of which a step may update one alone.

use tch::{Device, Kind as TensorKind, Tensor, no_grad};

use crate::optimizer::{Optimizer, OptimizerConfig};
use crate::{Error, Result, UpdateSchedule};

/// Parameters that are updated together.
#[derive(Debug)]
pub struct ParameterGroup {
    /// The group's name: where an [`UpdateSchedule`] chooses, `base` or `adapter`.
    pub name: String,
    /// The parameters by name, shallow clones of the model's own.
    pub parameters: Vec<(String, Tensor)>,
    /// Its learning rate as a multiple of the schedule's: adapters bear about ten times what
    /// the base does.
    pub learning_rate_ratio: f64,
}

impl ParameterGroup {
    /// All parameters of a run, updated in every step.
    pub fn all(parameters: Vec<(String, Tensor)>) -> Self {
        Self { name: "all".to_owned(), parameters, learning_rate_ratio: 1.0 }
    }

    pub(crate) fn shallow_clones(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.parameters.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
    }
}

#[derive(Debug)]
struct Group {
    name: String,
    learning_rate_ratio: f64,
    parameters: Vec<Tensor>,
    optimizer: Optimizer,
}

/// The optimisers of all groups. What it does, it does to the groups that the step updates:
/// the parameters and moments of the others stay as they are to the bit, and no gradient is
/// computed for them.
#[derive(Debug)]
pub struct OptimizerGroups {
    groups: Vec<Group>,
    schedule: Option<UpdateSchedule>,
    active: Option<usize>,
}

impl OptimizerGroups {
    /// An optimiser for each group; without a schedule each step updates all.
    ///
    /// # Errors
    /// [`Error::NoParameters`]; [`Error::UpdateGroups`] where the schedule asks for other
    /// groups than there are; libtorch's.
    pub fn new(
        groups: Vec<ParameterGroup>,
        config: OptimizerConfig,
        schedule: Option<UpdateSchedule>,
    ) -> Result<Self> {
        let mut names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        names.sort_unstable();
        if schedule.is_some() && names != ["adapter", "base"] {
            return Err(Error::UpdateGroups { found: names.join(", ") });
        }
        let groups = groups
            .into_iter()
            .map(|ParameterGroup { name, parameters, learning_rate_ratio }| {
                let own: Vec<Tensor> =
                    parameters.iter().map(|(_, tensor)| tensor.shallow_clone()).collect();
                if schedule.is_some() {
                    // An optimiser takes the gradients' places only of what learns; a step
                    // freezes the other group.
                    for parameter in &own {
                        let _ = parameter.f_set_requires_grad(true)?;
                    }
                }
                let optimizer = Optimizer::new(parameters, config)?;
                Ok(Group { name, learning_rate_ratio, parameters: own, optimizer })
            })
            .collect::<Result<Vec<Group>>>()?;
        if groups.is_empty() {
            return Err(Error::NoParameters);
        }
        Ok(Self { groups, schedule, active: None })
    }

    /// To be called before each step, counted from 0: chooses the groups that it updates.
    ///
    /// # Errors
    /// libtorch's.
    pub fn begin_step(&mut self, step: u64) -> Result<()> {
        let Some(schedule) = self.schedule else { return Ok(()) };
        let name = schedule.phase(step).group();
        let active = self.groups.iter().position(|group| group.name == name);
        self.activate(active)
    }

    /// Lets all groups learn again, as before the first step.
    ///
    /// # Errors
    /// libtorch's.
    pub fn finish(&mut self) -> Result<()> {
        self.activate(None)
    }

    fn activate(&mut self, active: Option<usize>) -> Result<()> {
        if active == self.active {
            return Ok(());
        }
        for (index, group) in self.groups.iter().enumerate() {
            let learns = active.is_none_or(|active| active == index);
            for parameter in &group.parameters {
                let _ = parameter.f_set_requires_grad(learns)?;
            }
        }
        self.active = active;
        Ok(())
    }

    fn active_groups(&mut self) -> impl Iterator<Item = &mut Group> {
        let active = self.active;
        let groups = self.groups.iter_mut().enumerate();
        groups
            .filter(move |(index, _)| active.is_none_or(|active| active == *index))
            .map(|(_, group)| group)
    }

    fn active(&mut self) -> impl Iterator<Item = &mut Optimizer> {
        self.active_groups().map(|group| &mut group.optimizer)
    }

    /// As [`Optimizer::clip_gradients`], over the groups that the step updates.
    ///
    /// # Errors
    /// libtorch's.
    pub fn clip_gradients(&mut self, max_norm: f64) -> Result<f64> {
        if self.active().count() == 1 {
            return self.active().next().map_or(Ok(0.0), |only| only.clip_gradients(max_norm));
        }
        let mut square = 0.0;
        for optimizer in self.active() {
            square += optimizer.clip_gradients(0.0)?.powi(2);
        }
        let norm = square.sqrt();
        if max_norm > 0.0 && norm > max_norm {
            for optimizer in self.active() {
                let own = optimizer.clip_gradients(0.0)?;
                optimizer.clip_gradients(own * max_norm / norm)?;
            }
        }
        Ok(norm)
    }

    /// One update of the groups that the step updates, at their multiples of this learning
    /// rate.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(&mut self, learning_rate: f64) -> Result<()> {
        self.active_groups()
            .try_for_each(|group| group.optimizer.step(learning_rate * group.learning_rate_ratio))
    }

    /// Zeroes all gradients, keeping their buffers.
    ///
    /// # Errors
    /// libtorch's.
    pub fn zero_gradients(&mut self) -> Result<()> {
        self.groups.iter_mut().try_for_each(|group| group.optimizer.zero_gradients())
    }

    /// Updates so far, of all groups.
    pub fn updates(&self) -> u64 {
        self.groups.iter().map(|group| group.optimizer.updates()).sum()
    }

    /// Number of scalars that are trained.
    pub fn num_parameters(&self) -> i64 {
        self.groups.iter().map(|group| group.optimizer.num_parameters()).sum()
    }

    /// The buffers that hold the parameters, with their names, as shallow clones.
    pub fn buffers(&self) -> Vec<(String, Tensor)> {
        let several = self.groups.len() > 1;
        let named = |Group { name, optimizer, .. }: &Group| {
            let buffers = optimizer.buffers().into_iter();
            let prefix = if several { format!("{name}/") } else { String::new() };
            buffers
                .map(move |(part, buffer)| (format!("{prefix}{part}"), buffer))
                .collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(named).collect()
    }

    /// Whether all parameters are finite numbers.
    ///
    /// # Errors
    /// libtorch's.
    pub fn is_finite(&self) -> Result<bool> {
        for group in &self.groups {
            if !group.optimizer.is_finite()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a checkpoint keeps; names begin with the group's where there are several.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        if let [only] = &self.groups[..] {
            return only.optimizer.state();
        }
        let mut state = Vec::new();
        for Group { name, optimizer, .. } in &self.groups {
            state.push((updates_name(name), Tensor::from(optimizer.updates() as i64)));
            let named = |(part, tensor): (String, Tensor)| (format!("{name}/{part}"), tensor);
            state.extend(optimizer.state().into_iter().map(named));
        }
        state
    }

    /// Takes a checkpoint's state back; `updates` is that of all groups.
    ///
    /// # Errors
    /// Those of `read`; libtorch's.
    pub fn restore(
        &mut self,
        updates: u64,
        read: &mut dyn FnMut(&str, &[i64]) -> Result<Tensor>,
    ) -> Result<()> {
        if let [only] = &mut self.groups[..] {
            return only.optimizer.restore(updates, read);
        }
        for Group { name, optimizer, .. } in &mut self.groups {
            let stored = read(&updates_name(name), &[])?;
            let own = no_grad(|| stored.f_to_device(Device::Cpu)?.f_to_kind(TensorKind::Int64))?
                .f_int64_value(&[])?;
            optimizer
                .restore(own as u64, &mut |part, shape| read(&format!("{name}/{part}"), shape))?;
        }
        Ok(())
    }
}

fn updates_name(group: &str) -> String {
    format!("{group}/updates")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const CONFIG: OptimizerConfig = OptimizerConfig {
        kind: crate::optimizer::OptimizerKind::AdamW,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        muon_ratio: None,
    };

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([1, -1]).set_requires_grad(true)
    }

    struct Pair {
        base: Tensor,
        adapter: Tensor,
        optimizer: OptimizerGroups,
    }

    fn pair(schedule: Option<UpdateSchedule>) -> Pair {
        pair_at(schedule, 1.0)
    }

    fn pair_at(schedule: Option<UpdateSchedule>, adapter_ratio: f64) -> Pair {
        let (base, adapter) = (tensor(&[0.5, -1.0, 2.0]), tensor(&[1.0, 0.25]));
        let group = |name: &str, parameter: &Tensor, learning_rate_ratio| ParameterGroup {
            name: name.to_owned(),
            parameters: vec![(format!("{name}.weight"), parameter.shallow_clone())],
            learning_rate_ratio,
        };
        let groups = vec![group("base", &base, 1.0), group("adapter", &adapter, adapter_ratio)];
        Pair { optimizer: OptimizerGroups::new(groups, CONFIG, schedule).unwrap(), base, adapter }
    }

    fn step(pair: &mut Pair, number: u64) {
        pair.optimizer.zero_gradients().unwrap();
        pair.optimizer.begin_step(number).unwrap();
        let loss =
            pair.base.square().sum(TensorKind::Float) * pair.adapter.exp().sum(TensorKind::Float);
        loss.backward();
        pair.optimizer.clip_gradients(1.0).unwrap();
        pair.optimizer.step(0.01).unwrap();
    }

    #[test]
    fn only_the_group_whose_turn_it_is_moves() {
        let mut pair = pair(Some(UpdateSchedule::new(3).unwrap()));
        for number in 0..9 {
            let before = (pair.base.copy(), pair.adapter.copy());
            step(&mut pair, number);
            let adapts = number % 3 == 2;
            assert_eq!(pair.base.equal(&before.0), adapts, "{number}");
            assert_eq!(pair.adapter.equal(&before.1), !adapts, "{number}");
        }
        assert_eq!(pair.optimizer.updates(), 9);
        assert_eq!(pair.optimizer.num_parameters(), 5);
        assert!(!pair.base.requires_grad() && pair.adapter.requires_grad());
        pair.optimizer.finish().unwrap();
        assert!(pair.base.requires_grad() && pair.adapter.requires_grad());
    }

    #[test]
    fn groups_are_clipped_together_where_both_move() {
        let mut pair = pair(None);
        let loss = pair.base.square().sum(TensorKind::Float)
            + pair.adapter.square().sum(TensorKind::Float);
        loss.backward();
        let whole = (4.0_f64 * (0.25 + 1.0 + 4.0 + 1.0 + 0.0625)).sqrt();
        let direction = pair.adapter.grad().copy();
        assert!((pair.optimizer.clip_gradients(2.0).unwrap() - whole).abs() < 1e-5);
        assert!(pair.adapter.grad().allclose(&(direction * (2.0 / whole)), 1e-5, 1e-7, false));
        assert!((pair.optimizer.clip_gradients(0.0).unwrap() - 2.0).abs() < 1e-5);
    }

    #[test]
    fn a_group_steps_by_its_own_multiple_of_the_rate() {
        let (mut plain, mut faster) = (pair(None), pair_at(None, 10.0));
        let start = (plain.base.copy(), plain.adapter.copy());
        step(&mut plain, 0);
        step(&mut faster, 0);
        assert!(plain.base.equal(&faster.base));
        let moved = |pair: &Pair| (&pair.adapter - &start.1).detach();
        assert!(moved(&faster).allclose(&(moved(&plain) * 10.0), 1e-4, 1e-7, false));
    }

    #[test]
    fn a_resumed_pair_goes_on_as_the_first_would_have() {
        let schedule = Some(UpdateSchedule::new(2).unwrap());
        let mut whole = pair(schedule);
        (0..5).for_each(|number| step(&mut whole, number));
        let saved: HashMap<String, Tensor> =
            whole.optimizer.state().into_iter().map(|(name, it)| (name, it.copy())).collect();
        let mut resumed = pair(schedule);
        let updates = whole.optimizer.updates();
        let read = &mut |name: &str, shape: &[i64]| {
            assert_eq!(saved[name].size(), shape, "{name}");
            Ok(saved[name].copy())
        };
        resumed.optimizer.restore(updates, read).unwrap();
        for number in 5..9 {
            step(&mut whole, number);
            step(&mut resumed, number);
        }
        assert!(whole.base.equal(&resumed.base) && whole.adapter.equal(&resumed.adapter));
        assert_eq!(resumed.optimizer.updates(), 9);
    }

    #[test]
    fn a_schedule_without_its_groups_is_refused() {
        let parameters = vec![("w".to_owned(), tensor(&[1.0]))];
        let name = "base".to_owned();
        let groups = vec![ParameterGroup { name, parameters, learning_rate_ratio: 1.0 }];
        let schedule = Some(UpdateSchedule::new(2).unwrap());
        let error = OptimizerGroups::new(groups, CONFIG, schedule).unwrap_err();
        assert!(matches!(&error, Error::UpdateGroups { found } if found == "base"), "{error}");
        let error = OptimizerGroups::new(Vec::new(), CONFIG, None).unwrap_err();
        assert!(matches!(error, Error::NoParameters), "{error}");
    }
}
