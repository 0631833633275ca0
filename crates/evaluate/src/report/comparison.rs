//! Models against models, problem by problem.

#![expect(clippy::doc_markdown, reason = "McNemar is a person")]

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::ReportConfig;
use super::conclusion::{Conclusion, detectable};
use crate::evaluation::Evaluation;
use crate::sample::Sample;
use crate::statistics::{PairedDifference, holm, mcnemar_exact};
use crate::{Error, Result};

/// What a reader of the default pipeline asks: a stage against the one it should match or
/// surpass, the first of those named that was evaluated.
const USUAL: [(&str, &[&str]); 11] = [
    ("distilled", &["teacher"]),
    ("distilled", &["baseline"]),
    ("student", &["teacher"]),
    ("student", &["baseline"]),
    ("tuned", &["distilled", "student"]),
    ("merged", &["tuned"]),
    ("quantized", &["merged", "tuned"]),
    ("gptq-4bit", &["merged", "tuned"]),
    ("awq-4bit", &["merged", "tuned"]),
    ("gptq-8bit", &["merged", "tuned"]),
    ("quantized", &["teacher"]),
];

/// One model against another on the problems that both answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The model in question.
    pub first: String,
    /// The model it is held against.
    pub second: String,
    /// Difference of the accuracies.
    pub accuracy: PairedDifference,
    /// Difference of the rates of complete chains.
    pub cot_completion: PairedDifference,
    /// The first's accuracy over the second's on the shared problems; `None` if the second
    /// solved none.
    pub accuracy_ratio: Option<f64>,
    /// `accuracy.p_value` corrected for the number of comparisons (Holm 1979).
    pub adjusted_p_value: f64,
    /// What the accuracies say.
    pub conclusion: Conclusion,
    /// The smallest difference of accuracies that these problems would show in 4 of 5 cases.
    pub detectable_difference: Option<f64>,
    /// Problems gained and lost in each family.
    pub by_family: Vec<FamilyChange>,
}

impl Comparison {
    /// Takes a p-value corrected for the number of comparisons, and concludes again.
    fn adjust(&mut self, p_value: f64, comparisons: usize) {
        let accuracy = &self.accuracy;
        self.adjusted_p_value = p_value;
        self.conclusion = Conclusion::tested(accuracy.low, accuracy.high, p_value);
        self.detectable_difference = detectable(accuracy, comparisons);
    }
}

/// What one model solves of a family beside another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FamilyChange {
    /// The family.
    pub family: String,
    /// Problems of it that both models answered.
    pub n: u64,
    /// Solved by the first model alone.
    pub gained: u64,
    /// Solved by the second model alone: what the first has forgotten, where it was made from
    /// the second.
    pub lost: u64,
    /// McNemar's exact p-value, corrected for the number of families (Holm).
    pub p_value: f64,
}

/// The comparisons that the configuration asks for, or the usual ones.
pub(super) fn all(evaluations: &[&Evaluation], config: &ReportConfig) -> Result<Vec<Comparison>> {
    let names: Vec<&str> = evaluations.iter().map(|evaluation| evaluation.model.as_str()).collect();
    let find = |name: &str| {
        evaluations.iter().find(|evaluation| evaluation.model == name).copied().ok_or_else(|| {
            Error::UnknownModel {
                name: name.to_owned(),
                known: names.iter().map(|&name| name.to_owned()).collect(),
            }
        })
    };
    let pairs: Vec<[&str; 2]> = if config.comparisons.is_empty() {
        usual(&names)
    } else {
        config.comparisons.iter().map(|[first, second]| [first.as_str(), second.as_str()]).collect()
    };
    let mut comparisons = Vec::with_capacity(pairs.len());
    for [first, second] in pairs {
        comparisons.extend(compare(find(first)?, find(second)?, config.seed));
    }
    adjust(&mut comparisons.iter_mut().collect::<Vec<_>>());
    Ok(comparisons)
}

/// Corrects the p-values of comparisons that are made together (Holm), and what they conclude.
pub(super) fn adjust(comparisons: &mut [&mut Comparison]) {
    let p_values: Vec<f64> = comparisons.iter().map(|pair| pair.accuracy.p_value).collect();
    let count = comparisons.len();
    for (comparison, p_value) in comparisons.iter_mut().zip(holm(&p_values)) {
        comparison.adjust(p_value, count);
    }
}

