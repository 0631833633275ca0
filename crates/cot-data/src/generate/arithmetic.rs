//! Multi-step arithmetic: a typed graph of operations over non-negative integers.
//!
//! One walk over the graph writes the question (a program or a short story, its events
//! labelled), another writes the chain, a line for each event that restates it and works it
//! out place by place, so that no side of a line asks for more than one carry. A line of a
//! story says before its sum who gains and who loses.

mod chinese;

use std::fmt::Write;

use super::words::{ITEMS, NAMES, labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// An arithmetic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
}

impl Operator {
    /// What it makes of two numbers.
    pub(crate) fn on(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
        }
    }
}

/// A node of the graph; operands are indices of earlier nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node {
    Given(i64),
    Apply { operator: Operator, left: usize, right: usize, value: i64 },
}

/// What clothes the graph wears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Program,
    Story,
}

/// A problem: the graph in an order in which operands come first; the last node is
/// what is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Arithmetic {
    kind: Kind,
    nodes: Vec<Node>,
}

/// A problem in words.
struct Told {
    opening: String,
    events: Vec<String>,
    /// What each event of a story changes.
    changes: Vec<Change>,
    asked: String,
}

/// What an event of a story changes.
///
/// A line of the chain says it between the product of an event with bags and the sum: each
/// person with what they gain or lose, in the order of the sentence and no further than the
/// owner. So the first sign follows from the verb alone, a second is its opposite, and that
/// of the sum is the one just before it; what is left to decide is whether a person is the
/// owner, which a small model learns many times sooner than to look the owner's sign up.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Whose holding is the running value after the event.
    pub(crate) owner: String,
    /// Who gains or loses, in the order of the sentence up to the owner, and whether they
    /// gain; no one where the owner has some times as many as the one before.
    pub(crate) hands: Vec<(String, bool)>,
}

impl Change {
    /// The owner gains or loses, and no one else.
    pub(crate) fn own(owner: &str, gains: bool) -> Self {
        Self { owner: owner.to_owned(), hands: vec![(owner.to_owned(), gains)] }
    }

    /// Something goes from one hand to another; `first` is named first.
    pub(crate) fn between(owner: &str, first: &str, gains: bool, second: &str) -> Self {
        let mut hands = vec![(first.to_owned(), gains)];
        if first != owner {
            hands.push((second.to_owned(), !gains));
        }
        Self { owner: owner.to_owned(), hands }
    }

    /// The owner has some times as many as the one before.
    pub(crate) fn times(owner: &str) -> Self {
        Self { owner: owner.to_owned(), hands: Vec::new() }
    }

    /// What the line says before its sum.
    pub(crate) fn said(&self, amount: i64) -> String {
        if self.hands.is_empty() {
            return format!("{} has ", self.owner);
        }
        let mut told = String::with_capacity(24);
        for (person, gains) in &self.hands {
            let _ = write!(told, "{person} {}{amount}, ", if *gains { '+' } else { '-' });
        }
        told
    }
}

impl Node {
    fn value(self) -> i64 {
        match self {
            Self::Given(value) | Self::Apply { value, .. } => value,
        }
    }
}

/// Puts an operation and its given operand on the graph; returns the operation's index.
fn push(nodes: &mut Vec<Node>, operator: Operator, left: usize, number: i64) -> usize {
    nodes.push(Node::Given(number));
    apply(nodes, operator, left, nodes.len() - 1)
}

fn apply(nodes: &mut Vec<Node>, operator: Operator, left: usize, right: usize) -> usize {
    let value = operator.on(nodes[left].value(), nodes[right].value());
    nodes.push(Node::Apply { operator, left, right, value });
    nodes.len() - 1
}

