//! Records that overlap a benchmark.
//!
//! A benchmark measures nothing once its items were trained on. As in open-r1, a question
//! that shares a run of 8 words with an item goes; chains and answers, which are long and
//! full of set phrases, are held to 13 words (GPT-3, appendix C). Words are compared after
//! NFKC, in lower case, without punctuation or operators. An item shorter than the run is
//! compared as a whole, operators included: `3+5` is not `3-5`.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::benchmark::Benchmark;
use super::config::CleanConfig;
use super::token::{
    Identity, Token, TokenKind, for_each_token, ngram_hashes, push_tokens, sequence_hash, tokens,
};
use crate::record::CotRecord;

/// Which item of which benchmark has an n-gram.
type Index = HashMap<u64, (u32, u32), BuildHasherDefault<Identity>>;

/// An overlap of a record with a benchmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// Place of the benchmark in the configuration.
    pub(crate) benchmark: usize,
    /// N-grams of that benchmark in the text, or 1 for a whole item.
    pub(crate) num_hits: u64,
    /// The benchmark, the item, counted from 1, and the words.
    pub(crate) detail: String,
}

/// All benchmarks, by their n-grams.
#[derive(Debug, Default)]
pub(crate) struct Decontaminator {
    names: Vec<String>,
    question_ngram: usize,
    text_ngram: usize,
    questions: Index,
    texts: Index,
    whole: Index,
}

impl Decontaminator {
    /// Indexes the items of benchmarks; an n-gram of several counts for the first.
    pub(crate) fn new(benchmarks: &[Benchmark], config: &CleanConfig) -> Self {
        let mut index = Self {
            question_ngram: config.question_ngram,
            text_ngram: config.text_ngram,
            ..Self::default()
        };
        for (number, benchmark) in benchmarks.iter().enumerate() {
            index.names.push(benchmark.name.clone());
            for (item, text) in benchmark.items.iter().enumerate() {
                let place = (number as u32, item as u32);
                let found = tokens(text);
                let words = words(&found);
                for hash in ngram_hashes(&words, index.question_ngram) {
                    index.questions.entry(hash).or_insert(place);
                }
                for hash in ngram_hashes(&words, index.text_ngram) {
                    index.texts.entry(hash).or_insert(place);
                }
                let is_short = words.len() < index.question_ngram || index.question_ngram == 0;
                if is_short && !found.is_empty() {
                    let hash = sequence_hash(found.iter().map(|token| token.hash));
                    index.whole.entry(hash).or_insert(place);
                }
            }
        }
        index
    }

    /// The first overlap of a record: of its question, its chain, its answer.
    pub(crate) fn overlap(&self, record: &CotRecord) -> Option<Overlap> {
        if self.names.is_empty() {
            return None;
        }
        let question = [record.question.as_str()];
        let found = tokens(&record.question);
        let hash = sequence_hash(found.iter().map(|token| token.hash));
        if let Some(place) = self.whole.get(&hash) {
            let detail = format!("{}: the whole item", self.item(*place));
            return Some(Overlap { benchmark: place.0 as usize, num_hits: 1, detail });
        }
        self.search(&question, &found, &self.questions, self.question_ngram).or_else(|| {
            let mut found = Vec::new();
            let steps: Vec<&str> = record.thought_process.iter().map(String::as_str).collect();
            for step in &steps {
                push_tokens(step, &mut found);
            }
            self.search(&steps, &found, &self.texts, self.text_ngram).or_else(|| {
                let answer = [record.answer.as_str()];
                let found = tokens(&record.answer);
                self.search(&answer, &found, &self.texts, self.text_ngram)
            })
        })
    }

    fn search(&self, texts: &[&str], found: &[Token], index: &Index, n: usize) -> Option<Overlap> {
        let words = words(found);
        let mut first = None;
        let mut num_hits = 0;
        for (start, hash) in ngram_hashes(&words, n).enumerate() {
            if let Some(place) = index.get(&hash) {
                let (_, (benchmark, _)) = *first.get_or_insert((start, *place));
                num_hits += u64::from(place.0 == benchmark);
            }
        }
        let (start, place) = first?;
        let detail = format!("{}: \"{}\"", self.item(place), quote(texts, start, n));
        Some(Overlap { benchmark: place.0 as usize, num_hits, detail })
    }

    fn item(&self, (benchmark, item): (u32, u32)) -> String {
        format!("{} item {}", self.names[benchmark as usize], item + 1)
    }
}

/// The hashes of words and numbers, without operators.
fn words(found: &[Token]) -> Vec<u64> {
    found.iter().filter(|token| token.kind != TokenKind::Operator).map(|token| token.hash).collect()
}

/// The words of an n-gram.
fn quote(texts: &[&str], start: usize, n: usize) -> String {
    let mut words: Vec<String> = Vec::new();
    for text in texts {
        for_each_token(text, |word, kind| {
            if kind != TokenKind::Operator && words.len() < start + n {
                words.push(word.to_owned());
            }
        });
    }
    words.split_off(start.min(words.len())).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str = "A baker makes 12 loaves each morning and sells them for $3 apiece. How \
                        many dollars does the baker take in a week of seven days?";

    fn index() -> Decontaminator {
        let benchmark = |name: &str, items: &[&str]| Benchmark {
            name: name.to_owned(),
            items: items.iter().map(|item| (*item).to_owned()).collect(),
        };
        let benchmarks = [
            benchmark("first/test", &["What is 3+5?", ITEM]),
            benchmark("second/test", &["not ( True ) and True is", ITEM]),
        ];
        Decontaminator::new(&benchmarks, &CleanConfig::default())
    }

    fn overlap(question: &str, step: &str) -> Option<Overlap> {
        index().overlap(&CotRecord {
            question: question.to_owned(),
            thought_process: vec!["First.".to_owned(), step.to_owned()],
            answer: "5".to_owned(),
            ..CotRecord::default()
        })
    }

    #[test]
    fn eight_words_of_a_question_are_an_overlap_and_seven_are_not() {
        let found = overlap("She BAKER makes: 12 loaves each morning, and sells.", "").unwrap();
        assert_eq!(found.benchmark, 0);
        assert_eq!(found.num_hits, 1);
        assert_eq!(
            found.detail,
            "first/test item 2: \"baker makes 12 loaves each morning and sells\""
        );
        assert_eq!(overlap("The baker makes 12 loaves each morning and buys", ""), None);
    }

    #[test]
    fn thirteen_words_of_a_chain_are_an_overlap_and_twelve_are_not() {
        let step = "baker makes 12 loaves each morning and sells them for $3 apiece. How";
        let found = overlap("Bread?", step).unwrap();
        assert!(found.detail.contains("for 3 apiece how"), "{}", found.detail);
        assert_eq!(overlap("Bread?", &step[..step.len() - 4]), None);
    }

    #[test]
    fn a_short_item_is_compared_as_a_whole() {
        assert!(overlap("what is 3 + 5", "").unwrap().detail.ends_with("the whole item"));
        assert_eq!(overlap("what is 3 - 5", ""), None);
        assert_eq!(overlap("what is 3 + 5 + 1", ""), None);
        assert_eq!(overlap("not (True) and True is", "").unwrap().benchmark, 1);
    }

    #[test]
    fn without_benchmarks_nothing_overlaps() {
        let index = Decontaminator::new(&[], &CleanConfig::default());
        let record = CotRecord { question: ITEM.to_owned(), ..CotRecord::default() };
        assert_eq!(index.overlap(&record), None);
    }
}
