//! Stacks for an engine's requests.

use limbeck_infer::RowRouter;

use crate::Error;

use super::{Stack, TierError, Tiers};

/// Routes each request of an engine to its stack.
#[derive(Debug)]
pub struct StackRouter<'t> {
    tiers: &'t Tiers,
    /// By request.
    stacks: &'t [Stack],
}

impl<'t> StackRouter<'t> {
    /// A router of requests that have these stacks, in their order.
    pub fn new(tiers: &'t Tiers, stacks: &'t [Stack]) -> Self {
        Self { tiers, stacks }
    }
}

impl RowRouter for StackRouter<'_> {
    /// Puts rows of the same adapters beside each other, in the order of their first: they
    /// can then be computed together without being copied.
    fn begin(&self, requests: &mut [usize]) -> limbeck_infer::Result<()> {
        let mut stacks = Vec::with_capacity(requests.len());
        for &request in requests.iter() {
            let stack = self.stacks.get(request).ok_or_else(|| {
                let error = Error::from(TierError::NoStack { request, stacks: self.stacks.len() });
                limbeck_infer::Error::router(Some(request), error)
            })?;
            stacks.push((request, stack));
        }
        let mut sets: Vec<Vec<&str>> = Vec::new();
        let places: Vec<usize> = stacks
            .iter()
            .map(|(_, stack)| {
                let mut names: Vec<&str> = stack.names().collect();
                names.sort_unstable();
                sets.iter().position(|set| *set == names).unwrap_or_else(|| {
                    sets.push(names);
                    sets.len() - 1
                })
            })
            .collect();
        let mut order: Vec<usize> = (0..stacks.len()).collect();
        order.sort_by_key(|&row| places[row]);
        let ordered: Vec<Stack> = order.iter().map(|&row| stacks[row].1.clone()).collect();
        for (request, row) in requests.iter_mut().zip(order) {
            *request = stacks[row].0;
        }
        self.tiers.route(&ordered).map_err(|error| limbeck_infer::Error::router(None, error))
    }

    fn keep(&self, rows: &[usize]) -> limbeck_infer::Result<()> {
        self.tiers.keep_rows(rows).map_err(|error| limbeck_infer::Error::router(None, error))
    }

    fn end(&self) {
        self.tiers.clear_route();
    }
}
