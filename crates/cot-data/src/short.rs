//! The same chain in fewer words: small students learn from short chains, or from a mixture
//! of both lengths, what they do not learn from long ones alone (Li et al. 2025, "Small
//! models struggle to learn from strong reasoners").
//!
//! A short chain names an item by its label instead of telling it again, and a sum by its
//! two ends. The checkers read a label alone as the item that bears it, so a short chain is
//! verified line by line like the long one.

use std::sync::LazyLock;

use rayon::prelude::*;
use regex::Regex;

use crate::check::{check_chain, items_by_label};
use crate::record::CotRecord;
use crate::rng::falls_in;

/// The extra field of a record that says its chain is the short one.
pub const CHAIN_FIELD: &str = "chain";

/// A sum told with what comes between: `58+67=58+60+7=118+7=125`.
static SUM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(-?[0-9(][0-9+*/.()-]*)(?:=-?[0-9(][0-9+*/.()-]*)+(=-?[0-9][0-9.]*)")
        .expect("the pattern is a constant")
});

/// A record with its chain in short, under an id that ends in `-short`; nothing where that
/// saves nothing, or a line of the short chain is not verified.
pub fn shortened(record: &CotRecord) -> Option<CotRecord> {
    let items = items_by_label(&record.question);
    let by_label: Vec<String> =
        record.thought_process.iter().map(|line| with_label_alone(&items, line)).collect();
    let by_sum: Vec<String> =
        by_label.iter().map(|line| SUM.replace_all(line, "$1$2").into_owned()).collect();
    let steps = [by_sum, by_label].into_iter().find(|steps| {
        *steps != record.thought_process
            && check_chain(&record.question, steps, &record.answer).all_ok()
    })?;
    let mut short = record.clone();
    short.id.push_str("-short");
    short.thought_process = steps;
    short.extra.insert(CHAIN_FIELD.to_owned(), "short".into());
    Some(short)
}

/// `#A: work` for `#A item: work`; any other line as it is.
fn with_label_alone(items: &[(char, &str)], line: &str) -> String {
    let short = || {
        let mut told = line.strip_prefix('#')?.chars();
        let label = told.next()?;
        let (_, item) = items.iter().find(|(known, _)| *known == label)?;
        let work = told.as_str().strip_prefix(' ')?.strip_prefix(item)?;
        (work.starts_with(": ") || work.starts_with('：')).then(|| format!("#{label}{work}"))
    };
    short().unwrap_or_else(|| line.to_owned())
}

/// The records, a share of them in short; how many that are.
pub(crate) fn shorten_share(records: Vec<CotRecord>, share: f64) -> (Vec<CotRecord>, u64) {
    if share <= 0.0 {
        return (records, 0);
    }
    let told: Vec<(CotRecord, bool)> = records
        .into_par_iter()
        .map(|record| {
            let short = falls_in("short", &record.id, share).then(|| shortened(&record)).flatten();
            let is_short = short.is_some();
            (short.unwrap_or(record), is_short)
        })
        .collect();
    let num_short = told.iter().filter(|(_, is_short)| *is_short).count() as u64;
    (told.into_iter().map(|(record, _)| record).collect(), num_short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Family;
    use crate::generate::{Recipe, Shard, generate_many};
    use crate::record::hand_written as record;

    #[test]
    fn an_item_becomes_its_label_and_a_sum_its_ends() {
        let question = "Start with 58.\n#A add 67\n#B subtract 20\nWhat is the result?";
        let steps = ["#A add 67: 58+67=58+60+7=118+7=125", "#B subtract 20: 125-20=105"];
        let short = shortened(&record(question, &steps, "105")).unwrap();
        assert_eq!(short.thought_process, ["#A: 58+67=125", "#B: 125-20=105"]);
        assert_eq!((short.id.as_str(), &short.extra[CHAIN_FIELD]), ("r-short", &"short".into()));
        let again = short.thought_process.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(shortened(&record(question, &again, "105")), None, "nothing to save");
        let wrong = ["#A add 67: 58+67=58+60+7=118+7=126", "#B subtract 20: 126-20=106"];
        assert_eq!(shortened(&record(question, &wrong, "106")), None, "not verified");
    }

    #[test]
    fn the_question_is_named_by_its_label_too() {
        let question = "#Q Who is the tallest?\n#A Ann is taller than Bob";
        let steps = [
            "#A Ann is taller than Bob: height/height, Ann > Bob, Ann top > Bob end",
            "1 Ann, last Bob",
            "#Q Who is the tallest: 1 Ann",
        ];
        let short = shortened(&record(question, &steps, "Ann")).unwrap();
        let expected =
            ["#A: height/height, Ann > Bob, Ann top > Bob end", "1 Ann, last Bob", "#Q: 1 Ann"];
        assert_eq!(short.thought_process, expected);
    }

    #[test]
    fn every_family_has_short_chains_in_every_language() {
        for family in Family::ALL {
            for &language in family.languages() {
                let records =
                    generate_many(Recipe { family, language }, None, 80, 3, Shard::WHOLE).unwrap();
                let letters = |record: &CotRecord| record.reasoning().chars().count();
                let short: Vec<CotRecord> = records.iter().filter_map(shortened).collect();
                let name = (family.name(), language.code());
                assert!(short.len() >= 76, "{name:?}: {} of 80", short.len());
                let saved = |record: &CotRecord| {
                    let id = record.id.strip_suffix("-short").unwrap();
                    let long = records.iter().find(|long| long.id == id).unwrap();
                    letters(long) - letters(record)
                };
                assert!(short.iter().all(|record| saved(record) > 0), "{name:?}");
                // What was verified in short must fail where a line is wrong.
                let mut damaged = short[0].clone();
                damaged.thought_process.swap_remove(0);
                let check =
                    check_chain(&damaged.question, &damaged.thought_process, &damaged.answer);
                assert!(!check.all_ok(), "{name:?}: a chain with a line lost");
            }
        }
    }

    #[test]
    fn a_share_is_told_in_short() {
        let records = generate_many(Family::Arith, None, 400, 1, Shard::WHOLE).unwrap();
        let (half, num_short) = shorten_share(records.clone(), 0.5);
        assert!((150..250).contains(&num_short), "{num_short}");
        let marked = half.iter().filter(|record| record.extra.contains_key(CHAIN_FIELD));
        assert_eq!(marked.count() as u64, num_short);
        assert_eq!(shorten_share(records.clone(), 0.0), (records, 0));
    }
}
