//! Ordering puzzles: look-ups against the clues, and a solver that tries every order.

use std::sync::LazyLock;

use regex::Regex;

use super::label::{ItemLine, Labelled, items};
use super::{LineChecks, Reading, StepVerdict};

/// Words of a relation: more, less, most, least, and what it compares.
const RELATIONS: [[&str; 5]; 4] = [
    ["taller", "shorter", "tallest", "shortest", "height"],
    ["older", "younger", "oldest", "youngest", "age"],
    ["faster", "slower", "fastest", "slowest", "speed"],
    ["heavier", "lighter", "heaviest", "lightest", "weight"],
];

const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];

/// Above this many people, trying every order takes too long.
const MOST_PEOPLE: usize = 8;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of this file")
}

static CLUE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\w+) is (\w+) than (\w+)$"));
static ASKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^Who is the (?:(first|second|third|fourth|fifth|sixth) )?(\w+)"));
static WORK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(\w+/\w+), ",
        r"(?:((?:\w+ top, \w+ end, )?\w+(?: top| end)? > \w+(?: top| end)?), ",
        r"(\w+) top((?: > \w+)+) end|-)$"
    ))
});
static PLACED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:\d+ \w+, )*last \w+$"));
static PLACE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d+|last) (\w+)$"));

/// The label of what is asked for.
const QUESTION: char = 'Q';

/// A pair of people, upper first.
type Pair = (String, String);

/// An item of the question.
struct Clue {
    label: char,
    text: String,
    /// What is asked about and what it is about: `height/age`.
    measures: String,
    /// Nothing where it is about another relation than the asked one.
    pair: Option<Pair>,
}

/// A question that asks for a place in an order.
struct Question {
    /// The items.
    items: Vec<Clue>,
    /// Everyone in those pairs.
    people: Vec<String>,
    /// The one order that fits, from the top; nothing where there is not exactly one.
    order: Option<Vec<usize>>,
    /// What is asked for, in words, without the question mark.
    wording: String,
    /// Place asked for, from the top, counted from 0.
    asked: usize,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let (asked, items): (Vec<_>, Vec<_>) =
            items(question)?.into_iter().partition(|item| item.label == QUESTION);
        let question = asked.first()?.text.strip_suffix('?')?;
        let asked = ASKED.captures(question)?;
        let word = &asked[2];
        let relation = RELATIONS.iter().find(|words| words[2..4].contains(&word))?;
        let mut told = Vec::new();
        for Labelled { label, text } in items {
            let clue = CLUE.captures(text)?;
            let (left, right) = (clue[1].to_owned(), clue[3].to_owned());
            let pair = if clue[2] == *relation[0] {
                Some((left, right))
            } else {
                (clue[2] == *relation[1]).then_some((right, left))
            };
            // About nothing that can be asked for; no chain has a word for it.
            let other = RELATIONS.iter().find(|words| words[..2].contains(&&clue[2]));
            let measures = format!("{}/{}", relation[4], other.map_or("", |words| words[4]));
            told.push(Clue { label, text: text.to_owned(), measures, pair });
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
        Some(Self { items: told, people, order, wording: question.to_owned(), asked })
    }

    /// Whether a line holds; nothing where its form is unknown.
    fn line(
        &self,
        line: &str,
        progress: &mut Progress,
        conclusion: &mut Option<String>,
    ) -> Option<bool> {
        let about = ItemLine::of(line);
        if let Some(about) = about.filter(|about| about.label() == QUESTION) {
            let found = PLACE.captures(about.work)?;
            let name = &found[2];
            *conclusion = Some(name.to_owned());
            let place = progress.place(&found[1])?;
            return Some(
                about.is_about(QUESTION, &self.wording)
                    && progress.placed
                    && place == self.asked
                    && progress.order.get(place).is_some_and(|there| there == name),
            );
        }
        if let Some(about) = about {
            let found = WORK.captures(about.work)?;
            let part = |index| found.get(index).map(|part| part.as_str());
            let order: Option<Vec<String>> = part(3).zip(part(4)).map(|(first, rest)| {
                [first].into_iter().chain(rest.split(" > ").skip(1)).map(str::to_owned).collect()
            });
            let held = self.items.get(progress.restated).is_some_and(|clue| {
                let pair = clue.pair.as_ref();
                about.is_about(clue.label, &clue.text)
                    && clue.measures == found[1]
                    && pair.map(|pair| joined(&progress.order, pair)).as_deref() == part(2)
                    && pair.and_then(|pair| extended(&progress.order, pair)) == order
            });
            progress.restated += 1;
            if let Some(order) = order {
                progress.order = order;
            }
            return Some(held);
        }
        PLACED.is_match(line).then(|| {
            progress.placed = true;
            let names = progress.order.iter().enumerate();
            let placed: Vec<String> =
                names.map(|(place, name)| format!("{} {name}", progress.name_of(place))).collect();
            progress.restated == self.items.len() && line == placed.join(", ")
        })
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let person = *self.order.as_ref()?.get(self.asked)?;
        self.people.get(person).cloned()
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
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
}

/// How far a chain has come.
#[derive(Default)]
struct Progress {
    /// How many clues were restated.
    restated: usize,
    /// The order after the last of them, from the top.
    order: Vec<String>,
    /// Whether everyone was given a place.
    placed: bool,
}

impl Progress {
    /// How a place, from 0, is called: its number from 1, or `last`.
    fn name_of(&self, place: usize) -> String {
        if place + 1 == self.order.len() { "last".to_owned() } else { (place + 1).to_string() }
    }

