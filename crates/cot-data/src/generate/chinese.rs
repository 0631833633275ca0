//! The Chinese vocabulary of the core families, by the place of the English words.

use super::words::{ITEMS, NAMES, labelled};
use crate::problem::Rendered;

/// Names of people, for those of [`NAMES`].
const CHINESE_NAMES: [&str; NAMES.len()] = [
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
