//! Mistakes in the ordering puzzles of the generators.

use super::{Mistake, WrongChain, places, rearranged};
use crate::generate::ordering::{joined, marked};
use crate::record::CotRecord;
use crate::rng::CounterRng;

/// A line about a clue, without the order that it leaves.
struct Clue<'text> {
    /// Label and item.
    head: &'text str,
    /// What is asked about and what it is about.
    measures: &'text str,
    /// Who is above whom; nothing where it is about another relation.
    pair: Option<(&'text str, &'text str)>,
}

struct Chain<'text> {
    clues: Vec<Clue<'text>>,
    /// The line that answers, up to the answer.
    asked: &'text str,
    /// The place that is asked for, from 0.
    place: usize,
}

/// What goes wrong at a clue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slip {
    Converse,
    WrongEnd,
    Lost,
}

/// The record's chain with a mistake.
pub(super) fn wrong(
    record: &CotRecord,
    mistake: Mistake,
    rng: &mut CounterRng,
) -> Option<WrongChain> {
    let chain = Chain::of(&record.thought_process)?;
    let all: Vec<usize> = (0..chain.clues.len()).collect();
    let slip = match mistake {
        Mistake::ConversePair => Slip::Converse,
        Mistake::WrongEnd => Slip::WrongEnd,
        Mistake::LostPerson => Slip::Lost,
        Mistake::WrongPlace => return chain.wrong_place(&all, rng),
        Mistake::WrongCopy => {
            let (_, order) = chain.told(&all, None);
            let steps = record.thought_process.clone();
            let others: Vec<&&str> = order.iter().filter(|name| **name != record.answer).collect();
            let answer = (**others.get(rng.below(others.len()))?).to_owned();
            return Some(WrongChain { first: steps.len() - 1, steps, answer });
        }
        _ => {
            let (order, first) = rearranged(all.len(), mistake, rng)?;
            return chain.closed(&order, None, first);
        }
    };
    places(all.len(), rng).into_iter().find_map(|at| {
        chain.clues[at].pair?;
        let begins = chain.clues[..at].iter().all(|clue| clue.pair.is_none());
        // The first pair has no order to join.
        if begins && slip != Slip::Converse {
            return None;
        }
        let wrong = chain.closed(&all, Some((at, slip)), at)?;
        (wrong.answer != record.answer).then_some(wrong)
    })
}

impl<'text> Chain<'text> {
    fn of(steps: &'text [String]) -> Option<Self> {
        let (asked, rest) = steps.split_last()?;
        let (_, told) = rest.split_last()?;
        let mut clues = Vec::with_capacity(told.len());
        let mut num_people = 0;
        for line in told {
            let (head, work) = line.split_once(": ")?;
            let parts: Vec<&str> = work.split(", ").collect();
            let name = |told: &'text str| told.split(' ').next();
            let (measures, pair) = match parts[..] {
                [measures, "-"] => (measures, None),
                [measures, .., pair, order] => {
                    num_people = order.split(" > ").count();
                    let (upper, lower) = pair.split_once(" > ")?;
                    (measures, Some((name(upper)?, name(lower)?)))
                }
                _ => return None,
            };
            clues.push(Clue { head, measures, pair });
        }
        let (asked, answer) = asked.split_once(": ")?;
        let place = match answer.split_once(' ')? {
            ("last", _) => num_people,
            (place, _) => place.parse().ok()?,
        };
        Some(Self { clues, asked, place: place.checked_sub(1)? })
    }

    /// The lines about clues in an order, a slip at one of them, and the order of people.
    fn told(&self, order: &[usize], slip: Option<(usize, Slip)>) -> (Vec<String>, Vec<&'text str>) {
        let mut people: Vec<&str> = Vec::new();
        let mut steps = Vec::with_capacity(order.len() + 2);
        for (place, &index) in order.iter().enumerate() {
            let clue = &self.clues[index];
            let slip = slip.filter(|(at, _)| *at == place).map(|(_, slip)| slip);
            let pair = match (clue.pair, slip) {
                (Some((upper, lower)), Some(Slip::Converse)) => Some((lower, upper)),
                (pair, _) => pair,
            };
            let shown = match pair {
                Some((upper, lower)) => {
                    let said = joined(&people, upper, lower);
                    if slip != Some(Slip::Lost) {
                        join(&mut people, upper, lower, slip == Some(Slip::WrongEnd));
                    }
                    format!("{said}, {}", marked(&people))
                }
                None => "-".to_owned(),
            };
            steps.push(format!("{}: {}, {shown}", clue.head, clue.measures));
        }
        steps.push(numbered(&people).join(", "));
        (steps, people)
    }

    /// The whole chain; nothing where no one has the place that is asked for.
    fn closed(
        &self,
        order: &[usize],
        slip: Option<(usize, Slip)>,
        first: usize,
    ) -> Option<WrongChain> {
        let (mut steps, people) = self.told(order, slip);
        let answer = (*people.get(self.place)?).to_owned();
        steps.push(format!("{}: {}", self.asked, numbered(&people)[self.place]));
        Some(WrongChain { steps, answer, first })
    }

    fn wrong_place(&self, order: &[usize], rng: &mut CounterRng) -> Option<WrongChain> {
        let (mut steps, people) = self.told(order, None);
        let others: Vec<usize> = (0..people.len()).filter(|&at| at != self.place).collect();
        let taken = *others.get(rng.below(others.len()))?;
        steps.push(format!("{}: {}", self.asked, numbered(&people)[taken]));
        Some(WrongChain { first: steps.len() - 1, steps, answer: people[taken].to_owned() })
    }
}

/// Puts a pair into an order, or at its other end. A pair that does not join at an end
/// goes beside the one of the two who is known, and at the bottom where neither is.
fn join<'text>(people: &mut Vec<&'text str>, upper: &'text str, lower: &'text str, other: bool) {
    let place = |people: &[&str], name: &str| people.iter().position(|known| *known == name);
    match (place(people, upper), place(people, lower)) {
        (None, None) => people.extend([upper, lower]),
        (Some(_), None) if other => people.insert(0, lower),
        (None, Some(_)) if other => people.push(upper),
        (Some(at), None) => people.insert(at + 1, lower),
        (None, Some(at)) => people.insert(at, upper),
        (Some(_), Some(_)) => {}
    }
}

/// Everyone with their place: its number, or `last`.
fn numbered(people: &[&str]) -> Vec<String> {
    let last = people.len().saturating_sub(1);
    let place = |at: usize| if at == last { "last".to_owned() } else { (at + 1).to_string() };
    people.iter().enumerate().map(|(at, name)| format!("{} {name}", place(at))).collect()
}
