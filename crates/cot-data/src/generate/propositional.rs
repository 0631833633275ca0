//! Propositional logic: the truth of a formula under an assignment, and whether a formula
//! follows from others, by a truth table that stops at the first row that refutes it.

use super::chinese::{Words, all_spelled, spelled};
use super::layout::yes_no;
use super::words::{self, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// Names of propositions.
const NAMES: [char; 8] = ['p', 'q', 'r', 's', 't', 'u', 'v', 'w'];

const WORDS: &Words = &[
    ("not", "非"),
    ("and", "且"),
    ("or", "或"),
    ("implies", "蕴含"),
    ("true", "真"),
    ("false", "假"),
    ("try", "尝试"),
    ("conclusion", "结论"),
    ("yes", "是"),
    ("no", "否"),
];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Truth,
    Follows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connective {
    And,
    Or,
    Implies,
}

#[derive(Clone, Debug, PartialEq)]
enum Formula {
    Constant(bool),
    Name(usize),
    Not(Box<Formula>),
    Binary(Connective, Box<Formula>, Box<Formula>),
}

impl Formula {
    /// Draws a formula of so many connectives over the first names.
    fn draw(num_connectives: usize, num_names: usize, rng: &mut CounterRng) -> Self {
        let formula = if num_connectives == 0 {
            Self::Name(rng.below(num_names))
        } else {
            let left = rng.below(num_connectives);
            let connective = rng.pick(&[Connective::And, Connective::Or, Connective::Implies]);
            Self::Binary(
                connective,
                Box::new(Self::draw(left, num_names, rng)),
                Box::new(Self::draw(num_connectives - 1 - left, num_names, rng)),
            )
        };
        if rng.chance(1, 4) { Self::Not(Box::new(formula)) } else { formula }
    }

    fn names(&self, found: &mut [bool]) {
        match self {
            Self::Constant(_) => {}
            Self::Name(name) => found[*name] = true,
            Self::Not(inner) => inner.names(found),
            Self::Binary(_, left, right) => {
                left.names(found);
                right.names(found);
            }
        }
    }

    fn is_true(&self, row: usize) -> bool {
        match self {
            Self::Constant(value) => *value,
            Self::Name(name) => row >> name & 1 == 1,
            Self::Not(inner) => !inner.is_true(row),
            Self::Binary(connective, left, right) => {
                connective.apply(left.is_true(row), right.is_true(row))
            }
        }
    }

    /// With the value of a name put in.
    fn with(&self, name: usize, value: bool) -> Self {
        match self {
            Self::Name(other) if *other == name => Self::Constant(value),
            Self::Constant(_) | Self::Name(_) => self.clone(),
            Self::Not(inner) => Self::Not(Box::new(inner.with(name, value))),
            Self::Binary(connective, left, right) => Self::Binary(
                *connective,
                Box::new(left.with(name, value)),
                Box::new(right.with(name, value)),
            ),
        }
    }

    /// With each operation on constants worked out.
    fn reduced(&self) -> Self {
        match self {
            Self::Constant(_) | Self::Name(_) => self.clone(),
            Self::Not(inner) => match **inner {
                Self::Constant(value) => Self::Constant(!value),
                _ => Self::Not(Box::new(inner.reduced())),
            },
            Self::Binary(connective, left, right) => match (&**left, &**right) {
                (Self::Constant(left), Self::Constant(right)) => {
                    Self::Constant(connective.apply(*left, *right))
                }
                _ => Self::Binary(*connective, Box::new(left.reduced()), Box::new(right.reduced())),
            },
        }
    }

    fn text(&self, names: &[char]) -> String {
        let inside = |formula: &Self| match formula {
            Self::Binary(..) => format!("({})", formula.text(names)),
            _ => formula.text(names),
        };
        match self {
            Self::Constant(value) => value.to_string(),
            Self::Name(name) => names[*name].to_string(),
            Self::Not(inner) => format!("not {}", inside(inner)),
            Self::Binary(connective, left, right) => {
                format!("{} {} {}", inside(left), connective.word(), inside(right))
            }
        }
    }

    /// `true implies not false = true implies true = true`.
    fn worked(&self, row: usize, names: &[char]) -> (String, bool) {
        let mut formula = (0..names.len())
            .fold(self.clone(), |formula, name| formula.with(name, row >> name & 1 == 1));
        let mut sides = vec![formula.text(names)];
        while !matches!(formula, Self::Constant(_)) {
            formula = formula.reduced();
            sides.push(formula.text(names));
        }
        (sides.join(" = "), self.is_true(row))
    }
}

impl Connective {
    fn apply(self, left: bool, right: bool) -> bool {
        match self {
            Self::And => left && right,
            Self::Or => left || right,
            Self::Implies => !left || right,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
            Self::Implies => "implies",
        }
    }
}

/// A problem: a formula and a row of the truth table, or premises and a formula.
#[derive(Clone, Debug)]
pub(crate) struct Propositional {
    kind: Kind,
    names: Vec<char>,
    row: usize,
    premises: Vec<Formula>,
    asked: Formula,
}

impl Propositional {
    /// Draws a problem over 2 names up to level 2, above over 3. The formula of a truth has
    /// `level + 1` connectives; that which follows has none or one, from 1, 2, 2 or 3
    /// premises.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let num_names = if level <= 2 { 2 } else { 3 };
        let mut pool = NAMES;
        rng.shuffle(&mut pool);
        let mut names = pool[..num_names].to_vec();
        names.sort_unstable();
        let wants = rng.chance(1, 2);
        loop {
            let row = rng.below(1 << num_names);
            let (premises, asked) = match kind {
                Kind::Truth => (Vec::new(), Formula::draw(usize::from(level) + 1, num_names, rng)),
                Kind::Follows => {
                    let count = [0, 1, 2, 2, 3][usize::from(level)];
                    let premises: Vec<Formula> =
                        (0..count).map(|_| Formula::draw(1, num_names, rng)).collect();
                    let connectives = rng.below(2);
                    (premises, Formula::draw(connectives, num_names, rng))
                }
            };
            let mut found = vec![false; num_names];
            premises.iter().chain([&asked]).for_each(|formula| formula.names(&mut found));
            let mut rows =
                (0..1 << num_names).filter(|row| premises.iter().all(|p| p.is_true(*row)));
            let holds = match kind {
                Kind::Truth => asked.is_true(row),
                Kind::Follows => rows.clone().all(|row| asked.is_true(row)),
            };
            let repeated = (1..premises.len()).any(|at| premises[..at].contains(&premises[at]));
            let given = premises.contains(&asked);
            if found.iter().all(|name| *name)
                && rows.next().is_some()
                && holds == wants
                && !repeated
                && !given
            {
                return Self { kind, names, row, premises, asked };
            }
        }
    }

    fn facts(&self, row: usize) -> Vec<String> {
        let fact = |(name, letter): (usize, &char)| format!("{letter} {}", row >> name & 1 == 1);
        self.names.iter().enumerate().map(fact).collect()
    }

    /// The truth table, up to a row that refutes the formula.
    fn table(&self, items: &[String]) -> (Vec<String>, bool) {
        let asked = self.asked.text(&self.names);
        let mut lines = Vec::new();
        for row in (0..1 << self.names.len()).rev() {
            lines.push(format!("try {}", self.facts(row).join(", ")));
            let mut all = true;
            for (premise, item) in self.premises.iter().zip(items) {
                let (work, value) = premise.worked(row, &self.names);
                lines.push(format!("{item}: {work}"));
                if !value {
                    all = false;
                    break;
                }
            }
            if all {
                let (work, value) = self.asked.worked(row, &self.names);
                lines.push(format!("conclusion {asked}: {work}"));
                if !value {
                    return (lines, false);
                }
            }
        }
        (lines, true)
    }
}