/// The replies of two models to the same problems. Of several replies to one problem the first
/// counts: the tests take outcomes for independent, which replies to one problem are not.
pub(crate) fn pairs<'a>(
    first: &'a Evaluation,
    second: &'a Evaluation,
) -> Vec<(&'a Sample, &'a Sample)> {
    let firsts =
        |evaluation: &'a Evaluation| evaluation.samples.iter().filter(|sample| sample.repeat == 0);
    let theirs: HashMap<(&str, &str), &Sample> =
        firsts(second).map(|sample| ((sample.task.as_str(), sample.id.as_str()), sample)).collect();
    firsts(first)
        .filter_map(|sample| {
            let other = *theirs.get(&(sample.task.as_str(), sample.id.as_str()))?;
            // Two runs may number other problems alike.
            (other.question == sample.question).then_some((sample, other))
        })
        .collect()
}

fn by_family(shared: &[(&Sample, &Sample)]) -> Vec<FamilyChange> {
    let mut families: BTreeMap<&str, FamilyChange> = BTreeMap::new();
    for (first, second) in shared {
        let family = families.entry(&first.family).or_insert_with(|| FamilyChange {
            family: first.family.clone(),
            n: 0,
            gained: 0,
            lost: 0,
            p_value: 1.0,
        });
        family.n += 1;
        family.gained += u64::from(first.correct && !second.correct);
        family.lost += u64::from(!first.correct && second.correct);
    }
    let mut families: Vec<FamilyChange> = families.into_values().collect();
    let p_values: Vec<f64> =
        families.iter().map(|family| mcnemar_exact(family.gained, family.lost)).collect();
    for (family, p_value) in families.iter_mut().zip(holm(&p_values)) {
        family.p_value = p_value;
    }
    families
}

/// The usual pairs among the names; each name against the first where there is none.
fn usual<'a>(names: &[&'a str]) -> Vec<[&'a str; 2]> {
    let named = |name: &str| names.iter().copied().find(|known| *known == name);
    let pairs: Vec<[&str; 2]> = USUAL
        .iter()
        .filter_map(|(first, others)| {
            Some([named(first)?, others.iter().find_map(|other| named(other))?])
        })
        .collect();
    if !pairs.is_empty() {
        return pairs;
    }
    let others = names.iter().skip(1);
    others.map(|&name| [name, names[0]]).collect()
}

/// `None` if the models share no problem.
pub(super) fn compare(first: &Evaluation, second: &Evaluation, seed: u64) -> Option<Comparison> {
    let shared = pairs(first, second);
    if shared.is_empty() {
        return None;
    }
    let paired = |shared: &[(&Sample, &Sample)], holds: fn(&Sample) -> bool| {
        let outcomes: Vec<(bool, bool)> =
            shared.iter().map(|(first, second)| (holds(first), holds(second))).collect();
        PairedDifference::new(&outcomes, seed)
    };
    // Where choices are rated nothing is written: there is no chain.
    let written: Vec<(&Sample, &Sample)> = shared
        .iter()
        .copied()
        .filter(|(first, second)| first.rated.is_none() && second.rated.is_none())
        .collect();
    let right = |samples: &mut dyn Iterator<Item = &Sample>| {
        samples.filter(|sample| sample.correct).count() as f64
    };
    let ours = right(&mut shared.iter().map(|(first, _)| *first));
    let theirs = right(&mut shared.iter().map(|(_, second)| *second));
    let accuracy = paired(&shared, |sample| sample.correct);
    Some(Comparison {
        first: first.model.clone(),
        second: second.model.clone(),
        accuracy,
        cot_completion: paired(&written, |sample| sample.complete),
        accuracy_ratio: (theirs > 0.0).then(|| ours / theirs),
        adjusted_p_value: accuracy.p_value,
        conclusion: Conclusion::tested(accuracy.low, accuracy.high, accuracy.p_value),
        detectable_difference: detectable(&accuracy, 1),
        by_family: by_family(&shared),
    })
}

#[cfg(test)]
mod tests {
    use super::usual;

    #[test]
    fn stages_are_compared_with_what_they_should_match() {
        let names = ["teacher", "baseline", "distilled", "tuned", "quantized"];
        let expected = [
            ["distilled", "teacher"],
            ["distilled", "baseline"],
            ["tuned", "distilled"],
            ["quantized", "tuned"],
            ["quantized", "teacher"],
        ];
        assert_eq!(usual(&names), expected);
        // What was quantised is the merged model, where that stands apart from the tuned one.
        let names = ["distilled", "tuned", "merged", "awq-4bit"];
        let expected = [["tuned", "distilled"], ["merged", "tuned"], ["awq-4bit", "merged"]];
        assert_eq!(usual(&names), expected);
        assert_eq!(usual(&["a", "b", "c"]), [["b", "a"], ["c", "a"]]);
        assert!(usual(&["teacher"]).is_empty());
    }
}
