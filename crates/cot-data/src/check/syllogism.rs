//! Syllogisms: the answer comes from the kinds of things that the premises leave possible,
//! a derivation must follow one thing, and a world is checked thing by thing.

use std::collections::BTreeMap;

use super::label::{ItemLine, Labelled, items};
use super::{LineChecks, Reading};

const ASKED: [&str; 2] = ["Is it certain that ", "Must it be that "];

/// Above this many nouns, there are too many kinds of things.
const MOST_NOUNS: usize = 10;

/// A statement: whether it is about all, whether it denies, and its nouns.
#[derive(Clone, Debug, PartialEq)]
struct Statement {
    universal: bool,
    denies: bool,
    nouns: [String; 2],
}

fn statement(text: &str) -> Option<Statement> {
    let words: Vec<&str> = text.split(' ').collect();
    let (universal, denies, left, right) = match words[..] {
        ["all", left, "are", right] => (true, false, left, right),
        ["no", left, "are", right] => (true, true, left, right),
        ["some", left, "are", "not", right] => (false, true, left, right),
        ["some", left, "are", right] => (false, false, left, right),
        _ => return None,
    };
    (left != right).then(|| Statement {
        universal,
        denies,
        nouns: [left.to_owned(), right.to_owned()],
    })
}

impl Statement {
    /// Whether a thing, of which membership is asked, is what a `some` speaks of; a
    /// universal one is broken by a thing that would be that of its contrary.
    fn has(&self, is: impl Fn(&str) -> bool, denies: bool) -> bool {
        is(&self.nouns[0]) && is(&self.nouns[1]) != denies
    }
}

struct Item {
    label: char,
    text: String,
    statement: Statement,
}

struct Question {
    items: Vec<Item>,
    text: String,
    asked: Statement,
    nouns: Vec<String>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    // Cheap for the questions of others, which come here too.
    if !ASKED.iter().any(|words| question.contains(words)) {
        return None;
    }
    let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
        items(question)?.into_iter().partition(|item| item.label == 'Q');
    let text = asked.first()?.text.strip_suffix('?')?;
    let asked = statement(ASKED.iter().find_map(|words| text.strip_prefix(words))?)?;
    let items: Vec<Item> = told
        .iter()
        .map(|item| {
            let statement = statement(item.text)?;
            Some(Item { label: item.label, text: item.text.to_owned(), statement })
        })
        .collect::<Option<_>>()?;
    let mut nouns: Vec<String> = Vec::new();
    for noun in items.iter().flat_map(|item| &item.statement.nouns).chain(&asked.nouns) {
        if !nouns.contains(noun) {
            nouns.push(noun.clone());
        }
    }
    let text = text.to_owned();
    (nouns.len() <= MOST_NOUNS).then(|| Box::new(Question { items, text, asked, nouns }) as _)
}

/// The things that are of each noun.
type World = BTreeMap<String, Vec<String>>;

/// `blims x y, dorps none`.
fn world(text: &str) -> Option<World> {
    let mut world = World::new();
    for part in text.split(", ") {
        let (noun, things) = part.split_once(' ')?;
        let things: Vec<String> = if things == "none" {
            Vec::new()
        } else {
            things.split(' ').map(str::to_owned).collect()
        };
        if world.insert(noun.to_owned(), things).is_some() {
            return None;
        }
    }
    Some(world)
}

/// `x in blims`, `x not in dorps`.
fn fact(text: &str) -> Option<(String, bool)> {
    let rest = text.strip_prefix("x ")?;
    let (noun, is) = match rest.strip_prefix("not in ") {
        Some(noun) => (noun, false),
        None => (rest.strip_prefix("in ")?, true),
    };
    (!noun.contains(' ')).then(|| (noun.to_owned(), is))
}

/// What a chain has shown.
#[derive(Default)]
struct State {
    /// What is known of the thing that is followed.
    facts: BTreeMap<String, bool>,
    /// The noun of which it is any thing; nothing where a premise says that there is it.
    any: Option<String>,
    world: Option<World>,
    /// Items that hold in the world.
    shown: Vec<char>,
}

impl Question {
    fn holds_in(statement: &Statement, world: &World) -> bool {
        let things = |noun: &str| world.get(noun).map_or(&[][..], Vec::as_slice);
        let is = |thing: &String, noun: &str| things(noun).contains(thing);
        let denies = statement.denies != statement.universal;
        let found = things(&statement.nouns[0])
            .iter()
            .any(|thing| statement.has(|noun| is(thing, noun), denies));
        found != statement.universal
    }

    /// Whether sets are those of the world for both nouns of a statement.
    fn cites(statement: &Statement, cited: &str, state: &State) -> Option<bool> {
        let cited = world(cited)?;
        let Some(known) = &state.world else { return Some(false) };
        Some(
            cited.len() == 2
                && statement
                    .nouns
                    .iter()
                    .all(|noun| cited.contains_key(noun) && cited.get(noun) == known.get(noun)),
        )
    }

