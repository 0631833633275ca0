//! Arithmetic: equality chains, where operands come from, and a second solver that keeps
//! what each person holds.

use std::fmt::Write as _;

use num_rational::Ratio;

use super::expression::{self, Chain};
use super::label::{self, ItemLine, Labelled};
use super::number::{self, Rational};
use super::{LineChecks, Reading, StepVerdict, prose};

/// What an item of the question does to the running value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Add(i64),
    Multiply(i64),
}

/// What an item of the question comes to.
struct Event {
    effect: Effect,
    /// What its line says before the sum, in a story: who gains and who loses.
    said: String,
}

/// What a line of a story says: each change in the order of its sentence, the owner's last.
/// Nothing where nothing changes for the owner.
fn told(owner: &str, changes: &Changes<'_>) -> Option<String> {
    let mut told = String::with_capacity(24);
    for (person, amount) in changes.iter().flatten() {
        let _ = write!(told, "{person} {amount:+}, ");
        if *person == owner {
            return Some(told);
        }
    }
    None
}

/// A question that the second solver understands.
struct Solved {
    start: i64,
    /// One for each item.
    events: Vec<Event>,
    answer: i64,
}

/// A question about numbers.
struct Question {
    /// Nothing where the second solver cannot read the question; its chain is then read as
    /// prose.
    solved: Option<Solved>,
    question: String,
}

/// The numbers in a text.
fn numbers(text: &str) -> impl Iterator<Item = Rational> {
    let part = |next: char| next.is_ascii_digit() || matches!(next, '.' | ',');
    text.split(move |next| !part(next))
        .filter(|word| !word.is_empty())
        .filter_map(|word| number::number(word.trim_matches(['.', ','])))
}

/// An equality chain: the verdict on it, and what it comes to.
fn equality(text: &str, known: &[Rational]) -> (StepVerdict, Option<Rational>) {
    let mut sourced = true;
    let chain = expression::chain(text, |operand| sourced = sourced && known.contains(&operand));
    let Some(Chain { first, num_operations, last, is_equal }) = chain else {
        return (StepVerdict::Unchecked, None);
    };
    let verdict = if first.is_none() || !is_equal {
        StepVerdict::Wrong
    } else if num_operations == 0 {
        StepVerdict::Unchecked
    } else if sourced {
        StepVerdict::Ok
    } else {
        StepVerdict::Wrong
    };
    (verdict, last)
}

/// The work of a line.
struct Work<'text> {
    /// Sums on the side, with commas between them.
    aside: &'text str,
    /// What a story's line says of who gains and who loses, such as `Bob -2, Ann +2, `.
    said: &'text str,
    /// The sum.
    sum: &'text str,
}

impl<'text> Work<'text> {
    /// Takes a line's work apart; nothing where it has another form.
    fn of(work: &'text str) -> Option<Self> {
        let is_letter = |next: char| next.is_ascii_alphabetic();
        let Some(first) = work.find(is_letter) else {
            let (aside, sum) = work.rsplit_once(", ").unwrap_or(("", work));
            return (!sum.contains(',')).then_some(Self { aside, said: "", sum });
        };
        let (aside, rest) = work.split_at(first);
        let aside = if aside.is_empty() { aside } else { aside.strip_suffix(", ")? };
        let behind = rest.rfind(is_letter)? + 1;
        let length = match rest[..behind].strip_suffix(" has") {
            Some(owner) => is_name(owner).then_some(behind + 1)?,
            None => behind + rest[behind..].find(", ")? + 2,
        };
        let (said, sum) = (rest.get(..length)?, rest.get(length..)?);
        let holds = match said.strip_suffix(", ") {
            Some(hands) => hands.split(", ").all(is_hand),
            None => said.ends_with("has "),
        };
        (holds && !sum.contains(',')).then_some(Self { aside, said, sum })
    }
}

/// A capital letter and small ones.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text[1..].bytes().all(|next| next.is_ascii_lowercase())
}

/// A person and what they gain or lose: `Ann +2`.
fn is_hand(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(name, signed)| {
        let amount = signed.strip_prefix(['+', '-']).unwrap_or_default();
        is_name(name) && !amount.is_empty() && amount.bytes().all(|next| next.is_ascii_digit())
    })
}

/// Reads a program or a story; nothing where the second solver cannot.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let read = Question::of(question);
    read.solved.is_some().then(|| Box::new(read) as Box<dyn Reading>)
}

/// Reads a question of no known form: its chain is prose.
pub(super) fn read_prose(question: &str) -> Box<dyn Reading> {
    Box::new(Question { solved: None, question: question.to_owned() })
}

