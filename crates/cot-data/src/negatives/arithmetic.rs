//! Mistakes in the arithmetic of the generators.

use super::slip::{Sum, transposed};
use super::{Mistake, WrongChain, places, rearranged};
use crate::generate::arithmetic::{Change, Operator, step, symbol};
use crate::record::CotRecord;
use crate::rng::CounterRng;

/// A line of the chain, without the value that it starts from.
struct Event<'text> {
    /// Label and item.
    head: String,
    /// In a story, what it changes.
    change: Option<Change<'text>>,
    /// The product on the side, as it is written.
    bags: Option<String>,
    operator: Operator,
    number: i64,
}

struct Chain<'text> {
    start: i64,
    events: Vec<Event<'text>>,
}

/// The record's chain with a mistake.
pub(super) fn wrong(
    record: &CotRecord,
    mistake: Mistake,
    rng: &mut CounterRng,
) -> Option<WrongChain> {
    let chain = Chain::of(&record.thought_process)?;
    let all: Vec<usize> = (0..chain.events.len()).collect();
    // A chain that is not told as it would be here, such as a short one, must not give away
    // by its form that it is wrong.
    if chain.told(&all, None).0 != record.thought_process {
        return None;
    }
    match mistake {
        Mistake::EarlyStop => {
            let kept = 1 + rng.below(all.len().checked_sub(1).filter(|&rest| rest > 0)?);
            let (steps, answer) = chain.told(&all[..kept], None);
            Some(WrongChain { steps, answer: answer.to_string(), first: kept - 1 })
        }
        Mistake::WrongCopy => {
            let (steps, answer) = chain.told(&all, None);
            let copied = transposed(answer, rng).unwrap_or(answer + 1);
            Some(WrongChain { first: steps.len() - 1, steps, answer: copied.to_string() })
        }
        Mistake::DroppedStep | Mistake::DuplicatedStep | Mistake::ReorderedSteps => {
            let (order, first) = rearranged(all.len(), mistake, rng)?;
            let (steps, answer) = chain.told(&order, None);
            Some(WrongChain { steps, answer: answer.to_string(), first })
        }
        _ => places(all.len(), rng).into_iter().find_map(|at| {
            let sum = chain.slip(at, mistake, rng)?;
            let (steps, answer) = chain.told(&all, Some((at, sum)));
            Some(WrongChain { steps, answer: answer.to_string(), first: at })
        }),
    }
}

/// A person of a story's line and whether they gain: `Ann +2`.
fn hand(told: &str) -> Option<(&str, bool)> {
    let (person, amount) = told.split_once(' ')?;
    Some((person, amount.starts_with('+')))
}

/// What a story's line says before its sum, nothing in a program, and the sum.
fn change_of(work: &str) -> Option<(Option<Change<'_>>, &str)> {
    if let Some((owner, main)) = work.split_once(" has ") {
        return Some((Some(Change::times(owner)), main));
    }
    let Some((said, main)) = work.rsplit_once(", ") else { return Some((None, work)) };
    let hands: [Option<(&str, bool)>; 2] = match said.split_once(", ") {
        None => [Some(hand(said)?), None],
        Some((first, second)) => [Some(hand(first)?), Some(hand(second)?)],
    };
    let (owner, _) = hands.into_iter().flatten().next_back()?;
    Some((Some(Change { owner, hands }), main))
}

impl Event<'_> {
    /// What its line says before a sum, which goes with the sum, right or wrong.
    fn said(&self, operator: Operator) -> String {
        let Some(change) = &self.change else { return String::new() };
        let gains = operator == Operator::Add;
        let told = match (operator, self.operator) {
            (right, operator) if right == operator => *change,
            (Operator::Multiply, _) => Change::times(change.owner),
            (_, Operator::Multiply) => Change::own(change.owner, gains),
            _ => {
                let turned = |hand: Option<(_, bool)>| hand.map(|(person, gains)| (person, !gains));
                Change { owner: change.owner, hands: change.hands.map(turned) }
            }
        };
        let mut said = String::new();
        told.write(self.number, &mut said);
        said
    }
}

impl<'text> Chain<'text> {
    fn of(steps: &'text [String]) -> Option<Self> {
        let mut start = None;
        let mut events = Vec::with_capacity(steps.len());
        for step in steps {
            let (item, work) = step.split_once(": ")?;
            let (bags, rest) = match work.split_once(", ") {
                Some((bags, rest)) if bags.starts_with(|c: char| c.is_ascii_digit()) => {
                    (Some(bags.to_owned()), rest)
                }
                _ => (None, work),
            };
            let (change, main) = change_of(rest)?;
            let first = main.split('=').next()?;
            let at = first.find(['+', '-', '*'])?;
            let operator = [Operator::Add, Operator::Subtract, Operator::Multiply]
                .into_iter()
                .find(|operator| first[at..].starts_with(symbol(*operator)))?;
            let number = first[at + 1..].parse().ok()?;
            start = start.or(first[..at].parse().ok());
            events.push(Event { head: item.to_owned(), change, bags, operator, number });
        }
        Some(Self { start: start?, events })
    }

    /// The value before each event, and the last.
    fn values(&self) -> Vec<i64> {
        let mut values = vec![self.start];
        let mut value = self.start;
        for event in &self.events {
            value = event.operator.on(value, event.number);
            values.push(value);
        }
        values
    }

    /// The sum of an event with a mistake.
    fn slip(&self, at: usize, mistake: Mistake, rng: &mut CounterRng) -> Option<Sum> {
        let event = &self.events[at];
        let values = self.values();
        let right = Sum::right(event.operator, values[at], event.number);
        if mistake == Mistake::StaleVariable {
            let stale = values[at.checked_sub(1)?];
            return (stale != values[at]).then(|| Sum::right(event.operator, stale, event.number));
        }
        right.slip(mistake, rng)
    }

    /// The lines of events in an order, one of them with its own sum, and what they come to.
    fn told(&self, order: &[usize], slip: Option<(usize, Sum)>) -> (Vec<String>, i64) {
        let mut value = self.start;
        let mut steps = Vec::with_capacity(order.len());
        for (place, &index) in order.iter().enumerate() {
            let event = &self.events[index];
            let sum = slip
                .filter(|(at, _)| *at == place)
                .map_or_else(|| Sum::right(event.operator, value, event.number), |(_, sum)| sum);
            let said = event.said(sum.operator);
            let bags = event.bags.as_ref().map_or(String::new(), |bags| format!("{bags}, "));
            steps.push(format!("{}: {bags}{said}{}", event.head, written(sum)));
            value = sum.value;
        }
        (steps, value)
    }
}

/// A sum as the generators write it; with a number below 0 there are no places to go by.
fn written(sum: Sum) -> String {
    let Sum { operator, a, b, value } = sum;
    if a < 0 || b < 0 || operator.on(a, b) < 0 {
        return format!("{a}{}{b}={value}", symbol(operator));
    }
    step(operator, a, b, value)
}
