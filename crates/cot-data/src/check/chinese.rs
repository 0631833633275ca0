//! Chinese questions that English readers read: sentences and the words of a chain are put
//! into the form that these know, and what they find is put back. Those of the core
//! families stand here, those of the others in a [`Book`] each.
//!
//! An item of a chain must be the question's own word for word before it is read, so two
//! sentences that come to the same in English are still told apart.

mod book;
mod cube;
mod dates;
mod fractions;
mod knights;
mod linear;
mod names;
mod number;
mod paths;
mod percent;
mod propositional;
mod seating;
mod stacking;
mod syllogism;
mod weekday;
mod zebra;

use std::sync::LazyLock;

use regex::{Captures, Regex};

use book::Book;

use super::sheet::pattern;
use super::{LineChecks, Reading};

/// Sentences: a pattern, in which `@` is a name, `#` a number and `&` a noun with its
/// measure word, and the English for it.
const SENTENCES: &[(&str, &str)] = &[
    // Programs.
    ("从#开始。", "Start with $1."),
    ("取一个数#。", "Take $1."),
    ("加上?#", "add $1"),
    ("减去?#", "subtract $1"),
    ("乘以?#", "multiply by $1"),
    ("(?:结果|现在|这个数现在)是多少？", "What is the result?"),
    // Stories.
    ("(?:起初，)?@有#&。", "$1 has $2 $3."),
    ("@一开始有#&。", "$1 starts with $2 $3."),
    ("@买了#包，每包#&", "$1 buys $2 bags of $3"),
    ("@找到#包，每包#&", "$1 finds $2 bags of $3"),
    ("@得到#盒，每盒#&", "$1 gets $2 boxes with $3 in each"),
    ("@卖掉#包，每包#&", "$1 sells $2 bags of $3"),
    ("@给了@#盒，每盒#&", "$1 gives $2 $3 boxes with $4 in each"),
    ("@又买了#&", "$1 buys $2 more"),
    ("@找到#&", "$1 finds $2"),
    ("@从@那里得到#&", "$1 gets $3 from $2"),
    ("@又给了@#&", "$1 gives $2 $3 more"),
    ("@卖掉#&", "$1 sells $2"),
    ("@弄丢了#&", "$1 loses $2"),
    ("@给了@#&", "$1 gives $3 to $2"),
    ("@从@那里拿走#&", "$1 gets $3 from $2"),
    ("@的&是@的#倍", "$1 has $4 times as many as $3"),
    ("@(?:现在|最后)有多少&？", "How many does $1 have now?"),
    // Puzzles.
    ("已知：", "We know:"),
    ("@比@高", "$1 is taller than $2"),
    ("@比@矮", "$1 is shorter than $2"),
    ("@比@年长", "$1 is older than $2"),
    ("@比@年轻", "$1 is younger than $2"),
    ("@比@跑得快", "$1 is faster than $2"),
    ("@比@跑得慢", "$1 is slower than $2"),
    ("@比@重", "$1 is heavier than $2"),
    ("@比@轻", "$1 is lighter than $2"),
    // Routes.
    ("AXES(?:@|机器人)(?:从(POINT)出发|位于(POINT))。", "The robot is at $2$3."),
    ("(?:@|机器人)面朝([北东南西])。", "The robot faces $2."),
    ("AXES(?:@|机器人)位于(POINT)，面朝([北东南西])。", "The robot is at $2, facing $3."),
    ("向([北东南西])走#格", "$2 $1"),
    ("往([北东南西])移动#格", "$2 $1"),
    ("(?:原地)?(左转|右转|掉头)", "$1"),
    ("(左转|右转|掉头)(?:，走|后前进|，移动)#格", "$1, go $2"),
    ("(?:@|机器人)(?:现在在|停在|最后在)哪个点？", "What is its last point?"),
    ("(?:@|机器人)(?:现在|最后)面朝哪个方向？", "Which way does it face?"),
];

/// Questions of puzzles: what is most and least of something, and the English for it.
const PLACES: [(&str, &str); 8] = [
    ("高", "tallest"),
    ("矮", "shortest"),
    ("年长", "oldest"),
    ("年轻", "youngest"),
    ("快", "fastest"),
    ("慢", "slowest"),
    ("重", "heaviest"),
    ("轻", "lightest"),
];

