//! Ordering puzzles: clues that determine the order of a few people, and a question
//! about one place in it.

mod chinese;

use super::words::{self, NAMES, labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// The words of a relation: what it compares, what has more of it, and what has less.
struct Relation {
    measure: &'static str,
    more: &'static str,
    less: &'static str,
    most: &'static str,
    least: &'static str,
}

const RELATIONS: [Relation; 4] = [
    Relation {
        measure: "height",
        more: "taller",
        less: "shorter",
        most: "tallest",
        least: "shortest",
    },
    Relation { measure: "age", more: "older", less: "younger", most: "oldest", least: "youngest" },
    Relation {
        measure: "speed",
        more: "faster",
        less: "slower",
        most: "fastest",
        least: "slowest",
    },
    Relation {
        measure: "weight",
        more: "heavier",
        less: "lighter",
        most: "heaviest",
        least: "lightest",
    },
];

const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];

/// A clue: the person at place `upper` is above the one at place `lower`.
#[derive(Clone, Copy, Debug)]
struct Clue {
    upper: usize,
    lower: usize,
    /// Told from the lower person's side, with the opposite word.
    inverted: bool,
    /// About another relation, so without bearing on the question.
    distractor: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Most,
    Least,
    /// Place from the top, counted from 0.
    Place(usize),
}

/// A puzzle.
#[derive(Clone, Debug)]
pub(crate) struct Ordering {
    /// The people, from the top.
    people: Vec<&'static str>,
    relation: usize,
    other_relation: usize,
    clues: Vec<Clue>,
    asked: Asked,
}

impl Ordering {
    /// Draws a puzzle of `level + 2` people, each clue about one person more. From level 2
    /// any place may be asked for,
    /// from level 3 clues may be inverted, and at level 4 one of them may be a distractor.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let num_people = usize::from(level) + 2;
        let mut names = NAMES;
        rng.shuffle(&mut names);
        let people = names[..num_people].to_vec();
        let relation = rng.below(RELATIONS.len());
        let other_relation = (relation + 1 + rng.below(RELATIONS.len() - 1)) % RELATIONS.len();
        let mut clues: Vec<Clue> = growth(num_people, rng)
            .into_iter()
            .map(|upper| Clue { upper, lower: upper + 1, inverted: false, distractor: false })
            .collect();
        if level >= 3 {
            for clue in &mut clues {
                clue.inverted = rng.chance(1, 3);
            }
            if level >= 4 && rng.chance(1, 2) {
                let upper = rng.below(num_people);
                let lower = (upper + 1 + rng.below(num_people - 1)) % num_people;
                let inverted = rng.chance(1, 3);
                let place = 1 + rng.below(clues.len());
                clues.insert(place, Clue { upper, lower, inverted, distractor: true });
            }
        }
        let asked = if level == 1 || rng.chance(2, 5) {
            if rng.chance(1, 2) { Asked::Most } else { Asked::Least }
        } else {
            Asked::Place(1 + rng.below(num_people - 2))
        };
        Self { people, relation, other_relation, clues, asked }
    }

    fn asked_place(&self) -> usize {
        match self.asked {
            Asked::Most => 0,
            Asked::Least => self.people.len() - 1,
            Asked::Place(place) => place,
        }
    }

    /// The place asked for, such as `second tallest`.
    fn place_in_words(&self) -> String {
        let relation = &RELATIONS[self.relation];
        match self.asked {
            Asked::Most => relation.most.to_owned(),
            Asked::Least => relation.least.to_owned(),
            Asked::Place(place) => format!("{} {}", ORDINALS[place], relation.most),
        }
    }

    fn tell(&self, clue: Clue) -> String {
        let relation =
            &RELATIONS[if clue.distractor { self.other_relation } else { self.relation }];
        let (upper, lower) = (self.people[clue.upper], self.people[clue.lower]);
        if clue.inverted {
            format!("{lower} is {} than {upper}", relation.less)
        } else {
            format!("{upper} is {} than {lower}", relation.more)
        }
    }

    /// The work on each clue: what is asked about and what the clue is about,
    /// `height/age`; where that is the same, the ends of the order so far, the pair with the
    /// upper person first, and the order with its ends marked. Every part can be read off
    /// what stands before it, so that none asks for a decision and a copy at once.
    fn works(&self) -> Vec<String> {
        let people = &self.people;
        let mut known = self.clues[0].upper..self.clues[0].upper;
        (self.clues.iter().enumerate())
            .map(|(index, clue)| {
                let told = if clue.distractor { self.other_relation } else { self.relation };
                let (asked, told) = (RELATIONS[self.relation].measure, RELATIONS[told].measure);
                if clue.distractor {
                    return format!("{asked}/{told}, -");
                }
                let so_far = if index == 0 { &[] } else { &people[known.start..=known.end] };
                known = known.start.min(clue.upper)..known.end.max(clue.lower);
                let pair = joined(so_far, people[clue.upper], people[clue.lower]);
                format!("{asked}/{told}, {pair}, {}", marked(&people[known.start..=known.end]))
            })
            .collect()
    }

    /// Restates and works on the clues, numbers the last order, restates the question, and
    /// takes the place asked for.
    fn chain(&self, clues: &[String], question: &str) -> Vec<String> {
        let people = &self.people;
        let mut steps = restated(clues, self.works());
        let placed: Vec<String> = (people.iter().enumerate())
            .map(|(place, name)| {
                if place + 1 == people.len() {
                    format!("last {name}")
                } else {
                    format!("{} {name}", place + 1)
                }
            })
            .collect();
        steps.push(placed.join(", "));
        steps.push(words::answered(question, &placed[self.asked_place()]));
        steps
    }
}

