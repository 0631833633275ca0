//! Stacks of blocks: each block has a place, its stack and its height, and a move looks for
//! the highest one of a stack.

use std::collections::BTreeMap;

use super::label::{ItemLine, Labelled, items, other_lines};
use super::{LineChecks, Reading, StepVerdict};

const OPENINGS: [&str; 2] = [
    "Blocks are in three stacks, the bottom one first.",
    "Three stacks of blocks, told from the bottom up.",
];

/// Stack and height of each block, both from 1.
type Places = BTreeMap<String, (usize, usize)>;

#[derive(Clone)]
enum Asked {
    Top(usize),
    Stack(String),
    Height(usize),
}

struct Item {
    label: char,
    text: String,
    from: usize,
    to: usize,
}

struct Question {
    start: Places,
    items: Vec<Item>,
    text: String,
    asked: Asked,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let mut lines = other_lines(question);
    if !OPENINGS.contains(&lines.next()?) {
        return None;
    }
    let mut start = Places::new();
    for (line, stack) in lines.zip(1..) {
        let (number, blocks) = line.strip_prefix("stack ")?.split_once(": ")?;
        if number.parse() != Ok(stack) {
            return None;
        }
        for (block, height) in listed(blocks).into_iter().zip(1..) {
            if start.insert(block.to_owned(), (stack, height)).is_some() {
                return None;
            }
        }
    }
    let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
        items(question)?.into_iter().partition(|item| item.label == 'Q');
    let text = asked.first()?.text.strip_suffix('?')?;
    let asked = if let Some(stack) = text.strip_prefix("Which block is on top of stack ") {
        Asked::Top(stack.parse().ok()?)
    } else if let Some(stack) = text.strip_prefix("How many blocks are in stack ") {
        Asked::Height(stack.parse().ok()?)
    } else {
        let block = text.strip_prefix("In which stack is the ")?.strip_suffix(" block")?;
        Asked::Stack(block.to_owned())
    };
    let items = told
        .iter()
        .map(|item| {
            let (from, to) = item.text.strip_prefix("move from ")?.split_once(" to ")?;
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            Some(Item { label: item.label, text: item.text.to_owned(), from, to })
        })
        .collect::<Option<_>>()?;
    Some(Box::new(Question { start, items, text: text.to_owned(), asked }))
}

/// The blocks of a stack, from the bottom.
fn listed(text: &str) -> Vec<&str> {
    if text == "empty" { Vec::new() } else { text.split(' ').collect() }
}

fn height(places: &Places, stack: usize) -> usize {
    places.values().filter(|place| place.0 == stack).count()
}

fn top(places: &Places, stack: usize) -> Option<&String> {
    let highest = places.iter().filter(|(_, place)| place.0 == stack);
    highest.max_by_key(|(_, place)| place.1).map(|(block, _)| block)
}

/// The block that moves, and the places after it has.
fn moved(places: &Places, from: usize, to: usize) -> Option<(String, Places)> {
    let block = top(places, from)?.clone();
    let mut after = places.clone();
    let above = height(&after, to) + 1;
    after.insert(block.clone(), (to, above));
    Some((block, after))
}

impl Asked {
    fn answer(&self, places: &Places) -> Option<String> {
        match self {
            Self::Top(stack) => top(places, *stack).cloned(),
            Self::Height(stack) => Some(height(places, *stack).to_string()),
            Self::Stack(block) => places.get(block).map(|place| place.0.to_string()),
        }
    }
}

impl Question {
    /// Whether the line of a move holds, and the places that it claims; nothing where its
    /// form is unknown.
    fn line(about: &ItemLine<'_>, item: Option<&Item>, places: &Places) -> Option<(bool, Places)> {
        let [block, left, right] = about.work.split(", ").collect::<Vec<_>>()[..] else {
            return None;
        };
        let (from, left) = left.split_once(' ')?;
        let (to, right) = right.split_once(' ')?;
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        let mut claimed: Places = places
            .iter()
            .filter(|(_, place)| place.0 != from && place.0 != to)
            .map(|(block, place)| (block.clone(), *place))
            .collect();
        let mut num_claimed = claimed.len();
        for (stack, blocks) in [(from, left), (to, right)] {
            for (block, height) in listed(blocks).into_iter().zip(1..) {
                claimed.insert(block.to_owned(), (stack, height));
                num_claimed += 1;
            }
        }
        let held = num_claimed == claimed.len()
            && item.is_some_and(|item| {
                about.is_about(item.label, &item.text)
                    && (from, to) == (item.from, item.to)
                    && moved(places, from, to)
                        .is_some_and(|(top, after)| top == block && after == claimed)
            });
        Some((held, claimed))
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let end = self.items.iter().try_fold(self.start.clone(), |places, item| {
            moved(&places, item.from, item.to).map(|(_, after)| after)
        })?;
        self.asked.answer(&end)
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut checks = LineChecks::default();
        let (mut places, mut next) = (self.start.clone(), 0);
        for line in lines {
            let holds = ItemLine::of(line).and_then(|about| {
                if about.label() == 'Q' {
                    checks.conclusion = Some(about.work.to_owned());
                    let expected = self.asked.answer(&places);
                    return Some(
                        about.is_about('Q', &self.text)
                            && next == self.items.len()
                            && expected.as_deref() == Some(about.work),
                    );
                }
                let (held, claimed) = Self::line(&about, self.items.get(next), &places)?;
                places = claimed;
                next += 1;
                Some(held)
            });
            checks.verdicts.push(StepVerdict::of(holds));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    const ASKED: &str = "Blocks are in three stacks, the bottom one first.\nstack 1: red blue\n\
                         stack 2: empty\nstack 3: green\n#A move from 1 to 2\n#B move from 3 to 2\n\
                         #Q Which block is on top of stack 2?";

    #[test]
    fn the_last_block_moved_lies_on_top() {
        let answer = |question: &str| read(question).and_then(|read| read.answer());
        assert_eq!(answer(ASKED).as_deref(), Some("green"));
        let other = |asked: &str| {
            answer(&ASKED.replace("Which block is on top of stack 2", asked)).unwrap_or_default()
        };
        assert_eq!(other("In which stack is the blue block"), "2");
        assert_eq!(other("How many blocks are in stack 3"), "0");
        assert_eq!(other("Which block is on top of stack 3"), "");
        assert_eq!(answer(&ASKED.replace("1 to 2", "2 to 1")), None, "nothing to move");
    }

    #[test]
    fn lines_tell_the_two_stacks() {
        let verdicts = |lines: &[&str]| read(ASKED).unwrap().check(lines).verdicts;
        let first = "#A move from 1 to 2: blue, 1 red, 2 blue";
        let second = "#B move from 3 to 2: green, 3 empty, 2 blue green";
        let last = "#Q Which block is on top of stack 2: green";
        assert_eq!(verdicts(&[first, second, last]), [Ok; 3]);
        for line in [
            "#B move from 3 to 2: green, 3 empty, 2 green blue",
            "#B move from 3 to 2: blue, 3 empty, 2 blue green",
            "#B move from 3 to 2: green, 3 green, 2 blue green",
            "#B move from 3 to 2: green, 3 empty, 2 green",
            "#B move from 3 to 2: green, 3 empty, 1 red green",
            "#A move from 1 to 2: red, 1 empty, 2 blue red",
            last,
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        assert_eq!(verdicts(&["Well.", "#A move from 1 to 2: blue"]), [Unchecked; 2]);
    }
}
