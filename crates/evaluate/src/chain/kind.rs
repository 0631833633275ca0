//! What is wrong with a step that does not hold.

use limbeck_cot_data::{Rational, StepFinding, StepVerdict};

use super::ErrorKind;

/// The label of the line that asks, and so of the one that concludes.
const ASKED: char = 'Q';

/// The kind of error in the step at `index`, whose equations are `own`: an equation that does not hold; an item that is not the question's, or an operand from
/// nowhere; a conclusion that is not what stands before it; or else a rule that is broken.
pub(super) fn of_step(
    question: &str,
    steps: &[&str],
    index: usize,
    own: &[StepFinding],
) -> ErrorKind {
    let step = steps.get(index).copied().unwrap_or_default();
    if own.iter().any(|finding| finding.verdict == StepVerdict::Wrong) {
        return ErrorKind::Arithmetic;
    }
    if let Some((label, item)) = item(step) {
        if !item.is_empty() && !restates(question, label, item) {
            return ErrorKind::Copy;
        }
        if label == ASKED && index + 1 == steps.len() {
            return ErrorKind::Conclusion;
        }
    }
    let before = || [question].into_iter().chain(steps[..index].iter().copied());
    let nowhere = |value: &Rational| !before().any(|text| mentions(text, *value));
    if own.iter().any(|finding| finding.unsourced.iter().any(nowhere)) {
        return ErrorKind::Copy;
    }
    ErrorKind::Logic
}

/// Whether the digits of a number stand in a text. A place `(9,11)` holds both 9 and 11, which
/// in prose would be a number with a comma.
fn mentions(text: &str, value: Rational) -> bool {
    let value = value.to_string();
    text.split(|next: char| !next.is_ascii_digit()).any(|digits| digits == value)
}

/// The label of a line, and the item as the line restates it: nothing in short.
fn item(step: &str) -> Option<(char, &str)> {
    let rest = step.strip_prefix('#')?;
    let label = rest.chars().next().filter(char::is_ascii_uppercase)?;
    let rest = &rest[label.len_utf8()..];
    let (item, _) = rest.split_once(": ").or_else(|| rest.split_once('：'))?;
    Some((label, item.trim()))
}

/// Whether an item is the question's of that label.
fn restates(question: &str, label: char, item: &str) -> bool {
    question.lines().any(|line| {
        line.strip_prefix('#')
            .and_then(|rest| rest.strip_prefix(label))
            .is_some_and(|rest| rest.trim().trim_end_matches(['?', '？']) == item)
    })
}

#[cfg(test)]
mod tests {
    use limbeck_cot_data::find_equations;

    use super::*;

    const QUESTION: &str = "Take 30.\n#A add 12\n#B subtract 5\n#Q What is it now?";

    #[track_caller]
    fn check(steps: &[&str], index: usize, expected: ErrorKind) {
        let own = find_equations(QUESTION, &steps[index..=index]);
        assert_eq!(of_step(QUESTION, steps, index, &own), expected, "{steps:?}");
    }

    #[test]
    fn kinds_of_errors() {
        check(&["#A add 12: 30+12=43"], 0, ErrorKind::Arithmetic);
        check(&["#A add 21: 30+21=51"], 0, ErrorKind::Copy);
        check(&["#C add 12: 30+12=42"], 0, ErrorKind::Copy);
        check(&["#A add 12: 33+12=45"], 0, ErrorKind::Copy);
        check(&["#A: 30+12=42", "#B: 30-5=25"], 1, ErrorKind::Logic);
        check(&["(39,41)", "#A: 41-12=29"], 1, ErrorKind::Logic);
        check(&["#A: 30+12=42", "#B: 42-5=37", "#Q What is it now: 42"], 2, ErrorKind::Conclusion);
        check(&["#Q What is it now: 42", "#A: 30+12=42"], 0, ErrorKind::Logic);
    }
}
