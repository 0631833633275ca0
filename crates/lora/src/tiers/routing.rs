//! Which adapters the rows of the next forward passes use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use limbeck_run::sha256_bytes;

use crate::Result;

use super::route::{Members, Route};
use super::union::Union;
use super::{Stack, State, Tiers, lock};

impl Tiers {
    /// Gives each row of the batch a stack, until the next route. No weight is copied, and
    /// adapters are taken as they are now: what is replaced later comes with the next route.
    ///
    /// # Errors
    /// [`super::TierError::NotLoaded`]; [`super::TierError::InTraining`]. The route is as it
    /// was then.
    pub fn route(&self, stacks: &[Stack]) -> Result<()> {
        let runs: Vec<(&Stack, usize)> = stacks.iter().map(|stack| (stack, 1)).collect();
        self.route_runs(&runs)
    }

    /// As [`Self::route`], of rows beside each other that have the same stack: stacks with
    /// their numbers of rows.
    ///
    /// # Errors
    /// As [`Self::route`].
    pub fn route_runs(&self, runs: &[(&Stack, usize)]) -> Result<()> {
        let mut state = lock(&self.state);
        state.refuse_in_training()?;
        let mut rows = Vec::new();
        for &(stack, count) in runs {
            let gates = state.resolve(stack)?;
            rows.extend(std::iter::repeat_n(gates, count));
        }
        let route = state.plan(&rows);
        state.mark_used(runs.iter().map(|run| run.0));
        *lock(&self.route) = route;
        Ok(())
    }

    /// A number that is another one whenever adapters were loaded, replaced, unloaded or
    /// trained since.
    pub fn version(&self) -> u64 {
        let state = lock(&self.state);
        let training = u64::from(state.training.is_some());
        let number = |sum: u64, version: u64| sum.wrapping_mul(31).wrapping_add(version);
        state.adapters.values().map(|entry| entry.version).fold(training, number)
    }

    /// Gives all rows of any batch one stack, until the next route.
    ///
    /// # Errors
    /// As [`Self::route`].
    pub fn route_all(&self, stack: &Stack) -> Result<()> {
        let mut state = lock(&self.state);
        state.refuse_in_training()?;
        let route = state.plan_all(stack)?;
        *lock(&self.route) = route;
        Ok(())
    }

    /// Goes on with these rows only, in this order, with the adapters that the batch began
    /// with.
    ///
    /// # Errors
    /// [`super::TierError::NoSuchRow`]; the route is as it was then.
    pub fn keep_rows(&self, rows: &[usize]) -> Result<()> {
        lock(&self.route).keep(rows)
    }

    /// Goes back to the base alone; no adapter is in use any more. Where one is being
    /// trained, it keeps its route.
    pub fn clear_route(&self) {
        if lock(&self.state).training.is_none() {
            *lock(&self.route) = Route::default();
        }
    }

    /// A hash of what a stack computes: of the content of its adapters and their gates, not
    /// of their names or order. Two stacks of one hash give a prompt the same keys and
    /// values, so that a cache of these may be keyed by it.
    ///
    /// # Errors
    /// [`super::TierError::NotLoaded`]; [`super::TierError::InTraining`], as what is in
    /// training has no lasting content.
    pub fn stack_hash(&self, stack: &Stack) -> Result<String> {
        let state = lock(&self.state);
        state.refuse_in_training()?;
        let mut lines = Vec::new();
        for (name, gate) in stack.entries().iter().filter(|(_, gate)| *gate != 0.0) {
            let hash = state.entry(name)?.fingerprint.digest();
            lines.push(format!("{hash} {:016x}\n", gate.to_bits()));
        }
        lines.sort();
        Ok(sha256_bytes(lines.concat().as_bytes()))
    }
}

impl State {
    /// Versions and gates by version, without the gates of 0.
    fn resolve(&self, stack: &Stack) -> Result<BTreeMap<u64, f64>> {
        let mut gates = BTreeMap::new();
        for (name, gate) in stack.entries() {
            let version = self.entry(name)?.version;
            if *gate != 0.0 {
                gates.insert(version, *gate);
            }
        }
        Ok(gates)
    }

    fn mark_used<'s>(&mut self, stacks: impl Iterator<Item = &'s Stack>) {
        let now = self.tick();
        for name in stacks.flat_map(Stack::names) {
            if let Some(entry) = self.adapters.get_mut(name) {
                entry.used = now;
            }
        }
    }

    /// A route of all rows with one stack.
    pub(super) fn plan_all(&mut self, stack: &Stack) -> Result<Route> {
        let gates = self.resolve(stack)?;
        self.mark_used(std::iter::once(stack));
        if gates.is_empty() {
            return Ok(Route::default());
        }
        let versions: Vec<u64> = gates.keys().copied().collect();
        let union = self.union(&versions);
        Ok(Route::uniform(union, gates.into_values().collect()))
    }

    fn plan(&mut self, rows: &[BTreeMap<u64, f64>]) -> Route {
        let mut all: Vec<u64> = rows.iter().flat_map(|row| row.keys().copied()).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return Route::base(rows.len());
        }
        let mut sets: BTreeMap<Vec<u64>, Vec<usize>> = BTreeMap::new();
        for (row, gates) in rows.iter().enumerate() {
            sets.entry(gates.keys().copied().collect()).or_default().push(row);
        }
        let groups = match sets.len() {
            1 => Vec::new(),
            _ => sets
                .into_iter()
                .filter(|(versions, _)| !versions.is_empty())
                .map(|(versions, indices)| self.members(&versions, indices, rows))
                .collect(),
        };
        // Last, so that a bounded cache holds it whatever the groups are.
        let whole = self.members(&all, (0..rows.len()).collect(), rows);
        Route::mixed(whole, groups)
    }

    /// The rows at `indices` with this set of adapters.
    fn members(
        &mut self,
        versions: &[u64],
        indices: Vec<usize>,
        rows: &[BTreeMap<u64, f64>],
    ) -> Members {
        let gates = |&row: &usize| {
            versions.iter().map(|version| rows[row].get(version).copied().unwrap_or(0.0)).collect()
        };
        let gates = indices.iter().map(gates).collect();
        Members { union: self.union(versions), rows: indices, gates }
    }

    fn union(&mut self, versions: &[u64]) -> Arc<Mutex<Union>> {
        let mut members: Vec<_> =
            self.adapters.values().filter(|entry| versions.contains(&entry.version)).collect();
        members.sort_by_key(|entry| entry.version);
        let members = members.into_iter().map(|entry| Arc::clone(&entry.member)).collect();
        self.unions.get(members, self.limits.joined_sets)
    }
}
