//! Checks of chains and answers from their text alone.
//!
//! Nothing here is shared with the generators: a question is parsed again, solved by a
//! second method (holdings by person, permutations, complex numbers, days counted one by
//! one, published criteria written down a second time), and each line of a
//! chain is judged against the item of the question whose label it bears and the lines
//! before it. So the checks hold for a model's own output too.
//!
//! A chain about any other question is read as prose: its equations are computed again.
//!
//! A line is judged where it stands: what an earlier wrong line claims is taken as
//! given, so that one slip counts once.

mod answer;
mod arithmetic;
mod calendar;
mod chinese;
mod cube;
mod divisors;
mod dose;
mod expression;
mod fractions;
mod interest;
mod knights;
mod label;
mod legal;
mod linear;
mod number;
mod ordering;
mod paths;
mod percent;
mod propositional;
mod prose;
mod ratio;
mod risk;
mod route;
mod score;
mod seating;
mod sheet;
mod stacking;
mod syllogism;
mod weekday;
mod worked;
mod zebra;

pub use answer::{
    AnswerMark, Equivalence, ExtractedAnswer, answers_equal, equivalence, extract_answer,
};
pub(crate) use label::items_by_label;
pub use number::Rational;
pub(crate) use number::number;
pub use prose::{StepFinding, find_equations};

use std::borrow::Cow;

use crate::record::CotRecord;

/// Verdict on one line of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepVerdict {
    /// The line has a known form and holds.
    Ok,
    /// The line has a known form and does not hold.
    Wrong,
    /// The line has no form that can be checked.
    Unchecked,
}

impl StepVerdict {
    /// The verdict on a line that holds or not; nothing where its form is unknown.
    fn of(holds: Option<bool>) -> Self {
        match holds {
            None => Self::Unchecked,
            Some(true) => Self::Ok,
            Some(false) => Self::Wrong,
        }
    }
}

/// Verdict on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerVerdict {
    /// Equal to what the second solver finds.
    Ok,
    /// Different from it.
    Wrong,
    /// The second solver cannot read the question, or finds no unique answer.
    Unchecked,
}

/// Verdict on a chain and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainCheck {
    /// One verdict for each step.
    pub steps: Vec<StepVerdict>,
    /// The answer against the second solver's.
    pub answer: AnswerVerdict,
    /// Whether the last step's conclusion equals the answer; in prose, the marked answer of
    /// the last step or else the last result of an equation.
    pub consistent: bool,
    /// What the chain concludes, where it can be read.
    pub conclusion: Option<String>,
    /// Whether no reader knows the question, so that only the arithmetic was checked.
    pub is_prose: bool,
}

impl ChainCheck {
    /// Whether every step and the answer are verified and agree.
    pub fn all_ok(&self) -> bool {
        self.complaint(&[]).is_none()
    }

    /// Index of the first step that is wrong.
    pub fn first_wrong_step(&self) -> Option<usize> {
        self.steps.iter().position(|verdict| *verdict == StepVerdict::Wrong)
    }

    /// Index of the step at which the chain goes wrong: the first wrong step or, where
    /// every step holds but the answer is wrong or does not follow, the last.
    pub fn first_error(&self) -> Option<usize> {
        let amiss = self.answer == AnswerVerdict::Wrong || !self.consistent;
        self.first_wrong_step().or(if amiss { self.steps.len().checked_sub(1) } else { None })
    }

    /// The first thing that is not verified, in words.
    pub(crate) fn complaint(&self, steps: &[String]) -> Option<String> {
        if let Some(index) = self.steps.iter().position(|verdict| *verdict != StepVerdict::Ok) {
            let text = steps.get(index).map_or("", String::as_str);
            return Some(format!("step {index} is {:?}: {text}", self.steps[index]));
        }
        if self.steps.is_empty() {
            return Some("there are no steps".to_owned());
        }
        if self.answer != AnswerVerdict::Ok {
            return Some(format!("the answer is {:?}", self.answer));
        }
        (!self.consistent).then(|| "the last step does not give the answer".to_owned())
    }
}

/// Verdict on a model's own reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyCheck {
    /// One verdict for each line of the reasoning that is not blank.
    pub steps: Vec<StepVerdict>,
    /// Whether the answer equals the record's.
    pub answer_correct: bool,
    /// Whether the last step's conclusion equals the reply's answer.
    pub consistent: bool,
}

