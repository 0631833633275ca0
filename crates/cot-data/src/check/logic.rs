//! Ordering puzzles: look-ups against the clues, and a solver that tries every order.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::label::{Labelled, items, labelled};
use super::{LineChecks, StepVerdict};

/// Words of a relation: more, less, most, least.
const RELATIONS: [[&str; 4]; 4] = [
    ["taller", "shorter", "tallest", "shortest"],
    ["older", "younger", "oldest", "youngest"],
    ["faster", "slower", "fastest", "slowest"],
    ["heavier", "lighter", "heaviest", "lightest"],
];

const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];

/// Above this many people, trying every order takes too long.
const MOST_PEOPLE: usize = 8;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of this file")
}

static CLUE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\w+) is (\w+) than (\w+)$"));
static ASKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"Who is the (?:(first|second|third|fourth|fifth|sixth) )?(\w+)"));
static PAIR: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\w+) > (\w+)$"));
static TOP: LazyLock<Regex> = LazyLock::new(|| pattern(r"^no one > (\w+), so 1 (\w+)$"));
static NEXT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\w+) > (\w+), so (\d+) (\w+)$"));
static PLACE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^place (\d+) is (\w+)$"));
static LAST: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\w+) > no one, so last is (\w+)$"));

/// A pair of people, upper first.
type Pair = (String, String);

/// A question that asks for a place in an order.
pub(super) struct Reading {
    /// The items: label, and the pair where it is about the asked relation.
    items: Vec<(char, Option<Pair>)>,
    /// The pairs of the asked relation.
    clues: Vec<Pair>,
    /// Everyone in those pairs.
    people: Vec<String>,
    /// The one order that fits, from the top; nothing where there is not exactly one.
    order: Option<Vec<usize>>,
    /// Place asked for, from the top, counted from 0.
    asked: usize,
}

impl Reading {
    pub(super) fn of(question: &str) -> Option<Self> {
        let asked = ASKED.captures(question)?;
        let word = &asked[2];
        let relation = RELATIONS.iter().find(|words| words[2..].contains(&word))?;
        let mut told = Vec::new();
        for Labelled { label, text } in items(question)? {
            let clue = CLUE.captures(text)?;
            let (left, right) = (clue[1].to_owned(), clue[3].to_owned());
            let pair = if clue[2] == *relation[0] {
                Some((left, right))
            } else {
                (clue[2] == *relation[1]).then_some((right, left))
            };
            told.push((label, pair));
        }
        let clues: Vec<Pair> = told.iter().filter_map(|(_, pair)| pair.clone()).collect();
        let mut people: Vec<String> = Vec::new();
        for (upper, lower) in &clues {
            for name in [upper, lower] {
                if !people.contains(name) {
                    people.push(name.clone());
                }
            }
        }
        let rank = asked
            .get(1)
            .and_then(|ordinal| ORDINALS.iter().position(|known| *known == ordinal.as_str()))
            .unwrap_or(0);
        let last = people.len().checked_sub(1)?;
        let asked = if *word == *relation[2] { rank } else { last.checked_sub(rank)? };
        let order = unique_order(&people, &clues);
        Some(Self { items: told, clues, people, order, asked })
    }

    /// The person at the asked place, if there is exactly one order.
    pub(super) fn answer(&self) -> Option<String> {
        let person = *self.order.as_ref()?.get(self.asked)?;
        self.people.get(person).cloned()
    }

    fn told(&self, upper: &str, lower: &str) -> bool {
        self.clues.iter().any(|(above, below)| above == upper && below == lower)
    }

    fn no_one_above(&self, name: &str) -> bool {
        !self.clues.iter().any(|(_, lower)| lower == name)
    }

    fn person(&self, name: &str) -> bool {
        self.people.iter().any(|known| known == name)
    }