impl Arithmetic {
    /// Draws a problem of `level + 1` operations whose values all lie in `0..=cap`,
    /// where the cap is 199 up to level 2 and 999 above. The given numbers all differ.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let cap = if level <= 2 { 199 } else { 999 };
        let mut nodes = vec![Node::Given(rng.between(2, 99))];
        let mut current = 0;
        let mut left = usize::from(level) + 1;
        while left > 0 {
            let value = nodes[current].value();
            let last = left == 1;
            let side = kind == Kind::Story && !last && rng.chance(2, 5);
            if let Some(after) = side.then(|| bags(&mut nodes, current, cap, rng)).flatten() {
                current = after;
                left -= 2;
                continue;
            }
            // In a story only the last event may multiply: it moves on to another person.
            let may_multiply = kind == Kind::Program || last;
            let top_factor = if (2..=99).contains(&value) { (cap / value).min(9) } else { 0 };
            let room = cap - value;
            let choice = if may_multiply && top_factor >= 2 && rng.chance(1, 3) {
                (Operator::Multiply, top_factor)
            } else if value <= 2 || (room >= 2 && rng.chance(1, 2)) {
                (Operator::Add, room.min(99))
            } else {
                (Operator::Subtract, (value - 1).min(99))
            };
            let (operator, most) = choice;
            if let Some(number) = fresh(&nodes, 2, most, rng) {
                current = push(&mut nodes, operator, current, number);
                left -= 1;
            }
        }
        Self { kind, nodes }
    }

    fn operations(&self) -> impl Iterator<Item = (Operator, usize, usize, i64)> {
        self.nodes.iter().filter_map(|node| match *node {
            Node::Given(_) => None,
            Node::Apply { operator, left, right, value } => Some((operator, left, right, value)),
        })
    }

    /// The product behind an operand: how many bags, and how many in each.
    fn bags(&self, operand: usize) -> Option<(i64, i64)> {
        match self.nodes[operand] {
            Node::Given(_) => None,
            Node::Apply { left, right, .. } => {
                Some((self.nodes[left].value(), self.nodes[right].value()))
            }
        }
    }

    /// What happens to the running value, one after another: operations without the bags'
    /// own products, which are told and worked out with the event that uses them.
    fn events(&self) -> impl Iterator<Item = (Operator, usize, usize, i64)> {
        self.operations()
            .filter(|&(_, left, ..)| left == 0 || matches!(self.nodes[left], Node::Apply { .. }))
    }

    /// The work on each event, given what each of a story's changes.
    fn chain(&self, changes: &[Change]) -> impl Iterator<Item = String> {
        self.events().enumerate().map(|(index, (operator, left, right, value))| {
            let (a, b) = (self.nodes[left].value(), self.nodes[right].value());
            let mut work = String::with_capacity(96);
            if let Some((count, size)) = self.bags(right) {
                work.push_str(&step(Operator::Multiply, count, size, b));
                work.push_str(", ");
            }
            if let Some(change) = changes.get(index) {
                work.push_str(&change.said(b));
            }
            work.push_str(&step(operator, a, b, value));
            work
        })
    }

    /// Opening, events and question of a program.
    fn program(&self, rng: &mut CounterRng) -> Told {
        let template = rng.below(3);
        let start = self.nodes[0].value();
        let step = |(operator, _, right, _): (Operator, usize, usize, i64)| {
            let number = self.nodes[right].value();
            let verb = match (template, operator) {
                (0 | 1, Operator::Add) => "add",
                (0 | 1, Operator::Subtract) => "subtract",
                (0 | 1, Operator::Multiply) => "multiply by",
                (_, Operator::Add) => "plus",
                (_, Operator::Subtract) => "minus",
                (_, Operator::Multiply) => "times",
            };
            format!("{verb} {number}")
        };
        let (opening, asked) = match template {
            0 => ("Start with", "What is the result?"),
            1 => ("Take", "What number is it now?"),
            _ => ("Start with", "What is it now?"),
        };
        Told {
            opening: format!("{opening} {start}."),
            events: self.events().map(step).collect(),
            changes: Vec::new(),
            asked: asked.to_owned(),
        }
    }

    /// Opening, events and question of a story.
    fn story(&self, rng: &mut CounterRng) -> Told {
        let mut names = NAMES;
        rng.shuffle(&mut names);
        let [mut owner, other, friend, ..] = names;
        let item = rng.pick(&ITEMS);
        let start = self.nodes[0].value();
        let opening = match rng.below(3) {
            0 => format!("{owner} has {start} {item}."),
            1 => format!("At first {owner} has {start} {item}."),
            _ => format!("{owner} starts with {start} {item}."),
        };
        let (mut events, mut changes) = (Vec::new(), Vec::new());
        for (operator, _, right, _) in self.events() {
            let amount = self.nodes[right].value();
            let own = Change::own(owner, operator == Operator::Add);
            let between = |first, gains, second| Change::between(owner, first, gains, second);
            // Every sentence about two people is told of either of them as the owner, so that
            // it does not give away whose holding the sum is about.
            let gains = operator == Operator::Add;
            let (giver, taker) = if gains { (other, owner) } else { (owner, other) };
            let given = between(giver, false, taker);
            let (event, change) = match (operator, self.bags(right)) {
                (Operator::Add, Some((count, size))) => match rng.below(4) {
                    0 => (format!("{owner} buys {count} bags of {size}"), own),
                    1 => (format!("{owner} finds {count} bags of {size} {item}"), own),
                    2 => (format!("{owner} gets {count} boxes with {size} in each"), own),
                    _ => {
                        (format!("{giver} gives {taker} {count} boxes with {size} in each"), given)
                    }
                },
                (_, Some((count, size))) => match rng.below(2) {
                    0 => (format!("{owner} sells {count} bags of {size}"), own),
                    _ => {
                        (format!("{giver} gives {taker} {count} boxes with {size} in each"), given)
                    }
                },
                (Operator::Add | Operator::Subtract, None) => match rng.below(6) {
                    0 if gains => (format!("{owner} buys {amount} more"), own),
                    1 if gains => (format!("{owner} finds {amount} {item}"), own),
                    0 => (format!("{owner} sells {amount}"), own),
                    1 => (format!("{owner} loses {amount} {item}"), own),
                    2 => (format!("{giver} gives {amount} to {taker}"), given),
                    3 => (format!("{giver} gives {taker} {amount} more"), given),
                    _ => {
                        (format!("{taker} gets {amount} from {giver}"), between(taker, true, giver))
                    }
                },
                (Operator::Multiply, None) => {
                    let told = match rng.below(2) {
                        0 => format!("{friend} has {amount} times as many as {owner}"),
                        _ => format!("{friend} has {amount} times as many {item} as {owner}"),
                    };
                    owner = friend;
                    (told, Change::times(friend))
                }
            };
            events.push(event);
            changes.push(change);
        }
        let asked = match rng.below(3) {
            0 => format!("How many {item} does {owner} have now?"),
            1 => format!("How many {item} does {owner} have at the end?"),
            _ => format!("How many does {owner} have now?"),
        };
        Told { opening, events, changes, asked }
    }
}

