//! Zebra puzzles: houses in a row, one value of each category in each, and clues that place
//! everything by elimination alone.
//!
//! The state is the set of houses in which each value may be, a bit for each house. The
//! clues are made few by taking out each that is not needed. A line of the chain cites a
//! clue or a category and the sets it is about, and then those that shrink.

use super::chinese::{Words, all_spelled, spelled};
use super::words::{self, NAMES, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// A category: its name in the plural, in the singular, and its values; people come first
/// and draw their names elsewhere.
const CATEGORIES: [(&str, &str, [&str; 6]); 3] = [
    ("pets", "pet", ["cat", "dog", "fish", "bird", "horse", "snail"]),
    ("drinks", "drink", ["tea", "milk", "juice", "water", "coffee", "cocoa"]),
    ("fruits", "fruit", ["plum", "pear", "grape", "melon", "peach", "lemon"]),
];

const WORDS: &Words = &[
    ("people", "人物"),
    ("pets", "宠物"),
    ("drinks", "饮料"),
    ("fruits", "水果"),
    ("pet", "宠物"),
    ("drink", "饮料"),
    ("fruit", "水果"),
    ("cat", "猫"),
    ("dog", "狗"),
    ("fish", "鱼"),
    ("bird", "鸟"),
    ("horse", "马"),
    ("snail", "蜗牛"),
    ("tea", "茶"),
    ("milk", "牛奶"),
    ("juice", "果汁"),
    ("water", "水"),
    ("coffee", "咖啡"),
    ("cocoa", "可可"),
    ("plum", "李子"),
    ("pear", "梨"),
    ("grape", "葡萄"),
    ("melon", "甜瓜"),
    ("peach", "桃子"),
    ("lemon", "柠檬"),
];

const MOST_HOUSES: usize = 4;
const MOST_VALUES: usize = 4 * MOST_HOUSES;
/// As many as there are labels.
const MOST_CLUES: usize = 16;

/// Houses in which each value may be.
type Sets = [u8; MOST_VALUES];

/// How two values stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    With,
    NotWith,
    DirectlyLeft,
    SomewhereLeft,
    Next,
}

