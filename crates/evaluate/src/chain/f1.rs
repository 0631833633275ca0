//! How well breakpoints are located, as ProcessBench counts it (Zheng et al., arXiv 2412.06559):
//! a chain is labelled with the index of its first wrong step, or as right; the accuracy on
//! wrong chains, the accuracy on right ones, and their harmonic mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ErrorKind;
use crate::statistics::Proportion;

/// A chain's label beside what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// The first wrong step, from 0; nothing of a right chain.
    pub label: Option<usize>,
    /// What was found; `None` where the chain could not be read, which counts as wrong.
    pub found: Option<Option<usize>>,
    /// The kind of error that was found.
    pub kind: Option<ErrorKind>,
}

/// Figures of a set of labelled chains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepF1 {
    /// Wrong chains whose first wrong step was found.
    pub erroneous: Proportion,
    /// Right chains in which none was found.
    pub correct: Proportion,
    /// Harmonic mean of both; 0 where either is 0 or has no chain.
    pub f1: f64,
    /// Wrong chains in which something was found, at whatever step.
    pub detected: Proportion,
    /// Chains in which something was found that are wrong.
    pub precision: Proportion,
    /// Wrong chains in which nothing was found.
    pub missed: u64,
    /// Right chains in which something was found.
    pub false_alarms: u64,
    /// Chains that could not be read.
    pub unparseable: u64,
    /// Of the wrong chains in which something was found: its step less the label's.
    pub offsets: BTreeMap<i64, u64>,
    /// Found at the right step, of the wrong chains whose error was taken for the kind.
    pub by_kind: BTreeMap<ErrorKind, Proportion>,
}

impl StepF1 {
    /// Counts chains.
    pub fn of(chains: &[Located]) -> Self {
        let is_exact = |chain: &Located| chain.found == Some(chain.label);
        let place = |chain: &Located| chain.found.flatten();
        let (wrong, right): (Vec<&Located>, Vec<&Located>) =
            chains.iter().partition(|chain| chain.label.is_some());
        let erroneous = Proportion::of(wrong.iter().map(|chain| is_exact(chain)));
        let correct = Proportion::of(right.iter().map(|chain| is_exact(chain)));
        let sum = erroneous.value + correct.value;
        let both = erroneous.successes > 0 && correct.successes > 0;
        let mut offsets = BTreeMap::new();
        let mut kinds: BTreeMap<ErrorKind, Vec<bool>> = BTreeMap::new();
        for chain in &wrong {
            if let (Some(found), Some(label)) = (place(chain), chain.label) {
                *offsets.entry(found as i64 - label as i64).or_default() += 1;
            }
            if let Some(kind) = chain.kind {
                kinds.entry(kind).or_default().push(is_exact(chain));
            }
        }
        let count = |chains: &[&Located], holds: fn(&Located) -> bool| {
            chains.iter().filter(|chain| holds(chain)).count() as u64
        };
        let alarms = chains.iter().filter(|chain| place(chain).is_some());
        Self {
            f1: if both { 2.0 * erroneous.value * correct.value / sum } else { 0.0 },
            erroneous,
            correct,
            detected: Proportion::of(wrong.iter().map(|chain| place(chain).is_some())),
            precision: Proportion::of(alarms.map(|chain| chain.label.is_some())),
            missed: count(&wrong, |chain| chain.found == Some(None)),
            false_alarms: count(&right, |chain| chain.found.flatten().is_some()),
            unparseable: chains.iter().filter(|chain| chain.found.is_none()).count() as u64,
            offsets,
            by_kind: kinds.into_iter().map(|(kind, exact)| (kind, Proportion::of(exact))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(label: Option<usize>, found: Option<usize>) -> Located {
        let kind = found.map(|_| ErrorKind::Logic);
        Located { label, found: Some(found), kind }
    }

    #[test]
    fn the_mean_is_harmonic_and_steps_must_be_exact() {
        let mut chains = vec![chain(Some(2), Some(2)); 6];
        chains.extend([chain(Some(2), Some(1)), chain(Some(2), Some(5)), chain(Some(0), None)]);
        chains.push(Located { label: Some(0), found: None, kind: None });
        chains.extend(vec![chain(None, None); 9]);
        chains.push(chain(None, Some(0)));
        let f1 = StepF1::of(&chains);
        assert_eq!((f1.erroneous.successes, f1.erroneous.n), (6, 10));
        assert_eq!((f1.correct.successes, f1.correct.n), (9, 10));
        // 2 · 0.6 · 0.9 / 1.5
        assert!((f1.f1 - 0.72).abs() < 1e-12, "{}", f1.f1);
        assert_eq!((f1.missed, f1.false_alarms, f1.unparseable), (1, 1, 1));
        assert_eq!(f1.offsets, [(-1, 1), (0, 6), (3, 1)].into());
        assert_eq!((f1.detected.successes, f1.detected.n), (8, 10));
        assert_eq!((f1.precision.successes, f1.precision.n), (8, 9));
        let logic = f1.by_kind[&ErrorKind::Logic];
        assert_eq!((logic.successes, logic.n), (6, 8));
    }

    #[test]
    fn what_cannot_be_read_is_wrong_on_right_chains_too() {
        let unread = Located { label: None, found: None, kind: None };
        let f1 = StepF1::of(&[unread, chain(None, None), chain(Some(1), Some(1))]);
        assert_eq!((f1.correct.successes, f1.correct.n), (1, 2));
        assert!((f1.f1 - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn without_wrong_or_right_chains_there_is_no_f1() {
        assert!(StepF1::of(&[]).f1.abs() < 1e-12);
        assert!(StepF1::of(&[chain(None, None)]).f1.abs() < 1e-12);
    }
}
