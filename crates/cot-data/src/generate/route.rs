//! Walks on a grid, turns of the compass, and walks that turn.

mod chinese;

use super::words::{NAMES, labelled, restated};
use crate::language::Language;
use crate::problem::{Alteration, Problem, Rendered};
use crate::rng::CounterRng;

/// The compass, clockwise.
const DIRECTIONS: [&str; 4] = ["north", "east", "south", "west"];

/// Largest coordinate; the smallest is 0.
const EDGE: i64 = 20;

/// A turn, as the number of right angles clockwise.
const TURNS: [(&str, usize); 3] = [("right", 1), ("around", 2), ("left", 3)];

/// The sentence that fixes the axes.
const AXES: &str = "North is +y, east is +x.";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Moves by compass direction; the last point is asked for.
    Grid,
    /// Turns on the spot; the last direction is asked for.
    Turns,
    /// Turns and moves ahead; the last point is asked for.
    Walk,
}

/// One turn and one move; either may be absent.
#[derive(Clone, Copy, Debug)]
struct Leg {
    /// Index into [`TURNS`].
    turn: Option<usize>,
    /// Direction after the turn, index into [`DIRECTIONS`].
    facing: usize,
    distance: i64,
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    kind: Kind,
    start: (i64, i64),
    facing: usize,
    legs: Vec<Leg>,
}

/// How far one can go from a point before the edge.
fn room(direction: usize, (x, y): (i64, i64)) -> i64 {
    match direction {
        0 => EDGE - y,
        1 => EDGE - x,
        2 => y,
        _ => x,
    }
}

/// A distance that stays on the grid; 0 where there is no room.
fn step(direction: usize, point: (i64, i64), rng: &mut CounterRng) -> i64 {
    match room(direction, point) {
        0 => 0,
        room => rng.between(1, room.min(9)),
    }
}

fn ahead(direction: usize, (x, y): (i64, i64), distance: i64) -> (i64, i64) {
    match direction {
        0 => (x, y + distance),
        1 => (x + distance, y),
        2 => (x, y - distance),
        _ => (x - distance, y),
    }
}

impl Route {
    /// Draws a route: `2 level` moves on the grid, `level + 2` turns, or `level + 1`
    /// pairs of a turn and a move. All points lie in `0..=20` squared, and no two moves
    /// are the same.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let level = usize::from(level);
        let num_legs = match kind {
            Kind::Grid => 2 * level,
            Kind::Turns => level + 2,
            Kind::Walk => level + 1,
        };
        let start = (rng.between(0, EDGE), rng.between(0, EDGE));
        let first = rng.below(4);
        let (mut point, mut facing) = (start, first);
        let mut legs = Vec::with_capacity(num_legs);
        while legs.len() < num_legs {
            let leg = match kind {
                Kind::Grid => {
                    // Two moves along one line would be one move.
                    let next = if legs.is_empty() {
                        rng.below(4)
                    } else {
                        (facing + 1 + rng.below(3)) % 4
                    };
                    Leg { turn: None, facing: next, distance: step(next, point, rng) }
                }
                Kind::Turns => {
                    let turn = rng.below(TURNS.len());
                    Leg { turn: Some(turn), facing: (facing + TURNS[turn].1) % 4, distance: 0 }
                }
                Kind::Walk => {
                    let turn = if rng.chance(1, 2) { 0 } else { 2 };
                    let next = (facing + TURNS[turn].1) % 4;
                    Leg { turn: Some(turn), facing: next, distance: step(next, point, rng) }
                }
            };
            let told = |other: &Leg| match kind {
                Kind::Grid => other.facing == leg.facing && other.distance == leg.distance,
                Kind::Turns => false,
                Kind::Walk => other.turn == leg.turn && other.distance == leg.distance,
            };
            if (kind != Kind::Turns && leg.distance == 0) || legs.iter().any(told) {
                continue;
            }
            facing = leg.facing;
            point = ahead(facing, point, leg.distance);
            legs.push(leg);
        }
        Self { kind, start, facing: first, legs }
    }

    /// The legs in words, labelled.
    fn told(&self, template: usize) -> Vec<String> {
        labelled(self.legs.iter().map(|leg| {
            let (distance, toward) = (leg.distance, DIRECTIONS[leg.facing]);
            let turn = leg.turn.map_or("", |turn| TURNS[turn].0);
            match (self.kind, template) {
                (Kind::Grid, 0 | 1) => format!("{distance} {toward}"),
                (Kind::Grid, _) => format!("{distance} to the {toward}"),
                (Kind::Turns, 0 | 1) => turn.to_owned(),
                (Kind::Turns, _) => format!("turn {turn}"),
                (Kind::Walk, 0) => format!("{turn} {distance}"),
                (Kind::Walk, 1) => format!("{turn} and {distance} ahead"),
                (Kind::Walk, _) => format!("{turn}, go {distance}"),
            }
        }))
    }

    fn question(&self, legs: &[String], template: usize, rng: &mut CounterRng) -> String {
        let name = rng.pick(&NAMES);
        let (x, y) = self.start;
        let facing = DIRECTIONS[self.facing];
        let opening = match (self.kind, template) {
            (Kind::Grid, 0 | 1) => format!("{AXES} {name} starts at ({x},{y})."),
            (Kind::Grid, _) => format!("{AXES} The robot is at ({x},{y})."),
            (Kind::Turns, 0 | 1) => format!("{name} faces {facing}."),
            (Kind::Turns, _) => format!("The robot faces {facing}."),
            (Kind::Walk, 0 | 1) => format!("{AXES} {name} is at ({x},{y}), facing {facing}."),
            (Kind::Walk, _) => format!("{AXES} The robot is at ({x},{y}), facing {facing}."),
        };
        let asked = match (self.kind, template) {
            (Kind::Grid | Kind::Walk, 0) => format!("Where is {name} now?"),
            (Kind::Grid | Kind::Walk, 1) => format!("Where does {name} stop?"),
            (Kind::Grid | Kind::Walk, _) => "What is its last point?".to_owned(),
            (Kind::Turns, 0) => format!("Which way does {name} face now?"),
            (Kind::Turns, 1) => format!("Which way does {name} face at the end?"),
            (Kind::Turns, _) => "Which way does it face?".to_owned(),
        };
        format!("{opening}\n{}\n{asked}", legs.join("\n"))
    }

    /// The work on each leg, and where it all ends.
    fn chain(&self) -> (Vec<String>, String) {
        let (mut point, mut facing) = (self.start, self.facing);
        let mut works = Vec::with_capacity(self.legs.len());
        for leg in &self.legs {
            let mut parts = Vec::new();
            if let Some(turn) = leg.turn {
                let (from, to) = (DIRECTIONS[facing], DIRECTIONS[leg.facing]);
                parts.push(format!("{from} {} -> {to}", TURNS[turn].0));
            }
            facing = leg.facing;
            if self.kind != Kind::Turns {
                let after = ahead(facing, point, leg.distance);
                let (axis, from, to) =
                    if facing % 2 == 0 { ('y', point.1, after.1) } else { ('x', point.0, after.0) };
                let sign = if to > from { '+' } else { '-' };
                let (x, y) = after;
                parts.push(format!("{axis}={from}{sign}{}={to} ({x},{y})", leg.distance));
                point = after;
            }
            works.push(parts.join(" "));
        }
        let answer = if self.kind == Kind::Turns {
            DIRECTIONS[facing].to_owned()
        } else {
            format!("({},{})", point.0, point.1)
        };
        (works, answer)
    }
}

