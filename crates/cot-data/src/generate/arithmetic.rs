//! Multi-step arithmetic: a typed graph of operations over non-negative integers.
//!
//! One walk over the graph writes the question (a program or a short story, its events
//! labelled), another writes the chain, a line for each event that restates it and works it
//! out place by place, so that no side of a line asks for more than one carry. A line of a
//! story says before its sum who gains and who loses.

mod chinese;

use super::words::{ITEMS, LABELS, NAMES};
use crate::language::Language;
use crate::problem::{Alteration, Problem, Rendered};
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
    changes: Vec<Change<'static>>,
    asked: String,
}

/// What an event of a story changes.
///
/// A line of the chain says it between the product of an event with bags and the sum: each
/// person with what they gain or lose, in the order of the sentence and no further than the
/// owner. So the first sign follows from the verb alone, a second is its opposite, and that
/// of the sum is the one just before it; what is left to decide is whether a person is the
/// owner, which a small model learns many times sooner than to look the owner's sign up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'name> {
    /// Whose holding is the running value after the event.
    pub(crate) owner: &'name str,
    /// Who gains or loses, in the order of the sentence up to the owner, and whether they
    /// gain; no one where the owner has some times as many as the one before.
    pub(crate) hands: [Option<(&'name str, bool)>; 2],
}

impl<'name> Change<'name> {
    /// The owner gains or loses, and no one else.
    pub(crate) fn own(owner: &'name str, gains: bool) -> Self {
        Self { owner, hands: [Some((owner, gains)), None] }
    }

    /// Something goes from one hand to another; `first` is named first.
    pub(crate) fn between(
        owner: &'name str,
        first: &'name str,
        gains: bool,
        second: &'name str,
    ) -> Self {
        let other = (first != owner).then_some((second, !gains));
        Self { owner, hands: [Some((first, gains)), other] }
    }

    /// The owner has some times as many as the one before.
    pub(crate) fn times(owner: &'name str) -> Self {
        Self { owner, hands: [None; 2] }
    }

    /// Writes what the line says before its sum.
    pub(crate) fn write(&self, amount: i64, line: &mut String) {
        if self.hands == [None; 2] {
            line.push_str(self.owner);
            line.push_str(" has ");
        }
        for (person, gains) in self.hands.into_iter().flatten() {
            line.push_str(person);
            line.push_str(if gains { " +" } else { " -" });
            write_number(amount, line);
            line.push_str(", ");
        }
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
        let mut nodes = Vec::with_capacity(16);
        nodes.push(Node::Given(rng.between(2, 99)));
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
    fn chain(&self, changes: &[Change<'_>]) -> impl Iterator<Item = String> {
        self.events().enumerate().map(|(index, event)| {
            let mut work = String::with_capacity(MOST_WORK);
            self.write_work(event, changes.get(index), &mut work);
            work
        })
    }

    /// Writes the work on an event.
    fn write_work(
        &self,
        (operator, left, right, value): (Operator, usize, usize, i64),
        change: Option<&Change<'_>>,
        line: &mut String,
    ) {
        let (a, b) = (self.nodes[left].value(), self.nodes[right].value());
        if let Some((count, size)) = self.bags(right) {
            write_step(Operator::Multiply, count, size, b, line);
            line.push_str(", ");
        }
        if let Some(change) = change {
            change.write(b, line);
        }
        write_step(operator, a, b, value, line);
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

/// What an event does to the running value, apart from the graph.
#[derive(Clone, Copy, Debug)]
struct Deed {
    operator: Operator,
    /// How many bags, and how many in each; of an event without bags, one bag.
    amount: (Option<i64>, i64),
}

impl Arithmetic {
    /// The numbers as they are given: the start and each event's deed.
    fn deeds(&self) -> (i64, Vec<Deed>) {
        let deed = |(operator, _, right, _)| match self.bags(right) {
            Some((count, size)) => Deed { operator, amount: (Some(count), size) },
            None => Deed { operator, amount: (None, self.nodes[right].value()) },
        };
        (self.nodes[0].value(), self.events().map(deed).collect())
    }

    /// The problem of such deeds; nothing where a value leaves `0..=999`, the range in which
    /// chains are written.
    fn of(kind: Kind, start: i64, deeds: &[Deed]) -> Option<Self> {
        let mut nodes = vec![Node::Given(start)];
        let mut current = 0;
        for &Deed { operator, amount: (count, size) } in deeds {
            current = match count {
                None => push(&mut nodes, operator, current, size),
                Some(count) => {
                    nodes.push(Node::Given(count));
                    let count = nodes.len() - 1;
                    let product = push(&mut nodes, Operator::Multiply, count, size);
                    apply(&mut nodes, operator, current, product)
                }
            };
        }
        let holds = nodes.iter().all(|node| (0..=999).contains(&node.value()));
        (holds && !deeds.is_empty()).then_some(Self { kind, nodes })
    }
}

impl Problem for Arithmetic {
    fn altered(&self, alteration: Alteration, rng: &mut CounterRng) -> Option<Box<dyn Problem>> {
        let (mut start, mut deeds) = self.deeds();
        match alteration {
            Alteration::Number => {
                let mut numbers = vec![&mut start];
                for Deed { amount: (count, size), .. } in &mut deeds {
                    numbers.extend(count.as_mut());
                    numbers.push(size);
                }
                let at = rng.below(numbers.len());
                let (low, high) = if *numbers[at] < 10 { (2, 9) } else { (10, 99) };
                let number = rng.between(low, high);
                if numbers.iter().any(|given| **given == number) {
                    return None;
                }
                *numbers[at] = number;
            }
            Alteration::Added => {
                let again = deeds[rng.below(deeds.len())];
                // In a story only the last event may multiply: it moves on to another person.
                if self.kind == Kind::Story && again.operator == Operator::Multiply {
                    return None;
                }
                deeds.push(again);
            }
            Alteration::Dropped => {
                deeds.remove(rng.below(deeds.len()));
            }
        }
        Some(Box::new(Self::of(self.kind, start, &deeds)?))
    }

    fn signature(&self) -> String {
        let mut told = String::with_capacity(96);
        told.push_str("arithmetic/");
        told.push_str(self.kind_name());
        told.push('/');
        for (index, node) in self.nodes.iter().enumerate() {
            if index > 0 {
                told.push(' ');
            }
            match *node {
                Node::Given(value) => write_number(value, &mut told),
                Node::Apply { operator, left, right, .. } => {
                    told.push(symbol(operator));
                    write_number(left as i64, &mut told);
                    told.push(',');
                    write_number(right as i64, &mut told);
                }
            }
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
        let length: usize = events.iter().map(|event| event.len() + 4).sum();
        let mut question = String::with_capacity(opening.len() + length + asked.len() + 1);
        question.push_str(&opening);
        let mut steps = Vec::with_capacity(events.len());
        for (index, work) in self.events().enumerate() {
            let mut line = String::with_capacity(events[index].len() + MOST_WORK);
            line.extend(['#', LABELS[index], ' ']);
            line.push_str(&events[index]);
            question.push('\n');
            question.push_str(&line);
            line.push_str(": ");
            self.write_work(work, changes.get(index), &mut line);
            steps.push(line);
        }
        question.push('\n');
        question.push_str(&asked);
        let answer = self.nodes.last().map_or(0, |node| node.value()).to_string();
        Rendered { question, steps, answer }
    }
}

/// A number in `low..=high` that is not yet given; nothing where all are.
fn fresh(nodes: &[Node], low: i64, high: i64, rng: &mut CounterRng) -> Option<i64> {
    let given = nodes.iter().filter_map(|node| match *node {
        Node::Given(value) if (low..=high).contains(&value) => Some(value),
        _ => None,
    });
    let num_free = usize::try_from(high - low + 1).ok()?.saturating_sub(given.clone().count());
    if num_free == 0 {
        return None;
    }
    // The free number of that rank: one higher for each given number on the way.
    let mut number = low + rng.below(num_free) as i64;
    let mut passed = low - 1;
    while let Some(next) = given.clone().filter(|&taken| taken > passed).min() {
        if next > number {
            break;
        }
        number += 1;
        passed = next;
    }
    Some(number)
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
pub(crate) fn places(number: i64) -> impl Iterator<Item = i64> + Clone {
    let num_digits = number.checked_ilog10().map_or(0, |highest| highest + 1);
    (0..num_digits)
        .rev()
        .map(move |place| {
            let unit = 10_i64.pow(place);
            number / unit % 10 * unit
        })
        .filter(|&place| place != 0)
}

/// Room for the work of most lines.
const MOST_WORK: usize = 96;

/// One line of the chain, such as `58+67=58+60+7=118+7=125`. No spaces:
/// a tokenizer that splits digits would give each its own token.
pub(crate) fn step(operator: Operator, a: i64, b: i64, value: i64) -> String {
    let mut line = String::with_capacity(MOST_WORK);
    write_step(operator, a, b, value, &mut line);
    line
}

/// Writes what [`step`] gives.
fn write_step(operator: Operator, a: i64, b: i64, value: i64, line: &mut String) {
    let sign = symbol(operator);
    write_number(a, line);
    line.push(sign);
    write_number(b, line);
    match operator {
        Operator::Add | Operator::Subtract => {
            let parts = places(b);
            let mut reached = a;
            if parts.clone().nth(1).is_some() {
                for (taken, next) in parts.clone().enumerate() {
                    line.push('=');
                    write_number(reached, line);
                    for part in parts.clone().skip(taken) {
                        line.push(sign);
                        write_number(part, line);
                    }
                    reached = operator.on(reached, next);
                }
            }
        }
        Operator::Multiply => {
            let (small, large) = (a.min(b), a.max(b));
            let parts = places(large);
            if parts.clone().nth(1).is_some() {
                let mut between = '=';
                for part in parts {
                    line.push(between);
                    write_number(part * small, line);
                    between = '+';
                }
            }
        }
    }
    line.push('=');
    write_number(value, line);
}

/// Writes a number: most of a chain is numbers, and the general way to write one costs
/// several times as much.
fn write_number(number: i64, text: &mut String) {
    if number < 0 {
        text.push('-');
    }
    let mut digits = [0; 20];
    let (mut rest, mut first) = (number.unsigned_abs(), digits.len());
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend(digits[first..].iter().map(|&digit| char::from(digit)));
}