impl Relation {
    fn holds(self, left: usize, right: usize) -> bool {
        match self {
            Self::With => left == right,
            Self::NotWith => left != right,
            Self::DirectlyLeft => left + 1 == right,
            Self::SomewhereLeft => left < right,
            Self::Next => left.abs_diff(right) == 1,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::With => "is with",
            Self::NotWith => "is not with",
            Self::DirectlyLeft => "is directly left of",
            Self::SomewhereLeft => "is somewhere left of",
            Self::Next => "is next to",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clue {
    In(usize, usize),
    NotIn(usize, usize),
    Pair(usize, Relation, usize),
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    /// The house of a value.
    House(usize),
    /// The value of another category in the house of a value.
    Companion(usize, usize),
}

/// A line: what it cites, and the sets before and after.
#[derive(Clone, Copy, Debug)]
struct Line {
    cites: Cited,
    before: Sets,
    after: Sets,
}

#[derive(Clone, Copy, Debug)]
enum Cited {
    Clue(usize),
    Category(usize),
}

/// A puzzle. Value `i` of category `c` is number `c * num_houses + i`.
#[derive(Clone, Debug)]
pub(crate) struct Zebra {
    num_houses: usize,
    names: Vec<&'static str>,
    houses: Vec<usize>,
    clues: Vec<Clue>,
    asked: Asked,
    lines: Vec<Line>,
}

impl Zebra {
    /// Draws a puzzle of 3 houses and 2 categories, 3 and 3, 4 and 3, or 4 and 4. Level 2
    /// adds clues about what is not with what and about neighbours, level 3 those about what
    /// is somewhere left of what; at most `4 - level` clues name a house, or one.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let (num_houses, num_categories) = match level {
            1 => (3, 2),
            2 => (3, 3),
            3 => (4, 3),
            _ => (4, 4),
        };
        let names = draw_names(num_houses, num_categories, rng);
        loop {
            let mut houses = Vec::with_capacity(names.len());
            for _ in 0..num_categories {
                let mut order: Vec<usize> = (0..num_houses).collect();
                rng.shuffle(&mut order);
                houses.extend(order);
            }
            let Some(mut clues) = enough_clues(level, num_houses, &houses, rng) else { continue };
            let mut at = 0;
            while at < clues.len() {
                let clue = clues.remove(at);
                if !is_solved(&propagate(&clues, num_houses, names.len())) {
                    clues.insert(at, clue);
                    at += 1;
                }
            }
            if clues.len() > MOST_CLUES {
                continue;
            }
            rng.shuffle(&mut clues);
            let value = rng.below(names.len());
            let asked = if rng.chance(1, 3) {
                Asked::House(value)
            } else {
                let category =
                    (value / num_houses + 1 + rng.below(num_categories - 1)) % num_categories;
                Asked::Companion(value, category)
            };
            let goal = match asked {
                Asked::House(value) => vec![value],
                Asked::Companion(value, category) => {
                    vec![value, companion(&houses, num_houses, value, category)]
                }
            };
            let lines = trace(&clues, num_houses, names.len(), &goal);
            return Self { num_houses, names, houses, clues, asked, lines };
        }
    }

    fn tell(&self, clue: Clue) -> String {
        let name = |value: usize| {
            let article = if value < self.num_houses { "" } else { "the " };
            format!("{article}{}", self.names[value])
        };
        match clue {
            Clue::In(value, house) => format!("{} is in house {}", name(value), house + 1),
            Clue::NotIn(value, house) => format!("{} is not in house {}", name(value), house + 1),
            Clue::Pair(left, relation, right) => {
                format!("{} {} {}", name(left), relation.words(), name(right))
            }
        }
    }

    fn tell_in_chinese(&self, clue: Clue) -> String {
        let name = |value: usize| spelled(Language::Zh, self.names[value], WORDS);
        match clue {
            Clue::In(value, house) => format!("{}在{}号房子里", name(value), house + 1),
            Clue::NotIn(value, house) => format!("{}不在{}号房子里", name(value), house + 1),
            Clue::Pair(left, relation, right) => {
                let (left, right) = (name(left), name(right));
                match relation {
                    Relation::With => format!("{left}和{right}在同一所房子里"),
                    Relation::NotWith => format!("{left}和{right}不在同一所房子里"),
                    Relation::DirectlyLeft => format!("{left}紧挨在{right}的左边"),
                    Relation::SomewhereLeft => format!("{left}在{right}左边的某处"),
                    Relation::Next => format!("{left}与{right}相邻"),
                }
            }
        }
    }

    fn sets(&self, values: &[usize], sets: &Sets) -> String {
        let texts: Vec<String> = (values.iter())
            .map(|&value| {
                let houses: Vec<String> = (0..self.num_houses)
                    .filter(|house| sets[value] >> house & 1 == 1)
                    .map(|house| (house + 1).to_string())
                    .collect();
                format!("{} {}", self.names[value], houses.join("/"))
            })
            .collect();
        texts.join(", ")
    }

    fn line(&self, line: &Line, clues: &[String]) -> String {
        let (head, about) = match line.cites {
            Cited::Clue(clue) => (clues[clue].as_str(), values_of(self.clues[clue])),
            Cited::Category(category) => {
                let first = category * self.num_houses;
                (category_name(category), (first..first + self.num_houses).collect())
            }
        };
        let changed: Vec<usize> =
            about.iter().copied().filter(|&v| line.before[v] != line.after[v]).collect();
        let before = self.sets(&about, &line.before);
        format!("{head}: {before} -> {}", self.sets(&changed, &line.after))
    }

    /// The question, what leads to the answer, and the answer.
    fn asked(&self, language: Language) -> (String, String, String) {
        let placed = |value: usize| format!("{} {}", self.names[value], self.houses[value] + 1);
        let name = |value: usize| {
            let is_thing = language == Language::En && value >= self.num_houses;
            let article = if is_thing { "the " } else { "" };
            format!("{article}{}", spelled(language, self.names[value], WORDS))
        };
        match self.asked {
            Asked::House(value) => {
                let asked = match language {
                    Language::En => format!("In which house is {}", name(value)),
                    Language::Zh => format!("{}在几号房子里", name(value)),
                };
                (asked, placed(value), (self.houses[value] + 1).to_string())
            }
            Asked::Companion(value, category) => {
                let other = companion(&self.houses, self.num_houses, value, category);
                let kind = category.checked_sub(1).map(|index| CATEGORIES[index].1);
                let kind = kind.map(|kind| spelled(language, kind, WORDS));
                let asked = match (language, kind) {
                    (Language::En, None) => format!("Who is with {}", name(value)),
                    (Language::En, Some(kind)) => format!("Which {kind} is with {}", name(value)),
                    (Language::Zh, None) => format!("谁和{}在同一所房子里", name(value)),
                    (Language::Zh, Some(kind)) => {
                        format!("哪种{kind}和{}在同一所房子里", name(value))
                    }
                };
                let places = format!("{}, {}", placed(value), placed(other));
                (asked, places, self.names[other].to_owned())
            }
        }
    }
}

fn category_name(category: usize) -> &'static str {
    category.checked_sub(1).map_or("people", |index| CATEGORIES[index].0)
}

