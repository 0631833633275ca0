//! Seats: every seating is tried to prove the answer unique, and a line must give a person
//! the seat that its clue does from the seats before it.

use super::label::{ItemLine, Labelled, items, other_lines};
use super::worked::result;
use super::{LineChecks, Reading};

/// Above this many people, trying every seating takes too long.
const MOST_PEOPLE: usize = 8;

/// What an item says.
#[derive(Clone, Copy)]
enum Clue {
    Seat(usize, i64),
    /// A person, how many seats further, and from whom.
    Further(usize, i64, usize),
    Opposite(usize, usize),
}

struct Item {
    label: char,
    text: String,
    clue: Clue,
}

enum Asked {
    Seat(usize),
    Person(i64),
}

struct Question {
    round: bool,
    num_seats: i64,
    people: Vec<String>,
    items: Vec<Item>,
    text: String,
    asked: Asked,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let opening = other_lines(question).next()?.strip_prefix("Seats 1 to ")?;
    let (number, arranged) = opening.split_once(' ')?;
    let round = match arranged {
        "stand in a row from left to right." => false,
        "stand clockwise around a table." => true,
        _ => return None,
    };
    let num_seats: usize = number.parse().ok().filter(|number| *number <= MOST_PEOPLE)?;
    let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
        items(question)?.into_iter().partition(|item| item.label == 'Q');
    let people: Vec<String> = told
        .iter()
        .map(|item| item.text.split_once(' ').map(|(name, _)| name.to_owned()))
        .collect::<Option<_>>()?;
    let repeated = (1..people.len()).any(|at| people[..at].contains(&people[at]));
    if people.len() != num_seats || repeated {
        return None;
    }
    let person = |name: &str| people.iter().position(|known| known == name);
    let items = told
        .iter()
        .map(|item| {
            let (name, rest) = item.text.split_once(' ')?;
            let name = person(name)?;
            let clue = if let Some(seat) = rest.strip_prefix("has seat ") {
                Clue::Seat(name, seat.parse().ok()?)
            } else if let Some(other) = rest.strip_prefix("sits opposite ") {
                (round && num_seats.is_multiple_of(2))
                    .then_some(Clue::Opposite(name, person(other)?))?
            } else {
                let (count, rest) = rest.strip_prefix("sits ")?.split_once(' ')?;
                let (_, way) = rest.split_once(' ')?;
                let (way, other) = way.rsplit_once(' ')?;
                let sign = match (round, way) {
                    (false, "right of") | (true, "clockwise from") => 1,
                    (false, "left of") | (true, "counterclockwise from") => -1,
                    _ => return None,
                };
                let count: i64 = count.parse::<u8>().ok()?.into();
                Clue::Further(name, sign * count, person(other)?)
            };
            Some(Item { label: item.label, text: item.text.to_owned(), clue })
        })
        .collect::<Option<_>>()?;
    let text = asked.first()?.text.strip_suffix('?')?;
    let asked = match text.strip_prefix("Which seat has ") {
        Some(name) => Asked::Seat(person(name)?),
        None => Asked::Person(text.strip_prefix("Who has seat ")?.parse().ok()?),
    };
    let (text, num_seats) = (text.to_owned(), num_seats as i64);
    Some(Box::new(Question { round, num_seats, people, items, text, asked }))
}

impl Question {
    fn fits(&self, clue: Clue, seats: &[i64]) -> bool {
        match clue {
            Clue::Seat(person, seat) => seats[person] == seat,
            Clue::Opposite(person, other) => {
                2 * (seats[person] - seats[other]).abs() == self.num_seats
            }
            Clue::Further(person, count, other) => {
                let off = seats[person] - seats[other] - count;
                if self.round { off % self.num_seats == 0 } else { off == 0 }
            }
        }
    }

