//! Seats in a row or around a table: each clue gives a seat, or a distance from someone
//! else, so that one person after another finds theirs.

use super::chinese::{self, all_spelled, spelled};
use super::words::{self, NAMES, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// How the seats stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Row,
    Round,
}

/// Where a person sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clue {
    Seat(usize),
    /// So many seats right of (clockwise from) another person, left where negative.
    From(usize, i64),
    Opposite(usize),
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    SeatOf(usize),
    InSeat(usize),
}

/// A problem; people are in the order in which they find their seats, the seats count
/// from 0.
#[derive(Clone, Debug)]
pub(crate) struct Seating {
    kind: Kind,
    people: Vec<&'static str>,
    seats: Vec<usize>,
    clues: Vec<Clue>,
    /// The order in which the clues are told.
    told: Vec<usize>,
    asked: Asked,
}

impl Seating {
    /// Draws a seating of `level + 3` people. Above level 2 the clues are told in any order.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let num_people = usize::from(level) + 3;
        let mut names = NAMES;
        rng.shuffle(&mut names);
        let mut seats: Vec<usize> = (0..num_people).collect();
        rng.shuffle(&mut seats);
        let mut clues = vec![Clue::Seat(seats[0])];
        for person in 1..num_people {
            let other = rng.below(person);
            let distance = seats[person] as i64 - seats[other] as i64;
            let round = num_people as i64;
            clues.push(match kind {
                Kind::Row => Clue::From(other, distance),
                Kind::Round if 2 * distance.abs() == round => Clue::Opposite(other),
                Kind::Round => {
                    // The short way around.
                    let clockwise = distance.rem_euclid(round);
                    let short = if 2 * clockwise < round { clockwise } else { clockwise - round };
                    Clue::From(other, short)
                }
            });
        }
        let mut told: Vec<usize> = (0..num_people).collect();
        if level >= 3 {
            rng.shuffle(&mut told);
        }
        let person = 1 + rng.below(num_people - 1);
        let asked =
            if rng.chance(1, 2) { Asked::SeatOf(person) } else { Asked::InSeat(seats[person]) };
        Self { kind, people: names[..num_people].to_vec(), seats, clues, told, asked }
    }

    fn tell_in_chinese(&self, person: usize) -> String {
        let name = |person: usize| chinese::name(self.people[person]);
        let told = name(person);
        match self.clues[person] {
            Clue::Seat(seat) => format!("{told}坐在{}号座位", seat + 1),
            Clue::Opposite(other) => format!("{told}坐在{}的对面", name(other)),
            Clue::From(other, distance) => {
                let way = match (self.kind, distance < 0) {
                    (Kind::Row, false) => "右边",
                    (Kind::Row, true) => "左边",
                    (Kind::Round, false) => "顺时针方向",
                    (Kind::Round, true) => "逆时针方向",
                };
                format!("{told}坐在{}{way}第{}个座位", name(other), distance.abs())
            }
        }
    }

    fn tell(&self, person: usize) -> String {
        let name = self.people[person];
        match self.clues[person] {
            Clue::Seat(seat) => format!("{name} has seat {}", seat + 1),
            Clue::Opposite(other) => format!("{name} sits opposite {}", self.people[other]),
            Clue::From(other, distance) => {
                let way = match (self.kind, distance < 0) {
                    (Kind::Row, false) => "right of",
                    (Kind::Row, true) => "left of",
                    (Kind::Round, false) => "clockwise from",
                    (Kind::Round, true) => "counterclockwise from",
                };
                let seats = if distance.abs() == 1 { "seat" } else { "seats" };
                format!("{name} sits {} {seats} {way} {}", distance.abs(), self.people[other])
            }
        }
    }

    fn work(&self, person: usize) -> String {
        let (name, seat) = (self.people[person], self.seats[person] + 1);
        let round = self.people.len() as i64;
        let (other, distance) = match self.clues[person] {
            Clue::Seat(_) => return format!("{name} {seat}"),
            Clue::From(other, distance) => (other, distance),
            Clue::Opposite(other) => (other, round / 2),
        };
        let from = self.seats[other] as i64 + 1;
        let sign = if distance < 0 { '-' } else { '+' };
        let sum = from + distance;
        let mut parts = vec![
            format!("{} {from}", self.people[other]),
            format!("{from}{sign}{}={sum}", distance.abs()),
        ];
        if sum > round {
            parts.push(format!("{sum}-{round}={}", sum - round));
        } else if sum < 1 {
            parts.push(format!("{sum}+{round}={}", sum + round));
        }
        parts.push(format!("{name} {seat}"));
        parts.join(", ")
    }

    /// The clues as their people can be placed, again and again from the first.
    fn order(&self) -> Vec<usize> {
        let mut placed = vec![false; self.people.len()];
        let mut order = Vec::with_capacity(self.people.len());
        while order.len() < self.people.len() {
            for &person in &self.told {
                let ready = match self.clues[person] {
                    Clue::Seat(_) => true,
                    Clue::From(other, _) | Clue::Opposite(other) => placed[other],
                };
                if ready && !placed[person] {
                    placed[person] = true;
                    order.push(person);
                }
            }
        }
        order
    }

    /// The question and its answer.
    fn asked_words(&self, language: Language) -> (String, String) {
        let name = |person: usize| spelled(language, self.people[person], &[]);
        match self.asked {
            Asked::SeatOf(person) => {
                let asked = match language {
                    Language::En => format!("Which seat has {}", name(person)),
                    Language::Zh => format!("{}坐在几号座位", name(person)),
                };
                (asked, (self.seats[person] + 1).to_string())
            }
            Asked::InSeat(seat) => {
                let person = self.seats.iter().position(|other| *other == seat).unwrap_or(0);
                let asked = match language {
                    Language::En => format!("Who has seat {}", seat + 1),
                    Language::Zh => format!("谁坐在{}号座位", seat + 1),
                };
                (asked, name(person))
            }
        }
    }
}

