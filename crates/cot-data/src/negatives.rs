//! Wrong chains and their corrections, made from right ones.
//!
//! A mistake is made at one step and carried on through the later ones, as whoever makes
//! it would: the lines behind it are worked out again from the wrong state. So a wrong
//! chain has one first wrong step, and its label names it.
//!
//! Records of the first generators are taken apart from their text; those of the others, and
//! Chinese ones, get mistakes that need no working out again. Any other record is read as
//! prose, and one of its equations is changed.
//!
//! [`harvested_record`] takes a model's own wrong chain instead.

mod arithmetic;
mod conclusion;
mod harvest;
mod ordering;
mod prose;
mod route;
mod slip;

use std::fmt;
use std::str::FromStr;

pub(crate) use harvest::answer_of_reply;
pub use harvest::{harvested_correction, harvested_record};

use crate::check::{answers_equal, check_chain, solve};
use crate::label::Label;
use crate::record::{Checks, CotRecord};
use crate::rng::{CounterRng, stable_hash};

/// The extra field of a wrong record that holds the right answer.
pub const RIGHT_ANSWER_FIELD: &str = "right_answer";

/// A kind of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mistake {
    /// Another operation: `+` for `-`.
    OperatorSwap,
    /// A difference the wrong way round.
    OperandSwap,
    /// A result one too high or too low.
    OffByOne,
    /// A carry that is not added, or a borrow that is not taken.
    DroppedCarry,
    /// Two neighbouring digits of a result change places.
    DigitTransposition,
    /// The last part of a sum is taken away or the reverse; on the grid, a move goes back.
    Sign,
    /// An earlier value in place of the present one.
    StaleVariable,
    /// The chain stops before its last step.
    EarlyStop,
    /// The chain is right, and the answer is not what it says.
    WrongCopy,
    /// The last step concludes something else than what stands before it.
    WrongConclusion,
    /// A step is left out.
    DroppedStep,
    /// A step is done twice.
    DuplicatedStep,
    /// Two neighbouring steps change places.
    ReorderedSteps,
    /// A clue is read as its converse.
    ConversePair,
    /// A person joins the order at the wrong end.
    WrongEnd,
    /// A person does not join the order.
    LostPerson,
    /// Another place than the one that is asked for.
    WrongPlace,
    /// Left for right, or right for left.
    LeftRight,
    /// The right turn, taken the wrong way round.
    RotationDirection,
    /// A move along the other axis.
    AxisSwap,
}

impl Mistake {
    /// All kinds.
    pub const ALL: [Self; 20] = [
        Self::OperatorSwap,
        Self::OperandSwap,
        Self::OffByOne,
        Self::DroppedCarry,
        Self::DigitTransposition,
        Self::Sign,
        Self::StaleVariable,
        Self::EarlyStop,
        Self::WrongCopy,
        Self::WrongConclusion,
        Self::DroppedStep,
        Self::DuplicatedStep,
        Self::ReorderedSteps,
        Self::ConversePair,
        Self::WrongEnd,
        Self::LostPerson,
        Self::WrongPlace,
        Self::LeftRight,
        Self::RotationDirection,
        Self::AxisSwap,
    ];

    /// The name, as in `label.error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OperatorSwap => "operator_swap",
            Self::OperandSwap => "operand_swap",
            Self::OffByOne => "off_by_one",
            Self::DroppedCarry => "dropped_carry",
            Self::DigitTransposition => "digit_transposition",
            Self::Sign => "sign",
            Self::StaleVariable => "stale_variable",
            Self::EarlyStop => "early_stop",
            Self::WrongCopy => "wrong_copy",
            Self::WrongConclusion => "wrong_conclusion",
            Self::DroppedStep => "dropped_step",
            Self::DuplicatedStep => "duplicated_step",
            Self::ReorderedSteps => "reordered_steps",
            Self::ConversePair => "converse_pair",
            Self::WrongEnd => "wrong_end",
            Self::LostPerson => "lost_person",
            Self::WrongPlace => "wrong_place",
            Self::LeftRight => "left_right",
            Self::RotationDirection => "rotation_direction",
            Self::AxisSwap => "axis_swap",
        }
    }

    /// Whether it may leave the answer as it was: steps in another order can come to the
    /// same, and still no step follows from the one before it.
    fn may_keep_answer(self) -> bool {
        matches!(self, Self::DroppedStep | Self::DuplicatedStep | Self::ReorderedSteps)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Mistake {
    type Err = crate::error::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mistake| mistake.name() == name).ok_or_else(|| {
            let expected: Vec<&str> = Self::ALL.iter().map(|mistake| mistake.name()).collect();
            crate::error::Error::UnknownMistake {
                expected: expected.join(", "),
                got: name.to_owned(),
            }
        })
    }
}

/// A chain with a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WrongChain {
    steps: Vec<String>,
    answer: String,
    first: usize,
}