/// What the lines of a chain say.
#[derive(Clone, Debug, Default)]
struct LineChecks {
    verdicts: Vec<StepVerdict>,
    /// What the last line of a known form concludes.
    conclusion: Option<String>,
    /// Whether the conclusion was taken from prose, and so may have another form than the
    /// answer, such as a unit.
    prose: bool,
}

impl LineChecks {
    /// Judges line by line: `judge` says whether a line holds, or nothing where its form is
    /// unknown, and notes what it concludes.
    fn of(
        lines: &[&str],
        mut judge: impl FnMut(&str, &mut Option<String>) -> Option<bool>,
    ) -> Self {
        let mut checks = Self::default();
        for line in lines {
            let holds = judge(line, &mut checks.conclusion);
            checks.verdicts.push(StepVerdict::of(holds));
        }
        checks
    }

    /// Whether the conclusion is an answer.
    fn conclude(&self, answer: &str) -> bool {
        self.conclusion.as_ref().is_some_and(|found| {
            answers_equal(found, answer)
                || (self.prose && equivalence(found, answer) == Equivalence::Equal)
        })
    }
}

/// A question that a reader understands.
trait Reading {
    /// The answer that the second solver finds; nothing where it is not unique.
    fn answer(&self) -> Option<String>;

    /// Judges the lines of a chain.
    fn check(&self, lines: &[&str]) -> LineChecks;
}

/// A reader: nothing where a question is not of its kind.
type Reader = fn(&str) -> Option<Box<dyn Reading>>;

/// The readers, asked in order: the most frequent first.
const READERS: &[Reader] = &[
    arithmetic::read,
    ordering::read,
    route::read,
    risk::read,
    interest::read,
    ratio::read,
    dose::read,
    score::read,
    legal::read,
    chinese::read,
    knights::read,
    zebra::read,
    percent::read,
    fractions::read,
    linear::read,
    divisors::read,
    weekday::read,
    paths::read,
    propositional::read,
    syllogism::read,
    seating::read,
    cube::read,
    stacking::read,
];

/// A question as the first reader that understands it does; where none does, its chain is
/// read as prose.
fn read(question: &str) -> Box<dyn Reading> {
    READERS
        .iter()
        .find_map(|reader| reader(question))
        .unwrap_or_else(|| arithmetic::read_prose(question))
}

/// The answer that the second solver finds for a question; nothing where it cannot read
/// the question or the answer is not unique.
pub fn solve(question: &str) -> Option<String> {
    read(question).answer()
}

/// Checks a chain and its answer against the question.
pub fn check_chain(question: &str, steps: &[String], answer: &str) -> ChainCheck {
    let reading = read(question);
    let verdict = match reading.answer() {
        None => AnswerVerdict::Unchecked,
        Some(found) if answers_equal(&found, answer) => AnswerVerdict::Ok,
        Some(_) => AnswerVerdict::Wrong,
    };
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    ChainCheck { answer: verdict, ..check_read(question, &*reading, &steps, answer) }
}

/// As [`check_chain`] without solving the question, which takes most of the time: the answer
/// is left unchecked.
pub fn check_steps(question: &str, steps: &[&str], answer: &str) -> ChainCheck {
    check_read(question, &*read(question), steps, answer)
}

fn check_read(question: &str, reading: &dyn Reading, steps: &[&str], answer: &str) -> ChainCheck {
    let checks = check_lines(question, reading, steps);
    let consistent = checks.conclude(answer);
    let LineChecks { verdicts: steps, conclusion, prose: is_prose } = checks;
    ChainCheck { steps, answer: AnswerVerdict::Unchecked, consistent, conclusion, is_prose }
}

/// Judges lines that name items in full or by their labels alone.
fn check_lines(question: &str, reading: &dyn Reading, lines: &[&str]) -> LineChecks {
    if !lines.iter().any(|line| label::is_short(line)) {
        return reading.check(lines);
    }
    let items = items_by_label(question);
    let full: Vec<Cow<'_, str>> = lines.iter().map(|line| label::in_full(&items, line)).collect();
    let lines: Vec<&str> = full.iter().map(|line| &**line).collect();
    reading.check(&lines)
}

/// Checks a model's reply to a record's question: the text between its think marks, and
/// the answer after them.
pub fn check_reply(record: &CotRecord, reasoning: &str, answer: &str) -> ReplyCheck {
    let lines: Vec<&str> =
        reasoning.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let question = &record.question;
    let checks = check_lines(question, &*read(question), &lines);
    ReplyCheck {
        answer_correct: answers_equal(&record.answer, answer),
        consistent: checks.conclude(answer),
        steps: checks.verdicts,
    }
}
