//! Ordering puzzles: look-ups against the clues, and a solver that tries every order.

use std::sync::LazyLock;

use regex::Regex;

use super::label::{ItemLine, Labelled, items};
use super::{LineChecks, StepVerdict};

/// Words of a relation: more, less, most, least.
const RELATIONS: [[&str; 4]; 4] = [
    ["taller", "shorter", "tallest", "shortest"],
    ["older", "younger", "oldest", "youngest"],
    ["faster", "slower", "fastest", "slowest"],
    ["heavier", "lighter", "heaviest", "lightest"],
];

const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];

/// What stands where there is no name.
const NO_ONE: &str = "no one";

/// Above this many people, trying every order takes too long.
const MOST_PEOPLE: usize = 8;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of this file")
}

static CLUE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\w+) is (\w+) than (\w+)$"));
static ASKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"Who is the (?:(first|second|third|fourth|fifth|sixth) )?(\w+)"));
static PAIR: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(\w+) > (\w+), (\w+) < (\w+)$"));
static NEXT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d+) (\w+) > (no one|\w+)$"));
static PLACE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^place (\d+) is (\w+)$"));
static LAST: LazyLock<Regex> = LazyLock::new(|| pattern(r"^last is (\w+)$"));

/// A pair of people, upper first.
type Pair = (String, String);

/// An item of the question.
struct Clue {
    label: char,
    text: String,
    /// Nothing where it is about another relation than the asked one.
    pair: Option<Pair>,
}

/// A question that asks for a place in an order.
pub(super) struct Reading {
    /// The items.
    items: Vec<Clue>,
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
            told.push(Clue { label, text: text.to_owned(), pair });
        }
        let clues: Vec<Pair> = told.iter().filter_map(|clue| clue.pair.clone()).collect();
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

    fn no_one_below(&self, name: &str) -> bool {
        !self.clues.iter().any(|(upper, _)| upper == name)
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
        if let Some(about) = ItemLine::of(line) {
            let (pair, same): (Option<Pair>, bool) = match about.work {
                "-" => (None, true),
                work => {
                    let found = PAIR.captures(work)?;
                    let same = found[1] == found[4] && found[2] == found[3];
                    (Some((found[1].into(), found[2].into())), same)
                }
            };
            let held = self.items.get(progress.restated).is_some_and(|clue| {
                about.is_about(clue.label, &clue.text) && clue.pair == pair && same
            });
            progress.restated += 1;
            return Some(held);
        }
        if let Some(names) = line.strip_prefix("up: ") {
            let names: Vec<&str> = names.split(" < ").collect();
            // The walk must arrive: an unfinished one would make any person hold.
            let (&end, names) = names.split_last()?;
            let top = *names.last()?;
            progress.next = Some((1, top.to_owned()));
            let arrives = end == NO_ONE && self.person(top) && self.no_one_above(top);
            let linked = names.windows(2).all(|pair| self.told(pair[1], pair[0]));
            let all_restated = progress.restated == self.items.len();
            return Some(arrives && linked && all_restated);
        }
        if let Some(found) = NEXT.captures(line) {
            let (place, upper, lower) = (found[1].parse().ok()?, &found[2], &found[3]);
            let follows = progress.next == Some((place, upper.to_owned()));
            if lower == NO_ONE {
                progress.last = Some(upper.to_owned());
                return Some(follows && self.person(upper) && self.no_one_below(upper));
            }
            progress.next = Some((place + 1, lower.to_owned()));
            return Some(follows && self.told(upper, lower) && self.adjacent(upper, lower));
        }
        if let Some(found) = PLACE.captures(line) {
            let place: usize = found[1].parse().ok()?;
            *conclusion = Some(found[2].to_owned());
            return Some(progress.next == Some((place, found[2].to_owned())));
        }
        let found = LAST.captures(line)?;
        *conclusion = Some(found[1].to_owned());
        Some(progress.last.as_deref() == Some(&found[1]))
    }
}