    /// The place, from 0, that is called so; nothing where no place can be.
    fn place(&self, name: &str) -> Option<usize> {
        if name == "last" {
            return self.order.len().checked_sub(1);
        }
        name.parse::<usize>().ok()?.checked_sub(1)
    }
}

/// What a line says of a pair: the ends of the order so far, and which of the two is one.
fn joined(order: &[String], (upper, lower): &Pair) -> String {
    let (Some(top), Some(end)) = (order.first(), order.last()) else {
        return format!("{upper} > {lower}");
    };
    let mut said = format!("{top} top, {end} end, {upper} > {lower}");
    for (name, mark) in [(top, "top"), (end, "end")] {
        if name == lower {
            said = format!("{said} {mark}");
        } else if name == upper {
            said = format!("{top} top, {end} end, {upper} {mark} > {lower}");
        }
    }
    said
}

/// The order after a clue: a pair joins at the top or the bottom; nothing where it does not.
fn extended(order: &[String], (upper, lower): &Pair) -> Option<Vec<String>> {
    let mut names = order.to_vec();
    if names.is_empty() {
        names = vec![upper.clone(), lower.clone()];
    } else if names.first() == Some(lower) && !names.contains(upper) {
        names.insert(0, upper.clone());
    } else if names.last() == Some(upper) && !names.contains(lower) {
        names.push(lower.clone());
    } else {
        return None;
    }
    Some(names)
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
        Question::of(question).and_then(|reading| reading.answer())
    }

    #[test]
    fn an_answer_needs_exactly_one_order() {
        let told = "#A Ann is taller than Bob\n#B Bob is taller than Eve";
        assert_eq!(answer(&format!("{told}\n#Q Who is the tallest?")).as_deref(), Some("Ann"));
        assert_eq!(answer(&format!("#Q Who is the shortest?\n{told}")).as_deref(), Some("Eve"));
        assert_eq!(
            answer(&format!("{told}\n#Q Who is the second tallest?")).as_deref(),
            Some("Bob")
        );
        // From the other end, and a place that does not exist.
        assert_eq!(
            answer(&format!("{told}\n#Q Who is the third shortest?")).as_deref(),
            Some("Ann")
        );
        assert_eq!(answer(&format!("{told}\n#Q Who is the fifth tallest?")), None);
        let open = "#A Ann is taller than Bob\n#B Ann is taller than Eve\n#Q Who is the shortest?";
        assert_eq!(answer(open), None);
        let circle = "#A Ann is taller than Bob\n#B Bob is taller than Ann\n#Q Who is the tallest?";
        assert_eq!(answer(circle), None);
    }

    const OTHER: &str = "#A Bob is older than Ann\n#B Bob is shorter than Ann\n\
                         #Q Who is the tallest of all?";

    #[test]
    fn other_relations_have_no_say() {
        assert_eq!(answer(OTHER).as_deref(), Some("Ann"));
        assert_eq!(answer("#Q Who is the tallest?"), None);
        assert_eq!(answer("#A Ann is tall\n#Q Who is the tallest?"), None);
    }

    const PLACES: &str = "1 Ann, 2 Eve, last Bob";

