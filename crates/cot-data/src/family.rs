//! Families of problems: what each is called, what it trains, and the kinds it draws.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::generate::arithmetic::{self, Arithmetic};
use crate::generate::cube::Cube;
use crate::generate::divisors::{self, Numbers};
use crate::generate::fractions::{self, Fractions};
use crate::generate::interest::{self, Interest};
use crate::generate::knights::Knights;
use crate::generate::legal::{self, Legal};
use crate::generate::linear::Linear;
use crate::generate::medical::{self, Medical};
use crate::generate::ordering::Ordering;
use crate::generate::paths::Paths;
use crate::generate::percent::{self, Percent};
use crate::generate::propositional::{self, Propositional};
use crate::generate::ratio::Accounts;
use crate::generate::risk::Risk;
use crate::generate::route::{self, Route};
use crate::generate::seating::{self, Seating};
use crate::generate::stacking::Stacking;
use crate::generate::syllogism::Syllogism;
use crate::generate::weekday::{self, Calendar};
use crate::generate::zebra::Zebra;
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
    /// Clinical scores and doses; exercises, not advice.
    Medical,
    /// A small statute applied to a case.
    Legal,
    /// Payments that rules judge, interest, present values and ratios.
    Finance,
    /// Knights, who tell the truth, and knaves, who lie.
    Knights,
    /// Who lives in which house with what.
    Zebra,
    /// Percentages, rates and units.
    Percent,
    /// Sums of fractions, and parts of a whole.
    Fractions,
    /// Equations with one or two unknowns.
    Linear,
    /// Divisors, multiples, remainders and primes.
    Number,
    /// Dates and weekdays.
    Calendar,
    /// Shortest ways on a map.
    Paths,
    /// Truth and consequence of formulas.
    Propositional,
    /// What follows from statements about all and some.
    Syllogism,
    /// Who sits where, in a row or at a round table.
    Seating,
    /// A cube that rolls and turns.
    Cube,
    /// Blocks that move from stack to stack.
    Stacking,
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
    pub const ALL: [Self; 19] = [
        Self::Arith,
        Self::Logic,
        Self::Spatial,
        Self::Medical,
        Self::Legal,
        Self::Finance,
        Self::Knights,
        Self::Zebra,
        Self::Percent,
        Self::Fractions,
        Self::Linear,
        Self::Number,
        Self::Calendar,
        Self::Paths,
        Self::Propositional,
        Self::Syllogism,
        Self::Seating,
        Self::Cube,
        Self::Stacking,
    ];

    /// The families that the fixture teacher knows.
    pub const CORE: [Self; 3] = [Self::Arith, Self::Logic, Self::Spatial];

    fn entry(self) -> &'static Entry {
        match self {
            Self::Arith => &Entry {
                name: "arith",
                domain: "arithmetic",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
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
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Ordering::draw(level, rng)))],
            },
            Self::Spatial => &Entry {
                name: "spatial",
                domain: "spatial",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
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
            Self::Medical => &Entry {
                name: "medical",
                domain: "medical",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([3, 1, 0, 0], |level, rng| {
                        Box::new(Medical::draw(level, medical::Kind::Dose, rng))
                    }),
                    ([2, 0, 0, 0], |level, rng| {
                        Box::new(Medical::draw(level, medical::Kind::Qsofa, rng))
                    }),
                    ([0, 2, 0, 0], |level, rng| {
                        Box::new(Medical::draw(level, medical::Kind::Curb65, rng))
                    }),
                    ([0, 2, 0, 0], |level, rng| {
                        Box::new(Medical::draw(level, medical::Kind::Clearance, rng))
                    }),
                    ([0, 0, 1, 1], |level, rng| {
                        Box::new(Medical::draw(level, medical::Kind::Cha2ds2Vasc, rng))
                    }),
                    ([0, 0, 1, 1], |level, rng| {
                        Box::new(Medical::draw(level, medical::Kind::WellsPe, rng))
                    }),
                    ([0, 0, 1, 2], |level, rng| {
                        Box::new(Medical::draw(level, medical::Kind::News2, rng))
                    }),
                ],
            },
            Self::Legal => &Entry {
                name: "legal",
                domain: "legal",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([2, 2, 2, 2], |level, rng| {
                        Box::new(Legal::draw(level, legal::Kind::LastDay, rng))
                    }),
                    ([2, 2, 2, 2], |level, rng| {
                        Box::new(Legal::draw(level, legal::Kind::InTime, rng))
                    }),
                    ([0, 0, 1, 1], |level, rng| {
                        Box::new(Legal::draw(level, legal::Kind::Surcharge, rng))
                    }),
                ],
            },
            Self::Finance => &Entry {
                name: "finance",
                domain: "finance",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([2, 2, 2, 2], |level, rng| Box::new(Risk::draw(level, rng))),
                    ([1, 1, 0, 0], |level, rng| {
                        Box::new(Interest::draw(level, interest::Kind::Simple, rng))
                    }),
                    ([0, 1, 1, 1], |level, rng| {
                        Box::new(Interest::draw(level, interest::Kind::Compound, rng))
                    }),
                    ([0, 1, 1, 1], |level, rng| {
                        Box::new(Interest::draw(level, interest::Kind::PresentValue, rng))
                    }),
                    ([1, 1, 2, 2], |level, rng| Box::new(Accounts::draw(level, rng))),
                ],
            },
            Self::Knights => &Entry {
                name: "knights",
                domain: "logic",
                bloom: "analyze",
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Knights::draw(level, rng)))],
            },
            Self::Zebra => &Entry {
                name: "zebra",
                domain: "logic",
                bloom: "analyze",
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Zebra::draw(level, rng)))],
            },
            Self::Percent => &Entry {
                name: "percent",
                domain: "arithmetic",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Percent::draw(level, percent::Kind::Price, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Percent::draw(level, percent::Kind::Trip, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Percent::draw(level, percent::Kind::Units, rng))
                    }),
                ],
            },
            Self::Fractions => &Entry {
                name: "fractions",
                domain: "arithmetic",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Fractions::draw(level, fractions::Kind::Program, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Fractions::draw(level, fractions::Kind::Parts, rng))
                    }),
                ],
            },
            Self::Linear => &Entry {
                name: "linear",
                domain: "algebra",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Linear::draw(level, rng)))],
            },
            Self::Number => &Entry {
                name: "number",
                domain: "arithmetic",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Numbers::draw(level, divisors::Kind::Divisor, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Numbers::draw(level, divisors::Kind::Multiple, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Numbers::draw(level, divisors::Kind::Remainder, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Numbers::draw(level, divisors::Kind::Primes, rng))
                    }),
                ],
            },
            Self::Calendar => &Entry {
                name: "calendar",
                domain: "calendar",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Calendar::draw(level, weekday::Kind::Weekday, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Calendar::draw(level, weekday::Kind::Date, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Calendar::draw(level, weekday::Kind::Between, rng))
                    }),
                ],
            },
            Self::Paths => &Entry {
                name: "paths",
                domain: "spatial",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Paths::draw(level, rng)))],
            },
            Self::Propositional => &Entry {
                name: "propositional",
                domain: "logic",
                bloom: "analyze",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Propositional::draw(level, propositional::Kind::Truth, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Propositional::draw(level, propositional::Kind::Follows, rng))
                    }),
                ],
            },
            Self::Syllogism => &Entry {
                name: "syllogism",
                domain: "logic",
                bloom: "analyze",
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Syllogism::draw(level, rng)))],
            },
            Self::Seating => &Entry {
                name: "seating",
                domain: "spatial",
                bloom: "analyze",
                languages: &[Language::En, Language::Zh],
                kinds: &[
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Seating::draw(level, seating::Kind::Row, rng))
                    }),
                    ([1, 1, 1, 1], |level, rng| {
                        Box::new(Seating::draw(level, seating::Kind::Round, rng))
                    }),
                ],
            },
            Self::Cube => &Entry {
                name: "cube",
                domain: "spatial",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Cube::draw(level, rng)))],
            },
            Self::Stacking => &Entry {
                name: "stacking",
                domain: "spatial",
                bloom: "apply",
                languages: &[Language::En, Language::Zh],
                kinds: &[([1, 1, 1, 1], |level, rng| Box::new(Stacking::draw(level, rng)))],
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
