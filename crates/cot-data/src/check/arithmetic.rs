//! Arithmetic: equality chains, where operands come from, and a second solver that keeps
//! what each person holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedMul};
use regex::Regex;

use super::answer::number;
use super::expression::{self, Expression};
use super::label::{self, ItemLine, Labelled};
use super::{LineChecks, Reading, StepVerdict};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of this file")
}

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:,\d{3})*(?:\.\d+)?"));
static PROGRAM_START: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:Start with|Take) (\d{1,9})\.$"));
static PROGRAM_STEP: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(add|plus|subtract|minus|multiply by|times) (\d{1,9})$"));
static OWNED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^([A-Z][a-z]* (?:gets|loses|has)) (.+)$"));
static TIMES_AS_MANY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\w+) has (\d+) times as many(?: \w+)? as (\w+)$"));
static HOLDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\w+) (?:has|starts with) (\d+) \w+$"));
static GIVES_THEM: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\w+) gives (\w+) (\d+) (?:more|boxes with (\d+) in each)$"));
static MOVES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(\w+) (buys|finds|gets|sells|loses|gives) (\d+)",
        r"(?: (?:bags of|boxes with) (\d+))?(?: in each)?(?: more| [a-z]+)??",
        r"(?: (to|from) (\w+))?$",
    ))
});
static ASKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"How many(?: \w+)? does (\w+) have(?: now| at the end)?$"));

/// What an item of the question does to the running value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Add(i64),
    Multiply(i64),
}

/// An item of the question.
struct Event {
    label: char,
    text: String,
    numbers: BTreeSet<Ratio<i128>>,
    effect: Effect,
    /// In a story, what its line says before the sums: whose holding it changes, and how.
    said: Option<String>,
}

impl Event {
    fn of(item: &Labelled<'_>, effect: Effect, owner: Option<&str>) -> Self {
        let verb = match effect {
            Effect::Add(amount) if amount < 0 => "loses",
            Effect::Add(_) => "gets",
            Effect::Multiply(_) => "has",
        };
        Self {
            label: item.label,
            text: item.text.to_owned(),
            numbers: numbers(item.text),
            effect,
            said: owner.map(|owner| format!("{owner} {verb}")),
        }
    }
}

/// A question that the second solver understands.
struct Solved {
    start: i64,
    events: Vec<Event>,
    answer: i64,
}

/// A question about numbers.
struct Question {
    /// The numbers in the question.
    given: BTreeSet<Ratio<i128>>,
    solved: Option<Solved>,
}

/// The numbers in a text.
fn numbers(text: &str) -> BTreeSet<Ratio<i128>> {
    NUMBER.find_iter(text).filter_map(|found| number(found.as_str())).collect()
}

/// An equality chain: the verdict on it, and what it comes to.
fn equality(
    text: &str,
    known: &BTreeSet<Ratio<i128>>,
    unsourced: StepVerdict,
) -> (StepVerdict, Option<Ratio<i128>>) {
    let sides: Option<Vec<Expression>> = text.split('=').map(expression::parse).collect();
    let Some([first, .., last]) = sides.as_deref() else {
        return (StepVerdict::Unchecked, None);
    };
    let equal = sides.iter().flatten().all(|side| side.value == first.value);
    let sourced = first.numbers.iter().all(|operand| known.contains(operand));
    let verdict = if first.value.is_none() || !equal {
        StepVerdict::Wrong
    } else if first.num_operations == 0 {
        StepVerdict::Unchecked
    } else if sourced {
        StepVerdict::Ok
    } else {
        unsourced
    };
    (verdict, last.value)
}

/// Reads a question.
pub(super) fn read(question: &str) -> Box<dyn Reading> {
    Box::new(Question::of(question))
}

impl Question {
    fn of(question: &str) -> Self {
        let solved = label::items(question)
            .filter(|items| !items.is_empty())
            .and_then(|items| program(question, &items).or_else(|| story(question, &items)));
        Self { given: numbers(question), solved }
    }