const RANKS: [(&str, &str); 7] = [
    ("最", ""),
    ("第一", "first "),
    ("第二", "second "),
    ("第三", "third "),
    ("第四", "fourth "),
    ("第五", "fifth "),
    ("第六", "sixth "),
];

/// What puzzles compare, and the ends of an order.
const MEASURES: [(&str, &str); 6] = [
    ("身高", "height"),
    ("年龄", "age"),
    ("速度", "speed"),
    ("体重", "weight"),
    ("顶", "top"),
    ("底", "end"),
];

const WORDS: [(&str, &str); 7] = [
    ("北", "north"),
    ("东", "east"),
    ("南", "south"),
    ("西", "west"),
    ("左转", "left"),
    ("右转", "right"),
    ("掉头", "around"),
];

/// The other families.
static BOOKS: LazyLock<[Book; 13]> = LazyLock::new(|| {
    [
        knights::book(),
        zebra::book(),
        percent::book(),
        fractions::book(),
        linear::book(),
        number::book(),
        weekday::book(),
        paths::book(),
        propositional::book(),
        syllogism::book(),
        seating::book(),
        cube::book(),
        stacking::book(),
    ]
});

static FORMS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let nouns = "([个枚本张支颗把](?:苹果|硬币|书|卡片|钢笔|鸡蛋|坚果|钥匙)?|苹果|硬币|书|卡片|钢笔|鸡蛋|坚果|钥匙)";
    (SENTENCES.iter())
        .map(|(form, english)| {
            let form = form
                .replace("AXES", "正北为y轴正方向，正东为x轴正方向。")
                .replace("POINT", r"\(\d{1,6},\d{1,6}\)")
                .replace('@', r"(小\p{Han})")
                .replace('#', r"(\d{1,9})")
                .replace('&', nouns);
            (pattern(&format!("^{form}$")), *english)
        })
        .collect()
});
static ASKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(所有人中)?谁(跑得)?(最|第[一二三四五六])(\p{Han}+)$"));
/// What a line of a story says where someone has some times as many.
static TIMES: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(小\p{Han})有 "));
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"小\p{Han}"));
static PLACE: LazyLock<Regex> = LazyLock::new(|| pattern(r"第(\d+) "));

/// Puts an answer back.
fn in_chinese(text: &str) -> String {
    if let Some((chinese, _)) = WORDS.iter().find(|(_, english)| *english == text) {
        return (*chinese).to_owned();
    }
    names::han(text).unwrap_or_else(|| text.to_owned())
}

/// A sentence of a question; nothing where it is not known.
fn sentence(text: &str) -> Option<String> {
    let (form, english) = FORMS.iter().find(|(form, _)| form.is_match(text))?;
    let found = form.captures(text)?;
    let mut told = (*english).to_owned();
    for group in (1..found.len()).rev() {
        let value = found.get(group).map_or("", |value| value.as_str());
        told = told.replace(&format!("${group}"), &word(value));
    }
    Some(told)
}

/// A name, a direction, a turn or a noun; a number stays as it is.
fn word(text: &str) -> String {
    if let Some((_, english)) = WORDS.iter().find(|(chinese, _)| *chinese == text) {
        return (*english).to_owned();
    }
    if NAME.is_match(text) {
        return names::latin(text);
    }
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    if has_digit || text.is_empty() { text.to_owned() } else { "things".to_owned() }
}

/// What a puzzle asks for; nothing where it is not known.
fn asked(text: &str) -> Option<String> {
    let found = ASKED.captures(text)?;
    let (_, place) = PLACES.iter().find(|(chinese, _)| *chinese == &found[4])?;
    // Only of speed is there a verb.
    if found.get(2).is_some() != matches!(&found[4], "快" | "慢") {
        return None;
    }
    let (_, rank) = RANKS.iter().find(|(chinese, _)| *chinese == &found[3])?;
    let all = if found.get(1).is_some() { " of all" } else { "" };
    Some(format!("Who is the {rank}{place}{all}"))
}