    /// Whether a premise, read either way, leads from one fact to another.
    fn leads(statement: &Statement, from: &(String, bool), to: &(String, bool)) -> bool {
        let [left, right] = &statement.nouns;
        let forward = (left.clone(), true);
        let end = (right.clone(), !statement.denies);
        let backward = ((right.clone(), statement.denies), (left.clone(), false));
        statement.universal
            && ((*from == forward && *to == end) || (*from == backward.0 && *to == backward.1))
    }

    /// Whether a line holds; nothing where its form is unknown.
    fn line(&self, line: &str, state: &mut State, conclusion: &mut Option<String>) -> Option<bool> {
        if let Some(text) = line.strip_prefix("let ") {
            let (noun, is) = fact(text)?;
            state.facts = BTreeMap::from([(noun.clone(), is)]);
            let held = is && self.nouns.contains(&noun);
            state.any = Some(noun);
            return Some(held);
        }
        if let Some(text) = line.strip_prefix("try ") {
            let world = world(text)?;
            let held = world.len() == self.nouns.len()
                && self.nouns.iter().all(|noun| world.contains_key(noun));
            state.world = Some(world);
            state.shown.clear();
            return Some(held);
        }
        let about = ItemLine::of(line)?;
        if about.label() == 'Q' {
            let (cited, answer) = about.work.split_once(" -> ")?;
            let shown = match answer {
                "yes" => {
                    let (one, other) = cited.split_once(", ")?;
                    self.is_derived(&fact(one)?, &fact(other)?, state)
                }
                "no" => {
                    let all = self.items.iter().all(|item| state.shown.contains(&item.label));
                    let fails = state.world.as_ref();
                    all && Self::cites(&self.asked, cited, state)?
                        && fails.is_some_and(|world| !Self::holds_in(&self.asked, world))
                }
                _ => return None,
            };
            *conclusion = Some(answer.to_owned());
            return Some(shown && about.is_about('Q', &self.text));
        }
        let item = self.items.iter().find(|item| about.is_about(item.label, &item.text));
        if let Some(cited) = about.work.strip_suffix(" -> holds") {
            let Some(item) = item else { return world(cited).map(|_| false) };
            let cites = Self::cites(&item.statement, cited, state)?;
            state.shown.push(item.label);
            let held = state.world.as_ref().is_some_and(|w| Self::holds_in(&item.statement, w));
            return Some(cites && held);
        }
        if let Some((from, to)) = about.work.split_once(" -> ") {
            let (from, to) = (fact(from)?, fact(to)?);
            let held = item.is_some_and(|item| Self::leads(&item.statement, &from, &to))
                && state.facts.get(&from.0) == Some(&from.1);
            state.facts.insert(to.0, to.1);
            return Some(held);
        }
        let (one, other) = about.work.split_once(", ")?;
        let (one, other) = (fact(one)?, fact(other)?);
        let held = item.is_some_and(|item| {
            let Statement { universal, denies, nouns } = &item.statement;
            !universal && one == (nouns[0].clone(), true) && other == (nouns[1].clone(), !denies)
        });
        state.facts = BTreeMap::from([one, other]);
        state.any = None;
        Some(held)
    }

    /// Whether the statement asked for follows from two facts about the thing followed.
    fn is_derived(&self, one: &(String, bool), other: &(String, bool), state: &State) -> bool {
        let Statement { universal, denies, nouns } = &self.asked;
        let known = [one, other].iter().all(|fact| state.facts.get(&fact.0) == Some(&fact.1));
        let named = one.0 == nouns[0] && other.0 == nouns[1];
        let direct = one.1 && other.1 != *denies;
        // `no A are B` is shown as well by any B that is no A.
        let turned = *universal && *denies && !one.1 && other.1;
        let general = match &state.any {
            None => !universal,
            Some(any) => *universal && ((direct && *any == one.0) || (turned && *any == other.0)),
        };
        known && named && general && (direct || turned)
    }
}

