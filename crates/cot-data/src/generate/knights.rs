//! Knights and knaves: each person says one thing about who is what, and exactly one
//! assignment fits.
//!
//! A puzzle is a set of truth tables over the assignments, 32 bits each, so that to prove an
//! assignment unique is to count the bits of their conjunction. The chain is a search that
//! needs no foresight: what follows from each line is written down; where nothing more
//! follows, the first open person is tried as a knight; a contradiction makes the last one
//! that was tried a knave.

use super::chinese::{self, Words, all_spelled, spelled};
use super::layout::word;
use super::words::{self, NAMES, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

const MOST_PEOPLE: usize = 5;

const WORDS: &Words = &[
    ("knight", "骑士"),
    ("knave", "无赖"),
    ("none known", "均未知"),
    ("fits", "相符"),
    ("contradiction", "矛盾"),
    ("try", "假设"),
    ("so", "所以"),
];

/// The assignments in which a person is a knight: bit `a` stands for the assignment whose
/// knights are the bits of `a`.
const KNIGHT: [u32; MOST_PEOPLE] =
    [0xaaaa_aaaa, 0xcccc_cccc, 0xf0f0_f0f0, 0xff00_ff00, 0xffff_0000];

/// That a person is a knight, or that they are a knave.
type Literal = (usize, bool);

/// What a person says.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Is(Literal),
    And(Literal, Literal),
    Or(Literal, Literal),
    If(Literal, Literal),
    Same(usize, usize),
    Different(usize, usize),
    /// One of two is a knight.
    OneOfTwo(usize, usize),
    /// So many of three are knights, one or two.
    OfThree(usize, [usize; 3]),
}

/// A puzzle: the claim of each person, in the order in which they speak.
#[derive(Clone, Debug)]
pub(crate) struct Knights {
    people: Vec<&'static str>,
    claims: Vec<Claim>,
    lines: Vec<Line>,
    /// Bit `p` is set where person `p` is a knight.
    solution: u32,
}

/// A line of the search.
#[derive(Clone, Copy, Debug)]
enum Line {
    Try(usize),
    /// What a claim makes of the known people it is about.
    Use {
        claim: usize,
        known: u32,
        values: u32,
        outcome: Outcome,
    },
    /// The person last tried is a knave.
    So(usize),
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// These people are new, with values.
    Forced(u32, u32),
    Fits,
    Contradiction,
}

fn table((person, knight): Literal) -> u32 {
    if knight { KNIGHT[person] } else { !KNIGHT[person] }
}

impl Claim {
    fn draw(level: u8, num_people: usize, rng: &mut CounterRng) -> Self {
        let mut order: [usize; MOST_PEOPLE] = std::array::from_fn(|person| person);
        rng.shuffle(&mut order[..num_people]);
        let [p, q, r, ..] = order;
        let left = (p, rng.chance(1, 2));
        let right = (q, rng.chance(1, 2));
        let forms = match level {
            1 => 5,
            2 => 6,
            _ => 8,
        };
        match rng.below(forms) {
            0 => Self::Is(left),
            1 => Self::And(left, right),
            2 => Self::Or(left, right),
            3 => Self::Same(p, q),
            4 => Self::Different(p, q),
            5 => Self::OneOfTwo(p, q),
            6 => Self::If(left, right),
            _ => Self::OfThree(1 + rng.below(2), [p, q, r]),
        }
    }

    /// The assignments in which it is true.
    fn table(self) -> u32 {
        match self {
            Self::Is(literal) => table(literal),
            Self::And(left, right) => table(left) & table(right),
            Self::Or(left, right) => table(left) | table(right),
            Self::If(left, right) => !table(left) | table(right),
            Self::Same(p, q) => !(KNIGHT[p] ^ KNIGHT[q]),
            Self::Different(p, q) | Self::OneOfTwo(p, q) => KNIGHT[p] ^ KNIGHT[q],
            Self::OfThree(count, people) => {
                let [a, b, c] = people.map(|person| KNIGHT[person]);
                let odd = a ^ b ^ c;
                if count == 1 { odd & !(a & b & c) } else { !odd & (a | b | c) }
            }
        }
    }

    /// The people it names, as bits.
    fn named(self) -> u32 {
        match self {
            Self::Is((p, _)) => 1 << p,
            Self::And((p, _), (q, _)) | Self::Or((p, _), (q, _)) | Self::If((p, _), (q, _)) => {
                1 << p | 1 << q
            }
            Self::Same(p, q) | Self::Different(p, q) | Self::OneOfTwo(p, q) => 1 << p | 1 << q,
            Self::OfThree(_, [p, q, r]) => 1 << p | 1 << q | 1 << r,
        }
    }

