//! Stacks for an engine's requests.

use limbeck_infer::RowRouter;

use crate::Error;

use super::{Stack, TierError, Tiers};

/// Routes each request of an engine to its stack: a request's key is the place of its stack.
///
/// An adapter that is replaced while a request runs counts from the next pass on.
#[derive(Debug)]
pub struct StackRouter<'t> {
    tiers: &'t Tiers,
    /// By key.
    stacks: &'t [Stack],
    /// By key, the first key whose stack has the same adapters.
    alike: Vec<u64>,
}

impl<'t> StackRouter<'t> {
    /// A router of requests that have these stacks, in their order.
    pub fn new(tiers: &'t Tiers, stacks: &'t [Stack]) -> Self {
        let mut sets: Vec<(Vec<&str>, u64)> = Vec::new();
        let alike = stacks
            .iter()
            .zip(0..)
            .map(|(stack, key)| {
                let mut names: Vec<&str> = stack.names().collect();
                names.sort_unstable();
                if let Some((_, first)) = sets.iter().find(|(set, _)| *set == names) {
                    return *first;
                }
                sets.push((names, key));
                key
            })
            .collect();
        Self { tiers, stacks, alike }
    }

    fn stack(&self, key: u64) -> limbeck_infer::Result<&'t Stack> {
        let request = usize::try_from(key).unwrap_or(usize::MAX);
        self.stacks.get(request).ok_or_else(|| {
            let error = Error::from(TierError::NoStack { request, stacks: self.stacks.len() });
            limbeck_infer::Error::router(Some(request), error)
        })
    }
}

impl RowRouter for StackRouter<'_> {
    fn identity(&self, key: u64) -> limbeck_infer::Result<String> {
        self.tiers
            .stack_hash(self.stack(key)?)
            .map_err(|error| limbeck_infer::Error::router(usize::try_from(key).ok(), error))
    }

    fn version(&self) -> u64 {
        self.tiers.version()
    }

    /// Rows of the same adapters: they can be computed together without being copied.
    fn affinity(&self, key: u64) -> u64 {
        let place = usize::try_from(key).ok();
        place.and_then(|place| self.alike.get(place)).copied().unwrap_or(key)
    }

    fn route(&self, rows: &[Option<u64>]) -> limbeck_infer::Result<()> {
        let base = Stack::base();
        let runs = rows
            .chunk_by(|left, right| left == right)
            .map(|run| match run.first().copied().flatten() {
                Some(key) => Ok((self.stack(key)?, run.len())),
                None => Ok((&base, run.len())),
            })
            .collect::<limbeck_infer::Result<Vec<_>>>()?;
        self.tiers.route_runs(&runs).map_err(|error| limbeck_infer::Error::router(None, error))
    }

    fn end(&self) {
        self.tiers.clear_route();
    }
}