/// An item of the question: its label, its text, and the English for it.
struct Item {
    label: String,
    chinese: String,
    english: String,
}

/// A question that an English reader reads.
struct Translated {
    items: Vec<Item>,
    reading: Box<dyn Reading>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    if question.is_ascii() {
        return None;
    }
    core(question).or_else(|| BOOKS.iter().find_map(|book| book.read(question)))
}

/// Reads a question of the core families.
fn core(question: &str) -> Option<Box<dyn Reading>> {
    let mut items = Vec::new();
    let mut english = Vec::new();
    for line in question.lines() {
        let Some((label, text)) = line.strip_prefix('#').and_then(|line| line.split_once(' '))
        else {
            english.push(sentence(line)?);
            continue;
        };
        let (chinese, told) = if label == "Q" {
            let chinese = text.strip_suffix('？')?;
            (chinese, asked(chinese)?)
        } else {
            (text, sentence(text)?)
        };
        let mark = if label == "Q" { "?" } else { "" };
        english.push(format!("#{label} {told}{mark}"));
        let (label, chinese) = (label.to_owned(), chinese.to_owned());
        items.push(Item { label, chinese, english: told });
    }
    if items.is_empty() {
        return None;
    }
    let reading = super::read(&english.join("\n"));
    Some(Box::new(Translated { items, reading }))
}

impl Translated {
    /// A line of a chain; one that is not wholly Chinese stays as it is.
    fn line(&self, line: &str) -> String {
        let Some((head, work)) = line.split_once('：') else {
            return work(line).unwrap_or_else(|| line.to_owned());
        };
        let about = head.strip_prefix('#').and_then(|head| head.split_once(' '));
        let (Some((label, text)), Some(work)) = (about, work_of(work)) else {
            return line.to_owned();
        };
        let item = self.items.iter().find(|item| item.label == label && item.chinese == text);
        let item = item.map_or(text, |item| &item.english);
        format!("#{label} {item}: {work}")
    }
}

fn work_of(text: &str) -> Option<String> {
    work(text.trim())
}

