//! Mistakes in the routes of the generators.

use super::{Mistake, WrongChain, places, rearranged};
use crate::record::CotRecord;
use crate::rng::CounterRng;

/// The compass, clockwise.
const DIRECTIONS: [&str; 4] = ["north", "east", "south", "west"];

/// Turns, each with the number of right angles clockwise.
const TURNS: [(&str, usize); 3] = [("right", 1), ("around", 2), ("left", 3)];

/// An item of the question.
struct Leg<'text> {
    /// Label and item.
    head: &'text str,
    /// Index into [`TURNS`].
    turn: Option<usize>,
    /// Index into [`DIRECTIONS`], where the item names it.
    toward: Option<usize>,
    distance: Option<i64>,
}

#[derive(Clone, Copy)]
struct State {
    point: Option<(i64, i64)>,
    facing: Option<usize>,
}

struct Route<'text> {
    start: State,
    legs: Vec<Leg<'text>>,
}

/// The record's chain with a mistake.
pub(super) fn wrong(
    record: &CotRecord,
    mistake: Mistake,
    rng: &mut CounterRng,
) -> Option<WrongChain> {
    let route = Route::of(record)?;
    let all: Vec<usize> = (0..route.legs.len()).collect();
    match mistake {
        Mistake::EarlyStop => {
            let kept = 1 + rng.below(all.len().checked_sub(1).filter(|&rest| rest > 0)?);
            let (steps, answer) = route.told(&all[..kept], None)?;
            Some(WrongChain { steps, answer, first: kept - 1 })
        }
        Mistake::WrongCopy => {
            let (steps, _) = route.told(&all, None)?;
            let answer = copied(&record.answer, rng)?;
            Some(WrongChain { first: steps.len() - 1, steps, answer })
        }
        Mistake::DroppedStep | Mistake::DuplicatedStep | Mistake::ReorderedSteps => {
            let (order, first) = rearranged(all.len(), mistake, rng)?;
            let (steps, answer) = route.told(&order, None)?;
            Some(WrongChain { steps, answer, first })
        }
        _ => places(all.len(), rng).into_iter().find_map(|at| {
            let (steps, answer) = route.told(&all, Some((at, mistake)))?;
            let changed = steps[at] != record.thought_process[at] && answer != record.answer;
            changed.then_some(WrongChain { steps, answer, first: at })
        }),
    }
}

/// An answer that is not quite the right one: a point with its numbers exchanged or one of
/// them off by one, another direction.
fn copied(answer: &str, rng: &mut CounterRng) -> Option<String> {
    if let Some(facing) = DIRECTIONS.iter().position(|word| *word == answer) {
        return Some(DIRECTIONS[(facing + 1 + rng.below(3)) % 4].to_owned());
    }
    let (x, y) = point(answer)?;
    Some(if x == y { format!("({x},{})", y + 1) } else { format!("({y},{x})") })
}

fn point(text: &str) -> Option<(i64, i64)> {
    let (_, rest) = text.split_once('(')?;
    let (x, rest) = rest.split_once(',')?;
    let (y, _) = rest.split_once(')')?;
    Some((x.parse().ok()?, y.trim().parse().ok()?))
}

impl<'text> Route<'text> {
    fn of(record: &'text CotRecord) -> Option<Self> {
        let opening = record.question.lines().next()?;
        let named = |words: &str, names: &[&str]| {
            words
                .split([' ', ',', '.'])
                .find_map(|word| names.iter().position(|name| *name == word))
        };
        let facing = ["faces ", "facing "]
            .iter()
            .find_map(|mark| named(opening.split_once(mark)?.1, &DIRECTIONS));
        let turns = TURNS.map(|(name, _)| name);
        let legs = record.thought_process.iter().map(|step| {
            let (head, _) = step.split_once(": ")?;
            let item = head.get(3..)?;
            Some(Leg {
                head,
                turn: named(item, &turns),
                toward: named(item, &DIRECTIONS),
                distance: item.split([' ', ',']).find_map(|word| word.parse().ok()),
            })
        });
        let start = State { point: point(opening), facing };
        Some(Self { start, legs: legs.collect::<Option<_>>()? })
    }

    /// The lines of legs in an order, with a mistake at one of them, and where they end;
    /// nothing where a number would be below 0, or the mistake cannot be made there.
    fn told(
        &self,
        order: &[usize],
        slip: Option<(usize, Mistake)>,
    ) -> Option<(Vec<String>, String)> {
        let mut state = self.start;
        let mut steps = Vec::with_capacity(order.len());
        for (place, &index) in order.iter().enumerate() {
            let leg = &self.legs[index];
            let slip = slip.filter(|(at, _)| *at == place).map(|(_, mistake)| mistake);
            steps.push(format!("{}: {}", leg.head, leg.work(&mut state, slip)?));
        }
        let answer = match state {
            State { point: Some((x, y)), .. } => format!("({x},{y})"),
            State { facing, .. } => DIRECTIONS[facing?].to_owned(),
        };
        Some((steps, answer))
    }
}

impl Leg<'_> {
    /// The work on a leg, and the state after it.
    fn work(&self, state: &mut State, slip: Option<Mistake>) -> Option<String> {
        let mut parts = Vec::new();
        if let Some((turn, from)) = self.turn.zip(state.facing) {
            let (name, angle) = TURNS[turn];
            // Right and left are first and last, so the other one is at the other end.
            let (opposite, back) = TURNS[TURNS.len() - 1 - turn];
            let (name, angle) = match slip {
                Some(Mistake::LeftRight) => (opposite, back),
                Some(Mistake::RotationDirection) => (name, back),
                _ => (name, angle),
            };
            let to = (from + angle) % 4;
            parts.push(format!("{} {name} -> {}", DIRECTIONS[from], DIRECTIONS[to]));
            state.facing = Some(to);
        }
        if let Some(((x, y), distance)) = state.point.zip(self.distance) {
            let toward = self.toward.or(state.facing)?;
            let vertical = (toward % 2 == 0) != (slip == Some(Mistake::AxisSwap));
            let forward = (toward < 2) != (slip == Some(Mistake::Sign));
            let from = if vertical { y } else { x };
            let sign = if forward { '+' } else { '-' };
            let mut to = if forward { from + distance } else { from - distance };
            if slip == Some(Mistake::OffByOne) {
                to += 1;
            }
            let (x, y) = if vertical { (x, to) } else { (to, y) };
            if x < 0 || y < 0 {
                return None;
            }
            let axis = if vertical { 'y' } else { 'x' };
            parts.push(format!("{axis}={from}{sign}{distance}={to} ({x},{y})"));
            state.point = Some((x, y));
        }
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}
