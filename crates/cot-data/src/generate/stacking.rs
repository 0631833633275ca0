//! Stacks of blocks, of which the top one moves from one stack to another.

use super::chinese::{Words, all_spelled, spelled};
use super::layout::word;
use super::words::{self, labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

const BLOCKS: [&str; 10] =
    ["red", "blue", "green", "white", "black", "pink", "grey", "brown", "gold", "lime"];

const WORDS: &Words = &[("empty", "空")];

const NUM_STACKS: usize = 3;

/// Blocks of each stack, from the bottom.
type Stacks = [Vec<&'static str>; NUM_STACKS];

#[derive(Clone, Copy, Debug)]
enum Asked {
    /// The top block of a stack that has one.
    Top(usize),
    /// The stack of a block.
    Stack(&'static str),
    /// How many blocks a stack has.
    Height(usize),
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Stacking {
    start: Stacks,
    moves: Vec<(usize, usize)>,
    end: Stacks,
    asked: Asked,
}

fn make(stacks: &mut Stacks, (from, to): (usize, usize)) -> Option<&'static str> {
    let block = stacks[from].pop()?;
    stacks[to].push(block);
    Some(block)
}

fn told(stack: &[&str]) -> String {
    if stack.is_empty() { "empty".to_owned() } else { stack.join(" ") }
}

impl Stacking {
    /// Draws three stacks of `level + 3` blocks and `level + 1` moves, none of which undoes
    /// the one before it.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let mut pool = BLOCKS;
        rng.shuffle(&mut pool);
        let mut start: Stacks = [Vec::new(), Vec::new(), Vec::new()];
        for block in &pool[..usize::from(level) + 3] {
            start[rng.below(NUM_STACKS)].push(*block);
        }
        let mut end = start.clone();
        let mut moves: Vec<(usize, usize)> = Vec::new();
        while moves.len() < usize::from(level) + 1 {
            let from = rng.below(NUM_STACKS);
            let to = (from + 1 + rng.below(NUM_STACKS - 1)) % NUM_STACKS;
            if end[from].is_empty() || moves.last() == Some(&(to, from)) {
                continue;
            }
            make(&mut end, (from, to));
            moves.push((from, to));
        }
        let stack = rng.below(NUM_STACKS);
        let asked = match rng.below(4) {
            0 | 1 if !end[stack].is_empty() => Asked::Top(stack),
            2 => Asked::Height(stack),
            _ => {
                // A block that moved.
                let (_, to) = moves[moves.len() - 1];
                Asked::Stack(end[to][rng.below(end[to].len())])
            }
        };
        Self { start, moves, end, asked }
    }
}

impl Problem for Stacking {
    fn signature(&self) -> String {
        let stacks = self.start.each_ref().map(|stack| told(stack));
        format!("stacking/{} {:?} {:?}", stacks.join("/"), self.moves, self.asked)
    }

    fn kind_name(&self) -> &'static str {
        "stacks"
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let in_words = |text: &str| spelled(language, text, WORDS);
        let items = labelled(self.moves.iter().map(|(from, to)| match language {
            Language::En => format!("move from {} to {}", from + 1, to + 1),
            Language::Zh => format!("从第{}堆移到第{}堆", from + 1, to + 1),
        }));
        let mut stacks = self.start.clone();
        let mut works = Vec::with_capacity(self.moves.len());
        for &(from, to) in &self.moves {
            let block = make(&mut stacks, (from, to)).unwrap_or_default();
            let (left, right) = (told(&stacks[from]), told(&stacks[to]));
            works.push(format!("{block}, {} {left}, {} {right}", from + 1, to + 1));
        }
        let answer = match self.asked {
            Asked::Top(stack) => in_words(self.end[stack].last().copied().unwrap_or_default()),
            Asked::Stack(block) => {
                let stack = self.end.iter().position(|stack| stack.contains(&block)).unwrap_or(0);
                (stack + 1).to_string()
            }
            Asked::Height(stack) => self.end[stack].len().to_string(),
        };
        let asked = match (language, self.asked) {
            (Language::En, Asked::Top(stack)) => {
                format!("Which block is on top of stack {}", stack + 1)
            }
            (Language::En, Asked::Stack(block)) => format!("In which stack is the {block} block"),
            (Language::En, Asked::Height(stack)) => {
                format!("How many blocks are in stack {}", stack + 1)
            }
            (Language::Zh, Asked::Top(stack)) => {
                format!("第{}堆最上面的积木是什么颜色", stack + 1)
            }
            (Language::Zh, Asked::Stack(block)) => format!("{}积木在第几堆", in_words(block)),
            (Language::Zh, Asked::Height(stack)) => format!("第{}堆有几块积木", stack + 1),
        };
        let stacks: Vec<String> = (self.start.iter().zip(1..))
            .map(|(blocks, stack)| {
                let blocks = in_words(&told(blocks));
                match language {
                    Language::En => format!("stack {stack}: {blocks}"),
                    Language::Zh => format!("第{stack}堆：{blocks}"),
                }
            })
            .collect();
        let opening = match rng.below(2) {
            0 => [
                "Blocks are in three stacks, the bottom one first.",
                "积木摆成三堆，每堆从最下面的一块说起。",
            ],
            _ => [
                "Three stacks of blocks, told from the bottom up.",
                "有三堆积木，每堆从下往上列出。",
            ],
        };
        let question = format!(
            "{}\n{}\n{}\n{}",
            word(language, opening),
            stacks.join("\n"),
            items.join("\n"),
            words::asked(language, &asked)
        );
        let mut steps = restated(&items, works);
        steps.push(words::answered(&asked, &answer));
        Rendered { question, steps: all_spelled(language, steps, WORDS), answer }
    }
}
