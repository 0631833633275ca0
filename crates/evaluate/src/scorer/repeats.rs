//! Several replies to one problem: pass@k and the majority's answer.

use std::collections::HashMap;

use limbeck_cot_data::{Equivalence, equivalence};

/// The chance that at least one of `k` replies, drawn without return from `n` of which `c` are
/// right, is right (Chen et al. 2021, "Evaluating Large Language Models Trained on Code"), as a
/// product, which never overflows: `1 - Π (1 - k / i)` over `i` from `n - c + 1` to `n`.
///
/// `None` for `k` of 0 or above `n`, where it has no unbiased estimate, and for `c` above `n`.
pub fn pass_at_k(n: u64, c: u64, k: u64) -> Option<f64> {
    if k == 0 || k > n || c > n {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    let all_wrong: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - all_wrong)
}

/// The most frequent text, of several such the first seen, as Python's
/// `Counter.most_common(1)`: lm-eval's maj@k, in which `[invalid]` votes too.
pub fn most_common<T: AsRef<str>>(answers: &[T]) -> Option<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for answer in answers {
        *counts.entry(answer.as_ref()).or_default() += 1;
    }
    let highest = counts.values().copied().max()?;
    answers.iter().map(AsRef::as_ref).find(|answer| counts[answer] == highest)
}

/// The majority's answer by meaning: its place, and how many gave it.
///
/// Answers are one where [`equivalence`] says so of the first of them that was seen; `None`
/// stands for an answer that could not be read, and has no vote. Of several such the first seen.
/// `None` without any vote.
pub fn majority(answers: &[Option<&str>]) -> Option<(usize, usize)> {
    let mut classes: Vec<(usize, &str, usize)> = Vec::new();
    for (place, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let same =
            |first: &str| first == *answer || equivalence(first, answer) == Equivalence::Equal;
        match classes.iter_mut().find(|(_, first, _)| same(first)) {
            Some((_, _, votes)) => *votes += 1,
            None => classes.push((place, answer, 1)),
        }
    }
    let highest = classes.iter().map(|(_, _, votes)| *votes).max()?;
    let (place, _, votes) = classes.into_iter().find(|(_, _, votes)| *votes == highest)?;
    Some((place, votes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_is_the_hypergeometric_chance() {
        for (n, c, k, expected) in [
            (5, 2, 1, 0.4),
            (10, 3, 5, 0.916_666_666_666_666_7),
            (64, 1, 8, 0.125),
            (5, 0, 3, 0.0),
            (5, 5, 1, 1.0),
            (5, 3, 3, 1.0),
            (1_000_000, 1, 10, 1e-5),
        ] {
            let found = pass_at_k(n, c, k).unwrap();
            assert!((found - expected).abs() < 1e-12, "{n} {c} {k}: {found}");
        }
        for (n, c, k) in [(5, 2, 0), (5, 2, 6), (5, 6, 1)] {
            assert_eq!(pass_at_k(n, c, k), None);
        }
    }

    /// By counting all draws, apart from the formula.
    #[test]
    fn pass_at_k_counts_draws() {
        let (n, c) = (7_u32, 3_u32);
        for k in 1..=n {
            let draws: Vec<u32> = (0_u32..1 << n).filter(|draw| draw.count_ones() == k).collect();
            let hits = draws.iter().filter(|&&draw| draw & ((1 << c) - 1) != 0).count();
            let expected = hits as f64 / draws.len() as f64;
            let found = pass_at_k(n.into(), c.into(), k.into()).unwrap();
            assert!((found - expected).abs() < 1e-12, "{k}");
        }
    }

    #[test]
    fn a_tie_goes_to_the_first_seen_and_invalid_votes() {
        assert_eq!(most_common(&["b", "a", "a", "b"]), Some("b"));
        assert_eq!(most_common(&["1", "[invalid]", "[invalid]"]), Some("[invalid]"));
        assert_eq!(most_common(&["18", "18.0", "7", "7"]), Some("7"));
        assert_eq!(most_common::<&str>(&[]), None);
    }

    #[test]
    fn a_majority_is_by_meaning_and_without_the_unread() {
        assert_eq!(majority(&[Some("18"), Some("18.0"), Some("7")]), Some((0, 2)));
        assert_eq!(
            majority(&[None, None, None, Some("7"), Some("1/2"), Some("0.5")]),
            Some((4, 2))
        );
        assert_eq!(majority(&[Some("7"), Some("8")]), Some((0, 1)));
        assert_eq!(majority(&[Some("a or b"), Some("a or b"), Some("c")]), Some((0, 2)));
        assert_eq!(majority(&[None, None]), None);
    }
}
