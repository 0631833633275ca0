//! Propositional logic: a formula may only turn into one of which some operations on
//! constants are worked out, and the answer comes from truth tables held as bits.

use super::label::{ItemLine, Labelled, items};
use super::{LineChecks, Reading, StepVerdict};

const TRUTH: [&str; 2] = ["Is it true that ", "Does it hold that "];
const FOLLOWS: [&str; 2] = ["Does it follow that ", "Can we conclude that "];

/// Above this many names, a truth table has too many rows.
const MOST_NAMES: usize = 6;
/// How deep formulas may nest; a model's output may hold any number of parentheses.
const MAX_DEPTH: usize = 32;

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Leaf(bool),
    Name(char),
    Not(Box<Tree>),
    Both(char, Box<Tree>, Box<Tree>),
}

/// Reads a whole text as a formula.
fn tree(text: &str) -> Option<Tree> {
    let spaced = text.replace('(', "( ").replace(')', " )");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (found, rest) = operation(&words, 0)?;
    rest.is_empty().then_some(found)
}

fn operation<'a, 'text>(words: &'a [&'text str], depth: usize) -> Option<(Tree, &'a [&'text str])> {
    let (left, rest) = operand(words, depth)?;
    let symbol = match rest.first() {
        Some(&"and") => '&',
        Some(&"or") => '|',
        Some(&"implies") => '>',
        _ => return Some((left, rest)),
    };
    let (right, rest) = operand(&rest[1..], depth)?;
    Some((Tree::Both(symbol, Box::new(left), Box::new(right)), rest))
}

fn operand<'a, 'text>(words: &'a [&'text str], depth: usize) -> Option<(Tree, &'a [&'text str])> {
    if depth > MAX_DEPTH {
        return None;
    }
    let (first, rest) = words.split_first()?;
    match *first {
        "true" => Some((Tree::Leaf(true), rest)),
        "false" => Some((Tree::Leaf(false), rest)),
        "not" => {
            let (inner, rest) = operand(rest, depth + 1)?;
            Some((Tree::Not(Box::new(inner)), rest))
        }
        "(" => {
            let (inner, rest) = operation(rest, depth + 1)?;
            Some((inner, rest.strip_prefix(&[")"])?))
        }
        name => {
            let mut letters = name.chars();
            let letter = letters.next().filter(char::is_ascii_lowercase)?;
            letters.next().is_none().then_some((Tree::Name(letter), rest))
        }
    }
}

impl Tree {
    fn names(&self, found: &mut Vec<char>) {
        match self {
            Self::Leaf(_) => {}
            Self::Name(name) => {
                if !found.contains(name) {
                    found.push(*name);
                }
            }
            Self::Not(inner) => inner.names(found),
            Self::Both(_, left, right) => {
                left.names(found);
                right.names(found);
            }
        }
    }

    /// The rows in which it is true, as bits: in row `r`, name `n` is true where bit `n` of
    /// `r` is set.
    fn rows(&self, names: &[char]) -> u64 {
        match self {
            Self::Leaf(value) => {
                if *value {
                    u64::MAX
                } else {
                    0
                }
            }
            Self::Name(name) => {
                let index = names.iter().position(|known| known == name).unwrap_or(MOST_NAMES);
                (0..64_u64).filter(|row| row >> index & 1 == 1).fold(0, |rows, row| rows | 1 << row)
            }
            Self::Not(inner) => !inner.rows(names),
            Self::Both(symbol, left, right) => {
                let (left, right) = (left.rows(names), right.rows(names));
                match symbol {
                    '&' => left & right,
                    '|' => left | right,
                    _ => !left | right,
                }
            }
        }
    }

    /// The value of a formula without names.
    fn value(&self) -> Option<bool> {
        let mut names = Vec::new();
        self.names(&mut names);
        names.is_empty().then(|| self.rows(&[]) & 1 == 1)
    }

    fn with(&self, facts: &[(char, bool)]) -> Self {
        match self {
            Self::Leaf(_) => self.clone(),
            Self::Name(name) => facts
                .iter()
                .find(|fact| fact.0 == *name)
                .map_or_else(|| self.clone(), |fact| Self::Leaf(fact.1)),
            Self::Not(inner) => Self::Not(Box::new(inner.with(facts))),
            Self::Both(symbol, left, right) => {
                Self::Both(*symbol, Box::new(left.with(facts)), Box::new(right.with(facts)))
            }
        }
    }

    /// Whether another is this one with some parts replaced by their values.
    fn reduces_to(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (_, Self::Leaf(value)) => self.value() == Some(*value),
            (Self::Not(inner), Self::Not(other)) => inner.reduces_to(other),
            (Self::Both(symbol, a, b), Self::Both(other, c, d)) => {
                symbol == other && a.reduces_to(c) && b.reduces_to(d)
            }
            _ => false,
        }
    }
}

/// An item: a fact about a name, or a premise.
enum Told {
    Fact(char, bool),
    Premise(Tree),
}