impl Problem for Propositional {
    fn signature(&self) -> String {
        let premises: Vec<String> = self.premises.iter().map(|p| p.text(&self.names)).collect();
        let row =
            if self.kind == Kind::Truth { self.facts(self.row).join(" ") } else { String::new() };
        format!(
            "propositional/{}/{row} {}: {}",
            self.kind_name(),
            premises.join(", "),
            self.asked.text(&self.names)
        )
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Truth => "truth",
            Kind::Follows => "follows",
        }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let text = |formula: &Formula| spelled(language, &formula.text(&self.names), WORDS);
        let formula = text(&self.asked);
        let template = rng.below(2);
        let (items, asked, mut steps, holds) = match self.kind {
            Kind::Truth => {
                let is = if language == Language::En { " is " } else { "为" };
                let items = labelled(
                    self.facts(self.row)
                        .into_iter()
                        .map(|fact| spelled(language, &fact, WORDS).replacen(' ', is, 1)),
                );
                let asked = match (language, template) {
                    (Language::En, 0) => format!("Is it true that {formula}"),
                    (Language::En, _) => format!("Does it hold that {formula}"),
                    (Language::Zh, 0) => format!("公式 {formula} 是否为真"),
                    (Language::Zh, _) => format!("公式 {formula} 是否成立"),
                };
                let mut formula = self.asked.clone();
                let mut steps = Vec::new();
                for (name, item) in items.iter().enumerate() {
                    formula = formula.with(name, self.row >> name & 1 == 1);
                    steps.push(format!("{item}: {}", formula.text(&self.names)));
                }
                while !matches!(formula, Formula::Constant(_)) {
                    formula = formula.reduced();
                    steps.push(formula.text(&self.names));
                }
                (items, asked, steps, self.asked.is_true(self.row))
            }
            Kind::Follows => {
                let items = labelled(self.premises.iter().map(text));
                let asked = match (language, template) {
                    (Language::En, 0) => format!("Does it follow that {formula}"),
                    (Language::En, _) => format!("Can we conclude that {formula}"),
                    (Language::Zh, 0) => format!("能否推出 {formula}"),
                    (Language::Zh, _) => format!("能否得出 {formula}"),
                };
                let (steps, holds) = self.table(&items);
                (items, asked, steps, holds)
            }
        };
        let answer = yes_no(language, holds);
        steps.push(words::answered(&asked, answer));
        let question = format!("{}\n{}", items.join("\n"), words::asked(language, &asked));
        let steps = all_spelled(language, steps, WORDS);
        Rendered { question, steps, answer: answer.to_owned() }
    }
}
