//! Adversarial variants of a record's question: the same problem made to look another, and
//! another problem made to look the same. A model that reasons answers both; one that has
//! learned the templates by heart does not (Mirzadeh et al. 2024, "GSM-Symbolic"; Li et al.
//! 2024, "GSM-Plus").
//!
//! The answer of every variant is the second solver's, which reads the changed question; only
//! a distractor in prose, which no solver reads, leaves answer and chain as they are. A
//! chain is kept where it can be told anew and every line of it is verified; else the
//! variant is a question with its answer alone, to evaluate on. Where the answer changes,
//! the chain is the generator's own, for the families that can alter a problem after it was
//! drawn: arithmetic and routes.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::json;

use crate::check::{answers_equal, check_chain, solve};
use crate::clean::may_be_english;
use crate::error::Error;
use crate::generate::chinese::CHINESE_NAMES;
use crate::generate::words::{ITEMS, NAMES};
use crate::generate::{Drawn, SIGNATURE_FIELD, retold};
use crate::label::Label;
use crate::problem::Alteration;
use crate::record::{Checks, CotRecord};
use crate::rng::{CounterRng, stable_hash};
use crate::short::{CHAIN_FIELD, shortened};

/// The extra field of a variant: the record that it was made of, how, and whether the answer
/// is the same.
pub const VARIANT_FIELD: &str = "variant";

/// How often a variant that draws at random is drawn, before it is given up.
const MOST_DRAWS: usize = 12;

/// A way to change a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// Other people; the answer names them too.
    Rename,
    /// The same problem in other words.
    Paraphrase,
    /// The items in another order, where that changes nothing.
    ShuffledItems,
    /// One more item or sentence that has nothing to do with what is asked.
    Distractor,
    /// Another number, and so another answer.
    NumberSwap,
    /// An item again at the end, perhaps in other words, and so another answer.
    AddedItem,
    /// An item less, and so another answer.
    DroppedItem,
}

impl Variant {
    /// All ways.
    pub const ALL: [Self; 7] = [
        Self::Rename,
        Self::Paraphrase,
        Self::ShuffledItems,
        Self::Distractor,
        Self::NumberSwap,
        Self::AddedItem,
        Self::DroppedItem,
    ];

    /// The name, as in [`VARIANT_FIELD`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::Paraphrase => "paraphrase",
            Self::ShuffledItems => "shuffled_items",
            Self::Distractor => "distractor",
            Self::NumberSwap => "number_swap",
            Self::AddedItem => "added_item",
            Self::DroppedItem => "dropped_item",
        }
    }

    /// Whether the problem stays the same, and with it the answer but for its words.
    pub fn keeps_problem(self) -> bool {
        !matches!(self, Self::NumberSwap | Self::AddedItem | Self::DroppedItem)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|variant| variant.name() == name).ok_or_else(|| {
            let expected: Vec<&str> = Self::ALL.iter().map(|variant| variant.name()).collect();
            Error::UnknownVariant { expected: expected.join(", "), got: name.to_owned() }
        })
    }
}

static NAME: LazyLock<Regex> = LazyLock::new(|| {
    let words: Vec<String> = NAMES.iter().map(|name| format!(r"\b{name}\b")).collect();
    pattern(&format!("{}|{}", words.join("|"), CHINESE_NAMES.join("|")))
});
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]+"));
static COMPARED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(\w+) is (taller|shorter|older|younger|faster|slower|heavier|lighter) than (\w+)$")
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of this file")
}

/// One of some things at random; nothing of none.
fn one_of<'items, T>(items: &'items [T], rng: &mut CounterRng) -> Option<&'items T> {
    (!items.is_empty()).then(|| &items[rng.below(items.len())])
}

/// A variant of a record; nothing where it cannot be made, or its answer is not certain.
pub fn variant(record: &CotRecord, kind: Variant, seed: u64) -> Option<CotRecord> {
    if record.label != Label::Correct {
        return None;
    }
    let key = format!("{kind}/{seed}/{}/{}", record.id, record.question);
    let mut rng = CounterRng::new(stable_hash(key.as_bytes()));
    if solve(&record.question).is_none() {
        return (kind == Variant::Distractor).then(|| beside(record, &mut rng)).flatten();
    }
    let draws = if kind == Variant::Rename { 1 } else { MOST_DRAWS };
    let judged = |(question, steps): (String, Vec<String>)| {
        let answer = solve(&question)?;
        let same = answers_equal(&answer, &record.answer);
        let wanted = match kind {
            Variant::Rename | Variant::Paraphrase => true,
            _ => same == kind.keeps_problem(),
        };
        (wanted && question != record.question)
            .then(|| made(record, kind, question, steps, answer, same))
    };
    let by_generator = alteration(kind).and_then(|alteration| {
        let drawn = Drawn::of(record)?;
        (0..draws).find_map(|_| {
            let told = drawn.altered(alteration, &mut rng)?;
            judged(as_short_as(record, told))
        })
    });
    by_generator.or_else(|| (0..draws).find_map(|_| judged(changed(record, kind, &mut rng)?)))
}

