//! Knights and knaves: what follows from a line is tried on every assignment that agrees
//! with the facts it cites, and so is the answer.

use super::label::{ItemLine, Labelled, items};
use super::{LineChecks, Reading, StepVerdict};

const OPENING: &str = "A knight always tells the truth, a knave always lies.";
const ASKED: &str = "What is each of them";

/// Above this many people, trying every assignment takes too long.
const MOST_PEOPLE: usize = 12;

/// A person, by index, and whether they are a knight.
type Fact = (usize, bool);

/// What is said.
enum Claim {
    All(Vec<Fact>),
    Any(Vec<Fact>),
    Implies(Fact, Fact),
    Alike(usize, usize, bool),
    Count(usize, Vec<usize>),
}

/// An item of the question.
struct Item<'text> {
    label: char,
    text: &'text str,
    claim: Claim,
}

/// A puzzle; the items' speakers are the people, in this order.
struct Question {
    text: String,
    answer: Option<String>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let puzzle = Puzzle::of(question)?;
    let answer = puzzle.solve().map(|solution| puzzle.in_words(&solution));
    Some(Box::new(Question { text: question.to_owned(), answer }))
}

/// A question taken apart.
struct Puzzle<'text> {
    people: Vec<&'text str>,
    items: Vec<Item<'text>>,
}

impl<'text> Puzzle<'text> {
    fn of(question: &'text str) -> Option<Self> {
        if !question.starts_with(OPENING) {
            return None;
        }
        let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
            items(question)?.into_iter().partition(|item| item.label == 'Q');
        if asked.first()?.text.strip_suffix('?')? != ASKED || told.len() > MOST_PEOPLE {
            return None;
        }
        let mut people = Vec::with_capacity(told.len());
        let mut claims = Vec::with_capacity(told.len());
        for item in &told {
            let (speaker, claim) = item
                .text
                .split_once(" says that ")
                .or_else(|| item.text.split_once(" claims that "))?;
            if people.contains(&speaker) {
                return None;
            }
            people.push(speaker);
            claims.push(claim);
        }
        let items = told
            .iter()
            .zip(claims)
            .map(|(item, claim)| {
                let claim = Claim::of(claim, &people)?;
                Some(Item { label: item.label, text: item.text, claim })
            })
            .collect::<Option<_>>()?;
        Some(Self { people, items })
    }

    /// Whether the speaker of an item says what such a person would.
    fn fits(&self, item: usize, knights: u32) -> bool {
        self.items[item].claim.holds(knights) == (knights >> item & 1 == 1)
    }

    /// The only assignment that fits all items.
    fn solve(&self) -> Option<Vec<Option<bool>>> {
        let mut fitting = (0..1_u32 << self.people.len())
            .filter(|&knights| (0..self.items.len()).all(|item| self.fits(item, knights)));
        let only = fitting.next()?;
        fitting
            .next()
            .is_none()
            .then(|| (0..self.people.len()).map(|person| Some(only >> person & 1 == 1)).collect())
    }

    fn in_words(&self, facts: &[Option<bool>]) -> String {
        let texts: Vec<String> = (self.people.iter().zip(facts))
            .filter_map(|(name, fact)| {
                fact.map(|knight| format!("{name} {}", if knight { "knight" } else { "knave" }))
            })
            .collect();
        texts.join(", ")
    }

    fn person(&self, name: &str) -> Option<usize> {
        self.people.iter().position(|known| *known == name)
    }

    /// `Ann knight, Bob knave`, in the order in which they speak.
    fn facts(&self, text: &str) -> Option<Vec<Fact>> {
        text.split(", ").map(|fact| self.fact(fact)).collect()
    }

    fn fact(&self, text: &str) -> Option<Fact> {
        let (name, kind) = text.split_once(' ')?;
        Some((self.person(name)?, is_knight(kind)?))
    }

