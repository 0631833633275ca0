//! Stacks of requests that come and go, for a server's engine.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use limbeck_infer::RowRouter;

use crate::{Error, Result};

use super::{Stack, TierError, Tiers};

/// Stacks that are remembered. A key that is forgotten while its request runs ends that
/// request, so there are many more than requests at a time.
const STACKS: usize = 1 << 12;

/// Routes requests by keys that are handed out as stacks are asked for.
///
/// An adapter that is replaced while a request runs counts from the next pass on.
#[derive(Debug)]
pub struct LiveRouter {
    tiers: Tiers,
    known: Mutex<Known>,
}

/// Stacks by key; the oldest are forgotten first.
#[derive(Debug, Default)]
struct Known {
    stacks: BTreeMap<u64, Entry>,
    next: u64,
}

/// A stack, and the first key whose stack had the same adapters: looked for once, as the engine
/// asks for it in every pass.
#[derive(Debug)]
struct Entry {
    stack: Stack,
    alike: u64,
}

fn names(stack: &Stack) -> Vec<&str> {
    let mut names: Vec<&str> = stack.names().collect();
    names.sort_unstable();
    names
}

impl LiveRouter {
    /// A router over these tiers.
    pub fn new(tiers: Tiers) -> Self {
        Self { tiers, known: Mutex::default() }
    }

    /// The tiers.
    pub fn tiers(&self) -> &Tiers {
        &self.tiers
    }

    /// The key of a stack.
    ///
    /// # Errors
    /// An adapter that is not loaded.
    pub fn key(&self, stack: &Stack) -> Result<u64> {
        self.tiers.stack_hash(stack)?;
        let mut known = self.known();
        if let Some((&key, _)) = known.stacks.iter().find(|(_, known)| known.stack == *stack) {
            return Ok(key);
        }
        let key = known.next;
        known.next += 1;
        let own = names(stack);
        let alike = known.stacks.values().find(|known| names(&known.stack) == own);
        let alike = alike.map_or(key, |known| known.alike);
        known.stacks.insert(key, Entry { stack: stack.clone(), alike });
        if known.stacks.len() > STACKS {
            known.stacks.pop_first();
        }
        Ok(key)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stack(&self, key: u64) -> limbeck_infer::Result<Stack> {
        let known = self.known();
        known.stacks.get(&key).map(|known| known.stack.clone()).ok_or_else(|| {
            let request = usize::try_from(key).unwrap_or(usize::MAX);
            let error = Error::from(TierError::NoStack { request, stacks: known.stacks.len() });
            limbeck_infer::Error::router(Some(request), error)
        })
    }
}

impl RowRouter for LiveRouter {
    fn identity(&self, key: u64) -> limbeck_infer::Result<String> {
        self.tiers
            .stack_hash(&self.stack(key)?)
            .map_err(|error| limbeck_infer::Error::router(usize::try_from(key).ok(), error))
    }

    fn version(&self) -> u64 {
        self.tiers.version()
    }

    /// Rows of the same adapters: they can be computed together without being copied.
    fn affinity(&self, key: u64) -> u64 {
        self.known().stacks.get(&key).map_or(key, |known| known.alike)
    }

    fn route(&self, rows: &[Option<u64>]) -> limbeck_infer::Result<()> {
        let stacks = rows
            .chunk_by(|left, right| left == right)
            .map(|run| {
                let key = run.first().copied().flatten();
                Ok((key.map_or(Ok(Stack::base()), |key| self.stack(key))?, run.len()))
            })
            .collect::<limbeck_infer::Result<Vec<(Stack, usize)>>>()?;
        let runs: Vec<(&Stack, usize)> =
            stacks.iter().map(|(stack, length)| (stack, *length)).collect();
        self.tiers.route_runs(&runs).map_err(|error| limbeck_infer::Error::router(None, error))
    }

    fn end(&self) {
        self.tiers.clear_route();
    }
}
