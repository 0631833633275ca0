//! Several chains of one question: how many of them a pass holds, and what each counts.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{Example, Kind};

/// Which of a question's chains a pass over the data holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainsPerQuestion {
    /// All of them.
    #[default]
    All,
    /// One, another in each pass until all have had their turn.
    OnePerEpoch,
}

/// The `[….train.questions]` table. Two examples belong to one question if its text is the
/// same and both are chains or both answers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuestionsConfig {
    /// Which of a question's chains a pass holds: `all` or `one_per_epoch`. Default `all`.
    pub chains_per_question: ChainsPerQuestion,
    /// Whether each question counts alike: a chain's weights are divided by the number of its
    /// question's chains. With `one_per_epoch` they count alike anyway. Default false.
    pub balance_questions: bool,
    /// Whether the data folder's `negatives.jsonl` is trained on too, that is its corrected
    /// chains; the wrong ones are left out. Default false.
    pub corrected_chains: bool,
}

/// The examples at these indices by question, both in the order in which they first come.
pub(crate) fn grouped(examples: &[Example], indices: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<(&str, Kind), usize> = HashMap::new();
    for &index in indices {
        let traits = &examples[index].traits;
        let fresh = groups.len();
        let group = if traits.question.is_empty() {
            fresh
        } else {
            *known.entry((&traits.question, traits.kind)).or_insert(fresh)
        };
        if group == fresh {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    groups
}

/// Divides the weights of a question's chains by their number, where `config` asks for it.
pub fn balance(examples: &mut [Example], config: &QuestionsConfig) {
    if !config.balance_questions || config.chains_per_question == ChainsPerQuestion::OnePerEpoch {
        return;
    }
    let all: Vec<usize> = (0..examples.len()).collect();
    for group in grouped(examples, &all) {
        let share = 1.0 / group.len() as f32;
        for index in group {
            examples[index].weights.iter_mut().for_each(|weight| *weight *= share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Traits;

    fn example(question: &str, kind: Kind) -> Example {
        let traits = Traits { kind, question: question.to_owned(), ..Traits::default() };
        Example { weights: vec![0.0, 1.0, 0.5], traits, ..Example::default() }
    }

    fn examples() -> Vec<Example> {
        vec![
            example("a", Kind::Chain),
            example("b", Kind::Chain),
            example("a", Kind::Task),
            example("a", Kind::Chain),
            example("", Kind::Chain),
            example("", Kind::Chain),
        ]
    }

    #[test]
    fn a_questions_chains_share_its_weight() {
        let mut balanced = examples();
        let config = QuestionsConfig { balance_questions: true, ..QuestionsConfig::default() };
        balance(&mut balanced, &config);
        let weights: Vec<f32> = balanced.iter().map(|example| example.weights[1]).collect();
        assert_eq!(weights, [0.5, 1.0, 1.0, 0.5, 1.0, 1.0]);
        assert_eq!(balanced[0].weights, [0.0, 0.5, 0.25]);
    }

    #[test]
    fn weights_stay_without_balance_and_where_a_pass_holds_one_chain() {
        let one = ChainsPerQuestion::OnePerEpoch;
        for config in [
            QuestionsConfig::default(),
            QuestionsConfig {
                chains_per_question: one,
                balance_questions: true,
                ..QuestionsConfig::default()
            },
        ] {
            let mut examples = examples();
            let before = examples.clone();
            balance(&mut examples, &config);
            assert_eq!(examples, before);
        }
    }

    #[test]
    fn groups_are_by_question_and_kind() {
        let groups = grouped(&examples(), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(groups, [vec![0, 3], vec![1], vec![2], vec![4], vec![5]]);
    }
}