impl Problem for Arithmetic {
    fn signature(&self) -> String {
        let mut told = String::with_capacity(96);
        let _ = write!(told, "arithmetic/{}/", self.kind_name());
        for (index, node) in self.nodes.iter().enumerate() {
            if index > 0 {
                told.push(' ');
            }
            let _ = match *node {
                Node::Given(value) => write!(told, "{value}"),
                Node::Apply { operator, left, right, .. } => {
                    write!(told, "{}{left},{right}", symbol(operator))
                }
            };
        }
        told
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Program => "program",
            Kind::Story => "story",
        }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        if language == Language::Zh {
            return chinese::render(self, rng);
        }
        let Told { opening, events, changes, asked } = match self.kind {
            Kind::Program => self.program(rng),
            Kind::Story => self.story(rng),
        };
        let events = labelled(events);
        let steps = restated(&events, self.chain(&changes));
        let question = format!("{opening}\n{}\n{asked}", events.join("\n"));
        let answer = self.nodes.last().map_or(0, |node| node.value()).to_string();
        Rendered { question, steps, answer }
    }
}

/// A number in `low..=high` that is not yet given; nothing where all are.
fn fresh(nodes: &[Node], low: i64, high: i64, rng: &mut CounterRng) -> Option<i64> {
    let mut given: Vec<i64> = nodes
        .iter()
        .filter_map(|node| match *node {
            Node::Given(value) if (low..=high).contains(&value) => Some(value),
            _ => None,
        })
        .collect();
    given.sort_unstable();
    let num_free = usize::try_from(high - low + 1).ok()?.saturating_sub(given.len());
    if num_free == 0 {
        return None;
    }
    // The free number of that rank: one higher for each given number on the way.
    let drawn = low + rng.below(num_free) as i64;
    Some(given.into_iter().fold(drawn, |number, taken| number + i64::from(taken <= number)))
}