    /// Whether a line holds; nothing where its form is unknown.
    fn line(&self, line: &str, state: &mut State, conclusion: &mut Option<String>) -> Option<bool> {
        if let Some(fact) = line.strip_prefix("try ") {
            let (person, knight) = self.fact(fact)?;
            let held = state.facts[person].is_none() && !state.contradiction;
            state.tried.push((person, knight, state.facts.clone(), state.settled));
            state.facts[person] = Some(knight);
            state.contradiction = false;
            return Some(held);
        }
        if let Some(fact) = line.strip_prefix("so ") {
            let (person, knight) = self.fact(fact)?;
            let mut held = state.contradiction;
            state.contradiction = false;
            if let Some((tried, value, facts, settled)) = state.tried.pop() {
                held &= tried == person && value != knight;
                state.facts = facts;
                state.settled = settled;
            } else {
                held = false;
            }
            state.facts[person] = Some(knight);
            return Some(held);
        }
        let about = ItemLine::of(line)?;
        if about.label() == 'Q' {
            let claimed = self.facts(about.work)?;
            *conclusion = Some(about.work.to_owned());
            let all = (1 << self.items.len()) - 1;
            return Some(
                about.is_about('Q', ASKED)
                    && !state.contradiction
                    && state.settled == all
                    && claimed.len() == self.people.len()
                    && claimed.iter().enumerate().all(|(place, &(person, knight))| {
                        place == person && state.facts[person] == Some(knight)
                    }),
            );
        }
        let (cited, outcome) = about.work.split_once(" -> ")?;
        let cited = if cited == "none known" { Vec::new() } else { self.facts(cited)? };
        let found = match outcome {
            "fits" | "contradiction" => Vec::new(),
            facts => self.facts(facts)?,
        };
        let index = self
            .items
            .iter()
            .position(|item| about.is_about(item.label, item.text))
            .filter(|_| !state.contradiction);
        let known = cited.iter().all(|&(person, knight)| state.facts[person] == Some(knight));
        let mut held = known && index.is_some() && in_order(&cited) && in_order(&found);
        if let Some(item) = index {
            held &= cited.iter().all(|&(person, _)| self.is_named(item, person));
            let mut possible = (0..1_u32 << self.people.len())
                .filter(|&knights| agrees(knights, &cited) && self.fits(item, knights));
            let complete = |facts: &[Option<bool>]| {
                (0..self.people.len())
                    .all(|person| facts[person].is_some() || !self.is_named(item, person))
            };
            match outcome {
                "contradiction" => held &= possible.next().is_none(),
                "fits" => {
                    let cites = |person| cited.iter().any(|&(other, _)| other == person);
                    held &= (0..self.people.len())
                        .all(|person| cites(person) || !self.is_named(item, person));
                    held &= possible.next().is_some();
                }
                _ => {
                    held &= found.iter().all(|&(person, _)| {
                        state.facts[person].is_none() && self.is_named(item, person)
                    });
                    held &= possible.all(|knights| agrees(knights, &found));
                }
            }
            for &(person, knight) in &found {
                state.facts[person] = Some(knight);
            }
            if complete(&state.facts) {
                state.settled |= 1 << item;
            }
        }
        state.contradiction = outcome == "contradiction";
        Some(held)
    }

    /// Whether an item is about a person, its speaker or one of those it names.
    fn is_named(&self, item: usize, person: usize) -> bool {
        item == person || self.items[item].claim.names(person)
    }
}

/// What is known after some lines.
struct State {
    facts: Vec<Option<bool>>,
    /// The items whose people are all known, as bits.
    settled: u32,
    /// Who was tried as what, and what was known before.
    tried: Vec<(usize, bool, Vec<Option<bool>>, u32)>,
    /// Whether the last line was a contradiction.
    contradiction: bool,
}

fn is_knight(kind: &str) -> Option<bool> {
    match kind {
        "knight" => Some(true),
        "knave" => Some(false),
        _ => None,
    }
}