/// The variant's record, with its chain if every line of that is verified.
fn made(
    record: &CotRecord,
    kind: Variant,
    question: String,
    steps: Vec<String>,
    answer: String,
    same_answer: bool,
) -> CotRecord {
    let mut made = record.clone();
    made.id = format!("{}-{kind}", record.id);
    let holds = check_chain(&question, &steps, &answer).all_ok();
    made.thought_process = if holds { steps } else { Vec::new() };
    made.checks = Checks {
        answer: "verified".to_owned(),
        steps: vec![true; made.thought_process.len()],
        extra: serde_json::Map::new(),
    };
    (made.question, made.answer) = (question, answer);
    if !kind.keeps_problem() {
        made.extra.shift_remove(SIGNATURE_FIELD);
    }
    if made.thought_process.is_empty() {
        made.extra.shift_remove(CHAIN_FIELD);
    }
    let told = json!({ "of": record.id, "kind": kind.name(), "same_answer": same_answer });
    made.extra.insert(VARIANT_FIELD.to_owned(), told);
    made
}

/// The changed question, and the chain as it would have to be told for it.
fn changed(
    record: &CotRecord,
    kind: Variant,
    rng: &mut CounterRng,
) -> Option<(String, Vec<String>)> {
    if kind == Variant::Rename {
        return renamed(record, rng);
    }
    if kind == Variant::Paraphrase {
        return retold(record, rng).map(|told| as_short_as(record, told));
    }
    if kind == Variant::NumberSwap {
        return other_number(&record.question, rng).map(|question| (question, Vec::new()));
    }
    let mut sheet = Sheet::of(&record.question)?;
    match kind {
        Variant::ShuffledItems => rng.shuffle(&mut sheet.items),
        Variant::Distractor => {
            let item = irrelevant(&record.question, &sheet, rng)?;
            let place = rng.below(sheet.items.len() + 1);
            sheet.items.insert(place, Item { label: None, text: item });
        }
        Variant::AddedItem => {
            let text = one_of(&sheet.items, rng)?.text.clone();
            sheet.items.push(Item { label: None, text });
        }
        _ => {
            let place = rng.below(sheet.items.len());
            sheet.items.remove(place);
        }
    }
    let (question, labels) = sheet.told()?;
    Some((question, relabelled(&record.thought_process, &labels)))
}

/// What a generator calls a way to change the problem.
fn alteration(kind: Variant) -> Option<Alteration> {
    match kind {
        Variant::NumberSwap => Some(Alteration::Number),
        Variant::AddedItem => Some(Alteration::Added),
        Variant::DroppedItem => Some(Alteration::Dropped),
        _ => None,
    }
}

/// Question and chain of a record told anew, in short if the first record's chain is.
fn as_short_as(record: &CotRecord, told: CotRecord) -> (String, Vec<String>) {
    let short = record.extra.contains_key(CHAIN_FIELD).then(|| shortened(&told)).flatten();
    let told = short.unwrap_or(told);
    (told.question, told.thought_process)
}

/// Question and chain with other people in it.
fn renamed(record: &CotRecord, rng: &mut CounterRng) -> Option<(String, Vec<String>)> {
    let mut present: Vec<&str> = Vec::new();
    let texts = [&record.question].into_iter().chain(&record.thought_process);
    for found in texts.flat_map(|text| NAME.find_iter(text)) {
        if !present.contains(&found.as_str()) {
            present.push(found.as_str());
        }
    }
    let chinese = present.first().is_some_and(|name| !name.is_ascii());
    let names = if chinese { CHINESE_NAMES } else { NAMES };
    let mut others: Vec<&str> = names.into_iter().filter(|name| !present.contains(name)).collect();
    rng.shuffle(&mut others);
    if present.is_empty() || others.len() < present.len() {
        return None;
    }
    let rename = |text: &String| {
        let other = |found: &Captures<'_>| {
            let place = present.iter().position(|name| *name == &found[0]);
            place.map_or_else(|| found[0].to_owned(), |place| others[place].to_owned())
        };
        NAME.replace_all(text, other).into_owned()
    };
    Some((rename(&record.question), record.thought_process.iter().map(rename).collect()))
}