impl Question {
    fn of(question: &str) -> Self {
        let solved = label::items(question)
            .filter(|items| !items.is_empty())
            .and_then(|items| program(question, &items).or_else(|| story(question, &items)));
        Self { solved, question: question.to_owned() }
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        self.solved.as_ref().map(|solved| solved.answer.to_string())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        match &self.solved {
            Some(solved) => solved.check(&label::items(&self.question).unwrap_or_default(), lines),
            None => prose::check(&self.question, lines),
        }
    }
}

impl Solved {
    /// A line restates the next event and has one equality chain or more with a comma
    /// between them; before the last, that of a story says who gains and who loses. The
    /// operands of a chain's first side are the event's own numbers, the value so far, or
    /// an earlier result of the line; the last result is what the event makes of the value
    /// so far.
    fn check(&self, items: &[Labelled<'_>], lines: &[&str]) -> LineChecks {
        let mut value = Ratio::from_integer(i128::from(self.start));
        let mut events = items.iter().zip(&self.events);
        let mut checks = LineChecks::default();
        let mut known = Vec::with_capacity(8);
        let mut concluded = None;
        for line in lines {
            let parsed = ItemLine::of(line).and_then(|about| {
                let work = Work::of(about.work)?;
                Some((about, work))
            });
            let Some((about, work)) = parsed else {
                checks.verdicts.push(StepVerdict::Unchecked);
                continue;
            };
            let mut ahead = events.clone();
            let event = ahead.next();
            known.clear();
            known.extend(event.into_iter().flat_map(|(item, _)| numbers(item.text)));
            known.push(value);
            let (mut is_wrong, mut is_unchecked) = (false, false);
            let mut reached = None;
            let aside = work.aside.split(", ").filter(|sum| !sum.is_empty());
            for sum in aside.chain([work.sum]) {
                let (verdict, result) = equality(sum, &known);
                is_wrong |= verdict == StepVerdict::Wrong;
                is_unchecked |= verdict == StepVerdict::Unchecked;
                known.extend(result);
                reached = result;
            }
            if is_unchecked {
                checks.verdicts.push(StepVerdict::Unchecked);
                continue;
            }
            events = ahead;
            let held = event.is_some_and(|(item, event)| {
                about.is_about(item.label, item.text)
                    && work.said == event.said
                    && reached.is_some()
                    && reached == event.effect.on(value)
            });
            checks.verdicts.push(if held && !is_wrong {
                StepVerdict::Ok
            } else {
                StepVerdict::Wrong
            });
            concluded = reached.or(concluded);
            value = reached.unwrap_or(value);
        }
        checks.conclusion = concluded.map(|value| value.to_string());
        checks
    }
}

impl Effect {
    fn on(self, value: Rational) -> Option<Rational> {
        match self {
            Self::Add(amount) => number::add(value, Ratio::from_integer(i128::from(amount))),
            Self::Multiply(factor) => {
                number::multiply(value, Ratio::from_integer(i128::from(factor)))
            }
        }
    }
}

/// A count, of at most nine digits in a program.
fn count(word: &str) -> Option<i64> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

/// Whether a word has only letters, digits and underscores.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|next| next.is_alphanumeric() || next == '_')
}

/// Runs a question of the form "start with a number", then its items.
fn program(question: &str, items: &[Labelled<'_>]) -> Option<Solved> {
    let small = |word: &str| count(word).filter(|_| word.len() <= 9);
    let opening = question.lines().next()?.strip_suffix('.')?;
    let start = opening.strip_prefix("Start with ").or_else(|| opening.strip_prefix("Take "))?;
    let start = small(start)?;
    let mut answer = start;
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        let (verb, number) = item.text.rsplit_once(' ')?;
        let number = small(number)?;
        let effect = match verb {
            "add" | "plus" => Effect::Add(number),
            "subtract" | "minus" => Effect::Add(-number),
            "multiply by" | "times" => Effect::Multiply(number),
            _ => return None,
        };
        answer = match effect {
            Effect::Add(amount) => answer.checked_add(amount)?,
            Effect::Multiply(factor) => answer.checked_mul(factor)?,
        };
        events.push(Event { effect, said: String::new() });
    }
    Some(Solved { start, events, answer })
}

