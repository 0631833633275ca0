//! Chains that go round in circles.
//!
//! The measures are those of Gopher (Rae et al. 2021, table A1) as datatrove's
//! `GopherRepetitionFilter` counts them, operators left out. Gopher's bounds are for web
//! pages; good chains name the same things at every step, and with operators counted 15 %
//! of GSM8K's exceed them. The defaults are twice Gopher's for frequent phrases and three
//! times for repeated ones, just above the 99.9th percentile of GSM8K's chains of 100 words
//! or more.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::config::CleanConfig;
use super::report::Reason;
use super::token::{Identity, Token, TokenKind, ngram_hashes, push_tokens, text_hash};

/// The first measure that a chain exceeds.
pub(crate) fn repetition_complaint(
    steps: &[String],
    config: &CleanConfig,
) -> Option<(Reason, String)> {
    let mut words = Vec::new();
    for step in steps {
        push_tokens(step, &mut words);
    }
    words.retain(|word| word.kind != TokenKind::Operator);
    if words.len() < config.min_repetition_words {
        return None;
    }
    let share = duplicate_line_share(steps);
    if share > config.max_duplicate_line_share {
        return Some((Reason::RepeatedLines, format!("{share:.2} of the lines")));
    }
    let hashes: Vec<u64> = words.iter().map(|word| word.hash).collect();
    let starts = starts(&words);
    for (n, most) in (2..).zip(config.max_top_ngram_share) {
        let share = top_ngram_share(&hashes, &starts, n);
        if share > most {
            return Some((Reason::FrequentPhrase, format!("{share:.2} in one {n}-gram")));
        }
    }
    for (n, most) in (5..).zip(config.max_duplicate_ngram_share) {
        let share = duplicate_ngram_share(&hashes, &starts, n);
        if share > most {
            return Some((Reason::RepeatedPhrases, format!("{share:.2} in repeated {n}-grams")));
        }
        // What repeats no 5-gram repeats no longer one.
        if share == 0.0 {
            break;
        }
    }
    None
}

/// Where each word starts if all are set without spaces; at the end, the whole length.
fn starts(words: &[Token]) -> Vec<usize> {
    let mut starts = vec![0];
    let mut end = 0;
    for word in words {
        end += word.len as usize;
        starts.push(end);
    }
    starts
}

/// Share of lines that equal an earlier one.
fn duplicate_line_share(steps: &[String]) -> f64 {
    let mut seen = HashSet::<u64, BuildHasherDefault<Identity>>::default();
    let (mut num_lines, mut num_repeated) = (0_usize, 0_usize);
    for line in steps.iter().flat_map(|step| step.lines()) {
        let line = line.trim();
        if !line.is_empty() {
            num_lines += 1;
            num_repeated += usize::from(!seen.insert(text_hash(line, 0)));
        }
    }
    num_repeated as f64 / num_lines.max(1) as f64
}

/// Share of characters in the most frequent n-gram that appears more than once; of
/// several as frequent, the longest.
fn top_ngram_share(hashes: &[u64], starts: &[usize], n: usize) -> f64 {
    let mut ngrams: Vec<(u64, usize)> =
        ngram_hashes(hashes, n).enumerate().map(|(place, hash)| (hash, place)).collect();
    ngrams.sort_unstable();
    let (mut most, mut longest) = (1, 0);
    for run in ngrams.chunk_by(|first, second| first.0 == second.0) {
        let place = run[0].1;
        let len = starts[place + n] - starts[place];
        if run.len() > most || (run.len() == most && most > 1 && len > longest) {
            (most, longest) = (run.len(), len);
        }
    }
    (most * longest) as f64 / starts.last().copied().unwrap_or(0).max(1) as f64
}

/// Share of characters in n-grams that appeared before; a repeat is passed over as a
/// whole, so that no character counts twice.
fn duplicate_ngram_share(hashes: &[u64], starts: &[usize], n: usize) -> f64 {
    let ngrams: Vec<u64> = ngram_hashes(hashes, n).collect();
    let mut seen = HashSet::<u64, BuildHasherDefault<Identity>>::default();
    let (mut place, mut repeated) = (0, 0);
    while place < ngrams.len() {
        if seen.insert(ngrams[place]) {
            place += 1;
        } else {
            repeated += starts[place + n] - starts[place];
            place += n;
        }
    }
    repeated as f64 / starts.last().copied().unwrap_or(0).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    fn shares(text: &str, n: usize) -> (f64, f64) {
        let words = tokens(text);
        let hashes: Vec<u64> = words.iter().map(|word| word.hash).collect();
        let starts = starts(&words);
        (top_ngram_share(&hashes, &starts, n), duplicate_ngram_share(&hashes, &starts, n))
    }

    #[test]
    fn shares_are_counted_by_hand() {
        // Twelve letters; `aa bb` twice makes 8 of them in the top 2-gram, of which the
        // second is a repeat.
        let (top, duplicate) = shares("aa bb cc aa bb dd", 2);
        assert!((top - 8.0 / 12.0).abs() < 1e-12, "{top}");
        assert!((duplicate - 4.0 / 12.0).abs() < 1e-12, "{duplicate}");
        assert_eq!(shares("a b c d e f g h", 2), (0.0, 0.0));
        assert_eq!(shares("a b", 5), (0.0, 0.0));
        assert_eq!(shares("", 2), (0.0, 0.0));
    }

    fn complaint(steps: &[String]) -> Option<Reason> {
        repetition_complaint(steps, &CleanConfig::default()).map(|(reason, _)| reason)
    }

    #[test]
    fn loops_are_found_and_plain_chains_stay() {
        let line = "Wait, let me check the number of apples again, since it was not clear.";
        assert_eq!(complaint(&vec![line.to_owned(); 8]), Some(Reason::RepeatedLines));
        let words: Vec<String> = (0..60).map(|place| format!("word{place}")).collect();
        let thrice = [&words[..]; 3].concat().join(" ");
        assert_eq!(complaint(&[thrice]), Some(Reason::RepeatedPhrases));
        assert_eq!(complaint(&["no no ".repeat(60)]), Some(Reason::FrequentPhrase));
        let plain: Vec<String> = (1..40)
            .map(|day| format!("On day{day} shop{day} sells {} cakes of {}.", day * 3, day * 7))
            .collect();
        assert_eq!(complaint(&plain), None);
        assert_eq!(complaint(&vec![line.to_owned(); 2]), None, "too short to be judged");
    }
}