fn draw_names(num_houses: usize, num_categories: usize, rng: &mut CounterRng) -> Vec<&'static str> {
    let mut people = NAMES;
    rng.shuffle(&mut people);
    let mut names = people[..num_houses].to_vec();
    for (_, _, values) in &CATEGORIES[..num_categories - 1] {
        let mut values = *values;
        rng.shuffle(&mut values);
        names.extend(&values[..num_houses]);
    }
    names
}

/// The value of a category that shares a house with a value.
fn companion(houses: &[usize], num_houses: usize, value: usize, category: usize) -> usize {
    let first = category * num_houses;
    (first..first + num_houses).find(|&other| houses[other] == houses[value]).unwrap_or(first)
}

fn values_of(clue: Clue) -> Vec<usize> {
    match clue {
        Clue::In(value, _) | Clue::NotIn(value, _) => vec![value],
        Clue::Pair(left, _, right) => vec![left, right],
    }
}

/// True clues, one after another until they place everything; nothing where too many do not.
fn enough_clues(
    level: u8,
    num_houses: usize,
    houses: &[usize],
    rng: &mut CounterRng,
) -> Option<Vec<Clue>> {
    let mut clues: Vec<Clue> = Vec::new();
    let mut places = usize::from(4_u8.saturating_sub(level).max(1));
    for _ in 0..40 * houses.len() {
        let (left, right) = (rng.below(houses.len()), rng.below(houses.len()));
        let same_category = left / num_houses == right / num_houses;
        let clue = match rng.below(if level == 1 { 4 } else { 8 }) {
            0 if places > 0 => Clue::In(left, houses[left]),
            1 if places > 0 => {
                Clue::NotIn(left, (houses[left] + 1 + rng.below(num_houses - 1)) % num_houses)
            }
            2 | 4 if !same_category && houses[left] == houses[right] => {
                Clue::Pair(left, Relation::With, right)
            }
            5 if !same_category && houses[left] != houses[right] => {
                Clue::Pair(left, Relation::NotWith, right)
            }
            3 if houses[left] + 1 == houses[right] => {
                Clue::Pair(left, Relation::DirectlyLeft, right)
            }
            6 if houses[left].abs_diff(houses[right]) == 1 => {
                Clue::Pair(left, Relation::Next, right)
            }
            7 if level >= 3 && houses[left] < houses[right] => {
                Clue::Pair(left, Relation::SomewhereLeft, right)
            }
            _ => continue,
        };
        if clues.contains(&clue) {
            continue;
        }
        places -= usize::from(matches!(clue, Clue::In(..) | Clue::NotIn(..)));
        clues.push(clue);
        if clues.len() >= houses.len() / 2
            && is_solved(&propagate(&clues, num_houses, houses.len()))
        {
            return Some(clues);
        }
    }
    None
}

fn start(num_houses: usize, num_values: usize) -> Sets {
    let mut sets = [1; MOST_VALUES];
    sets[..num_values].fill((1 << num_houses) - 1);
    sets
}

fn is_solved(sets: &Sets) -> bool {
    sets.iter().all(|set| set.is_power_of_two())
}

/// What a clue leaves of the sets.
fn apply_clue(clue: Clue, num_houses: usize, sets: &mut Sets) {
    match clue {
        Clue::In(value, house) => sets[value] &= 1 << house,
        Clue::NotIn(value, house) => sets[value] &= !(1 << house),
        Clue::Pair(left, relation, right) => {
            let (mut lefts, mut rights) = (0, 0);
            for house in (0..num_houses).filter(|house| sets[left] >> house & 1 == 1) {
                for other in (0..num_houses).filter(|other| sets[right] >> other & 1 == 1) {
                    if relation.holds(house, other) {
                        lefts |= 1 << house;
                        rights |= 1 << other;
                    }
                }
            }
            sets[left] = lefts;
            sets[right] = rights;
        }
    }
}