    /// Whether the second comes directly after the first in the one order.
    fn adjacent(&self, upper: &str, lower: &str) -> bool {
        self.order.as_ref().is_some_and(|order| {
            order
                .windows(2)
                .any(|pair| self.people[pair[0]] == upper && self.people[pair[1]] == lower)
        })
    }

    pub(super) fn check(&self, lines: &[&str]) -> LineChecks {
        let mut progress = Progress::default();
        let mut checks = LineChecks::default();
        for line in lines {
            let holds = self.line(line, &mut progress, &mut checks.conclusion);
            checks.verdicts.push(match holds {
                None => StepVerdict::Unchecked,
                Some(true) => StepVerdict::Ok,
                Some(false) => StepVerdict::Wrong,
            });
        }
        checks
    }

    /// Whether a line holds; nothing where its form is unknown.
    fn line(
        &self,
        line: &str,
        progress: &mut Progress,
        conclusion: &mut Option<String>,
    ) -> Option<bool> {
        if let Some(Labelled { label, text }) = labelled(line) {
            let pair = match text {
                "-" => None,
                _ => PAIR.captures(text).map(|found| Some((found[1].into(), found[2].into())))?,
            };
            let held = self.items.get(progress.restated) == Some(&(label, pair));
            progress.restated += 1;
            return Some(held);
        }
        let places = &mut progress.places;
        if let Some(names) = line.strip_prefix("up: ") {
            let names: Vec<&str> = names.split(", ").collect();
            let known = names.iter().all(|name| self.person(name));
            // The walk must arrive: an unfinished one would make any person hold.
            let arrives = names.last().is_some_and(|last| self.no_one_above(last));
            let linked = names.windows(2).all(|pair| self.told(pair[1], pair[0]));
            let all_restated = progress.restated == self.items.len();
            return Some(known && arrives && linked && all_restated);
        }
        if let Some(found) = TOP.captures(line) {
            let name = &found[1];
            places.insert(found[2].to_owned(), 1);
            return Some(self.person(name) && self.no_one_above(name) && *name == found[2]);
        }
        if let Some(found) = NEXT.captures(line) {
            let (upper, lower) = (&found[1], &found[2]);
            let place: usize = found[3].parse().ok()?;
            let follows = places.get(upper).is_some_and(|above| above + 1 == place);
            places.insert(found[4].to_owned(), place);
            let told = self.told(upper, lower) && self.adjacent(upper, lower);
            return Some(told && follows && *lower == found[4]);
        }
        if let Some(found) = PLACE.captures(line) {
            let place: usize = found[1].parse().ok()?;
            *conclusion = Some(found[2].to_owned());
            return Some(places.get(&found[2]) == Some(&place));
        }
        let found = LAST.captures(line)?;
        let name = &found[1];
        *conclusion = Some(found[2].to_owned());
        let alone = !self.clues.iter().any(|(upper, _)| upper == name);
        Some(self.person(name) && alone && *name == found[2])
    }
}

/// How far a chain has come.
#[derive(Default)]
struct Progress {
    /// How many clues were restated.
    restated: usize,
    /// Places given, from 1 at the top.
    places: HashMap<String, usize>,
}

/// The one order of the people, by index, that fits all clues; nothing where none or
/// more than one does.
fn unique_order(people: &[String], clues: &[(String, String)]) -> Option<Vec<usize>> {
    if people.len() > MOST_PEOPLE {
        return None;
    }
    let index_of = |name: &str| people.iter().position(|known| known == name);
    let clues: Option<Vec<(usize, usize)>> =
        clues.iter().map(|(upper, lower)| index_of(upper).zip(index_of(lower))).collect();
    let mut found = Vec::new();
    let mut order: Vec<usize> = (0..people.len()).collect();
    try_orders(&mut order, 0, &clues?, &mut found);
    if found.len() == 1 { found.pop() } else { None }
}