    /// Tries every seating of the people from `placed` on; stops at a second fit.
    fn arrange(&self, seats: &mut Vec<i64>, found: &mut Vec<Vec<i64>>) {
        if seats.len() == self.people.len() {
            if self.items.iter().all(|item| self.fits(item.clue, seats)) {
                found.push(seats.clone());
            }
            return;
        }
        for seat in 1..=self.num_seats {
            if !seats.contains(&seat) && found.len() < 2 {
                seats.push(seat);
                self.arrange(seats, found);
                seats.pop();
            }
        }
    }

    /// `Ann 3`.
    fn placed(&self, text: &str) -> Option<(usize, i64)> {
        let (name, seat) = text.split_once(' ')?;
        Some((self.people.iter().position(|known| known == name)?, seat.parse().ok()?))
    }

    /// Whether a line holds; nothing where its form is unknown.
    fn line(
        &self,
        line: &str,
        seats: &mut [Option<i64>],
        conclusion: &mut Option<String>,
    ) -> Option<bool> {
        let about = ItemLine::of(line)?;
        if about.label() == 'Q' {
            *conclusion = Some(about.work.to_owned());
            let holds = match self.asked {
                Asked::Seat(person) => {
                    seats[person].is_some_and(|seat| about.work == seat.to_string())
                }
                Asked::Person(seat) => {
                    let person = self.people.iter().position(|name| name == about.work)?;
                    seats[person] == Some(seat)
                }
            };
            return Some(holds && about.is_about('Q', &self.text));
        }
        let parts: Vec<&str> = about.work.split(", ").collect();
        let (last, parts) = parts.split_last()?;
        let (person, seat) = self.placed(last)?;
        let item = self.items.iter().find(|item| about.is_about(item.label, &item.text));
        let free = seats[person].is_none() && !seats.contains(&Some(seat));
        let mut held = free && (1..=self.num_seats).contains(&seat);
        held &= match item.map(|item| item.clue) {
            None => false,
            Some(Clue::Seat(of, at)) => parts.is_empty() && of == person && at == seat,
            Some(Clue::Further(of, count, other)) => {
                of == person && self.counts(parts, other, count, seat, seats)?
            }
            Some(Clue::Opposite(of, other)) => {
                of == person && self.counts(parts, other, self.num_seats / 2, seat, seats)?
            }
        };
        seats[person] = Some(seat);
        Some(held)
    }