/// The question with another number of as many digits.
fn other_number(question: &str, rng: &mut CounterRng) -> Option<String> {
    let found: Vec<_> = NUMBER.find_iter(question).filter(|found| found.len() <= 6).collect();
    let place = one_of(&found, rng)?;
    let low = if place.len() == 1 { 1 } else { 10_i64.pow(place.len() as u32 - 1) };
    let number = rng.between(low, 10_i64.pow(place.len() as u32) - 1);
    let (before, after) = (&question[..place.start()], &question[place.end()..]);
    Some(format!("{before}{number}{after}"))
}

/// An item of a question, with the label it had.
#[derive(Clone, Debug)]
struct Item {
    label: Option<char>,
    text: String,
}

/// A question taken apart at its labelled items.
#[derive(Debug)]
struct Sheet {
    before: Vec<String>,
    items: Vec<Item>,
    after: Vec<String>,
}

impl Sheet {
    /// Nothing where the items do not follow each other, or there are fewer than two.
    fn of(question: &str) -> Option<Self> {
        let mut sheet = Self { before: Vec::new(), items: Vec::new(), after: Vec::new() };
        for line in question.lines() {
            match item(line) {
                Some(item) if sheet.after.is_empty() => sheet.items.push(item),
                Some(_) => return None,
                None if sheet.items.is_empty() => sheet.before.push(line.to_owned()),
                None => sheet.after.push(line.to_owned()),
            }
        }
        (sheet.items.len() >= 2).then_some(sheet)
    }

    /// The question, its items labelled in order, and the new label for each old one.
    /// Nothing where the labels do not suffice.
    fn told(self) -> Option<(String, Vec<(char, char)>)> {
        let mut lines = self.before;
        let mut labels = Vec::new();
        for (item, label) in self.items.iter().zip('A'..'Q') {
            labels.extend(item.label.map(|old| (old, label)));
            lines.push(format!("#{label} {}", item.text));
        }
        if self.items.len() > 16 {
            return None;
        }
        lines.extend(self.after);
        Some((lines.join("\n"), labels))
    }
}

/// A line that is a labelled item; what is asked for is none.
fn item(line: &str) -> Option<Item> {
    let (label, text) = line.strip_prefix('#')?.split_once(' ')?;
    let label = label.chars().next().filter(|next| label.len() == 1 && *next != 'Q')?;
    label.is_ascii_uppercase().then(|| Item { label: Some(label), text: text.to_owned() })
}

/// Lines of a chain with the items' new labels; those about an item that is gone are left
/// out.
fn relabelled(steps: &[String], labels: &[(char, char)]) -> Vec<String> {
    let label_of = |line: &str| line.strip_prefix('#').and_then(|rest| rest.chars().next());
    steps
        .iter()
        .filter_map(|line| match label_of(line) {
            Some(old) if old != 'Q' => {
                let (_, new) = labels.iter().find(|(known, _)| *known == old)?;
                Some(format!("#{new}{}", &line[2..]))
            }
            _ => Some(line.clone()),
        })
        .collect()
}

/// An item that has nothing to do with what is asked: in a story, what happens to somebody
/// else; among comparisons, one of another kind.
fn irrelevant(question: &str, sheet: &Sheet, rng: &mut CounterRng) -> Option<String> {
    let words = || question.split(|next: char| !next.is_ascii_alphabetic());
    if let Some(noun) = ITEMS.iter().find(|noun| words().any(|word| word == **noun)) {
        let strangers: Vec<&str> =
            NAMES.into_iter().filter(|name| !question.contains(name)).collect();
        let (name, number) = (one_of(&strangers, rng)?, rng.between(2, 99));
        return Some(format!("{name} finds {number} {noun}"));
    }
    let compared: Vec<Captures<'_>> =
        sheet.items.iter().map(|item| COMPARED.captures(&item.text)).collect::<Option<_>>()?;
    let others: Vec<&str> = ["taller", "older", "faster", "heavier"]
        .into_iter()
        .zip(["shorter", "younger", "slower", "lighter"])
        .filter(|(more, less)| {
            !compared.iter().any(|found| found[2] == **more || found[2] == **less)
        })
        .flat_map(|(more, less)| [more, less])
        .collect();
    let pair = one_of(&compared, rng)?;
    Some(format!("{} is {} than {}", &pair[3], one_of(&others, rng)?, &pair[1]))
}