/// Whether each person is named once, in the order in which they speak.
fn in_order(facts: &[Fact]) -> bool {
    facts.is_sorted_by(|left, right| left.0 < right.0)
}

fn agrees(knights: u32, facts: &[Fact]) -> bool {
    facts.iter().all(|&(person, knight)| (knights >> person & 1 == 1) == knight)
}

impl Claim {
    fn of(text: &str, people: &[&str]) -> Option<Self> {
        let person = |name: &str| people.iter().position(|known| *known == name);
        let fact = |text: &str| {
            let (name, kind) = text.split_once(" is a ")?;
            Some((person(name)?, is_knight(kind)?))
        };
        let names = |text: &str| -> Option<Vec<usize>> {
            text.split(", ").flat_map(|part| part.split(" and ")).map(person).collect()
        };
        if let Some(rest) = text.strip_prefix("if ") {
            let (left, right) = rest.split_once(" then ")?;
            return Some(Self::Implies(fact(left)?, fact(right)?));
        }
        if let Some(rest) = text.strip_prefix("exactly ") {
            let (number, rest) = rest.split_once(" of ")?;
            let (count, listed) = match number {
                "one" => (1, rest.strip_suffix(" is a knight")?),
                "two" => (2, rest.strip_suffix(" are knights")?),
                _ => return None,
            };
            return Some(Self::Count(count, names(listed)?));
        }
        for (ending, alike) in [(" are of the same kind", true), (" are of different kinds", false)]
        {
            if let Some(listed) = text.strip_suffix(ending) {
                let (left, right) = listed.split_once(" and ")?;
                return Some(Self::Alike(person(left)?, person(right)?, alike));
            }
        }
        if text.contains(" or ") {
            return Some(Self::Any(text.split(" or ").map(fact).collect::<Option<_>>()?));
        }
        Some(Self::All(text.split(" and ").map(fact).collect::<Option<_>>()?))
    }

    fn holds(&self, knights: u32) -> bool {
        let is = |person: usize| knights >> person & 1 == 1;
        match self {
            Self::All(facts) => agrees(knights, facts),
            Self::Any(facts) => facts.iter().any(|&(person, knight)| is(person) == knight),
            Self::Implies(left, right) => is(left.0) != left.1 || is(right.0) == right.1,
            Self::Alike(left, right, alike) => (is(*left) == is(*right)) == *alike,
            Self::Count(count, people) => {
                people.iter().filter(|&&person| is(person)).count() == *count
            }
        }
    }

