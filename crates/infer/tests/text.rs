//! Text as it grows against text that is decoded at once, over the tokenizers of all families.

use std::path::Path;

use limbeck_core::Tokenizer;
use limbeck_core::seed::CounterRng;
use limbeck_infer::{Delta, TextStream};

const FOLDERS: [&str; 9] = [
    "teacher",
    "student",
    "parity/llama2",
    "parity/llama3",
    "parity/mistral",
    "parity/qwen2",
    "parity/qwen2_untied",
    "parity/qwen3",
    "parity/gemma3",
];

fn tokenizer(folder: &str) -> Tokenizer {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    Tokenizer::load(&fixtures.join(folder)).unwrap()
}

/// Deltas of all tokens, the last of the end.
fn deltas(
    tokenizer: &Tokenizer,
    tokens: &[i64],
    stop: &[String],
    skip_special: bool,
) -> Vec<Delta> {
    let mut stream = TextStream::new(tokenizer, stop, skip_special);
    let mut deltas: Vec<Delta> = tokens.iter().map(|&token| stream.push(token).unwrap()).collect();
    deltas.push(stream.finish().unwrap());
    deltas
}

/// The text up to the stop string whose end comes first, and its place.
fn cut<'a>(text: &'a str, stop: &[String]) -> (&'a str, Option<usize>) {
    let ends = stop.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
    let ends = ends.filter_map(|(place, stop)| {
        text.find(stop.as_str()).map(|start| (start + stop.len(), start, place))
    });
    match ends.min() {
        Some((_, start, place)) => (&text[..start], Some(place)),
        None => (text, None),
    }
}

#[test]
fn the_deltas_in_a_row_are_the_text_up_to_the_first_stop() {
    let mut rng = CounterRng::new(1);
    let mut seen = [0; 3];
    for folder in FOLDERS {
        let tokenizer = tokenizer(folder);
        // Tokens beyond the vocabulary, too.
        let vocab = tokenizer.vocab_size() as usize + 2;
        for _ in 0..400 {
            let mut tokens: Vec<i64> =
                (0..rng.below(40)).map(|_| rng.below(vocab) as i64).collect();
            if rng.below(2) == 0 {
                // Characters of several bytes, some of them cut.
                let text = ["héllo wörld ", "你好，世界", "👩‍👩‍👧 ok ", "  a\n\n b"][rng.below(4)];
                let mut middle = tokenizer.encode(text).unwrap();
                if rng.below(2) == 0 && !middle.is_empty() {
                    middle.remove(rng.below(middle.len()));
                }
                let at = rng.below(tokens.len() + 1);
                tokens.splice(at..at, middle);
            }
            let skip_special = rng.below(2) == 0;
            let text = tokenizer.decode(&tokens, skip_special).unwrap();
            let characters: Vec<char> = text.chars().collect();
            let stop: Vec<String> = (0..rng.below(4))
                .map(|_| {
                    let length = rng.below(4).min(characters.len());
                    let start = rng.below(characters.len() - length + 1);
                    let mut stop: String = characters[start..start + length].iter().collect();
                    if rng.below(4) == 0 {
                        stop.push('~');
                    }
                    stop
                })
                .collect();
            let deltas = deltas(&tokenizer, &tokens, &stop, skip_special);
            let joined: String = deltas.iter().map(|delta| delta.text.as_str()).collect();
            let (expected, stopped) = cut(&text, &stop);
            assert_eq!(joined, expected, "{folder}: {tokens:?} until {stop:?}");
            assert_eq!(deltas.last().unwrap().stopped, stopped);
            seen[0] += usize::from(stopped.is_some());
            seen[1] += usize::from(text.contains('\u{FFFD}'));
            seen[2] += usize::from(stopped.is_none() && !text.is_empty());
        }
    }
    assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
}

#[test]
fn text_is_not_held_longer_than_it_must_be() {
    for folder in FOLDERS {
        let tokenizer = tokenizer(folder);
        let tokens = tokenizer.encode("one two three four five six").unwrap();
        let plain = deltas(&tokenizer, &tokens, &[], true);
        for (count, delta) in plain.iter().take(tokens.len()).enumerate() {
            let known: String =
                plain[..count].iter().map(|delta| delta.text.as_str()).collect::<String>()
                    + &delta.text;
            assert_eq!(known, tokenizer.decode(&tokens[..=count], true).unwrap(), "{folder}");
        }
        // A beginning of a stop string comes when it is not one.
        let stop = ["three four six".to_owned()];
        let mut stream = TextStream::new(&tokenizer, &stop, true);
        let mut text = String::new();
        for (count, &token) in tokens.iter().enumerate() {
            text.push_str(&stream.push(token).unwrap().text);
            let whole = tokenizer.decode(&tokens[..=count], true).unwrap();
            if whole.ends_with("three four") {
                assert!(text.ends_with("two "), "{folder}: {text}");
            }
        }
        assert_eq!(text, "one two three four five six", "{folder}");
    }
}

#[test]
fn a_stop_string_across_tokens_is_met_once() {
    let tokenizer = tokenizer("teacher");
    let tokens = tokenizer.encode("alpha beta gamma").unwrap();
    let mut stream = TextStream::new(&tokenizer, &["a g".to_owned(), "ta gam".to_owned()], true);
    let mut text = String::new();
    let mut stopped = None;
    for &token in &tokens {
        let delta = stream.push(token).unwrap();
        text.push_str(&delta.text);
        if stopped.is_some() {
            assert_eq!(delta, Delta { text: String::new(), stopped });
        }
        stopped = delta.stopped;
    }
    assert_eq!((text.as_str(), stopped), ("alpha bet", Some(0)));
    assert_eq!(stream.finish().unwrap().stopped, Some(0));
}