    fn tell(self, people: &[&str]) -> String {
        let is = |(person, knight): Literal| format!("{} is a {}", people[person], kind(knight));
        match self {
            Self::Is(literal) => is(literal),
            Self::And(left, right) => format!("{} and {}", is(left), is(right)),
            Self::Or(left, right) => format!("{} or {}", is(left), is(right)),
            Self::If(left, right) => format!("if {} then {}", is(left), is(right)),
            Self::Same(p, q) => format!("{} and {} are of the same kind", people[p], people[q]),
            Self::Different(p, q) => {
                format!("{} and {} are of different kinds", people[p], people[q])
            }
            Self::OneOfTwo(p, q) => {
                format!("exactly one of {} and {} is a knight", people[p], people[q])
            }
            Self::OfThree(count, [p, q, r]) => {
                let (number, verb) =
                    if count == 1 { ("one", "is a knight") } else { ("two", "are knights") };
                let [p, q, r] = [p, q, r].map(|person| people[person]);
                format!("exactly {number} of {p}, {q} and {r} {verb}")
            }
        }
    }

    fn tell_in_chinese(self, people: &[&str]) -> String {
        let name = |person: usize| chinese::name(people[person]);
        let is = |(person, knight): Literal| {
            format!("{}是{}", name(person), if knight { "骑士" } else { "无赖" })
        };
        match self {
            Self::Is(literal) => is(literal),
            Self::And(left, right) => format!("{}且{}", is(left), is(right)),
            Self::Or(left, right) => format!("{}或{}", is(left), is(right)),
            Self::If(left, right) => format!("若{}则{}", is(left), is(right)),
            Self::Same(p, q) => format!("{}和{}是同一类人", name(p), name(q)),
            Self::Different(p, q) => format!("{}和{}不是同一类人", name(p), name(q)),
            Self::OneOfTwo(p, q) => format!("{}和{}中恰有一人是骑士", name(p), name(q)),
            Self::OfThree(count, [p, q, r]) => {
                let number = if count == 1 { "一" } else { "两" };
                format!("{}、{}和{}中恰有{number}人是骑士", name(p), name(q), name(r))
            }
        }
    }

    fn signature(self) -> String {
        let is = |(person, knight): Literal| format!("{person}{}", u8::from(knight));
        match self {
            Self::Is(literal) => format!("is {}", is(literal)),
            Self::And(left, right) => format!("and {} {}", is(left), is(right)),
            Self::Or(left, right) => format!("or {} {}", is(left), is(right)),
            Self::If(left, right) => format!("if {} {}", is(left), is(right)),
            Self::Same(p, q) => format!("same {p} {q}"),
            Self::Different(p, q) => format!("different {p} {q}"),
            Self::OneOfTwo(p, q) => format!("one {p} {q}"),
            Self::OfThree(count, [p, q, r]) => format!("{count} of {p} {q} {r}"),
        }
    }
}

fn kind(knight: bool) -> &'static str {
    if knight { "knight" } else { "knave" }
}

impl Knights {
    /// Draws a puzzle of `level + 1` people. Up to level 2 the claims are about one or two
    /// people, above also about three and with `if`. A puzzle whose search takes more than
    /// `5 level + 3` lines is drawn again.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let num_people = usize::from(level) + 1;
        let mut names = NAMES;
        // The first names of a shuffle, without the rest of it.
        for place in 0..num_people {
            let other = place + rng.below(names.len() - place);
            names.swap(place, other);
        }
        let all = u32::MAX >> (32 - (1_u32 << num_people));
        loop {
            let claims: Vec<Claim> =
                (0..num_people).map(|_| Claim::draw(level, num_people, rng)).collect();
            let fits = claims
                .iter()
                .enumerate()
                .fold(all, |fits, (speaker, claim)| fits & !(KNIGHT[speaker] ^ claim.table()));
            if fits.count_ones() != 1 {
                continue;
            }
            let lines = search(&claims);
            if lines.len() <= 5 * usize::from(level) + 3 {
                let people = names[..num_people].to_vec();
                return Self { people, claims, lines, solution: fits.trailing_zeros() };
            }
        }
    }

    /// So many people and what they are, in the order in which they speak.
    fn facts(&self, who: u32, values: u32) -> String {
        let mut text = String::new();
        for (person, name) in self.people.iter().enumerate() {
            if who >> person & 1 == 1 {
                if !text.is_empty() {
                    text.push_str(", ");
                }
                text.push_str(name);
                text.push(' ');
                text.push_str(kind(values >> person & 1 == 1));
            }
        }
        text
    }

    fn line(&self, line: Line, claims: &[String]) -> String {
        match line {
            Line::Try(person) => format!("try {} knight", self.people[person]),
            Line::So(person) => format!("so {} knave", self.people[person]),
            Line::Use { claim, known, values, outcome } => {
                let known =
                    if known == 0 { "none known".to_owned() } else { self.facts(known, values) };
                let outcome = match outcome {
                    Outcome::Forced(who, values) => self.facts(who, values),
                    Outcome::Fits => "fits".to_owned(),
                    Outcome::Contradiction => "contradiction".to_owned(),
                };
                format!("{}: {known} -> {outcome}", claims[claim])
            }
        }
    }
}

