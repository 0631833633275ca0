//! Zebra puzzles: a line may only strike out houses that no arrangement of what it cites
//! allows, and a solver arranges one category after another to prove the answer unique.

use super::label::{ItemLine, Labelled, items, other_lines};
use super::{LineChecks, Reading};

/// Above these, trying every arrangement takes too long.
const MOST_HOUSES: usize = 5;
const MOST_CATEGORIES: usize = 5;

/// What a clue says of the houses of one or two values.
#[derive(Clone, Copy)]
enum Clue {
    House(usize, usize, bool),
    Pair(usize, Relation, usize),
}

/// Whether two houses stand so.
type Relation = fn(usize, usize) -> bool;

const RELATIONS: [(&str, Relation); 5] = [
    (" is with ", |left, right| left == right),
    (" is not with ", |left, right| left != right),
    (" is directly left of ", |left, right| right == left + 1),
    (" is somewhere left of ", |left, right| right > left),
    (" is next to ", |left, right| left == right + 1 || right == left + 1),
];

struct Category {
    name: String,
    values: Vec<usize>,
}

struct Item {
    label: char,
    text: String,
    clue: Clue,
}

enum Asked {
    House(usize),
    Companion(usize, usize),
}

/// A puzzle.
struct Question {
    num_houses: usize,
    names: Vec<String>,
    categories: Vec<Category>,
    items: Vec<Item>,
    text: String,
    asked: Asked,
}

/// A value and the houses in which it may be.
type Set = (usize, Vec<usize>);

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

/// The category that a question means by a word.
fn plural(word: &str) -> String {
    if word == "Who" { "people".to_owned() } else { format!("{word}s") }
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let rest = question.strip_prefix("Houses 1 to ")?;
        let (number, _) = rest.split_once(" stand in a row from left to right.")?;
        let num_houses = number.parse().ok().filter(|&number| number <= MOST_HOUSES)?;
        let (mut names, mut categories) = (Vec::new(), Vec::new());
        for line in other_lines(question).skip(1) {
            let (name, values) = line.split_once(": ")?;
            let first = names.len();
            names.extend(values.split(", ").map(str::to_owned));
            let values: Vec<usize> = (first..names.len()).collect();
            if values.len() != num_houses {
                return None;
            }
            categories.push(Category { name: name.to_owned(), values });
        }
        let repeated = (1..names.len()).any(|at| names[..at].contains(&names[at]));
        if repeated || categories.len() > MOST_CATEGORIES {
            return None;
        }
        let value = |text: &str| {
            let name = text.strip_prefix("the ").unwrap_or(text);
            names.iter().position(|known| known == name)
        };
        let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
            items(question)?.into_iter().partition(|item| item.label == 'Q');
        let text = asked.first()?.text.strip_suffix('?')?;
        let asked = if let Some(name) = text.strip_prefix("In which house is ") {
            Asked::House(value(name)?)
        } else {
            let (kind, name) = text.split_once(" is with ")?;
            let name_of_category = plural(kind.trim_start_matches("Which "));
            let category = categories.iter().position(|known| known.name == name_of_category)?;
            Asked::Companion(value(name)?, category)
        };
        let mut items = Vec::new();
        for item in told {
            let clue = if let Some((name, house)) = item.text.split_once(" is in house ") {
                Clue::House(value(name)?, house.parse::<usize>().ok()?.checked_sub(1)?, true)
            } else if let Some((name, house)) = item.text.split_once(" is not in house ") {
                Clue::House(value(name)?, house.parse::<usize>().ok()?.checked_sub(1)?, false)
            } else {
                RELATIONS.iter().find_map(|(words, relation)| {
                    let (left, right) = item.text.split_once(words)?;
                    Some(Clue::Pair(value(left)?, *relation, value(right)?))
                })?
            };
            items.push(Item { label: item.label, text: item.text.to_owned(), clue });
        }
        let text = text.to_owned();
        Some(Self { num_houses, names, categories, items, text, asked })
    }

    /// The arrangements that fit, at most two; `houses` has a place for each value.
    fn arrange(
        &self,
        category: usize,
        houses: &mut Vec<Option<usize>>,
        found: &mut Vec<Vec<Option<usize>>>,
    ) {
        let Some(Category { values, .. }) = self.categories.get(category) else {
            found.push(houses.clone());
            return;
        };
        let Some(&value) = values.iter().find(|&&value| houses[value].is_none()) else {
            return self.arrange(category + 1, houses, found);
        };
        for house in 0..self.num_houses {
            if found.len() > 1 {
                return;
            }
            if values.iter().any(|&other| houses[other] == Some(house)) {
                continue;
            }
            houses[value] = Some(house);
            let fits = self.items.iter().all(|item| match item.clue {
                Clue::House(value, at, is) => houses[value].is_none_or(|house| (house == at) == is),
                Clue::Pair(left, relation, right) => {
                    houses[left].zip(houses[right]).is_none_or(|(l, r)| relation(l, r))
                }
            });
            if fits {
                self.arrange(category, houses, found);
            }
            houses[value] = None;
        }
    }

    /// `Ann 1/2, cat 3`.
    fn sets(&self, text: &str) -> Option<Vec<Set>> {
        text.split(", ")
            .map(|part| {
                let (name, houses) = part.split_once(' ')?;
                let value = self.names.iter().position(|known| known == name)?;
                let houses: Option<Vec<usize>> = houses
                    .split('/')
                    .map(|house| house.parse::<usize>().ok()?.checked_sub(1))
                    .collect();
                Some((value, houses?))
            })
            .collect()
    }

    /// Whether a line holds; nothing where its form is unknown.
    fn line(
        &self,
        line: &str,
        state: &mut [Vec<usize>],
        conclusion: &mut Option<String>,
    ) -> Option<bool> {
        let about = ItemLine::of(line);
        let (head, work) = match &about {
            Some(about) => ("", about.work),
            None => line.split_once(": ")?,
        };
        let (cited, outcome) = work.split_once(" -> ")?;
        let cited = self.sets(cited)?;
        let known = cited.iter().all(|(value, houses)| state[*value] == *houses);
        if about.is_some_and(|about| about.label() == 'Q') {
            *conclusion = Some(outcome.to_owned());
            let is_about = about.is_some_and(|about| about.is_about('Q', &self.text));
            return Some(known && is_about && self.answers(&cited, outcome));
        }
        let changed = self.sets(outcome)?;
        let possible = match about {
            Some(about) => self
                .items
                .iter()
                .find(|item| about.is_about(item.label, &item.text))
                .and_then(|item| by_clue(item.clue, &cited)),
            None => self
                .categories
                .iter()
                .find(|category| category.name == head)
                .and_then(|category| by_category(category, &cited)),
        };
        let held = known
            && (1..changed.len()).all(|at| changed[..at].iter().all(|set| set.0 != changed[at].0))
            && possible.is_some_and(|possible| {
                changed.iter().all(|(value, houses)| {
                    let shrinks = houses.len() < state[*value].len()
                        && houses.iter().all(|house| state[*value].contains(house));
                    let left = possible.iter().find(|(other, _)| other == value);
                    shrinks
                        && left.is_some_and(|(_, left)| {
                            left.iter().all(|house| houses.contains(house))
                        })
                })
            });
        for (value, houses) in changed {
            state[value] = houses;
        }
        Some(held)
    }

    /// Whether an answer follows from placed values.
    fn answers(&self, cited: &[Set], answer: &str) -> bool {
        let placed = |set: &Set| (set.1.len() == 1).then(|| (set.0, set.1[0]));
        match (&self.asked, cited) {
            (Asked::House(asked), [set]) => placed(set)
                .is_some_and(|(value, house)| value == *asked && answer == (house + 1).to_string()),
            (Asked::Companion(asked, category), [set, other]) => {
                placed(set).zip(placed(other)).is_some_and(|((value, house), (other, there))| {
                    value == *asked
                        && house == there
                        && self.categories[*category].values.contains(&other)
                        && self.names[other] == answer
                })
            }
            _ => false,
        }
    }
}