/// The chain of a record with a mistake; nothing where the mistake cannot be made in it.
/// Which step it falls on depends on the seed.
fn wrong_chain(record: &CotRecord, mistake: Mistake, seed: u64) -> Option<WrongChain> {
    if record.label != Label::Correct {
        return None;
    }
    let key = format!("{mistake}/{seed}/{}/{}", record.id, record.question);
    let mut rng = CounterRng::new(stable_hash(key.as_bytes()));
    let wrong = if solve(&record.question).is_none() {
        prose::wrong(record, mistake, &mut rng)
    } else {
        match record.domain.as_str() {
            "arithmetic" => arithmetic::wrong(record, mistake, &mut rng),
            "logic" => ordering::wrong(record, mistake, &mut rng),
            "spatial" => route::wrong(record, mistake, &mut rng),
            _ => None,
        }
        .or_else(|| conclusion::wrong(record, mistake, &mut rng))
    }?;
    let same_answer = answers_equal(&wrong.answer, &record.answer);
    let changed = wrong.steps != record.thought_process || !same_answer;
    let allowed = !same_answer || mistake.may_keep_answer();
    (changed && allowed && wrong.first < wrong.steps.len()).then_some(wrong)
}

/// A record whose chain and answer are those of a mistake; nothing where it cannot be made
/// in this record's chain. The right answer is kept in [`RIGHT_ANSWER_FIELD`].
pub fn wrong_record(record: &CotRecord, mistake: Mistake, seed: u64) -> Option<CotRecord> {
    let wrong = wrong_chain(record, mistake, seed)?;
    let mut made = record.clone();
    let check = check_chain(&record.question, &wrong.steps, &wrong.answer);
    made.id = format!("{}-{mistake}", record.id);
    made.checks = Checks {
        answer: "wrong".to_owned(),
        steps: check.steps.iter().map(|step| *step == crate::StepVerdict::Ok).collect(),
        extra: serde_json::Map::new(),
    };
    if answers_equal(&wrong.answer, &record.answer) {
        made.checks.answer.clone_from(&record.checks.answer);
    }
    made.label = Label::Wrong { first_wrong_step: wrong.first, error: mistake.name().to_owned() };
    made.extra.insert(RIGHT_ANSWER_FIELD.to_owned(), record.answer.as_str().into());
    made.thought_process = wrong.steps;
    made.answer = wrong.answer;
    Some(made)
}

/// A record whose chain stays right and whose label holds the wrong chain of a mistake and
/// what puts it right; nothing where the mistake cannot be made, or is only in the answer.
pub fn corrected_record(record: &CotRecord, mistake: Mistake, seed: u64) -> Option<CotRecord> {
    let wrong = wrong_chain(record, mistake, seed)?;
    if mistake == Mistake::WrongCopy || wrong.steps == record.thought_process {
        return None;
    }
    let number = wrong.first + 1;
    let correction = match mistake {
        Mistake::EarlyStop => {
            let next = &record.thought_process[wrong.steps.len()..];
            format!("the chain stops after step {number}; it goes on: {}", next.join("; "))
        }
        _ => match record.thought_process.get(wrong.first) {
            Some(right) => {
                let written = &wrong.steps[wrong.first];
                format!("step {number} is wrong ({mistake}): not `{written}` but `{right}`")
            }
            None => format!("step {number} is one too many: the chain ends before it"),
        },
    };
    let mut made = record.clone();
    made.id = format!("{}-{mistake}-corrected", record.id);
    made.label = Label::Corrected {
        wrong_thought_process: wrong.steps,
        first_wrong_step: wrong.first,
        correction,
    };
    Some(made)
}

/// What `make` makes of a record with the first of some mistakes that can be made in it.
/// `number` is the record's place: the mistakes take turns, so that each is tried first as
/// often as another.
pub fn in_turn(
    mistakes: &[Mistake],
    number: usize,
    make: impl Fn(Mistake) -> Option<CotRecord>,
) -> Option<(Mistake, CotRecord)> {
    (0..mistakes.len()).find_map(|offset| {
        let mistake = mistakes[(number + offset) % mistakes.len()];
        make(mistake).map(|made| (mistake, made))
    })
}

/// The indices of a chain's steps after one was dropped, done twice or exchanged with the
/// next, and the place of the first that is amiss; nothing for other mistakes or too short
/// a chain.
fn rearranged(
    num_steps: usize,
    mistake: Mistake,
    rng: &mut CounterRng,
) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..num_steps).collect();
    let pairs = num_steps.checked_sub(1).filter(|&pairs| pairs > 0);
    match mistake {
        Mistake::DroppedStep => {
            // Without its last step a chain stops early.
            let at = rng.below(pairs?);
            order.remove(at);
            Some((order, at))
        }
        Mistake::DuplicatedStep => {
            let at = rng.below(num_steps);
            order.insert(at, at);
            (num_steps > 0).then_some((order, at + 1))
        }
        Mistake::ReorderedSteps => {
            let at = rng.below(pairs?);
            order.swap(at, at + 1);
            Some((order, at))
        }
        _ => None,
    }
}

/// Places in a random order.
fn places(num_places: usize, rng: &mut CounterRng) -> Vec<usize> {
    let mut places: Vec<usize> = (0..num_places).collect();
    rng.shuffle(&mut places);
    places
}