impl Reading for Question {
    /// A world is a set of kinds of things, a kind the set of nouns that it is. The universal
    /// premises say which kinds are possible; a `some` asks for one of them, and with all
    /// possible kinds in it at once, a world refutes every universal statement that can be.
    fn answer(&self) -> Option<String> {
        let is = |kind: usize, noun: &str| {
            self.nouns.iter().position(|known| known == noun).is_some_and(|n| kind >> n & 1 == 1)
        };
        let broken = |statement: &Statement, kind: usize| {
            statement.universal && statement.has(|noun| is(kind, noun), !statement.denies)
        };
        let possible: Vec<usize> = (0..1_usize << self.nouns.len())
            .filter(|kind| !self.items.iter().any(|item| broken(&item.statement, *kind)))
            .collect();
        // What each `some` may be about.
        let existing: Vec<Vec<usize>> = (self.items.iter())
            .filter(|item| !item.statement.universal)
            .map(|item| {
                let Statement { denies, .. } = item.statement;
                let mut kinds = possible.clone();
                kinds.retain(|kind| item.statement.has(|noun| is(*kind, noun), denies));
                kinds
            })
            .collect();
        if existing.iter().any(Vec::is_empty) {
            return None;
        }
        let asked = &self.asked;
        let holds = if asked.universal {
            !possible.iter().any(|kind| broken(asked, *kind))
        } else {
            existing.iter().any(|kinds| {
                kinds.iter().all(|kind| asked.has(|noun| is(*kind, noun), asked.denies))
            })
        };
        Some(if holds { "yes" } else { "no" }.to_owned())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut state = State::default();
        LineChecks::of(lines, |line, conclusion| self.line(line, &mut state, conclusion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};

    fn asked(premises: [&str; 2], conclusion: &str) -> String {
        format!("#A {}\n#B {}\n#Q Must it be that {conclusion}?", premises[0], premises[1])
    }

    #[test]
    fn the_classical_figures() {
        let answer = |premises: [&str; 2], conclusion: &str| {
            read(&asked(premises, conclusion)).and_then(|read| read.answer()).unwrap_or_default()
        };
        let all = ["all blims are dorps", "all dorps are zups"];
        assert_eq!(answer(all, "all blims are zups"), "yes", "barbara");
        assert_eq!(answer(all, "all zups are blims"), "no");
        assert_eq!(answer(all, "some blims are zups"), "no", "there may be no blims");
        let no = ["no dorps are zups", "all blims are dorps"];
        assert_eq!(answer(no, "no blims are zups"), "yes", "celarent");
        assert_eq!(answer(no, "no zups are blims"), "yes");
        let some = ["all dorps are zups", "some blims are dorps"];
        assert_eq!(answer(some, "some blims are zups"), "yes", "darii");
        assert_eq!(answer(some, "some zups are blims"), "yes");
        assert_eq!(answer(some, "all blims are zups"), "no");
        let not = ["no dorps are zups", "some blims are dorps"];
        assert_eq!(answer(not, "some blims are not zups"), "yes", "ferio");
        assert_eq!(answer(not, "some zups are not blims"), "no");
        let undistributed = ["all blims are dorps", "all zups are dorps"];
        assert_eq!(answer(undistributed, "all blims are zups"), "no");
        assert_eq!(
            answer(["no blims are dorps", "some blims are dorps"], "all dorps are blims"),
            ""
        );
        assert!(
            read(&asked(["most blims are dorps", "all dorps are zups"], "no blims are zups"))
                .is_none()
        );
    }

    #[test]
    fn a_thing_is_followed_from_set_to_set() {
        let question =
            asked(["no dorps are zups", "some blims are dorps"], "some blims are not zups");
        let verdicts = |lines: &[&str]| read(&question).unwrap().check(lines).verdicts;
        let lines = [
            "#B some blims are dorps: x in blims, x in dorps",
            "#A no dorps are zups: x in dorps -> x not in zups",
            "#Q Must it be that some blims are not zups: x in blims, x not in zups -> yes",
        ];
        assert_eq!(verdicts(&lines), [Ok; 3]);
        for (at, line) in [
            (0, "let x in zips"),
            (0, "#B some blims are dorps: x in blims, x in zups"),
            (1, "#A no dorps are zups: x in dorps -> x in zups"),
            (1, "#A no dorps are zups: x in blims -> x not in zups"),
            (1, "#B no dorps are zups: x in dorps -> x not in zups"),
            (2, "#Q Must it be that some blims are not zups: x in blims, x in dorps -> yes"),
            (2, "#Q Must it be that some blims are not zups: x in dorps, x not in zups -> yes"),
            (2, "#Q Must it be that some blims are not zups: blims x, zups none -> no"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        // Any blim is not a blim that there is.
        let mut any = lines;
        any[0] = "let x in blims";
        assert_eq!(verdicts(&any)[2], Wrong);
        assert_eq!(verdicts(&["Well.", "#A no dorps are zups: right"]), [Unchecked; 2]);
    }

    #[test]
    fn a_world_refutes() {
        let question = asked(["all blims are dorps", "all zups are dorps"], "all blims are zups");
        let verdicts = |lines: &[&str]| read(&question).unwrap().check(lines).verdicts;
        let lines = [
            "try blims x, dorps x y, zups y",
            "#A all blims are dorps: blims x, dorps x y -> holds",
            "#B all zups are dorps: zups y, dorps x y -> holds",
            "#Q Must it be that all blims are zups: blims x, zups y -> no",
        ];
        assert_eq!(verdicts(&lines), [Ok; 4]);
        assert_eq!(
            verdicts(&[
                "try blims x, dorps y, zups y",
                "#A all blims are dorps: blims x, dorps y -> holds"
            ]),
            [Ok, Wrong]
        );
        assert_eq!(
            verdicts(&[lines[0], "#A all blims are dorps: blims x, dorps x -> holds"]),
            [Ok, Wrong]
        );
        assert_eq!(
            verdicts(&[lines[0], lines[1], lines[3]]),
            [Ok, Ok, Wrong],
            "a premise is missing"
        );
        assert_eq!(verdicts(&["try blims x, dorps x y"]), [Wrong], "a noun is missing");
    }
}