/// The houses that each value of a category has in some arrangement within its set.
fn by_category(category: &Category, cited: &[Set]) -> Option<Vec<Set>> {
    if !cited.iter().map(|set| set.0).eq(category.values.iter().copied()) {
        return None;
    }
    let mut left: Vec<Set> = cited.iter().map(|set| (set.0, Vec::new())).collect();
    arrangements(cited, &mut Vec::new(), &mut |houses| {
        for (set, &house) in left.iter_mut().zip(houses) {
            if !set.1.contains(&house) {
                set.1.push(house);
            }
        }
    });
    Some(left)
}

/// Every choice of different houses from the sets.
fn arrangements(sets: &[Set], chosen: &mut Vec<usize>, take: &mut dyn FnMut(&[usize])) {
    let Some((_, houses)) = sets.get(chosen.len()) else { return take(chosen) };
    for &house in houses {
        if !chosen.contains(&house) {
            chosen.push(house);
            arrangements(sets, chosen, take);
            chosen.pop();
        }
    }
}

/// The houses that a clue leaves to the values that it is about.
fn by_clue(clue: Clue, cited: &[Set]) -> Option<Vec<Set>> {
    match (clue, cited) {
        (Clue::House(value, at, is), [set]) if set.0 == value => {
            Some(vec![(value, set.1.iter().copied().filter(|&h| (h == at) == is).collect())])
        }
        (Clue::Pair(left, relation, right), [one, other]) if one.0 == left && other.0 == right => {
            let lefts = one.1.iter().copied().filter(|&l| other.1.iter().any(|&r| relation(l, r)));
            let rights = other.1.iter().copied().filter(|&r| one.1.iter().any(|&l| relation(l, r)));
            Some(vec![(left, lefts.collect()), (right, rights.collect())])
        }
        _ => None,
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let mut found = Vec::new();
        self.arrange(0, &mut vec![None; self.names.len()], &mut found);
        let [houses] = found.as_slice() else { return None };
        match self.asked {
            Asked::House(value) => houses[value].map(|house| (house + 1).to_string()),
            Asked::Companion(value, category) => {
                let values = &self.categories[category].values;
                let other = values.iter().find(|&&other| houses[other] == houses[value])?;
                Some(self.names[*other].clone())
            }
        }
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut state = vec![(0..self.num_houses).collect::<Vec<usize>>(); self.names.len()];
        LineChecks::of(lines, |line, conclusion| self.line(line, &mut state, conclusion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};

    const OPENING: &str = "Houses 1 to 3 stand in a row from left to right. Each has one of every \
                           kind, no two the same.\npeople: Ann, Bob, Eve\npets: cat, dog, fish";
    const CLUES: &str = "#A Ann is in house 2\n#B the dog is directly left of Ann\n\
                         #C Bob is somewhere left of the cat\n#D Eve is with the cat";

    #[test]
    fn an_answer_needs_exactly_one_arrangement() {
        let answer = |clues: &str, asked: &str| {
            read(&format!("{OPENING}\n{clues}\n#Q {asked}?")).and_then(|read| read.answer())
        };
        assert_eq!(answer(CLUES, "Which pet is with Ann").as_deref(), Some("fish"));
        assert_eq!(answer(CLUES, "Who is with the dog").as_deref(), Some("Bob"));
        assert_eq!(answer(CLUES, "In which house is the cat").as_deref(), Some("3"));
        assert_eq!(answer("#A Ann is in house 2", "Who is with the dog"), None);
        assert_eq!(
            answer(&format!("{CLUES}\n#E Ann is with the dog"), "Who is with the dog"),
            None
        );
        assert_eq!(answer("#A Ann is happy", "Who is with the dog"), None);
    }

    #[test]
    fn a_line_strikes_out_only_what_it_excludes() {
        let question = format!("{OPENING}\n{CLUES}\n#Q Which pet is with Ann?");
        let reading = read(&question).unwrap();
        let verdicts = |lines: &[&str]| reading.check(lines).verdicts;
        let first = "#A Ann is in house 2: Ann 1/2/3 -> Ann 2";
        let second = "#B the dog is directly left of Ann: dog 1/2/3, Ann 2 -> dog 1";
        let people = "people: Ann 2, Bob 1/2/3, Eve 1/2/3 -> Bob 1/3, Eve 1/3";
        let third = "#D Eve is with the cat: Eve 1/3, cat 1/2/3 -> cat 1/3";
        let pets = "pets: cat 1/3, dog 1, fish 1/2/3 -> cat 3, fish 2";
        let end = "#Q Which pet is with Ann: Ann 2, fish 2 -> fish";
        assert_eq!(verdicts(&[first, second, people, third, pets, end]), [Ok; 6]);
        for line in [
            "#B the dog is directly left of Ann: dog 1/2/3, Ann 2 -> dog 3",
            "#B the dog is directly left of Ann: dog 1/3, Ann 2 -> dog 1",
            "#B the dog is directly left of Ann: dog 1/2/3 -> dog 1",
            "#C the dog is directly left of Ann: dog 1/2/3, Ann 2 -> dog 1",
            "people: Ann 2, Bob 1/2/3, Eve 1/2/3 -> Bob 1, Eve 1/3",
            "people: Ann 2, Bob 1/2/3, Eve 1/2/3 -> Ann 2",
            "people: Ann 2, Bob 1/2/3 -> Bob 1/3",
            "pets: Ann 2, Bob 1/2/3, Eve 1/2/3 -> Bob 1/3, Eve 1/3",
            "#Q Which pet is with Ann: Ann 2, fish 2 -> fish",
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        let chain = [first, second, people, third, pets];
        for line in [
            "#Q Which pet is with Ann: Ann 2, dog 1 -> dog",
            "#Q Which pet is with Ann: Ann 2, fish 2 -> cat",
            "#Q Which pet is with Eve: Ann 2, fish 2 -> fish",
            "#Q Which pet is with Ann: fish 2, Ann 2 -> Ann",
        ] {
            assert_eq!(verdicts(&[&chain[..], &[line]].concat())[5], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["Well.", "#A Ann is in house 2", "people: nobody"]), [Unchecked; 3]);
        let slip = [
            "#A Ann is in house 2: Ann 1/2/3 -> Ann 1",
            "people: Ann 1, Bob 1/2/3, Eve 1/2/3 -> Bob 2/3",
        ];
        assert_eq!(verdicts(&slip), [Wrong, Ok]);
    }
}