/// How far a chain has come.
#[derive(Default)]
struct Progress {
    /// How many clues were restated.
    restated: usize,
    /// The place reached, from 1 at the top, and who is there.
    next: Option<(usize, String)>,
    /// The person below whom there is no one.
    last: Option<String>,
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
        let told = "#A Ann is taller than Bob\n#B Bob is taller than Eve";
        assert_eq!(answer(&format!("{told}\nWho is the tallest?")).as_deref(), Some("Ann"));
        assert_eq!(answer(&format!("Who is the shortest?\n{told}")).as_deref(), Some("Eve"));
        assert_eq!(answer(&format!("{told}\nWho is the second tallest?")).as_deref(), Some("Bob"));
        // From the other end, and a place that does not exist.
        assert_eq!(answer(&format!("{told}\nWho is the third shortest?")).as_deref(), Some("Ann"));
        assert_eq!(answer(&format!("{told}\nWho is the fifth tallest?")), None);
        let open = "#A Ann is taller than Bob\n#B Ann is taller than Eve\nWho is the shortest?";
        assert_eq!(answer(open), None);
        let circle = "#A Ann is taller than Bob\n#B Bob is taller than Ann\nWho is the tallest?";
        assert_eq!(answer(circle), None);
    }

    const OTHER: &str = "#A Bob is older than Ann\n#B Bob is shorter than Ann\n\
                         Who is the tallest of all?";

    #[test]
    fn other_relations_have_no_say() {
        assert_eq!(answer(OTHER).as_deref(), Some("Ann"));
        assert_eq!(answer("Who is the tallest?"), None);
        assert_eq!(answer("#A Ann is tall\nWho is the tallest?"), None);
    }

    #[test]
    fn clues_are_restated_one_by_one() {
        use StepVerdict::{Ok, Unchecked, Wrong};
        let reading = Reading::of(OTHER).unwrap();
        let verdicts = |lines: &[&str]| reading.check(lines).verdicts;
        let (first, second) = ("#A Bob is older than Ann", "#B Bob is shorter than Ann");
        let work = |item: &str, work: &str| format!("{item}: {work}");
        let (none, pair) = (&*work(first, "-"), &*work(second, "Ann > Bob, Bob < Ann"));
        let chain = [none, pair, "up: Ann < no one", "place 1 is Ann"];
        assert_eq!(verdicts(&chain), [Ok; 4]);
        assert_eq!(verdicts(&[&work(first, "Bob > Ann, Ann < Bob"), pair]), [Wrong, Ok]);
        assert_eq!(verdicts(&[none, &work(second, "Bob > Ann, Ann < Bob")]), [Ok, Wrong]);
        assert_eq!(verdicts(&[none, &work(second, "Ann > Bob, Ann < Bob")]), [Ok, Wrong]);
        assert_eq!(verdicts(&[none, &work(second, "-")]), [Ok, Wrong]);
        let other = "#B Bob is taller than Ann: Ann > Bob, Bob < Ann";
        assert_eq!(verdicts(&[none, other]), [Ok, Wrong]);
        assert_eq!(verdicts(&[pair]), [Wrong], "not the next clue");
        assert_eq!(verdicts(&[none, "up: Ann < no one"]), [Ok, Wrong], "a clue is missing");
        assert_eq!(verdicts(&[&chain[..2], &["#C Bob is older than Ann: -"]].concat())[2], Wrong);
        assert_eq!(verdicts(&["#A -", "#A x: nothing", "Well."]), [Unchecked; 3]);
    }

    #[test]
    fn walks_are_linked_and_arrive() {
        use StepVerdict::{Ok, Wrong};
        let clues = [("Bob", "Eve"), ("Ann", "Bob")];
        let items: Vec<String> = (clues.iter().zip('A'..))
            .map(|((upper, lower), label)| format!("#{label} {upper} is older than {lower}"))
            .collect();
        let reading = Reading::of(&format!("{}\nWho is the youngest?", items.join("\n"))).unwrap();
        let restated: Vec<String> = (clues.iter().zip(&items))
            .map(|((upper, lower), item)| format!("{item}: {upper} > {lower}, {lower} < {upper}"))
            .collect();
        let verdicts = |lines: &[&str]| {
            let restated = restated.iter().map(String::as_str);
            let lines: Vec<&str> = restated.chain(lines.iter().copied()).collect();
            reading.check(&lines).verdicts.split_off(2)
        };
        let up = "up: Bob < Ann < no one";
        let down = ["1 Ann > Bob", "2 Bob > Eve", "3 Eve > no one", "last is Eve"];
        assert_eq!(verdicts(&[&[up][..], &down].concat()), [Ok; 5]);
        for (up, why) in [
            ("up: Bob < no one", "someone is above"),
            ("up: Bob < Ann", "it does not arrive"),
            ("up: Eve < Ann < no one", "no clue links the two"),
            ("up: Tom < no one", "no one of that name"),
        ] {
            assert_eq!(verdicts(&[up]), [Wrong], "{why}");
        }
        assert_eq!(verdicts(&[up, "1 Bob > Eve"]), [Ok, Wrong], "not the top");
        assert_eq!(verdicts(&[up, "2 Ann > Bob"]), [Ok, Wrong], "a wrong place");
        assert_eq!(verdicts(&[up, "1 Ann > Eve"]), [Ok, Wrong], "one is left out");
        assert_eq!(verdicts(&[up, "1 Ann > no one"]), [Ok, Wrong], "someone is below");
        assert_eq!(verdicts(&[up, down[0], "place 2 is Bob"]), [Ok; 3]);
        assert_eq!(verdicts(&[up, down[0], "place 1 is Ann"]), [Ok, Ok, Wrong]);
        assert_eq!(verdicts(&[up, down[0], "last is Bob"]), [Ok, Ok, Wrong]);
        assert_eq!(verdicts(&[up, "Well."]), [Ok, StepVerdict::Unchecked]);
    }

    #[test]
    fn many_people_are_not_tried() {
        let names = ["Al", "Bo", "Cy", "Di", "Ed", "Fay", "Gil", "Hal", "Ike", "Jo"];
        let clues: Vec<String> = names
            .windows(2)
            .zip('A'..)
            .map(|(p, label)| format!("#{label} {} is older than {}", p[0], p[1]))
            .collect();
        assert_eq!(answer(&format!("{}\nWho is the oldest?", clues.join("\n"))), None);
    }
}