    /// In a question that the second solver cannot read, every side of an equality chain
    /// must have one value; where its first side's operands are neither in the question
    /// nor an earlier line's result (a week's 7 days), it stays unchecked.
    fn check_unread(&self, lines: &[&str]) -> LineChecks {
        let mut known = self.given.clone();
        let mut checks = LineChecks::default();
        for line in lines {
            let (verdict, result) = equality(line, &known, StepVerdict::Unchecked);
            checks.verdicts.push(verdict);
            if let Some(result) = result {
                known.insert(result);
                checks.conclusion = Some(result.to_string());
            }
        }
        checks
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        self.solved.as_ref().map(|solved| solved.answer.to_string())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        match &self.solved {
            Some(solved) => solved.check(lines),
            None => self.check_unread(lines),
        }
    }
}

impl Solved {
    /// A line restates the next event, says in a story who gets or loses, and has one equality chain or more with a
    /// comma between them. The operands of a chain's first side are the event's own
    /// numbers, the value so far, or an earlier result of the line; the last result is
    /// what the event makes of the value so far.
    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut value = Ratio::from_integer(i128::from(self.start));
        let mut next = 0;
        let mut checks = LineChecks::default();
        for line in lines {
            let Some(about) = ItemLine::of(line) else {
                checks.verdicts.push(StepVerdict::Unchecked);
                continue;
            };
            let event = self.events.get(next);
            let mut known = event.map(|event| event.numbers.clone()).unwrap_or_default();
            known.insert(value);
            let mut verdicts = Vec::new();
            let mut reached = None;
            let (said, sums) = match OWNED.captures(about.work) {
                Some(found) => {
                    let (_, [said, sums]) = found.extract();
                    (Some(said), sums)
                }
                None => (None, about.work),
            };
            for part in sums.split(", ") {
                let (verdict, result) = equality(part, &known, StepVerdict::Wrong);
                verdicts.push(verdict);
                known.extend(result);
                reached = result;
            }
            if verdicts.contains(&StepVerdict::Unchecked) {
                checks.verdicts.push(StepVerdict::Unchecked);
                continue;
            }
            let held = event.is_some_and(|event| {
                about.is_about(event.label, &event.text)
                    && said == event.said.as_deref()
                    && reached.is_some()
                    && reached == event.effect.on(value)
            });
            checks.verdicts.push(if held && !verdicts.contains(&StepVerdict::Wrong) {
                StepVerdict::Ok
            } else {
                StepVerdict::Wrong
            });
            next += 1;
            if let Some(result) = reached {
                value = result;
                checks.conclusion = Some(result.to_string());
            }
        }
        checks
    }
}

impl Effect {
    fn on(self, value: Ratio<i128>) -> Option<Ratio<i128>> {
        match self {
            Self::Add(amount) => value.checked_add(&Ratio::from_integer(i128::from(amount))),
            Self::Multiply(factor) => value.checked_mul(&Ratio::from_integer(i128::from(factor))),
        }
    }
}

/// Runs a question of the form "start with a number", then its items.
fn program(question: &str, items: &[Labelled<'_>]) -> Option<Solved> {
    let start: i64 = PROGRAM_START.captures(question.lines().next()?)?[1].parse().ok()?;
    let mut answer = start;
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        let step = PROGRAM_STEP.captures(item.text)?;
        let number: i64 = step[2].parse().ok()?;
        let effect = match &step[1] {
            "add" | "plus" => Effect::Add(number),
            "subtract" | "minus" => Effect::Add(-number),
            _ => Effect::Multiply(number),
        };
        answer = match effect {
            Effect::Add(amount) => answer.checked_add(amount)?,
            Effect::Multiply(factor) => answer.checked_mul(factor)?,
        };
        events.push(Event::of(item, effect, None));
    }
    Some(Solved { start, events, answer })
}