impl Problem for Seating {
    fn signature(&self) -> String {
        let mut clues: Vec<String> =
            (0..self.people.len()).map(|person| self.tell(person)).collect();
        clues.sort_unstable();
        let asked = self.asked_words(Language::En);
        format!("seating/{}/{} {asked:?}", self.kind_name(), clues.join(", "))
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Row => "row",
            Kind::Round => "round",
        }
    }

    fn render(&self, language: Language, _rng: &mut CounterRng) -> Rendered {
        let items = labelled(self.told.iter().map(|person| match language {
            Language::En => self.tell(*person),
            Language::Zh => self.tell_in_chinese(*person),
        }));
        let item_of = |person: usize| {
            self.told.iter().position(|told| *told == person).map_or("", |at| items[at].as_str())
        };
        let mut steps: Vec<String> = self
            .order()
            .into_iter()
            .map(|person| format!("{}: {}", item_of(person), self.work(person)))
            .collect();
        let (asked, answer) = self.asked_words(language);
        steps.push(words::answered(&asked, &answer));
        let num_people = self.people.len();
        let opening = match (language, self.kind) {
            (Language::En, Kind::Row) => {
                format!("Seats 1 to {num_people} stand in a row from left to right.")
            }
            (Language::En, Kind::Round) => {
                format!("Seats 1 to {num_people} stand clockwise around a table.")
            }
            (Language::Zh, Kind::Row) => format!("1号到{num_people}号座位从左到右排成一行。"),
            (Language::Zh, Kind::Round) => {
                format!("1号到{num_people}号座位围着桌子按顺时针方向排列。")
            }
        };
        let items = items.join("\n");
        let question = format!("{opening}\n{items}\n{}", words::asked(language, &asked));
        Rendered { question, steps: all_spelled(language, steps, &[]), answer }
    }
}