impl Route {
    /// The route with other legs, each of which turns as before; nothing where it leaves the
    /// grid, or no leg is left.
    fn with(&self, mut legs: Vec<Leg>) -> Option<Self> {
        let (mut point, mut facing) = (self.start, self.facing);
        for leg in &mut legs {
            if let Some(turn) = leg.turn {
                leg.facing = (facing + TURNS[turn].1) % 4;
            }
            if leg.distance > room(leg.facing, point) {
                return None;
            }
            facing = leg.facing;
            point = ahead(facing, point, leg.distance);
        }
        (!legs.is_empty()).then(|| Self { legs, ..self.clone() })
    }
}

impl Problem for Route {
    fn altered(&self, alteration: Alteration, rng: &mut CounterRng) -> Option<Box<dyn Problem>> {
        let mut legs = self.legs.clone();
        let at = rng.below(legs.len());
        match alteration {
            Alteration::Number if self.kind == Kind::Turns => return None,
            Alteration::Number => {
                let distance = rng.between(1, 9);
                if distance == legs[at].distance {
                    return None;
                }
                legs[at].distance = distance;
            }
            Alteration::Added => legs.push(legs[at]),
            Alteration::Dropped => {
                legs.remove(at);
            }
        }
        Some(Box::new(self.with(legs)?))
    }

    fn signature(&self) -> String {
        let mut parts = Vec::new();
        if self.kind != Kind::Turns {
            parts.push(format!("{},{}", self.start.0, self.start.1));
        }
        if self.kind != Kind::Grid {
            parts.push(DIRECTIONS[self.facing].to_owned());
        }
        for leg in &self.legs {
            parts.push(format!("{}{}", DIRECTIONS[leg.facing], leg.distance));
        }
        format!("spatial/{}/{}", self.kind_name(), parts.join(" "))
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Grid => "grid",
            Kind::Turns => "turns",
            Kind::Walk => "walk",
        }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        if language == Language::Zh {
            return chinese::render(self, rng);
        }
        let template = rng.below(3);
        let legs = self.told(template);
        let (works, answer) = self.chain();
        let question = self.question(&legs, template, rng);
        Rendered { question, steps: restated(&legs, works), answer }
    }
}
