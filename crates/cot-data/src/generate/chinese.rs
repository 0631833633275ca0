//! The Chinese vocabulary of the generators, by the place of the English words, and lines
//! of symbols told in Chinese word by word.

use super::words::{ITEMS, NAMES, labelled};
use crate::language::Language;
use crate::problem::Rendered;

/// Words of a family beside names and colours, in English and Chinese.
pub(super) type Words = [(&'static str, &'static str)];

/// Colours of cubes and blocks.
const COLOURS: [(&str, &str); 10] = [
    ("red", "红色"),
    ("blue", "蓝色"),
    ("green", "绿色"),
    ("white", "白色"),
    ("black", "黑色"),
    ("pink", "粉色"),
    ("grey", "灰色"),
    ("brown", "棕色"),
    ("gold", "金色"),
    ("lime", "青色"),
];

/// Where a word of a line ends.
const ENDS: [char; 7] = [' ', ',', ':', '/', '-', '(', ')'];

/// Names of people, for those of [`NAMES`].
pub(crate) const CHINESE_NAMES: [&str; NAMES.len()] = [
    "小安", "小波", "小雯", "小丹", "小金", "小磊", "小敏", "小涛", "小山", "小卓", "小斌", "小雨",
    "小军", "小怡", "小杰", "小宁", "小苏", "小东", "小乔", "小薇", "小刚", "小佩", "小龙", "小凯",
];

/// Things to count, for those of [`ITEMS`], and their measure words.
const CHINESE_ITEMS: [(&str, &str); ITEMS.len()] = [
    ("个", "苹果"),
    ("枚", "硬币"),
    ("本", "书"),
    ("张", "卡片"),
    ("支", "钢笔"),
    ("个", "鸡蛋"),
    ("颗", "坚果"),
    ("把", "钥匙"),
];

/// The Chinese name for an English one.
pub(super) fn name(english: &str) -> &'static str {
    let place = NAMES.iter().position(|known| *known == english).unwrap_or(0);
    CHINESE_NAMES[place]
}

/// The measure word and the noun for an English one.
pub(super) fn item(english: &str) -> (&'static str, &'static str) {
    let place = ITEMS.iter().position(|known| *known == english).unwrap_or(0);
    CHINESE_ITEMS[place]
}

/// A line of symbols in a language: in Chinese, word by word and with its punctuation.
pub(super) fn spelled(language: Language, line: &str, words: &Words) -> String {
    if language == Language::En {
        return line.to_owned();
    }
    let phrases = words.iter().filter(|(english, _)| english.contains(' '));
    let line =
        phrases.fold(line.to_owned(), |line, (english, chinese)| line.replace(english, chinese));
    let mut told = String::with_capacity(2 * line.len());
    for part in line.split_inclusive(ENDS) {
        let word = part.trim_end_matches(ENDS);
        let mut known = words.iter().chain(&COLOURS);
        let known = known.find(|(english, _)| *english == word).map(|(_, chinese)| *chinese);
        let chinese = known.or_else(|| NAMES.contains(&word).then(|| name(word)));
        told.push_str(chinese.unwrap_or(word));
        told.push_str(&part[word.len()..]);
    }
    told.replace(", ", "，").replace(": ", "：")
}

/// Lines of symbols in a language.
pub(super) fn all_spelled(language: Language, lines: Vec<String>, words: &Words) -> Vec<String> {
    match language {
        Language::En => lines,
        Language::Zh => lines.iter().map(|line| spelled(language, line, words)).collect(),
    }
}

/// Opening, labelled items, question, and a line for each item.
pub(super) fn laid_out(
    opening: &str,
    items: Vec<String>,
    works: impl IntoIterator<Item = String>,
    asked: &str,
    answer: String,
) -> Rendered {
    let items = labelled(items);
    let steps = items.iter().zip(works).map(|(item, work)| format!("{item}：{work}")).collect();
    let question = format!("{opening}\n{}\n{asked}", items.join("\n"));
    Rendered { question, steps, answer }
}
