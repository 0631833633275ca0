//! Routes: each line against the state before it, and a solver in complex numbers, where
//! a turn is a multiplication by a power of i.

use std::sync::LazyLock;

use regex::Regex;

use super::label::{ItemLine, Labelled, items};
use super::{LineChecks, Reading, StepVerdict};

/// A Gaussian integer: east is 1, north is i.
type Complex = (i64, i64);

fn multiply((a, b): Complex, (c, d): Complex) -> Complex {
    (a * c - b * d, a * d + b * c)
}

fn direction(word: &str) -> Option<Complex> {
    match word {
        "east" => Some((1, 0)),
        "north" => Some((0, 1)),
        "west" => Some((-1, 0)),
        "south" => Some((0, -1)),
        _ => None,
    }
}

fn word(direction: Complex) -> &'static str {
    match direction {
        (1, 0) => "east",
        (0, 1) => "north",
        (-1, 0) => "west",
        _ => "south",
    }
}

/// The factor of a turn.
fn turn(word: &str) -> Option<Complex> {
    match word {
        "left" => Some((0, 1)),
        "around" => Some((-1, 0)),
        "right" => Some((0, -1)),
        _ => None,
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of this file")
}

static START: LazyLock<Regex> = LazyLock::new(|| pattern(r"\((\d{1,6}), ?(\d{1,6})\)"));
static FACING: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:faces|facing) (north|east|south|west)\b"));
static GRID_MOVE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(\d{1,6}) (?:to the )?(north|east|south|west)$"));
static TURN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:turn )?(left|right|around)$"));
static TURN_AND_MOVE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(left|right|around)(?: and|, go)? (\d{1,6})(?: ahead)?$"));
/// A turn, then, where there is a move, its sum and the point.
static WORK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:(?<from>\w+) (?<turn>\w+) -> (?<to>\w+))? ?",
        r"(?:(?<axis>[xy]) ?= ?(?<start>\d{1,6}) ?(?<sign>[+-]) ?(?<moved>\d{1,6})",
        r" ?= ?(?<end>-?\d{1,6}),? \((?<x>-?\d{1,6}), ?(?<y>-?\d{1,6})\))?$",
    ))
});

/// A turn, a move, or both.
struct Leg {
    label: char,
    text: String,
    /// The factor of its turn.
    turn: Option<Complex>,
    /// Direction by name where the question gives it.
    toward: Option<Complex>,
    distance: Option<i64>,
}

#[derive(Clone, Copy)]
struct State {
    point: Option<Complex>,
    facing: Option<Complex>,
}