/// Plays a story item by item; nothing where one is not understood.
fn story(question: &str, items: &[Labelled<'_>]) -> Option<Solved> {
    let mut lines = label::other_lines(question);
    let (opening, asked) = (lines.next()?, lines.next_back()?);
    let (mut owner, start) = holding(opening.trim_end_matches('.'))?;
    let mut held = Holdings::of(owner, start);
    let mut events = Vec::with_capacity(items.len());
    let mut words = Vec::with_capacity(12);
    for item in items {
        let before = held.get(owner)?;
        words.clear();
        words.extend(item.text.split(' '));
        let (effect, said) = if let Some((who, factor, whom)) = times_as_many(&words) {
            let counted = held.get(whom)?;
            owner = who;
            held.set(owner, counted.checked_mul(factor)?);
            (Effect::Multiply(factor), format!("{owner} has "))
        } else {
            let changes = changes(&words)?;
            for &(person, amount) in changes.iter().flatten() {
                held.shift(person, amount);
            }
            let effect = Effect::Add(held.get(owner)?.checked_sub(before)?);
            // An event among others is of no use to a chain about the owner.
            (effect, told(owner, &changes).unwrap_or_default())
        };
        events.push(Event { effect, said });
    }
    let answer = held.get(asked_person(asked.trim_end_matches('?'))?)?;
    Some(Solved { start, events, answer })
}

/// Who has how many at first: `Ann has 5 eggs`, `Ann starts with 5 eggs`.
fn holding(opening: &str) -> Option<(&str, i64)> {
    match opening.split(' ').collect::<Vec<_>>()[..] {
        [.., who, "has", number, item] | [.., who, "starts", "with", number, item]
            if is_plain(who) && is_plain(item) =>
        {
            Some((who, count(number)?))
        }
        _ => None,
    }
}

/// `Bob has 4 times as many as Ann`, `Bob has 4 times as many eggs as Ann`.
fn times_as_many<'text>(words: &[&'text str]) -> Option<(&'text str, i64, &'text str)> {
    match *words {
        [.., who, "has", factor, "times", "as", "many", "as", whom]
        | [.., who, "has", factor, "times", "as", "many", _, "as", whom] => {
            Some((who, count(factor)?, whom))
        }
        _ => None,
    }
}

/// `How many eggs does Ann have now`, with or without the item and the time.
fn asked_person(asked: &str) -> Option<&str> {
    let words: Vec<&str> = asked.split(' ').collect();
    let words = match &words[..] {
        [rest @ .., "now"] | [rest @ .., "at", "the", "end"] => rest,
        all => all,
    };
    match words {
        [.., "How", "many", "does", person, "have"]
        | [.., "How", "many", _, "does", person, "have"] => Some(person),
        _ => None,
    }
}

/// Who gains and who loses by an event, one or two people in the order of its sentence.
type Changes<'text> = [Option<(&'text str, i64)>; 2];

/// What an event in which something changes hands does.
fn changes<'text>(words: &[&'text str]) -> Option<Changes<'text>> {
    let them = match *words {
        [.., who, "gives", whom, number, "more"] => Some((who, whom, number, "1")),
        [.., who, "gives", whom, number, "boxes", "with", size, "in", "each"] => {
            Some((who, whom, number, size))
        }
        _ => None,
    };
    if let Some((who, whom, number, size)) = them
        && let Some(amount) = count(number).zip(count(size)).and_then(|(a, b)| a.checked_mul(b))
    {
        return Some([Some((who, -amount)), Some((whom, amount))]);
    }
    let Move { who, gain, amount, other } = Move::of(words)?;
    let signed = if gain { amount } else { -amount };
    Some([Some((who, signed)), other.map(|other| (other, -signed))])
}

/// An event in which one person gains or loses, to or from another or no one.
struct Move<'text> {
    who: &'text str,
    gain: bool,
    amount: i64,
    other: Option<&'text str>,
}

impl<'text> Move<'text> {
    /// `Ann finds 2 bags of 3 eggs`, `Ann gets 4 from Bob`, `Ann sells 2 boxes with 3 in each`.
    fn of(words: &[&'text str]) -> Option<Self> {
        let verb =
            |word: &str| matches!(word, "buys" | "finds" | "gets" | "sells" | "loses" | "gives");
        let at = (1..words.len()).find(|&at| {
            verb(words[at]) && words.get(at + 1).is_some_and(|word| count(word).is_some())
        })?;
        let mut amount = count(words[at + 1])?;
        let mut rest = &words[at + 2..];
        if let ["bags", "of", size, behind @ ..] | ["boxes", "with", size, behind @ ..] = rest {
            amount = amount.checked_mul(count(size)?)?;
            rest = behind;
        }
        if let ["in", "each", behind @ ..] = rest {
            rest = behind;
        }
        let is_item =
            |word: &str| !word.is_empty() && word.bytes().all(|letter| letter.is_ascii_lowercase());
        let other = match *rest {
            [] => None,
            ["to" | "from", other] => Some(other),
            [item] if is_item(item) => None,
            [item, "to" | "from", other] if is_item(item) => Some(other),
            _ => return None,
        };
        let gain = matches!(words[at], "buys" | "finds" | "gets");
        Some(Self { who: words[at - 1], gain, amount, other })
    }
}

/// What each person holds, as far as it was told: a story has so few people that a list is
/// looked through faster than a table.
struct Holdings<'text> {
    held: Vec<(&'text str, i64)>,
}

impl<'text> Holdings<'text> {
    fn of(person: &'text str, amount: i64) -> Self {
        let mut held = Vec::with_capacity(4);
        held.push((person, amount));
        Self { held }
    }