    #[test]
    fn clues_are_restated_one_by_one() {
        use StepVerdict::{Ok, Unchecked, Wrong};
        let (first, second, third) =
            ("#A Eve is taller than Bob", "#B Bob is older than Ann", "#C Eve is shorter than Ann");
        let question = format!("{first}\n{second}\n{third}\n#Q Who is the second tallest?");
        let reading = Question::of(&question).unwrap();
        let verdicts = |lines: &[&str]| reading.check(lines).verdicts;
        let work = |item: &str, work: &str| format!("{item}: {work}");
        let asked = |answer: &str| format!("#Q Who is the second tallest: {answer}");
        let pair = &*work(first, "height/height, Eve > Bob, Eve top > Bob end");
        let none = &*work(second, "height/age, -");
        let last = &*work(
            third,
            "height/height, Eve top, Bob end, Ann > Eve top, Ann top > Eve > Bob end",
        );
        let chain = [pair, none, last, PLACES, &asked("2 Eve")];
        assert_eq!(verdicts(&chain), [Ok; 5]);
        for (line, why) in [
            ("Eve top, Bob end, Ann > Eve top, Eve top > Bob > Ann end", "at the wrong end"),
            ("Eve top, Bob end, Ann > Eve top, Ann top > Eve end", "someone is lost"),
            ("Eve top, Bob end, Ann > Eve top, Eve top > Bob end", "not joined"),
            ("Eve top, Bob end, Eve top > Ann, Ann top > Eve > Bob end", "the pair is turned"),
            ("Eve top, Bob end, Ann > Eve end, Ann top > Eve > Bob end", "not her end"),
            ("Eve top, Bob end, Ann > Eve, Ann top > Eve > Bob end", "no mark"),
            ("Bob top, Eve end, Ann > Eve end, Ann top > Eve > Bob end", "not the ends"),
            ("Ann > Eve, Ann top > Eve > Bob end", "no ends"),
            ("-", "the clue is about the order"),
        ] {
            let line = work(third, &format!("height/height, {line}"));
            assert_eq!(verdicts(&[pair, none, &line]), [Ok, Ok, Wrong], "{why}");
        }
        for measures in ["height/age", "age/height", "age/age"] {
            let line = last.replace("height/height", measures);
            assert_eq!(verdicts(&[pair, none, &line]), [Ok, Ok, Wrong], "{measures}");
        }
        assert_eq!(verdicts(&[pair, &work(second, "height/height, -")]), [Ok, Wrong]);
        assert_eq!(
            verdicts(&[pair, &work(second, "height/age, -, Eve top > Bob end")])[1],
            Unchecked
        );
        let other = "#B Eve is older than Ann: height/age, -";
        assert_eq!(verdicts(&[pair, other]), [Ok, Wrong]);
        let unmarked = "height/height, Eve top, Bob end, Ann > Eve top, Ann > Eve > Bob";
        assert_eq!(verdicts(&[pair, none, &work(third, unmarked)]), [Ok, Ok, Unchecked]);
        assert_eq!(verdicts(&[none]), [Wrong], "not the next clue");
        assert_eq!(verdicts(&[pair, "1 Eve, last Bob"]), [Ok, Wrong], "a clue is missing");
        let closed = |lines: &[&str]| {
            let lines: Vec<&str> = chain[..3].iter().chain(lines).copied().collect();
            verdicts(&lines).split_off(3)
        };
        assert_eq!(closed(&["1 Ann, 3 Eve, last Bob"]), [Wrong]);
        assert_eq!(closed(&[&asked("2 Eve")]), [Wrong], "no places yet");
        assert_eq!(closed(&[chain[3], &asked("2 Bob")]), [Ok, Wrong]);
        assert_eq!(closed(&[chain[3], &asked("1 Ann")]), [Ok, Wrong], "not what is asked for");
        assert_eq!(closed(&[chain[3], &asked("last Bob")]), [Ok, Wrong], "not what is asked for");
        let another = "#Q Who is the second shortest: 2 Eve";
        assert_eq!(closed(&[chain[3], another]), [Ok, Wrong], "another question");
        assert_eq!(verdicts(&[&chain[..3], &["#D Ann is old: height/age, -"]].concat())[3], Wrong);
        assert_eq!(verdicts(&["#A -", "#A x: nothing", "Well.", "#Q Who: Eve"]), [Unchecked; 4]);
        // One slip counts once.
        let slip = &*work(first, "age/height, Eve > Bob, Eve top > Bob end");
        assert_eq!(verdicts(&[slip, none, last]), [Wrong, Ok, Ok]);
    }

    #[test]
    fn many_people_are_not_tried() {
        let names = ["Al", "Bo", "Cy", "Di", "Ed", "Fay", "Gil", "Hal", "Ike", "Jo"];
        let clues: Vec<String> = names
            .windows(2)
            .zip('A'..)
            .map(|(p, label)| format!("#{label} {} is older than {}", p[0], p[1]))
            .collect();
        assert_eq!(answer(&format!("{}\n#Q Who is the oldest?", clues.join("\n"))), None);
    }
}