/// A question in prose with one more sentence before the last, about something that nobody
/// asks for; nothing where it has only one. Answer and chain stay, since nothing in them can
/// depend on it.
fn beside(record: &CotRecord, rng: &mut CounterRng) -> Option<CotRecord> {
    if !record.question.trim_end().ends_with('?') || !may_be_english(&[&record.question]) {
        return None;
    }
    let last = last_sentence(&record.question)?;
    let strangers: Vec<&str> =
        NAMES.into_iter().filter(|name| !record.question.contains(name)).collect();
    let number = rng.between(3, 40);
    let name = one_of(&strangers, rng)?;
    let sentence = match rng.below(3) {
        0 => format!("On another day {name} counted {number} clouds."),
        1 => format!("A neighbour called {name} owns {number} old stamps."),
        _ => format!("Far away, {name} walks past {number} lamps."),
    };
    let (before, after) = record.question.split_at(last);
    let question = format!("{before}{sentence} {after}");
    let mut made = record.clone();
    made.id = format!("{}-{}", record.id, Variant::Distractor);
    made.question = question;
    let told = json!({ "of": record.id, "kind": "distractor", "same_answer": true });
    made.extra.insert(VARIANT_FIELD.to_owned(), told);
    Some(made)
}

/// Where the last sentence of a text begins; nothing where there is but one. A full stop
/// behind an abbreviation or an initial ends none.
fn last_sentence(text: &str) -> Option<usize> {
    const SHORT: [&str; 14] =
        ["Mr", "Mrs", "Ms", "Dr", "St", "Prof", "vs", "ft", "in", "lb", "oz", "a.m", "p.m", "No"];
    let ends = |&(at, _): &(usize, &str)| {
        let word = text[..at].rsplit(char::is_whitespace).next().unwrap_or_default();
        let next = text[at + 2..].chars().next();
        word.len() > 1
            && !SHORT.contains(&word)
            && next.is_some_and(|next| next.is_uppercase() || next.is_ascii_digit())
    };
    text.rmatch_indices(". ").find(ends).map(|(at, _)| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Family;
    use crate::generate::{Recipe, Shard, generate_many, signature};
    use crate::record::hand_written as record;

    fn ordering() -> CotRecord {
        record(
            "#Q Who is the tallest?\n#A Ann is taller than Bob\n#B Eve is taller than Ann",
            &[
                "#A Ann is taller than Bob: height/height, Ann > Bob, Ann top > Bob end",
                "#B Eve is taller than Ann: height/height, Ann top, Bob end, Eve > Ann top, \
                 Eve top > Ann > Bob end",
                "1 Eve, 2 Ann, last Bob",
                "#Q Who is the tallest: 1 Eve",
            ],
            "Eve",
        )
    }

    fn program() -> CotRecord {
        let steps = ["#A add 67: 58+67=125", "#B subtract 20: 125-20=105"];
        record("Start with 58.\n#A add 67\n#B subtract 20\nWhat is it now?", &steps, "105")
    }

    #[test]
    fn other_people_answer_the_same_way() {
        let made = variant(&ordering(), Variant::Rename, 1).unwrap();
        assert!(
            !NAME
                .find_iter(&made.question)
                .any(|name| ["Ann", "Bob", "Eve"].contains(&name.as_str()))
        );
        assert_eq!(made.thought_process.len(), 4, "{made:?}");
        assert!(made.question.contains(&format!("{} is taller than", made.answer)));
        assert_eq!(variant(&program(), Variant::Rename, 1), None, "nobody is named");
    }

    #[test]
    fn a_distractor_changes_no_answer() {
        let made = variant(&ordering(), Variant::Distractor, 1).unwrap();
        assert_eq!(made.answer, "Eve");
        assert_eq!(made.question.lines().count(), 4);
        let story = record(
            "Ann has 5 eggs.\n#A Ann gives 2 to Bob\n#B Ann finds 4 eggs\nHow many eggs does Ann have now?",
            &[],
            "7",
        );
        let made = variant(&story, Variant::Distractor, 1).unwrap();
        assert_eq!((made.answer.as_str(), made.question.lines().count()), ("7", 5));
        let prose = record(
            "A baker makes 12 loaves. Each is sold for 3 coins. How many coins are earned?",
            &["12*3=36"],
            "36",
        );
        let made = variant(&prose, Variant::Distractor, 1).unwrap();
        assert_eq!((made.answer.as_str(), &made.thought_process), ("36", &prose.thought_process));
        assert!(made.question.starts_with("A baker makes 12 loaves. Each is sold for 3 coins. "));
        assert!(made.question.ends_with(". How many coins are earned?"), "{}", made.question);
        assert_eq!(variant(&prose, Variant::NumberSwap, 1), None, "no solver reads it");
        let titled = "Ann has 5 eggs. How many eggs did Mrs. Hilt and J. Doe buy?";
        assert_eq!(last_sentence(titled), Some(16));
        assert_eq!(last_sentence("How much did Dr. Hilt pay?"), None);
        let german = record(
            "Anna kauft im Laden drei Äpfel und vier Birnen und gibt danach ihrem Bruder die \
             Hälfte der Früchte. Wie viele Früchte behält sie am Ende für sich?",
            &["7/2=3.5"],
            "3.5",
        );
        assert_eq!(variant(&german, Variant::Distractor, 1), None);
    }

    #[test]
    fn another_problem_has_its_own_answer() {
        for (kind, lines) in
            [(Variant::NumberSwap, 4), (Variant::AddedItem, 5), (Variant::DroppedItem, 3)]
        {
            let made = variant(&program(), kind, 2).unwrap();
            assert_ne!(made.answer, "105", "{kind}");
            assert_eq!(made.question.lines().count(), lines, "{kind}");
            assert_eq!(solve(&made.question).as_ref(), Some(&made.answer), "{kind}");
            assert_eq!(made.extra[VARIANT_FIELD]["same_answer"], false);
            assert!(made.thought_process.is_empty() || made.checks.steps.len() == 1, "{made:?}");
        }
    }

    #[test]
    fn items_in_another_order_keep_the_answer_or_are_refused() {
        let made = variant(&ordering(), Variant::ShuffledItems, 1).unwrap();
        assert_eq!(made.answer, "Eve");
        assert!(made.question.contains("#A Eve is taller than Ann\n#B Ann is taller than Bob"));
        let doubled = record(
            "Start with 5.\n#A add 3\n#B multiply by 2\nWhat is it now?",
            &["#A add 3: 5+3=8", "#B multiply by 2: 8*2=16"],
            "16",
        );
        assert_eq!(variant(&doubled, Variant::ShuffledItems, 1), None);
    }

    #[test]
    fn every_family_has_variants_whose_answers_are_certain() {
        for family in Family::ALL {
            for &language in family.languages() {
                let name = (family.name(), language.code());
                let records =
                    generate_many(Recipe { family, language }, None, 40, 7, Shard::WHOLE).unwrap();
                let mut kinds = 0;
                for kind in Variant::ALL {
                    let made: Vec<CotRecord> =
                        records.iter().filter_map(|record| variant(record, kind, 5)).collect();
                    kinds += usize::from(!made.is_empty());
                    for one in &made {
                        assert_eq!(solve(&one.question).as_ref(), Some(&one.answer), "{name:?}");
                        let chain = &one.thought_process;
                        assert!(
                            chain.is_empty()
                                || check_chain(&one.question, chain, &one.answer).all_ok()
                        );
                    }
                    let is_core = matches!(family, Family::Arith | Family::Spatial);
                    if is_core && !kind.keeps_problem() {
                        let with_chain = made.iter().filter(|one| !one.thought_process.is_empty());
                        let (chains, all) = (with_chain.count(), made.len());
                        assert!(
                            chains * 10 >= all * 9 && all > 8,
                            "{name:?} {kind}: {chains}/{all}"
                        );
                    }
                    if kind == Variant::Paraphrase {
                        assert!(made.iter().all(|one| !one.thought_process.is_empty()));
                        let of =
                            |one: &CotRecord| one.id.strip_suffix("-paraphrase").map(str::to_owned);
                        let known = |one: &CotRecord| {
                            records
                                .iter()
                                .find(|record| Some(&record.id) == of(one).as_ref())
                                .unwrap()
                        };
                        assert!(made.iter().all(|one| signature(one) == signature(known(one))));
                    }
                }
                println!("{name:?}: {kinds} kinds of variants");
                assert!(kinds >= 2, "{name:?}: {kinds} kinds");
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for kind in Variant::ALL {
            assert_eq!(kind.name().parse::<Variant>().unwrap(), kind);
        }
        assert!("anagram".parse::<Variant>().unwrap_err().to_string().contains("rename"));
    }
}