/// What is known at a point of the search, as bits of people.
#[derive(Clone, Copy, Default)]
struct State {
    known: u32,
    values: u32,
    /// Claims all of whose people are known, and that fit them.
    settled: u32,
}

impl State {
    fn set(&mut self, person: usize, knight: bool) {
        self.known |= 1 << person;
        self.values |= u32::from(knight) << person;
    }

    /// The assignments that agree with it.
    fn table(self) -> u32 {
        (0..MOST_PEOPLE)
            .filter(|person| self.known >> person & 1 == 1)
            .fold(u32::MAX, |left, person| left & table((person, self.values >> person & 1 == 1)))
    }
}

/// The lines that lead to the only assignment.
fn search(claims: &[Claim]) -> Vec<Line> {
    let num_people = claims.len();
    let mut lines = Vec::new();
    let mut state = State::default();
    let mut tried: Vec<(usize, State)> = Vec::new();
    let (mut next, mut idle) = (0, 0);
    loop {
        if state.settled.count_ones() as usize == num_people {
            return lines;
        }
        if idle == num_people {
            // A claim that is not settled names someone of whom nothing is known.
            let person = state.known.trailing_ones() as usize;
            lines.push(Line::Try(person));
            tried.push((person, state));
            state.set(person, true);
            (next, idle) = (0, 0);
            continue;
        }
        let claim = next;
        next = (next + 1) % num_people;
        idle += 1;
        if state.settled >> claim & 1 == 1 {
            continue;
        }
        let about = claims[claim].named() | 1 << claim;
        let known = state.known & about;
        let open = state.table() & !(KNIGHT[claim] ^ claims[claim].table());
        let values = state.values;
        if open == 0 {
            lines.push(Line::Use { claim, known, values, outcome: Outcome::Contradiction });
            let Some((person, before)) = tried.pop() else { return lines };
            lines.push(Line::So(person));
            state = before;
            state.set(person, false);
            (next, idle) = (0, 0);
            continue;
        }
        let mut forced = State::default();
        for person in (0..num_people).filter(|person| (about & !known) >> person & 1 == 1) {
            if open & !KNIGHT[person] == 0 {
                forced.set(person, true);
            } else if open & KNIGHT[person] == 0 {
                forced.set(person, false);
            }
        }
        let outcome = if known == about {
            Outcome::Fits
        } else if forced.known != 0 {
            Outcome::Forced(forced.known, forced.values)
        } else {
            continue;
        };
        lines.push(Line::Use { claim, known, values, outcome });
        state.known |= forced.known;
        state.values |= forced.values;
        if state.known & about == about {
            state.settled |= 1 << claim;
        }
        idle = 0;
    }
}

impl Problem for Knights {
    fn signature(&self) -> String {
        let claims: Vec<String> = self.claims.iter().map(|claim| claim.signature()).collect();
        format!("logic/knights/{}: {}", self.people.join(" "), claims.join(", "))
    }

    fn kind_name(&self) -> &'static str {
        "knights"
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let says = if rng.chance(1, 2) { ["says that", "说"] } else { ["claims that", "声称"] };
        let says = word(language, says);
        let claims =
            labelled(self.claims.iter().zip(&self.people).map(|(claim, speaker)| match language {
                Language::En => format!("{speaker} {says} {}", claim.tell(&self.people)),
                Language::Zh => {
                    let claim = claim.tell_in_chinese(&self.people);
                    format!("{}{says}{claim}", chinese::name(speaker))
                }
            }));
        let opening = [
            "A knight always tells the truth, a knave always lies.",
            "骑士总说真话，无赖总说假话。",
        ];
        let asked = word(language, ["What is each of them", "他们各是什么人"]);
        let question = format!(
            "{}\n{}\n{}",
            word(language, opening),
            claims.join("\n"),
            words::asked(language, asked)
        );
        let answer = self.facts(u32::MAX, self.solution);
        let mut steps: Vec<String> =
            self.lines.iter().map(|line| self.line(*line, &claims)).collect();
        steps.push(words::answered(asked, &answer));
        Rendered {
            question,
            steps: all_spelled(language, steps, WORDS),
            answer: spelled(language, &answer, WORDS),
        }
    }
}
