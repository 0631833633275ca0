//! Several adapters as one: `Σ g·s·B·A·x` is `B'·(m ∘ A'·x)`, where A' is the adapters'
//! matrices below each other, B' their matrices beside each other, and m the products of
//! gates and scales. That is three operations, whatever the number of adapters.

use std::sync::{Arc, Mutex};

use tch::Tensor;

use crate::Result;

use super::lock;
use super::member::Member;

/// A set of adapters, and what has been joined of them so far. One adapter alone is not
/// copied: its matrices are its own.
#[derive(Debug)]
pub(super) struct Union {
    /// In the order of their versions.
    members: Vec<Arc<Mutex<Member>>>,
    /// Whether one of them is: its matrices change, so that nothing may be kept of them.
    pub(super) in_training: bool,
    /// By projection, filled when a forward pass comes to it.
    slots: Vec<Slot>,
    layouts: Vec<Layout>,
}

/// What the set does to a projection.
#[derive(Debug)]
enum Slot {
    Unknown,
    Untouched,
    Adapted { layout: usize, joined: Option<(Tensor, Tensor)> },
}

/// How the columns of `A'·x` are made up. Most projections have the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) parts: Vec<Part>,
}

/// The columns of one adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// Index of the adapter in the set.
    pub(super) member: usize,
    pub(super) rank: i64,
    pub(super) scale: f64,
}

impl Layout {
    /// The number of columns.
    pub(super) fn rank(&self) -> i64 {
        self.parts.iter().map(|part| part.rank).sum()
    }

    /// Gate times scale for each column, for a row with these gates by member.
    pub(super) fn factors(&self, gates: &[f64]) -> Vec<f32> {
        let mut factors = Vec::with_capacity(self.rank() as usize);
        for part in &self.parts {
            let factor = (gates[part.member] * part.scale) as f32;
            factors.resize(factors.len() + part.rank as usize, factor);
        }
        factors
    }
}

/// One adapter's part in a projection, with matrices that are trained.
pub(super) struct Separate {
    pub(super) lora_a: Tensor,
    pub(super) lora_b: Tensor,
    pub(super) part: Part,
    /// Of the adapter in training; 0 of the others.
    pub(super) dropout: f64,
}

impl Union {
    /// A set of `members`, in the order of their versions.
    pub(super) fn new(members: Vec<Arc<Mutex<Member>>>) -> Self {
        let in_training = members.iter().any(|member| lock(member).in_training);
        let projections = members.first().map_or(0, |member| lock(member).updates.len());
        let slots = (0..projections).map(|_| Slot::Unknown).collect();
        Self { members, in_training, slots, layouts: Vec::new() }
    }

    /// Index and content of the projection's layout, if the set touches it.
    pub(super) fn layout(&mut self, projection: usize) -> Option<(usize, &Layout)> {
        if matches!(self.slots[projection], Slot::Unknown) {
            let parts: Vec<Part> = self
                .members
                .iter()
                .enumerate()
                .filter_map(|(index, member)| {
                    let member = lock(member);
                    let update = member.updates[projection].as_ref()?;
                    let rank = update.lora_a.size()[0];
                    Some(Part { member: index, rank, scale: update.plan.scale })
                })
                .collect();
            self.slots[projection] = if parts.is_empty() {
                Slot::Untouched
            } else {
                let layout = Layout { parts };
                let known = self.layouts.iter().position(|other| *other == layout);
                let layout = known.unwrap_or_else(|| {
                    self.layouts.push(layout);
                    self.layouts.len() - 1
                });
                Slot::Adapted { layout, joined: None }
            };
        }
        match self.slots[projection] {
            Slot::Adapted { layout, .. } => Some((layout, &self.layouts[layout])),
            Slot::Unknown | Slot::Untouched => None,
        }
    }

    /// A' `[Σ rank, in_features]` and the transpose of B', `[Σ rank, out_features]`, in the
    /// compute dtype.
    pub(super) fn joined(&mut self, projection: usize) -> Result<Option<(Tensor, Tensor)>> {
        let Some((_, layout)) = self.layout(projection) else { return Ok(None) };
        let indices: Vec<usize> = layout.parts.iter().map(|part| part.member).collect();
        let Slot::Adapted { joined, .. } = &mut self.slots[projection] else { return Ok(None) };
        if joined.is_none() {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for index in indices {
                if let Some(update) = &lock(&self.members[index]).updates[projection] {
                    a.push(update.computed.0.shallow_clone());
                    b.push(update.computed.1.shallow_clone());
                }
            }
            *joined = Some(match (a.as_slice(), b.as_slice()) {
                ([a], [b]) => (a.shallow_clone(), b.f_tr()?),
                _ => (Tensor::f_cat(&a, 0)?, Tensor::f_cat(&b, 1)?.f_tr()?),
            });
        }
        Ok(joined.as_ref().map(|(a, b)| (a.shallow_clone(), b.shallow_clone())))
    }