    /// Whether the parts count so many seats from someone's to a seat.
    fn counts(
        &self,
        parts: &[&str],
        other: usize,
        count: i64,
        seat: i64,
        seats: &[Option<i64>],
    ) -> Option<bool> {
        let (start, sums) = parts.split_first()?;
        let (named, from) = self.placed(start)?;
        let mut held = named == other && seats[other] == Some(from);
        let sign = if count < 0 { '-' } else { '+' };
        let (first, rest) = sums.split_first()?;
        let mut reached = result(first, &format!("{from}{sign}{}", count.abs()))?;
        if let [back] = rest {
            let before = reached.unwrap_or(0);
            let sign = if before < 1 { '+' } else { '-' };
            held &= self.round && reached.is_some();
            reached = result(back, &format!("{before}{sign}{}", self.num_seats))?;
        } else {
            held &= rest.is_empty();
        }
        Some(held && reached == Some(i128::from(seat)))
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let mut found = Vec::new();
        self.arrange(&mut Vec::new(), &mut found);
        let [seats] = found.as_slice() else { return None };
        match self.asked {
            Asked::Seat(person) => Some(seats[person].to_string()),
            Asked::Person(seat) => {
                self.people.get(seats.iter().position(|other| *other == seat)?).cloned()
            }
        }
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut seats = vec![None; self.people.len()];
        LineChecks::of(lines, |line, conclusion| self.line(line, &mut seats, conclusion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};

    const ROW: &str = "Seats 1 to 3 stand in a row from left to right.\n#A Bob sits 1 seat left of \
                       Ann\n#B Ann has seat 2\n#C Eve sits 2 seats right of Bob\n#Q Who has seat 3?";
    const ROUND: &str = "Seats 1 to 4 stand clockwise around a table.\n#A Ann has seat 4\n\
                         #B Bob sits 1 seat clockwise from Ann\n#C Eve sits opposite Bob\n\
                         #D Dan sits 1 seat counterclockwise from Eve\n#Q Which seat has Dan?";

    #[test]
    fn an_answer_needs_exactly_one_seating() {
        let answer = |question: &str| read(question).and_then(|read| read.answer());
        assert_eq!(answer(ROW).as_deref(), Some("Eve"));
        assert_eq!(answer(ROUND).as_deref(), Some("2"));
        let turning = ROUND.replace("has seat 4", "sits 1 seat counterclockwise from Bob");
        assert_eq!(answer(&turning), None);
        assert_eq!(answer(&ROUND.replace("seat 4\n", "seat 5\n")), None);
        assert_eq!(answer(&ROW.replace("1 seat left", "1 seat clockwise")), None);
    }

    #[test]
    fn seats_are_counted_from_seats() {
        let verdicts =
            |question: &str, lines: &[&str]| read(question).unwrap().check(lines).verdicts;
        let row = [
            "#B Ann has seat 2: Ann 2",
            "#A Bob sits 1 seat left of Ann: Ann 2, 2-1=1, Bob 1",
            "#C Eve sits 2 seats right of Bob: Bob 1, 1+2=3, Eve 3",
            "#Q Who has seat 3: Eve",
        ];
        assert_eq!(verdicts(ROW, &row), [Ok; 4]);
        for (at, line) in [
            (0, "#B Ann has seat 2: Ann 3"),
            (0, "#A Bob sits 1 seat left of Ann: Ann 2, 2-1=1, Bob 1"),
            (1, "#A Bob sits 1 seat left of Ann: Ann 2, 2+1=3, Bob 3"),
            (1, "#A Bob sits 1 seat left of Ann: Ann 2, 2-1=1, Eve 1"),
            (2, "#C Eve sits 2 seats right of Bob: Bob 1, 1+1=2, Eve 2"),
            (3, "#Q Who has seat 3: Ann"),
        ] {
            let mut changed = row;
            changed[at] = line;
            assert_eq!(verdicts(ROW, &changed)[at], Wrong, "{line}");
        }
        let round = [
            "#A Ann has seat 4: Ann 4",
            "#B Bob sits 1 seat clockwise from Ann: Ann 4, 4+1=5, 5-4=1, Bob 1",
            "#C Eve sits opposite Bob: Bob 1, 1+2=3, Eve 3",
            "#D Dan sits 1 seat counterclockwise from Eve: Eve 3, 3-1=2, Dan 2",
            "#Q Which seat has Dan: 2",
        ];
        assert_eq!(verdicts(ROUND, &round), [Ok; 5]);
        let over = "#B Bob sits 1 seat clockwise from Ann: Ann 4, 4+1=5, Bob 5";
        assert_eq!(verdicts(ROUND, &[round[0], over]), [Ok, Wrong]);
        let back =
            ROUND.replace("has seat 4", "has seat 1").replace("clockwise", "counterclockwise");
        let back = back.replace("countercounter", "counter").replace("stand counter", "stand ");
        let line = |sum: &str| {
            let item = "#B Bob sits 1 seat counterclockwise from Ann: Ann 1";
            verdicts(&back, &["#A Ann has seat 1: Ann 1", &format!("{item}, {sum}, 0+4=4, Bob 4")])
        };
        assert_eq!(line("1-1=0"), [Ok, Ok]);
        assert_eq!(line("2-1=0"), [Ok, Wrong], "a false sum is not 0");
        assert_eq!(verdicts(ROUND, &["Well.", "#A Ann has seat 4: her"]), [Unchecked; 2]);
    }
}