/// Tries every arrangement of `order[fixed..]`; stops at a second fit.
fn try_orders(
    order: &mut Vec<usize>,
    fixed: usize,
    clues: &[(usize, usize)],
    found: &mut Vec<Vec<usize>>,
) {
    if found.len() > 1 {
        return;
    }
    if fixed == order.len() {
        let place_of = |person: usize| order.iter().position(|other| *other == person);
        if clues.iter().all(|&(upper, lower)| place_of(upper) < place_of(lower)) {
            found.push(order.clone());
        }
        return;
    }
    for next in fixed..order.len() {
        order.swap(fixed, next);
        try_orders(order, fixed + 1, clues, found);
        order.swap(fixed, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: &str) -> Option<String> {
        Reading::of(question).and_then(|reading| reading.answer())
    }

    #[test]
    fn an_answer_needs_exactly_one_order() {
        let told = "A: Ann is taller than Bob\nB: Bob is taller than Eve";
        assert_eq!(answer(&format!("{told}\nWho is the tallest?")).as_deref(), Some("Ann"));
        assert_eq!(answer(&format!("Who is the shortest?\n{told}")).as_deref(), Some("Eve"));
        assert_eq!(answer(&format!("{told}\nWho is the second tallest?")).as_deref(), Some("Bob"));
        // From the other end, and a place that does not exist.
        assert_eq!(answer(&format!("{told}\nWho is the third shortest?")).as_deref(), Some("Ann"));
        assert_eq!(answer(&format!("{told}\nWho is the fifth tallest?")), None);
        let open = "A: Ann is taller than Bob\nB: Ann is taller than Eve\nWho is the shortest?";
        assert_eq!(answer(open), None);
        let circle = "A: Ann is taller than Bob\nB: Bob is taller than Ann\nWho is the tallest?";
        assert_eq!(answer(circle), None);
    }

    const OTHER: &str = "A: Bob is older than Ann\nB: Bob is shorter than Ann\n\
                         Who is the tallest of all?";

    #[test]
    fn other_relations_have_no_say() {
        assert_eq!(answer(OTHER).as_deref(), Some("Ann"));
        assert_eq!(answer("Who is the tallest?"), None);
        assert_eq!(answer("A: Ann is tall\nWho is the tallest?"), None);
    }

    #[test]
    fn clues_are_restated_one_by_one() {
        use StepVerdict::{Ok, Unchecked, Wrong};
        let reading = Reading::of(OTHER).unwrap();
        let verdicts = |lines: &[&str]| reading.check(lines).verdicts;
        let chain = ["A: -", "B: Ann > Bob", "up: Ann", "no one > Ann, so 1 Ann", "place 1 is Ann"];
        assert_eq!(verdicts(&chain), [Ok; 5]);
        assert_eq!(verdicts(&["A: Bob > Ann", "B: Ann > Bob"]), [Wrong, Ok]);
        assert_eq!(verdicts(&["A: -", "B: Bob > Ann"]), [Ok, Wrong]);
        assert_eq!(verdicts(&["A: -", "B: -"]), [Ok, Wrong]);
        assert_eq!(verdicts(&["B: Ann > Bob"]), [Wrong], "not the next clue");
        assert_eq!(verdicts(&["A: -", "up: Ann"]), [Ok, Wrong], "a clue is missing");
        assert_eq!(verdicts(&[&chain[..2], &["C: -"]].concat())[2], Wrong);
        assert_eq!(verdicts(&["A: nothing", "Well."]), [Unchecked; 2]);
    }

    #[test]
    fn many_people_are_not_tried() {
        let names = ["Al", "Bo", "Cy", "Di", "Ed", "Fay", "Gil", "Hal", "Ike", "Jo"];
        let clues: Vec<String> = names
            .windows(2)
            .zip('A'..)
            .map(|(p, label)| format!("{label}: {} is older than {}", p[0], p[1]))
            .collect();
        assert_eq!(answer(&format!("{}\nWho is the oldest?", clues.join("\n"))), None);
    }
}