    /// The adapters' parts in the projection, one by one: with the matrices in training as
    /// they are now, and connected to them.
    pub(super) fn separate(&mut self, projection: usize) -> Vec<Separate> {
        let parts = self.layout(projection).map(|(_, layout)| layout.parts.clone());
        let separate = |part: Part| {
            let member = lock(&self.members[part.member]);
            let update = member.updates[projection].as_ref()?;
            let (matrices, dropout) = if member.in_training {
                ((&update.lora_a, &update.lora_b), member.dropout())
            } else {
                ((&update.computed.0, &update.computed.1), 0.0)
            };
            let (lora_a, lora_b) = (matrices.0.shallow_clone(), matrices.1.shallow_clone());
            Some(Separate { lora_a, lora_b, part, dropout })
        };
        parts.into_iter().flatten().filter_map(separate).collect()
    }

    /// The versions of the members.
    pub(super) fn versions(&self) -> Vec<u64> {
        self.members.iter().map(|member| lock(member).version).collect()
    }
}

/// The sets that were used last, so that going back to one costs nothing.
#[derive(Debug, Default)]
pub(super) struct UnionCache {
    /// The most recently used last.
    entries: Vec<(Vec<u64>, Arc<Mutex<Union>>)>,
}

impl UnionCache {
    /// The set of these members, in the order of their versions.
    pub(super) fn get(
        &mut self,
        members: Vec<Arc<Mutex<Member>>>,
        limit: usize,
    ) -> Arc<Mutex<Union>> {
        let union = Union::new(members);
        if union.in_training {
            return Arc::new(Mutex::new(union));
        }
        let versions = union.versions();
        let entry = match self.entries.iter().position(|(known, _)| *known == versions) {
            Some(place) => self.entries.remove(place),
            None => (versions, Arc::new(Mutex::new(union))),
        };
        let union = Arc::clone(&entry.1);
        self.entries.push(entry);
        // A single adapter's entry shares its matrices: only what is joined is counted.
        while self.entries.iter().filter(|(versions, _)| versions.len() > 1).count() > limit {
            let oldest = self.entries.iter().position(|(versions, _)| versions.len() > 1);
            self.entries.remove(oldest.unwrap_or_default());
        }
        union
    }

    /// Drops what an adapter has part in.
    pub(super) fn forget(&mut self, version: u64) {
        self.entries.retain(|(versions, _)| !versions.contains(&version));
    }

    #[cfg(test)]
    pub(super) fn sets(&self) -> Vec<Vec<u64>> {
        self.entries.iter().map(|(versions, _)| versions.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdapterConfig;

    fn member(version: u64) -> Arc<Mutex<Member>> {
        Arc::new(Mutex::new(Member::empty(version, AdapterConfig::default())))
    }

    #[test]
    fn sets_are_kept_up_to_the_limit_the_oldest_going_first() {
        let all: Vec<_> = (0..4).map(member).collect();
        let mut cache = UnionCache::default();
        let get = |cache: &mut UnionCache, indices: &[usize]| {
            let members = indices.iter().map(|&index| Arc::clone(&all[index])).collect();
            cache.get(members, 2)
        };
        let first = get(&mut cache, &[0, 1]);
        get(&mut cache, &[3]);
        get(&mut cache, &[1, 2]);
        assert!(Arc::ptr_eq(&first, &get(&mut cache, &[0, 1])));
        get(&mut cache, &[0, 2]);
        assert_eq!(cache.sets(), [vec![3], vec![0, 1], vec![0, 2]]);
        cache.forget(2);
        assert_eq!(cache.sets(), [vec![3], vec![0, 1]]);
        lock(&all[3]).in_training = true;
        get(&mut cache, &[1, 3]);
        assert_eq!(cache.sets(), [vec![3], vec![0, 1]]);
    }
}