/// Adds or takes away some bags of equal size, a product that is worked out on the side;
/// nothing where the numbers drawn do not fit.
fn bags(nodes: &mut Vec<Node>, current: usize, cap: i64, rng: &mut CounterRng) -> Option<usize> {
    let value = nodes[current].value();
    let count = fresh(nodes, 2, 9, rng)?;
    let size = fresh(nodes, 2, 99 / count, rng).filter(|&size| size != count)?;
    let amount = count * size;
    let operator = match (amount <= cap - value, amount < value) {
        (false, false) => return None,
        (true, false) => Operator::Add,
        (false, true) => Operator::Subtract,
        (true, true) => rng.pick(&[Operator::Add, Operator::Add, Operator::Subtract]),
    };
    nodes.push(Node::Given(count));
    let count = nodes.len() - 1;
    let product = push(nodes, Operator::Multiply, count, size);
    Some(apply(nodes, operator, current, product))
}

pub(crate) fn symbol(operator: Operator) -> char {
    match operator {
        Operator::Add => '+',
        Operator::Subtract => '-',
        Operator::Multiply => '*',
    }
}

/// The non-zero places of a number, highest first: 67 gives 60 and 7.
pub(crate) fn places(number: i64) -> Vec<i64> {
    let units = std::iter::successors(Some(1_i64), |unit| unit.checked_mul(10));
    let mut places = Vec::with_capacity(4);
    places.extend(
        units
            .take_while(|&unit| unit <= number)
            .map(|unit| number / unit % 10 * unit)
            .filter(|&place| place != 0),
    );
    places.reverse();
    places
}

/// One line of the chain, such as `58+67=58+60+7=118+7=125`. No spaces:
/// a tokenizer that splits digits would give each its own token.
pub(crate) fn step(operator: Operator, a: i64, b: i64, value: i64) -> String {
    let sign = symbol(operator);
    let mut line = String::with_capacity(64);
    let _ = write!(line, "{a}{sign}{b}");
    match operator {
        Operator::Add | Operator::Subtract => {
            let parts = places(b);
            let mut reached = a;
            if parts.len() > 1 {
                for taken in 0..parts.len() {
                    let _ = write!(line, "={reached}");
                    for part in &parts[taken..] {
                        let _ = write!(line, "{sign}{part}");
                    }
                    reached = operator.on(reached, parts[taken]);
                }
            }
        }
        Operator::Multiply => {
            let (small, large) = (a.min(b), a.max(b));
            let parts = places(large);
            if parts.len() > 1 {
                let mut between = '=';
                for part in parts {
                    let _ = write!(line, "{between}{}", part * small);
                    between = '+';
                }
            }
        }
    }
    let _ = write!(line, "={value}");
    line
}