    fn names(&self, person: usize) -> bool {
        match self {
            Self::All(facts) | Self::Any(facts) => facts.iter().any(|fact| fact.0 == person),
            Self::Implies(left, right) => left.0 == person || right.0 == person,
            Self::Alike(left, right, _) => *left == person || *right == person,
            Self::Count(_, people) => people.contains(&person),
        }
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        self.answer.clone()
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut checks = LineChecks::default();
        let Some(puzzle) = Puzzle::of(&self.text) else { return checks };
        let mut state = State {
            facts: vec![None; puzzle.people.len()],
            settled: 0,
            tried: Vec::new(),
            contradiction: false,
        };
        for line in lines {
            let holds = puzzle.line(line, &mut state, &mut checks.conclusion);
            checks.verdicts.push(StepVerdict::of(holds));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    fn asked(claims: &[&str]) -> String {
        let items: Vec<String> =
            ('A'..).zip(claims).map(|(label, claim)| format!("#{label} {claim}")).collect();
        format!("{OPENING}\n{}\n#Q {ASKED}?", items.join("\n"))
    }

    #[test]
    fn an_answer_is_the_only_assignment() {
        let answer = |claims: &[&str]| read(&asked(claims)).and_then(|read| read.answer());
        // A knave cannot say of himself and another that both are knaves unless the other
        // is a knight.
        let both =
            ["Ann says that Ann is a knave and Bob is a knave", "Bob says that Ann is a knave"];
        assert_eq!(answer(&both).as_deref(), Some("Ann knave, Bob knight"));
        let open = ["Ann says that Bob is a knight", "Bob says that Ann is a knight"];
        assert_eq!(answer(&open), None);
        let none = ["Ann says that Bob is a knight", "Bob says that Ann is a knave"];
        assert_eq!(answer(&none), None);
        let three = [
            "Ann says that exactly one of Ann, Bob and Eve is a knight",
            "Bob says that if Ann is a knight then Eve is a knight",
            "Eve says that Ann and Bob are of different kinds",
        ];
        // Ann knight: Bob and Eve knaves, but then Eve's claim is true. Ann knave: Bob's claim
        // is true, so Eve's is too, and two are knights.
        assert_eq!(answer(&three).as_deref(), Some("Ann knave, Bob knight, Eve knight"));
        assert_eq!(answer(&["Ann says that Bob is tall"]), None);
    }

    #[test]
    fn lines_are_judged_against_the_facts_they_cite() {
        let claims =
            ["Ann says that Bob is a knave", "Bob says that Ann and Bob are of the same kind"];
        let question = asked(&claims);
        let verdicts =
            |lines: &[&str]| read(&question).map(|read| read.check(lines).verdicts).unwrap();
        let first = "#A Ann says that Bob is a knave: ";
        let second = "#B Bob says that Ann and Bob are of the same kind: ";
        let ann = format!("{second}none known -> Ann knight");
        let bob = format!("{first}Ann knight -> Bob knave");
        let fits = format!("{second}Ann knight, Bob knave -> fits");
        let end = "#Q What is each of them: Ann knight, Bob knave";
        assert_eq!(verdicts(&[&ann, &bob, &fits, end]), [Ok; 4]);
        assert_eq!(
            verdicts(&[&ann, &bob, &format!("{second}Ann knight, Bob knight -> fits")])[2],
            Wrong
        );
        assert_eq!(verdicts(&[&ann, &format!("{first}Ann knight -> Bob knight")]), [Ok, Wrong]);
        assert_eq!(verdicts(&[&ann, &format!("{first}Ann knave -> Bob knight")]), [Ok, Wrong]);
        assert_eq!(verdicts(&[&format!("{first}none known -> Bob knave")]), [Wrong]);
        assert_eq!(verdicts(&[&ann, &format!("{first}Ann knight -> contradiction")]), [Ok, Wrong]);
        assert_eq!(verdicts(&[&ann, &format!("{first}Ann knight -> fits")]), [Ok, Wrong]);
        assert_eq!(verdicts(&[&ann, "#Q What is each of them: Ann knight"]), [Ok, Wrong]);
        assert_eq!(
            verdicts(&[&ann, &bob, "#Q What is each of them: Ann knight, Bob knight"])[2],
            Wrong
        );
        let tried = format!("{second}Ann knave -> contradiction");
        let refuted = ["try Ann knave", &tried, "so Ann knight", &bob, &fits, end];
        assert_eq!(verdicts(&refuted), [Ok; 6]);
        assert_eq!(verdicts(&["try Ann knight", "so Ann knave"]), [Ok, Wrong], "no contradiction");
        assert_eq!(verdicts(&["try Ann knave", &tried, "so Bob knight"])[2], Wrong);
        assert_eq!(verdicts(&["try Ann knave", &tried, "so Ann knave"])[2], Wrong);
        assert_eq!(verdicts(&[&ann, "try Ann knight"]), [Ok, Wrong], "known");
        assert_eq!(verdicts(&["Well.", "#A Ann says", "try Eve knight"]), [Unchecked; 3]);
        // One slip counts once.
        let slip = format!("{second}none known -> Ann knave");
        assert_eq!(verdicts(&[&slip, &format!("{first}Ann knave -> Bob knight")]), [Wrong, Ok]);
    }
}