impl Problem for Ordering {
    fn signature(&self) -> String {
        format!("logic/{}/{} {}", self.kind_name(), self.people.join(" "), self.asked_place())
    }

    fn kind_name(&self) -> &'static str {
        "ordering"
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        if language == Language::Zh {
            return chinese::render(self, rng);
        }
        let answer = self.people[self.asked_place()].to_owned();
        let clues = labelled(self.clues.iter().map(|clue| self.tell(*clue)));
        let told = clues.join("\n");
        let place = self.place_in_words();
        let (question, asked) = match rng.below(3) {
            0 => {
                let asked = format!("Who is the {place}");
                (format!("{told}\n{}", words::asked(language, &asked)), asked)
            }
            1 => {
                let asked = format!("Who is the {place} of all");
                (format!("We know:\n{told}\n{}", words::asked(language, &asked)), asked)
            }
            _ => {
                let asked = format!("Who is the {place}");
                (format!("{}\n{told}", words::asked(language, &asked)), asked)
            }
        };
        Rendered { question, steps: self.chain(&clues, &asked), answer }
    }
}

/// Both ends of an order, and a pair in which whoever is one of them is marked so:
/// `Ann top, Eve end, Eve end > Kim`. Of the first pair there is no order yet.
///
/// The mark of a name is what followed that name just before, which a transformer learns
/// to copy first; to find it in the order itself, past the clue, it learns late.
pub(crate) fn joined(order: &[&str], upper: &str, lower: &str) -> String {
    let [top, .., end] = order else { return format!("{upper} > {lower}") };
    let mark = |name: &str| match name {
        name if name == *top => " top",
        name if name == *end => " end",
        _ => "",
    };
    format!("{top} top, {end} end, {upper}{} > {lower}{}", mark(upper), mark(lower))
}

/// An order with its ends marked: `Ann top > Bob > Eve end`.
pub(crate) fn marked(people: &[&str]) -> String {
    match people {
        [] => String::new(),
        [first, rest @ ..] => {
            let mut told = format!("{first} top");
            for name in rest {
                told.push_str(" > ");
                told.push_str(name);
            }
            told + " end"
        }
    }
}

/// The upper places of neighbours in an order of so many, such that after the first pair
/// each adds one person at the top or the bottom of those already named.
fn growth(num_people: usize, rng: &mut CounterRng) -> Vec<usize> {
    let first = rng.below(num_people - 1);
    let (mut above, mut below) = (first, num_people - 2 - first);
    let mut pairs = vec![first];
    while above + below > 0 {
        // Every arrangement is equally likely.
        if rng.below(above + below) < above {
            above -= 1;
            pairs.push(above);
        } else {
            pairs.push(num_people - 1 - below);
            below -= 1;
        }
    }
    pairs
}
