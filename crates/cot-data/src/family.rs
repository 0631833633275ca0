//! Families of problems: what each is called, what it trains, and the kinds it draws.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::generate::arithmetic::{self, Arithmetic};
use crate::generate::ordering::Ordering;
use crate::generate::route::{self, Route};
use crate::language::Language;
use crate::problem::{Draw, Problem};
use crate::rng::CounterRng;

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

/// What a family is.
struct Entry {
    name: &'static str,
    domain: &'static str,
    /// Level of Bloom's taxonomy, by construction.
    bloom: &'static str,
    languages: &'static [Language],
    /// The kinds, each with its weight at levels 1 to 4. A kind of few distinct problems
    /// at a level gets a small weight there.
    kinds: &'static [([usize; 4], Draw)],
}

impl Family {
    /// All families, in the order in which splits are balanced.
    pub const ALL: [Self; 3] = [Self::Arith, Self::Logic, Self::Spatial];

    /// The families that the fixture teacher knows.
    pub const CORE: [Self; 3] = [Self::Arith, Self::Logic, Self::Spatial];

    fn entry(self) -> &'static Entry {
        match self {
            Self::Arith => &Entry {
                name: "arith",
                domain: "arithmetic",
                bloom: "apply",
                languages: &[Language::En],
                kinds: &[
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Arithmetic::draw(level, arithmetic::Kind::Program, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Arithmetic::draw(level, arithmetic::Kind::Story, rng))
                    }),
                ],
            },
            Self::Logic => &Entry {
                name: "logic",
                domain: "logic",
                bloom: "analyze",
                languages: &[Language::En],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Ordering::draw(level, rng)))],
            },
            Self::Spatial => &Entry {
                name: "spatial",
                domain: "spatial",
                bloom: "apply",
                languages: &[Language::En],
                kinds: &[
                    ([9, 5, 5, 4], |level, rng| {
                        Box::new(Route::draw(level, route::Kind::Grid, rng))
                    }),
                    ([1, 1, 2, 2], |level, rng| {
                        Box::new(Route::draw(level, route::Kind::Turns, rng))
                    }),
                    ([0, 4, 5, 4], |level, rng| {
                        Box::new(Route::draw(level, route::Kind::Walk, rng))
                    }),
                ],
            },
        }
    }

    /// The short name, as in ids and configuration.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The value of a record's `domain`.
    pub fn domain(self) -> &'static str {
        self.entry().domain
    }

    /// The languages that its problems can be told in; the first is the default.
    pub fn languages(self) -> &'static [Language] {
        self.entry().languages
    }

    /// Level of Bloom's taxonomy, by construction of the family.
    pub(crate) fn bloom(self) -> &'static str {
        self.entry().bloom
    }

    /// Draws a problem; `level` is 1 to 4.
    pub(crate) fn draw(self, level: u8, rng: &mut CounterRng) -> Box<dyn Problem> {
        let kinds = self.entry().kinds;
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
