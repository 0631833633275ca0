//! Routes: each line against the state before it, and a solver in complex numbers, where
//! a turn is a multiplication by a power of i.

use std::sync::LazyLock;

use regex::Regex;

use super::{LineChecks, StepVerdict};

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
    LazyLock::new(|| pattern(r"\b(\d{1,6}) (north|east|south|west)\b"));
static TURN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(left|right|around)\b"));
static TURN_AND_MOVE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(left|right|around)(?: and|, goes)? (\d{1,6})\b"));
static TURN_LINE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:(\d{1,3}) )?(\w+): (\w+) -> (\w+)$"));
static MOVE_LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:(\d{1,6}) (\w+): )?([xy]) ?= ?(\d{1,6}) ?([+-]) ?(\d{1,6}) ?= ?(-?\d{1,6})",
        r",? \((-?\d{1,6}), ?(-?\d{1,6})\)$",
    ))
});
static WALK_LINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\w+: \w+ -> \w+), ([xy] ?=.*)$"));

/// A turn, a move, or both.
struct Leg {
    turn: Option<String>,
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
pub(super) struct Reading {
    start: State,
    legs: Vec<Leg>,
}

impl Reading {
    pub(super) fn of(question: &str) -> Option<Self> {
        let point = match START.captures(question) {
            Some(found) => Some((found[1].parse().ok()?, found[2].parse().ok()?)),
            None => None,
        };
        let facing = FACING.captures(question).and_then(|found| direction(&found[1]));
        let legs: Vec<Leg> = match (point, facing) {
            (Some(_), None) => GRID_MOVE
                .captures_iter(question)
                .filter_map(|found| {
                    let distance = found[1].parse().ok()?;
                    Some(Leg { turn: None, toward: direction(&found[2]), distance: Some(distance) })
                })
                .collect(),
            (None, Some(_)) => TURN
                .captures_iter(question)
                .map(|found| Leg { turn: Some(found[1].to_owned()), toward: None, distance: None })
                .collect(),
            (Some(_), Some(_)) => TURN_AND_MOVE
                .captures_iter(question)
                .filter_map(|found| {
                    let distance = found[2].parse().ok()?;
                    Some(Leg {
                        turn: Some(found[1].to_owned()),
                        toward: None,
                        distance: Some(distance),
                    })
                })
                .collect(),
            (None, None) => return None,
        };
        (!legs.is_empty()).then_some(Self { start: State { point, facing }, legs })
    }

    /// Where the route ends, or which way it faces there.
    pub(super) fn answer(&self) -> String {
        let State { mut point, mut facing } = self.start;
        for leg in &self.legs {
            if let (Some(before), Some(factor)) = (facing, leg.turn.as_deref().and_then(turn)) {
                facing = Some(multiply(before, factor));
            }
            let ahead = leg.toward.or(facing);
            if let (Some((x, y)), Some((dx, dy)), Some(distance)) = (point, ahead, leg.distance) {
                point = Some((x + dx * distance, y + dy * distance));
            }
        }
        match point {
            Some((x, y)) => format!("({x},{y})"),
            None => facing.map_or("", word).to_owned(),
        }
    }