/// What is left of a category's sets once a placed value bars its house to the others, and
/// a house that only one value can have is that value's.
fn apply_category(category: usize, num_houses: usize, sets: &mut Sets) {
    let sets = &mut sets[category * num_houses..(category + 1) * num_houses];
    loop {
        let before: u32 = sets.iter().map(|set| set.count_ones()).sum();
        for value in 0..num_houses {
            if sets[value].is_power_of_two() {
                let placed = sets[value];
                for other in (0..num_houses).filter(|&other| other != value) {
                    sets[other] &= !placed;
                }
            }
        }
        for house in 0..num_houses {
            let mut able = (0..num_houses).filter(|&value| sets[value] >> house & 1 == 1);
            if let (Some(only), None) = (able.next(), able.next()) {
                sets[only] = 1 << house;
            }
        }
        if sets.iter().map(|set| set.count_ones()).sum::<u32>() == before {
            return;
        }
    }
}

/// All that follows from the clues by elimination.
fn propagate(clues: &[Clue], num_houses: usize, num_values: usize) -> Sets {
    let mut sets = start(num_houses, num_values);
    loop {
        let before = sets;
        for &clue in clues {
            apply_clue(clue, num_houses, &mut sets);
        }
        for category in 0..num_values / num_houses {
            apply_category(category, num_houses, &mut sets);
        }
        if sets == before {
            return sets;
        }
    }
}

/// The same, line by line, until the values of the goal are placed.
fn trace(clues: &[Clue], num_houses: usize, num_values: usize, goal: &[usize]) -> Vec<Line> {
    let mut sets = start(num_houses, num_values);
    let mut lines = Vec::new();
    let is_done = |sets: &Sets| goal.iter().all(|&value| sets[value].is_power_of_two());
    loop {
        let num_lines = lines.len();
        for (index, &clue) in clues.iter().enumerate() {
            let before = sets;
            apply_clue(clue, num_houses, &mut sets);
            if sets == before {
                continue;
            }
            lines.push(Line { cites: Cited::Clue(index), before, after: sets });
            let mut touched: Vec<usize> =
                values_of(clue).iter().map(|value| value / num_houses).collect();
            touched.dedup();
            for category in touched {
                if is_done(&sets) {
                    return lines;
                }
                let before = sets;
                apply_category(category, num_houses, &mut sets);
                if sets != before {
                    lines.push(Line { cites: Cited::Category(category), before, after: sets });
                }
            }
            if is_done(&sets) {
                return lines;
            }
        }
        if lines.len() == num_lines {
            return lines;
        }
    }
}

impl Problem for Zebra {
    fn signature(&self) -> String {
        let mut clues: Vec<String> = self.clues.iter().map(|clue| self.tell(*clue)).collect();
        clues.sort_unstable();
        let mut names = self.names.clone();
        for category in names.chunks_mut(self.num_houses) {
            category.sort_unstable();
        }
        let (asked, ..) = self.asked(Language::En);
        format!("logic/zebra/{}: {} {asked}", names.join(" "), clues.join(", "))
    }

    fn kind_name(&self) -> &'static str {
        "zebra"
    }

    fn render(&self, language: Language, _rng: &mut CounterRng) -> Rendered {
        let clues = labelled(self.clues.iter().map(|clue| match language {
            Language::En => self.tell(*clue),
            Language::Zh => self.tell_in_chinese(*clue),
        }));
        let categories: Vec<String> = (self.names.chunks(self.num_houses).enumerate())
            .map(|(category, names)| format!("{}: {}", category_name(category), names.join(", ")))
            .collect();
        let categories = all_spelled(language, categories, WORDS);
        let (asked, places, answer) = self.asked(language);
        let num_houses = self.num_houses;
        let opening = match language {
            Language::En => format!(
                "Houses 1 to {num_houses} stand in a row from left to right. Each has one of \
                 every kind, no two the same."
            ),
            Language::Zh => format!(
                "1号到{num_houses}号房子从左到右排成一行。每所房子里每类各有一样，互不相同。"
            ),
        };
        let question = format!(
            "{opening}\n{}\n{}\n{}",
            categories.join("\n"),
            clues.join("\n"),
            words::asked(language, &asked)
        );
        let mut steps: Vec<String> =
            self.lines.iter().map(|line| self.line(line, &clues)).collect();
        steps.push(words::answered(&asked, &format!("{places} -> {answer}")));
        Rendered {
            question,
            steps: all_spelled(language, steps, WORDS),
            answer: spelled(language, &answer, WORDS),
        }
    }
}