/// Plays a story item by item; nothing where one is not understood.
fn story(question: &str, items: &[Labelled<'_>]) -> Option<Solved> {
    let mut lines = label::other_lines(question);
    let (opening, asked) = (lines.next()?, lines.next_back()?);
    let opening = HOLDS.captures(opening.trim_end_matches('.'))?;
    let mut owner = opening.get(1)?.as_str();
    let start: i64 = opening[2].parse().ok()?;
    let mut held: HashMap<&str, i64> = HashMap::from([(owner, start)]);
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        let before = *held.get(owner)?;
        let effect = if let Some(found) = TIMES_AS_MANY.captures(item.text) {
            let factor: i64 = found[2].parse().ok()?;
            let counted = *held.get(found.get(3)?.as_str())?;
            let total = counted.checked_mul(factor)?;
            owner = found.get(1)?.as_str();
            held.insert(owner, total);
            Effect::Multiply(factor)
        } else {
            play(&mut held, item.text)?;
            Effect::Add(held.get(owner)?.checked_sub(before)?)
        };
        events.push(Event::of(item, effect, Some(owner)));
    }
    let person = ASKED.captures(asked.trim_end_matches('?'))?.get(1)?.as_str();
    let answer = *held.get(person)?;
    Some(Solved { start, events, answer })
}

/// Plays an event in which something changes hands.
fn play<'text>(held: &mut HashMap<&'text str, i64>, event: &'text str) -> Option<()> {
    let amount = |count: regex::Match<'_>, size: Option<regex::Match<'_>>| {
        let each: i64 = size.map_or(Some(1), |size| size.as_str().parse().ok())?;
        each.checked_mul(count.as_str().parse().ok()?)
    };
    if let Some(found) = GIVES_THEM.captures(event) {
        let amount = amount(found.get(3)?, found.get(4))?;
        shift(held, found.get(1)?.as_str(), -amount);
        shift(held, found.get(2)?.as_str(), amount);
    } else {
        let found = MOVES.captures(event)?;
        let amount = amount(found.get(3)?, found.get(4))?;
        let gain = matches!(&found[2], "buys" | "finds" | "gets");
        let signed = if gain { amount } else { -amount };
        shift(held, found.get(1)?.as_str(), signed);
        if let Some(other) = found.get(6) {
            shift(held, other.as_str(), -signed);
        }
    }
    Some(())
}