    pub(super) fn check(&self, lines: &[&str]) -> LineChecks {
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

    /// Whether a line holds for the leg it must be about, and the state that it claims;
    /// nothing where its form is unknown.
    fn line(&self, line: &str, before: State, next: usize) -> Option<(bool, State)> {
        let leg = self.legs.get(next);
        let (turn_part, move_part) = match WALK_LINE.captures(line) {
            Some(both) => (Some(both.get(1)?.as_str()), Some(both.get(2)?.as_str())),
            None if TURN_LINE.is_match(line) => (Some(line), None),
            None => (None, Some(line)),
        };
        let mut held = leg.is_some_and(|leg| {
            leg.turn.is_some() == turn_part.is_some()
                && leg.distance.is_some() == move_part.is_some()
        });
        let mut after = before;
        if let Some(text) = turn_part {
            let found = TURN_LINE.captures(text)?;
            let (factor, from, to) =
                (turn(&found[2])?, direction(&found[3])?, direction(&found[4])?);
            held &= leg.is_some_and(|leg| leg.turn.as_deref() == Some(&found[2]));
            held &= found.get(1).is_none_or(|number| number.as_str() == (next + 1).to_string());
            held &= before.facing == Some(from) && multiply(from, factor) == to;
            after.facing = Some(to);
        }
        if let Some(text) = move_part {
            let found = MOVE_LINE.captures(text)?;
            let number = |index: usize| found.get(index)?.as_str().parse::<i64>().ok();
            let (from, distance, to) = (number(4)?, number(6)?, number(7)?);
            let claimed = (number(8)?, number(9)?);
            let told = found.get(2).and_then(|word| direction(word.as_str()));
            let (dx, dy) = leg.and_then(|leg| leg.toward).or(after.facing).or(told)?;
            if turn_part.is_none() {
                held &= number(1) == Some(distance) && told == Some((dx, dy));
            } else {
                held &= found.get(1).is_none();
            }
            held &= leg.is_some_and(|leg| leg.distance == Some(distance));
            held &= (&found[3] == "x") == (dx != 0) && (&found[5] == "+") == (dx + dy > 0);
            held &= to == from + (dx + dy) * distance;
            held &= before.point.is_some_and(|(x, y)| {
                from == (if dx == 0 { y } else { x })
                    && claimed == (x + dx * distance, y + dy * distance)
            });
            after.point = Some(claimed);
        }
        Some((held, after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    const GRID: &str = "North is +y, east is +x. A robot at (5,4) goes 3 north, 2 east. \
                        What is its last point?";
    const TURNS: &str = "A robot faces north. It turns left, around. Which way does it face?";
    const WALK: &str = "North is +y, east is +x. Ann is at (5,4), facing north. Ann turns left, \
                        goes 3, turns right, goes 2. Where is Ann now?";

    fn verdicts(question: &str, lines: &[&str]) -> Vec<StepVerdict> {
        Reading::of(question).map(|reading| reading.check(lines).verdicts).unwrap_or_default()
    }

    #[test]
    fn routes_are_solved() {
        let answer = |question| Reading::of(question).map(|reading| reading.answer());
        assert_eq!(answer(GRID).as_deref(), Some("(7,7)"));
        assert_eq!(answer(TURNS).as_deref(), Some("east"));
        assert_eq!(answer(WALK).as_deref(), Some("(2,6)"));
        assert_eq!(answer("How far is it from here?"), None);
    }

    #[test]
    fn lines_are_judged_against_the_route_and_the_state() {
        assert_eq!(verdicts(GRID, &["3 north: y=4+3=7 (5,7)", "2 east: x=5+2=7 (7,7)"]), [Ok, Ok]);
        assert_eq!(verdicts(GRID, &["3 north: y = 4 + 3 = 7, (5, 7)"]), [Ok]);
        assert_eq!(verdicts(GRID, &["2 east: x=5+2=7 (7,4)"]), [Wrong], "not the next move");
        assert_eq!(verdicts(GRID, &["3 north: y=4+3=8 (5,8)"]), [Wrong]);
        assert_eq!(verdicts(GRID, &["3 north: y=4+3=7 (6,7)"]), [Wrong]);
        assert_eq!(verdicts(GRID, &["3 north: x=5+3=8 (8,4)"]), [Wrong]);
        assert_eq!(verdicts(GRID, &["3 north: y=5+3=8 (5,8)"]), [Wrong]);
        assert_eq!(verdicts(TURNS, &["1 left: north -> west", "2 around: west -> east"]), [Ok, Ok]);
        assert_eq!(verdicts(TURNS, &["2 left: north -> west"]), [Wrong]);
        assert_eq!(verdicts(TURNS, &["1 left: north -> east"]), [Wrong]);
        assert_eq!(verdicts(TURNS, &["1 right: north -> east"]), [Wrong], "not the next turn");
        let walked = ["left: north -> west, x=5-3=2 (2,4)", "right: west -> north, y=4+2=6 (2,6)"];
        assert_eq!(verdicts(WALK, &walked), [Ok, Ok]);
        assert_eq!(verdicts(WALK, &["left: north -> west, x=5+3=8 (8,4)"]), [Wrong]);
        assert_eq!(verdicts(WALK, &["left: north -> west"]), [Wrong], "the move is missing");
        assert_eq!(verdicts(WALK, &["Ann walks."]), [Unchecked]);
    }

    #[test]
    fn one_slip_counts_once_and_surplus_lines_are_wrong() {
        let slip = ["3 north: y=4+3=8 (5,8)", "2 east: x=5+2=7 (7,8)", "2 east: x=7+2=9 (9,8)"];
        assert_eq!(verdicts(GRID, &slip), [Wrong, Ok, Wrong]);
    }
}