/// A question about a route.
struct Question {
    start: State,
    legs: Vec<Leg>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        // No point and no direction is the common case, and costs no regex.
        let start = question.contains('(').then(|| START.captures(question)).flatten();
        let point = match start {
            Some(found) => Some((found[1].parse().ok()?, found[2].parse().ok()?)),
            None => None,
        };
        let names_it = question.as_bytes().windows(3).any(|word| word.eq_ignore_ascii_case(b"fac"));
        let facing = names_it.then(|| FACING.captures(question)).flatten();
        let facing = facing.and_then(|found| direction(&found[1]));
        if point.is_none() && facing.is_none() {
            return None;
        }
        let mut legs = Vec::new();
        for Labelled { label, text } in items(question)? {
            let mut leg =
                Leg { label, text: text.to_owned(), turn: None, toward: None, distance: None };
            match (point, facing) {
                (Some(_), None) => {
                    let found = GRID_MOVE.captures(text)?;
                    leg.distance = Some(found[1].parse().ok()?);
                    leg.toward = direction(&found[2]);
                }
                (None, Some(_)) => leg.turn = turn(&TURN.captures(text)?[1]),
                (Some(_), Some(_)) => {
                    let found = TURN_AND_MOVE.captures(text)?;
                    leg.turn = turn(&found[1]);
                    leg.distance = Some(found[2].parse().ok()?);
                }
                (None, None) => return None,
            }
            legs.push(leg);
        }
        (!legs.is_empty()).then_some(Self { start: State { point, facing }, legs })
    }

    /// Whether a line holds for the leg it must be about, and the state that it claims;
    /// nothing where its form is unknown.
    fn line(&self, line: &str, before: State, next: usize) -> Option<(bool, State)> {
        let about = ItemLine::of(line)?;
        let found = WORK.captures(about.work)?;
        let number = |name: &str| found.name(name)?.as_str().parse::<i64>().ok();
        let towards = |name: &str| direction(found.name(name)?.as_str());
        let leg = self.legs.get(next);
        let (turned, moved) = (found.name("from"), found.name("axis"));
        if turned.is_none() && moved.is_none() {
            return None;
        }
        let mut held = leg.is_some_and(|leg| {
            about.is_about(leg.label, &leg.text)
                && leg.turn.is_some() == turned.is_some()
                && leg.distance.is_some() == moved.is_some()
        });
        let mut after = before;
        if turned.is_some() {
            let (from, to) = (towards("from")?, towards("to")?);
            let turn = turn(&found["turn"]);
            held &= before.facing == Some(from);
            held &= turn.is_some() && leg.is_some_and(|leg| leg.turn == turn);
            held &= turn.map(|turn| multiply(from, turn)) == Some(to);
            after.facing = Some(to);
        }
        if let Some(axis) = moved {
            let (start, distance, end) = (number("start")?, number("moved")?, number("end")?);
            let claimed = (number("x")?, number("y")?);
            let sign = if &found["sign"] == "+" { 1 } else { -1 };
            let written = if axis.as_str() == "x" { (sign, 0) } else { (0, sign) };
            let (dx, dy) = leg.and_then(|leg| leg.toward).or(after.facing).unwrap_or(written);
            held &= leg.is_some_and(|leg| leg.distance == Some(distance));
            held &= written == (dx, dy);
            held &= end == start + (dx + dy) * distance;
            held &= before.point.is_some_and(|(x, y)| {
                start == (if dx == 0 { y } else { x })
                    && claimed == (x + dx * distance, y + dy * distance)
            });
            after.point = Some(claimed);
        }
        Some((held, after))
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let State { mut point, mut facing } = self.start;
        for leg in &self.legs {
            if let (Some(before), Some(factor)) = (facing, leg.turn) {
                facing = Some(multiply(before, factor));
            }
            let ahead = leg.toward.or(facing);
            if let (Some((x, y)), Some((dx, dy)), Some(distance)) = (point, ahead, leg.distance) {
                point = Some((x + dx * distance, y + dy * distance));
            }
        }
        match point {
            Some((x, y)) => Some(format!("({x},{y})")),
            None => facing.map(|direction| word(direction).to_owned()),
        }
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut state = self.start;
        let mut next = 0;
        let mut checks = LineChecks::default();
        for line in lines {
            let Some((held, after)) = self.line(line, state, next) else {
                checks.verdicts.push(StepVerdict::Unchecked);
                continue;
            };
            checks.verdicts.push(if held { StepVerdict::Ok } else { StepVerdict::Wrong });
            state = after;
            next += 1;
            checks.conclusion = match (state.point, state.facing) {
                (Some((x, y)), _) => Some(format!("({x},{y})")),
                (None, Some(facing)) => Some(word(facing).to_owned()),
                (None, None) => None,
            };
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    const GRID: &str = "North is +y, east is +x. The robot is at (5,4).\n#A 3 to the north\n\
                        #B 2 to the east\nWhat is its last point?";
    const TURNS: &str = "Ann faces north.\n#A left\n#B around\nWhich way does Ann face now?";
    const WALK: &str = "North is +y, east is +x. Ann is at (5,4), facing north.\n#A left, go 3\n\
                        #B right, go 2\nWhere is Ann now?";

    fn verdicts(question: &str, lines: &[&str]) -> Vec<StepVerdict> {
        Question::of(question).map(|reading| reading.check(lines).verdicts).unwrap_or_default()
    }

    #[test]
    fn routes_are_solved() {
        let answer = |question| Question::of(question).and_then(|reading| reading.answer());
        assert_eq!(answer(GRID).as_deref(), Some("(7,7)"));
        assert_eq!(answer(TURNS).as_deref(), Some("east"));
        assert_eq!(answer(WALK).as_deref(), Some("(2,6)"));
        assert_eq!(answer("How far is it from here?"), None);
        assert_eq!(answer("Ann faces north.\n#A jump\nWhich way does Ann face now?"), None);
    }

    #[test]
    fn lines_are_judged_against_the_route_and_the_state() {
        let walked = ["#A 3 to the north: y=4+3=7 (5,7)", "#B 2 to the east: x=5+2=7 (7,7)"];
        assert_eq!(verdicts(GRID, &walked), [Ok, Ok]);
        assert_eq!(verdicts(GRID, &["#A 3 to the north: y = 4 + 3 = 7, (5, 7)"]), [Ok]);
        for (line, why) in [
            ("#B 2 to the east: x=5+2=7 (7,4)", "not the next move"),
            ("#B 3 to the north: y=4+3=7 (5,7)", "another label"),
            ("#A 3 north: y=4+3=7 (5,7)", "other words"),
            ("#A 3 to the north: y=4+3=8 (5,8)", "a wrong sum"),
            ("#A 3 to the north: y=4+3=7 (6,7)", "the other coordinate moved"),
            ("#A 3 to the north: x=5+3=8 (8,4)", "the other axis"),
            ("#A 3 to the north: y=5+3=8 (5,8)", "from another point"),
            ("#A 3 to the north: y=4+2=6 (5,6)", "another distance"),
            ("#A 3 to the north: y=4-3=1 (5,1)", "the other way"),
        ] {
            assert_eq!(verdicts(GRID, &[line]), [Wrong], "{why}");
        }
        let open = ["#A 3 to the north", "#A y=4+3=7 (5,7)", "#A 3 to the north: 7"];
        assert_eq!(verdicts(GRID, &open), [Unchecked; 3]);
        let turned = ["#A left: north left -> west", "#B around: west around -> east"];
        assert_eq!(verdicts(TURNS, &turned), [Ok, Ok]);
        assert_eq!(verdicts(TURNS, &["#B left: north left -> west"]), [Wrong]);
        assert_eq!(verdicts(TURNS, &["#A left: north left -> east"]), [Wrong]);
        assert_eq!(verdicts(TURNS, &["#A left: south left -> east"]), [Wrong]);
        assert_eq!(verdicts(TURNS, &["#A left: north right -> east"]), [Wrong], "another turn");
        assert_eq!(
            verdicts(TURNS, &["#A right: north right -> east"]),
            [Wrong],
            "not the next turn"
        );
        let walked = [
            "#A left, go 3: north left -> west x=5-3=2 (2,4)",
            "#B right, go 2: west right -> north y=4+2=6 (2,6)",
        ];
        assert_eq!(verdicts(WALK, &walked), [Ok, Ok]);
        assert_eq!(verdicts(WALK, &["#A left, go 3: north left -> west x=5+3=8 (8,4)"]), [Wrong]);
        assert_eq!(verdicts(WALK, &["#A left, go 3: north left -> west"]), [Wrong], "no move");
        assert_eq!(verdicts(WALK, &["#A left, go 3: x=5-3=2 (2,4)"]), [Wrong], "no turn");
        assert_eq!(verdicts(WALK, &["Ann walks."]), [Unchecked]);
    }

    #[test]
    fn one_slip_counts_once_and_surplus_lines_are_wrong() {
        let slip = [
            "#A 3 to the north: y=4+3=8 (5,8)",
            "#B 2 to the east: x=5+2=7 (7,8)",
            "#C 2 to the east: x=7+2=9 (9,8)",
        ];
        assert_eq!(verdicts(GRID, &slip), [Wrong, Ok, Wrong]);
    }
}
