//! Programs and stories in Chinese.

use super::{Arithmetic, Change, Kind, Operator, Told};
use crate::generate::chinese::{item, laid_out, name};
use crate::generate::words::{ITEMS, NAMES};
use crate::problem::Rendered;
use crate::rng::CounterRng;

/// Question, chain and answer.
pub(super) fn render(problem: &Arithmetic, rng: &mut CounterRng) -> Rendered {
    let answer = problem.nodes.last().map_or(0, |node| node.value()).to_string();
    let Told { opening, events, changes, asked } = match problem.kind {
        Kind::Program => program(problem, rng),
        Kind::Story => story(problem, rng),
    };
    // Names apart, the chain is the English one.
    let works =
        (problem.chain(&changes)).map(|work| work.replace(", ", "，").replace(" has ", "有 "));
    laid_out(&opening, events, works, &asked, answer)
}

fn program(problem: &Arithmetic, rng: &mut CounterRng) -> Told {
    let template = rng.below(3);
    let start = problem.nodes[0].value();
    let events = (problem.events())
        .map(|(operator, _, right, _)| {
            let number = problem.nodes[right].value();
            let verb = match (template, operator) {
                (0 | 1, Operator::Add) => "加上",
                (0 | 1, Operator::Subtract) => "减去",
                (0 | 1, Operator::Multiply) => "乘以",
                (_, Operator::Add) => "加",
                (_, Operator::Subtract) => "减",
                (_, Operator::Multiply) => "乘",
            };
            format!("{verb}{number}")
        })
        .collect();
    let (opening, asked) = match template {
        0 => (format!("从{start}开始。"), "结果是多少？"),
        1 => (format!("取一个数{start}。"), "这个数现在是多少？"),
        _ => (format!("从{start}开始。"), "现在是多少？"),
    };
    Told { opening, events, changes: Vec::new(), asked: asked.to_owned() }
}

fn story(problem: &Arithmetic, rng: &mut CounterRng) -> Told {
    let mut names = NAMES;
    rng.shuffle(&mut names);
    let [mut owner, other, friend, ..] = names.map(name);
    let (unit, noun) = item(rng.pick(&ITEMS));
    let start = problem.nodes[0].value();
    let opening = match rng.below(3) {
        0 => format!("{owner}有{start}{unit}{noun}。"),
        1 => format!("起初，{owner}有{start}{unit}{noun}。"),
        _ => format!("{owner}一开始有{start}{unit}{noun}。"),
    };
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    for (operator, _, right, _) in problem.events() {
        let amount = problem.nodes[right].value();
        let own = Change::own(owner, operator == Operator::Add);
        let between = |first, gains, second| Change::between(owner, first, gains, second);
        let gains = operator == Operator::Add;
        let (giver, taker) = if gains { (other, owner) } else { (owner, other) };
        let given = between(giver, false, taker);
        let taken = between(taker, true, giver);
        let (event, change) = match (operator, problem.bags(right)) {
            (Operator::Add, Some((count, size))) => match rng.below(4) {
                0 => (format!("{owner}买了{count}包，每包{size}{unit}"), own),
                1 => (format!("{owner}找到{count}包，每包{size}{unit}"), own),
                2 => (format!("{owner}得到{count}盒，每盒{size}{unit}"), own),
                _ => (format!("{giver}给了{taker}{count}盒，每盒{size}{unit}"), given),
            },
            (_, Some((count, size))) => match rng.below(2) {
                0 => (format!("{owner}卖掉{count}包，每包{size}{unit}"), own),
                _ => (format!("{giver}给了{taker}{count}盒，每盒{size}{unit}"), given),
            },
            (Operator::Add | Operator::Subtract, None) => match rng.below(6) {
                0 if gains => (format!("{owner}又买了{amount}{unit}"), own),
                1 if gains => (format!("{owner}找到{amount}{unit}{noun}"), own),
                0 => (format!("{owner}卖掉{amount}{unit}"), own),
                1 => (format!("{owner}弄丢了{amount}{unit}{noun}"), own),
                2 => (format!("{giver}给了{taker}{amount}{unit}"), given),
                3 => (format!("{giver}又给了{taker}{amount}{unit}"), given),
                4 => (format!("{taker}从{giver}那里得到{amount}{unit}"), taken),
                _ => (format!("{taker}从{giver}那里拿走{amount}{unit}"), taken),
            },
            (Operator::Multiply, None) => {
                let told = format!("{friend}的{noun}是{owner}的{amount}倍");
                owner = friend;
                (told, Change::times(friend))
            }
        };
        events.push(event);
        changes.push(change);
    }
    let asked = match rng.below(3) {
        0 => format!("{owner}现在有多少{unit}{noun}？"),
        1 => format!("{owner}最后有多少{unit}{noun}？"),
        _ => format!("{owner}现在有多少{unit}？"),
    };
    Told { opening, events, changes, asked }
}