struct Item {
    label: char,
    text: String,
    told: Told,
}

struct Question {
    text: String,
    follows: bool,
    formula: String,
    asked: Tree,
    items: Vec<Item>,
    names: Vec<char>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    // Cheap for the questions of others, which come here too.
    if !TRUTH.iter().chain(&FOLLOWS).any(|words| question.contains(words)) {
        return None;
    }
    let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
        items(question)?.into_iter().partition(|item| item.label == 'Q');
    let text = asked.first()?.text.strip_suffix('?')?;
    let strip = |words: [&str; 2]| words.iter().find_map(|words| text.strip_prefix(words));
    let follows = strip(FOLLOWS).is_some();
    let formula = strip(FOLLOWS).or_else(|| strip(TRUTH))?;
    let asked = tree(formula)?;
    let mut names = Vec::new();
    asked.names(&mut names);
    let mut items = Vec::new();
    for item in told {
        let told = if follows {
            let premise = tree(item.text)?;
            premise.names(&mut names);
            Told::Premise(premise)
        } else {
            let (name, value) = item.text.split_once(" is ")?;
            let (Tree::Name(name), Tree::Leaf(value)) = (tree(name)?, tree(value)?) else {
                return None;
            };
            Told::Fact(name, value)
        };
        items.push(Item { label: item.label, text: item.text.to_owned(), told });
    }
    if names.len() > MOST_NAMES {
        return None;
    }
    let (text, formula) = (text.to_owned(), formula.to_owned());
    Some(Box::new(Question { text, follows, formula, asked, items, names }))
}

/// Whether the sides turn one into the next from a formula, and the value of the last.
fn worked(sides: &str, from: &Tree) -> Option<(bool, bool)> {
    let mut held = true;
    let mut before: Option<Tree> = None;
    for side in sides.split(" = ") {
        let after = tree(side)?;
        held &= before.as_ref().map_or(after == *from, |before| before.reduces_to(&after));
        before = Some(after);
    }
    match before? {
        Tree::Leaf(value) => Some((held, value)),
        _ => None,
    }
}

/// What a search for a refuting row has seen.
#[derive(Default)]
struct Search {
    row: Vec<(char, bool)>,
    /// Premises found true in the row.
    premises: usize,
    /// Whether the row is settled, by a false premise or the conclusion.
    settled: bool,
    /// The conclusion in a row in which all premises are true.
    refuted: bool,
    /// Rows that do not refute it.
    rows: Vec<Vec<(char, bool)>>,
}

impl Question {
    /// Whether a line about the truth of a formula holds.
    fn truth_line(&self, line: &str, current: &mut Tree, next: &mut usize) -> Option<bool> {
        let about = ItemLine::of(line);
        let after = tree(about.map_or(line, |about| about.work))?;
        let held = match about {
            Some(about) => {
                let item = self.items.get(*next);
                *next += 1;
                item.is_some_and(|item| match item.told {
                    Told::Fact(name, value) => {
                        about.is_about(item.label, &item.text)
                            && after == current.with(&[(name, value)])
                    }
                    Told::Premise(_) => false,
                })
            }
            None => after != *current && current.reduces_to(&after),
        };
        *current = after;
        Some(held)
    }