/// Changes what a person holds; of a person whose holding was never told, nothing is
/// known after either.
fn shift<'text>(held: &mut HashMap<&'text str, i64>, person: &'text str, amount: i64) {
    if let Some(value) = held.get_mut(person) {
        *value = value.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    fn verdicts(question: &str, lines: &[&str]) -> Vec<StepVerdict> {
        Question::of(question).check(lines).verdicts
    }

    #[test]
    fn stories_are_played_by_person() {
        for (events, asked, answer) in [
            ("#A Ann gives 2 to Bob", "How many eggs does Ann have now?", Some("3")),
            ("#A Bob gets 2 from Ann", "How many does Ann have now?", Some("3")),
            ("#A Bob gives Ann 3 more", "How many does Ann have now?", Some("8")),
            (
                "#A Ann gives Bob 2 boxes with 2 in each",
                "How many eggs does Ann have at the end?",
                Some("1"),
            ),
            ("#A Ann finds 2 bags of 3 eggs", "How many does Ann have now?", Some("11")),
            ("#A Bob has 4 times as many as Ann", "How many does Bob have now?", Some("20")),
            ("#A Ann sells 1\n#B Ann buys 4 more", "How many does Ann have now?", Some("8")),
            ("#A Ann eats some", "How many does Ann have now?", None),
            ("#A Ann sells 1", "How many does Bob have now?", None),
        ] {
            let question = format!("Ann has 5 eggs.\n{events}\n{asked}");
            assert_eq!(Question::of(&question).answer().as_deref(), answer, "{question}");
        }
    }

    const PROGRAM: &str = "Start with 58.\n#A add 67\n#B subtract 20\nWhat is the result?";

    #[test]
    fn a_line_must_be_true_and_do_what_its_item_says() {
        let lines = ["#A add 67: 58+67=58+60+7=118+7=125", "#B subtract 20: 125 - 20 = 105"];
        assert_eq!(verdicts(PROGRAM, &lines), [Ok, Ok]);
        for (line, why) in [
            ("#A add 67: 58+67=58+60+7=118+7=126", "a wrong result"),
            ("#A add 67: 58+67=58+60+8=118+7=125", "a wrong side"),
            ("#A add 67: 50+75=125", "operands from nowhere"),
            ("#A add 67: 125-20=105", "a result not yet reached"),
            ("#A add 67: 58-20=38", "the other item's number"),
            ("#B subtract 20: 58-20=38", "not the next item"),
            ("#B add 67: 58+67=125", "another label"),
            ("#A add 76: 58+67=125", "not what the item says"),
            ("#A add 67: 67-58=9", "another operation"),
            ("#A add 67: 58/0=58/0", "no value"),
        ] {
            assert_eq!(verdicts(PROGRAM, &[line]), [Wrong], "{why}");
        }
        let open =
            ["So we add.", "58+67=125", "#A 58+67=125", "#A add 67: 58=58", "#A add 67: 58+67"];
        assert_eq!(verdicts(PROGRAM, &open), [Unchecked; 5]);
        assert_eq!(verdicts(PROGRAM, &[&lines[..], &["#C add 20: 105+20=125"]].concat())[2], Wrong);
    }

    #[test]
    fn bags_are_worked_out_in_their_own_line() {
        let question =
            "Mia has 35 coins.\n#A Mia finds 5 bags of 14 coins\nHow many does Mia have now?";
        let bags = |work: &str| format!("#A Mia finds 5 bags of 14 coins: Mia gets {work}");
        assert_eq!(verdicts(question, &[&bags("5*14=50+20=70, 35+70=105")]), [Ok]);
        assert_eq!(verdicts(question, &[&bags("5*14=50+30=80, 35+80=115")]), [Wrong]);
        assert_eq!(verdicts(question, &[&bags("35+70=105")]), [Wrong], "70 from nowhere");
        assert_eq!(verdicts(question, &[&bags("5*14=70")]), [Wrong], "not done");
        assert_eq!(verdicts(question, &[&bags("5*14=70, so 105")]), [Unchecked]);
    }

    #[test]
    fn a_line_of_a_story_says_who_gets_or_loses() {
        let question = "Ann has 5 eggs.\n#A Bob gets 2 from Ann\n#B Bob has 4 times as many as \
                        Ann\nHow many does Bob have now?";
        let (gets, times) = ("#A Bob gets 2 from Ann: ", "#B Bob has 4 times as many as Ann: ");
        let chain = |first: &str, second: &str| {
            verdicts(question, &[&format!("{gets}{first}"), &format!("{times}{second}")])
        };
        assert_eq!(chain("Ann loses 5-2=3", "Bob has 3*4=12"), [Ok, Ok]);
        assert_eq!(chain("Bob loses 5-2=3", "Ann has 3*4=12"), [Wrong, Wrong], "the other");
        assert_eq!(chain("Ann gets 5-2=3", "Bob gets 3*4=12"), [Wrong, Wrong], "another verb");
        assert_eq!(chain("5-2=3", "3*4=12"), [Wrong, Wrong], "nobody");
        assert_eq!(verdicts(PROGRAM, &["#A add 67: Ann gets 58+67=125"]), [Wrong], "not a story");
    }

    #[test]
    fn one_slip_counts_once() {
        let lines = ["#A add 67: 58+67=135", "#B subtract 20: 135-20=115"];
        assert_eq!(verdicts(PROGRAM, &lines), [Wrong, Ok]);
    }

    #[test]
    fn a_constant_in_an_unread_question_leaves_the_line_open() {
        let question = "Ann works 3 hours on 5 days a week. How many hours is that in a year?";
        assert_eq!(verdicts(question, &["3*5=15", "15*52=780"]), [Ok, Unchecked]);
        assert_eq!(verdicts(question, &["15*52=781"]), [Wrong]);
    }
}