/// The work of a line; nothing where it has English words.
fn work(text: &str) -> Option<String> {
    let is_word = |letter: char| letter.is_ascii_alphabetic() && !matches!(letter, 'x' | 'y');
    if text.contains(is_word) || text.contains(", ") {
        return None;
    }
    let text = text.replace('，', ", ").replace("最后 ", "last ");
    let text = PLACE.replace_all(&text, "$1 ");
    let text = TIMES.replace(&text, "$1 has ");
    let mut text =
        NAME.replace_all(&text, |found: &Captures<'_>| names::latin(&found[0])).into_owned();
    for (chinese, english) in MEASURES {
        text = text.replace(chinese, english);
    }
    let words: Vec<String> = (text.split(' '))
        .map(|part| match WORDS.iter().find(|(chinese, _)| *chinese == part) {
            Some((_, english)) => (*english).to_owned(),
            None => part.to_owned(),
        })
        .collect();
    Some(words.join(" "))
}

impl Reading for Translated {
    fn answer(&self) -> Option<String> {
        self.reading.answer().map(|answer| in_chinese(&answer))
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let lines: Vec<String> = lines.iter().map(|line| self.line(line)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut checks = self.reading.check(&lines);
        checks.conclusion = checks.conclusion.map(|conclusion| in_chinese(&conclusion));
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};

    fn answer(question: &str) -> Option<String> {
        read(question).and_then(|reading| reading.answer())
    }

    #[test]
    fn questions_are_read() {
        for (question, found) in [
            ("从58开始。\n#A 加上67\n#B 减去20\n结果是多少？", Some("105")),
            (
                "小安有5个苹果。\n#A 小波从小安那里拿走2个\n#B 小安又买了4个\n小安现在有多少个苹果？",
                Some("7"),
            ),
            ("小安有5本书。\n#A 小波的书是小安的4倍\n小波最后有多少本书？", Some("20")),
            ("小安有5本书。\n#A 小安买了2包，每包3本\n小安现在有多少本？", Some("11")),
            ("已知：\n#A 小安比小波高\n#B 小丹比小波矮\n#Q 谁第二高？", Some("小波")),
            ("#Q 所有人中谁跑得最慢？\n#A 小安比小波跑得快", Some("小波")),
            ("小安面朝北。\n#A 左转\n#B 掉头\n小安现在面朝哪个方向？", Some("东")),
            (
                "正北为y轴正方向，正东为x轴正方向。机器人位于(5,4)，面朝北。\n#A 左转，移动3格\n\
                 机器人最后在哪个点？",
                Some("(2,4)"),
            ),
            ("小安喜欢苹果。\n#A 小安又买了4个\n小安现在有多少个苹果？", None),
            ("#A 小安比小波高\n#Q 谁跑得最高？", None),
        ] {
            assert_eq!(answer(question).as_deref(), found, "{question}");
        }
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let question = read("已知：\n#A 小安比小波高\n#B 小丹比小波矮\n#Q 谁第二高？").unwrap();
        let chain = [
            "#A 小安比小波高：身高/身高，小安 > 小波，小安 顶 > 小波 底",
            "#B 小丹比小波矮：身高/身高，小安 顶，小波 底，小波 底 > 小丹，小安 顶 > 小波 > 小丹 底",
            "第1 小安，第2 小波，最后 小丹",
            "#Q 谁第二高：第2 小波",
        ];
        let checks = question.check(&chain);
        assert_eq!(checks.verdicts, [Ok; 4]);
        assert_eq!(checks.conclusion.as_deref(), Some("小波"));
        for (index, line) in [
            (0, "#A 小波比小安矮：身高/身高，小安 > 小波，小安 顶 > 小波 底"),
            (0, "#A 小安比小波高：身高/年龄，小安 > 小波，小安 顶 > 小波 底"),
            (
                1,
                "#B 小丹比小波矮：身高/身高，小安 顶，小波 底，小丹 > 小波 底，小安 顶 > 小波 > 小丹 底",
            ),
            (
                1,
                "#B 小丹比小波矮：身高/身高，小安 顶，小波 底，小波 顶 > 小丹，小安 顶 > 小波 > 小丹 底",
            ),
            (2, "第1 小波，第2 小安，最后 小丹"),
            (3, "#Q 谁第二高：第1 小安"),
        ] {
            let mut lines = chain;
            lines[index] = line;
            assert_eq!(question.check(&lines).verdicts[index], Wrong, "{line}");
        }
        assert_eq!(question.check(&["小安最高。"]).verdicts, [Unchecked]);
    }

    #[test]
    fn a_line_of_a_story_says_who_gains_and_who_loses() {
        let question = read(
            "小安有5个苹果。\n#A 小波从小安那里拿走2个\n#B 小安买了2包，每包3个\n#C 小波的苹果是小安的4倍\n\
             小波现在有多少个？",
        )
        .unwrap();
        let chain = |works: [&str; 3]| {
            let items = ["小波从小安那里拿走2个", "小安买了2包，每包3个", "小波的苹果是小安的4倍"];
            let lines: Vec<String> = (items.iter().zip(works).zip('A'..))
                .map(|((item, work), label)| format!("#{label} {item}：{work}"))
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            question.check(&lines)
        };
        let right = chain(["小波 +2，小安 -2，5-2=3", "2*3=6，小安 +6，3+6=9", "小波有 9*4=36"]);
        assert_eq!(right.verdicts, [Ok; 3]);
        assert_eq!(right.conclusion.as_deref(), Some("36"));
        for (works, why) in [
            (["小波 +2，5-2=3", "2*3=6，小波 +6，3+6=9", "小安有 9*4=36"], "the other"),
            (
                ["小波 -2，小安 +2，5-2=3", "2*3=6，小安 -6，3+6=9", "小波 +4，9*4=36"],
                "another way",
            ),
            (["5-2=3", "2*3=6，3+6=9", "9*4=36"], "nobody"),
        ] {
            assert_eq!(chain(works).verdicts, [Wrong; 3], "{why}");
        }
        let open = chain(["小安 5-2=3", "小安得到 2*3=6，3+6=9", "小波has 9*4=36"]);
        assert_eq!(open.verdicts, [Unchecked; 3]);
    }
}