    /// Whether a line of a truth table holds.
    fn table_line(&self, line: &str, search: &mut Search) -> Option<bool> {
        if let Some(facts) = line.strip_prefix("try ") {
            let row: Vec<(char, bool)> = facts
                .split(", ")
                .map(|fact| {
                    let (name, value) = fact.split_once(' ')?;
                    match (tree(name)?, tree(value)?) {
                        (Tree::Name(name), Tree::Leaf(value)) => Some((name, value)),
                        _ => None,
                    }
                })
                .collect::<Option<_>>()?;
            let mut sorted = row.clone();
            sorted.sort_unstable();
            let names: Vec<char> = sorted.iter().map(|fact| fact.0).collect();
            let mut expected = self.names.clone();
            expected.sort_unstable();
            let is_open = search.row.is_empty() || search.settled;
            let held =
                is_open && !search.refuted && names == expected && !search.rows.contains(&sorted);
            search.row = sorted;
            (search.premises, search.settled) = (0, false);
            return Some(held);
        }
        if let Some(about) = ItemLine::of(line) {
            let item = self.items.get(search.premises);
            let formula = match item.map(|item| &item.told) {
                Some(Told::Premise(premise)) => premise.with(&search.row),
                _ => return Some(false),
            };
            let (held, value) = worked(about.work, &formula)?;
            let is_about = item.is_some_and(|item| about.is_about(item.label, &item.text));
            let held = held && is_about && !search.settled;
            search.premises += 1;
            if !value {
                search.settled = true;
                search.rows.push(search.row.clone());
            }
            return Some(held);
        }
        let (formula, work) = line.strip_prefix("conclusion ")?.split_once(": ")?;
        let (held, value) = worked(work, &self.asked.with(&search.row))?;
        let held = held
            && formula == self.formula
            && search.premises == self.items.len()
            && !search.settled;
        search.settled = true;
        search.refuted = !value;
        if value {
            search.rows.push(search.row.clone());
        }
        Some(held)
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let mut given = u64::MAX;
        for item in &self.items {
            given &= match &item.told {
                Told::Premise(premise) => premise.rows(&self.names),
                Told::Fact(name, value) => {
                    let rows = Tree::Name(*name).rows(&self.names);
                    if *value { rows } else { !rows }
                }
            };
        }
        let asked = self.asked.rows(&self.names);
        let holds = given & !asked == 0;
        // Facts that leave it open, or contradict each other, give no answer.
        if !self.follows && (given == 0 || (!holds && given & asked != 0)) {
            return None;
        }
        Some(if holds { "yes" } else { "no" }.to_owned())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut checks = LineChecks::default();
        let (mut current, mut next) = (self.asked.clone(), 0);
        let mut search = Search::default();
        for line in lines {
            let last = ItemLine::of(line)
                .filter(|about| about.label() == 'Q' && matches!(about.work, "yes" | "no"));
            let holds = if let Some(about) = last {
                checks.conclusion = Some(about.work.to_owned());
                let yes = about.work == "yes";
                let shown = if self.follows && yes {
                    search.settled && !search.refuted && search.rows.len() == 1 << self.names.len()
                } else if self.follows {
                    search.refuted
                } else {
                    current == Tree::Leaf(yes)
                };
                Some(about.is_about('Q', &self.text) && shown)
            } else if self.follows {
                self.table_line(line, &mut search)
            } else {
                self.truth_line(line, &mut current, &mut next)
            };
            checks.verdicts.push(StepVerdict::of(holds));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    fn answer(question: &str) -> Option<String> {
        read(question).and_then(|read| read.answer())
    }

    const TOLD: &str = "#A p is true\n#B q is false\n#Q Is it true that (p and not q) implies q?";
    const GIVEN: &str = "#A p implies q\n#B not q\n#Q Does it follow that not p?";

    #[test]
    fn answers_come_from_truth_tables() {
        assert_eq!(answer(TOLD).as_deref(), Some("no"));
        assert_eq!(answer(&TOLD.replace("implies q?", "or q?")).as_deref(), Some("yes"));
        assert_eq!(answer("#A p is true\n#Q Is it true that p and q?"), None);
        assert_eq!(answer(GIVEN).as_deref(), Some("yes"));
        assert_eq!(answer(&GIVEN.replace("not p?", "p?")).as_deref(), Some("no"));
        assert_eq!(answer("#A p is high\n#Q Is it true that p?"), None);
        assert_eq!(tree(&"(".repeat(10_000)), None);
        assert_eq!(tree("p and q or r"), None);
    }

    #[test]
    fn a_formula_is_worked_out_from_within() {
        let verdicts = |lines: &[&str]| read(TOLD).unwrap().check(lines).verdicts;
        let lines = [
            "#A p is true: (true and not q) implies q",
            "#B q is false: (true and not false) implies false",
            "(true and true) implies false",
            "true implies false",
            "false",
            "#Q Is it true that (p and not q) implies q: no",
        ];
        assert_eq!(verdicts(&lines), [Ok; 6]);
        for (at, line) in [
            (0, "#A p is true: (false and not q) implies q"),
            (0, "#B q is false: (p and not false) implies false"),
            (2, "(true and false) implies false"),
            (2, "(true or true) implies false"),
            (2, "(true and not false) implies false"),
            (3, "false implies false"),
            (4, "true"),
            (5, "#Q Is it true that (p and not q) implies q: yes"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["Well, then."]), [Unchecked]);
    }

    #[test]
    fn what_follows_holds_in_every_row() {
        let verdicts = |lines: &[&str]| read(GIVEN).unwrap().check(lines).verdicts;
        let lines = [
            "try p true, q true",
            "#A p implies q: true implies true = true",
            "#B not q: not true = false",
            "try p false, q true",
            "#A p implies q: false implies true = true",
            "#B not q: not true = false",
            "try p true, q false",
            "#A p implies q: true implies false = false",
            "try p false, q false",
            "#A p implies q: false implies false = true",
            "#B not q: not false = true",
            "conclusion not p: not false = true",
            "#Q Does it follow that not p: yes",
        ];
        assert_eq!(verdicts(&lines), [Ok; 13]);
        for (at, line) in [
            (1, "#A p implies q: true implies true = false"),
            (1, "#B not q: not true = false"),
            (2, "conclusion not p: not true = false"),
            (3, "try p true, q true"),
            (7, "#A p implies q: true implies true = true"),
            (8, "#B not q: not false = true"),
            (8, "#Q Does it follow that not p: yes"),
            (12, "#Q Does it follow that not p: no"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
    }
}