    fn get(&self, person: &str) -> Option<i64> {
        self.held.iter().find(|(known, _)| *known == person).map(|(_, amount)| *amount)
    }

    fn set(&mut self, person: &'text str, amount: i64) {
        self.held.retain(|(known, _)| *known != person);
        self.held.push((person, amount));
    }

    /// Changes what a person holds; of a person whose holding was never told, nothing is
    /// known after either.
    fn shift(&mut self, person: &str, change: i64) {
        if let Some((_, amount)) = self.held.iter_mut().find(|(known, _)| *known == person) {
            *amount = amount.saturating_add(change);
        }
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
        let bags = |work: &str| format!("#A Mia finds 5 bags of 14 coins: {work}");
        assert_eq!(verdicts(question, &[&bags("5*14=50+20=70, Mia +70, 35+70=105")]), [Ok]);
        for (work, why) in [
            ("5*14=50+30=80, Mia +80, 35+80=115", "a wrong product"),
            ("Mia +70, 35+70=105", "70 from nowhere"),
            ("5*14=70", "not done"),
            ("5*14=70, 35+70=105", "nobody gains"),
            ("5*14=70, Mia +14, 35+70=105", "another amount"),
        ] {
            assert_eq!(verdicts(question, &[&bags(work)]), [Wrong], "{why}");
        }
        assert_eq!(verdicts(question, &[&bags("5*14=70, so 105")]), [Unchecked]);
    }

    #[test]
    fn a_line_of_a_story_says_who_gains_and_who_loses() {
        let question = "Ann has 5 eggs.\n#A Bob gets 2 from Ann\n#B Bob has 4 times as many as \
                        Ann\nHow many does Bob have now?";
        let (gets, times) = ("#A Bob gets 2 from Ann: ", "#B Bob has 4 times as many as Ann: ");
        let chain = |first: &str, second: &str| {
            verdicts(question, &[&format!("{gets}{first}"), &format!("{times}{second}")])
        };
        let second = "Bob has 3*4=12";
        assert_eq!(chain("Bob +2, Ann -2, 5-2=3", second), [Ok, Ok]);
        for (first, why) in [
            ("Bob +2, 5-2=3", "of the other"),
            ("Bob -2, Ann +2, 5-2=3", "the wrong way"),
            ("Ann -2, Bob +2, 5-2=3", "not as it is told"),
            ("Ann -2, 5-2=3", "of one"),
            ("Bob +2, Ann -2, Bob +2, 5-2=3", "past the owner"),
            ("Bob +2, Ann -3, 5-2=3", "another amount"),
            ("5-2=3", "nobody"),
        ] {
            assert_eq!(chain(first, second), [Wrong, Ok], "{why}");
        }
        for last in ["Ann has 3*4=12", "Bob +4, 3*4=12", "3*4=12"] {
            assert_eq!(chain("Bob +2, Ann -2, 5-2=3", last), [Ok, Wrong], "{last}");
        }
        assert_eq!(chain("Bob gets 2, 5-2=3", "Bob 3*4=12"), [Unchecked; 2]);
        assert_eq!(verdicts(PROGRAM, &["#A add 67: Ann +67, 58+67=125"]), [Wrong], "no story");
    }

    #[test]
    fn one_slip_counts_once() {
        let lines = ["#A add 67: 58+67=135", "#B subtract 20: 135-20=115"];
        assert_eq!(verdicts(PROGRAM, &lines), [Wrong, Ok]);
    }

    #[test]
    fn a_question_that_is_not_read_leaves_its_chain_to_prose() {
        let question = "Ann works 3 hours on 5 days a week. How many hours is that in a year?";
        assert_eq!(verdicts(question, &["3*5=15", "15*52=780"]), [Ok, Ok]);
        assert_eq!(verdicts(question, &["15*52=781"]), [Wrong]);
        assert_eq!(verdicts(question, &["17*52=884"]), [Unchecked], "17 from nowhere");
    }
}
