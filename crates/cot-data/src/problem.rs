//! A problem of any family, before and after it is put into words.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::arithmetic::{self, Arithmetic};
use crate::error::Error;
use crate::logic::Ordering;
use crate::rng::CounterRng;
use crate::spatial::{self, Route};

/// A problem in words.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub(crate) question: String,
    pub(crate) steps: Vec<String>,
    pub(crate) answer: String,
}

/// A family of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Multi-step arithmetic.
    Arith,
    /// Puzzles with a unique answer.
    Logic,
    /// Walks and turns.
    Spatial,
}

impl Family {
    /// All families, in the order in which splits are balanced.
    pub const ALL: [Self; 3] = [Self::Arith, Self::Logic, Self::Spatial];

    /// The short name, as in ids and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arith => "arith",
            Self::Logic => "logic",
            Self::Spatial => "spatial",
        }
    }

    /// The value of a record's `domain`.
    pub fn domain(self) -> &'static str {
        match self {
            Self::Arith => "arithmetic",
            Self::Logic => "logic",
            Self::Spatial => "spatial",
        }
    }

    /// Level of Bloom's taxonomy, by construction of the family.
    pub(crate) fn bloom(self) -> &'static str {
        match self {
            Self::Arith | Self::Spatial => "apply",
            Self::Logic => "analyze",
        }
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|family| family.name() == name).ok_or_else(|| {
            let expected: Vec<&str> = Self::ALL.iter().map(|family| family.name()).collect();
            Error::UnknownFamily { expected: expected.join(", "), got: name.to_owned() }
        })
    }
}

/// A typed problem.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    Arithmetic(Arithmetic),
    Ordering(Ordering),
    Route(Route),
}

/// Draws a kind of problem of a level.
type Draw = fn(u8, &mut CounterRng) -> Problem;

/// The kinds of a family, each with its weight at levels 1 to 4. A kind of few distinct
/// problems at a level gets a small weight there.
fn kinds(family: Family) -> &'static [([usize; 4], Draw)] {
    match family {
        Family::Arith => &[
            ([1, 1, 1, 1], |level, rng| {
                Problem::Arithmetic(Arithmetic::draw(level, arithmetic::Kind::Program, rng))
            }),
            ([1, 1, 1, 1], |level, rng| {
                Problem::Arithmetic(Arithmetic::draw(level, arithmetic::Kind::Story, rng))
            }),
        ],
        Family::Logic => {
            &[([1, 1, 1, 1], |level, rng| Problem::Ordering(Ordering::draw(level, rng)))]
        }
        Family::Spatial => &[
            ([9, 5, 5, 4], |level, rng| {
                Problem::Route(Route::draw(level, spatial::Kind::Grid, rng))
            }),
            ([1, 1, 2, 2], |level, rng| {
                Problem::Route(Route::draw(level, spatial::Kind::Turns, rng))
            }),
            ([0, 4, 5, 4], |level, rng| {
                Problem::Route(Route::draw(level, spatial::Kind::Walk, rng))
            }),
        ],
    }
}

impl Problem {
    /// Draws a problem of a family; `level` is 1 to 4.
    pub(crate) fn draw(family: Family, level: u8, rng: &mut CounterRng) -> Self {
        let kinds = kinds(family);
        let column = usize::from(level - 1);
        let total: usize = kinds.iter().map(|(weights, _)| weights[column]).sum();
        let mut left = rng.below(total);
        for (weights, draw) in kinds {
            if left < weights[column] {
                return draw(level, rng);
            }
            left -= weights[column];
        }
        unreachable!("the weights of the kinds add up to their total")
    }

    /// What makes two problems the same, whatever words they are told in.
    pub(crate) fn signature(&self) -> String {
        match self {
            Self::Arithmetic(problem) => problem.signature(),
            Self::Ordering(problem) => problem.signature(),
            Self::Route(problem) => problem.signature(),
        }
    }

    /// The kind's name, as in `source.generator`.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Arithmetic(problem) => problem.kind_name(),
            Self::Ordering(problem) => problem.kind_name(),
            Self::Route(problem) => problem.kind_name(),
        }
    }

    /// Question, chain and answer.
    pub(crate) fn render(&self, rng: &mut CounterRng) -> Rendered {
        match self {
            Self::Arithmetic(problem) => problem.render(rng),
            Self::Ordering(problem) => problem.render(rng),
            Self::Route(problem) => problem.render(rng),
        }
    }
}
