//! Replies to one problem, scored in both ways from the outside, as a task file would ask for it.

use limbeck_evaluate::Verdict::{self, Correct, Unparsed, Wrong};
use limbeck_evaluate::scorer::exact_match::ExactMatch;
use limbeck_evaluate::scorer::filters::{Filter, Pipeline};
use limbeck_evaluate::scorer::repeats::{majority, pass_at_k};
use limbeck_evaluate::scorer::robust::judge;
use limbeck_run::{Diagnose, Exit};
use serde_json::json;

const REPLIES: [&str; 5] = [
    "16 - 3 - 4 = 9, and 9 * 2 = 18.\n#### 18",
    "She makes $18.00 a day.\n#### $18.00",
    "I cannot tell.",
    "So it is 17.\n#### 17",
    "I cannot tell that either.",
];

fn filters(text: serde_json::Value) -> Vec<Filter> {
    serde_json::from_value(text).unwrap()
}

#[test]
fn the_majority_differs_between_lm_evals_way_and_ours() {
    let vote = filters(json!([
        { "function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)" },
        { "function": "majority_vote" },
        { "function": "take_first" },
    ]));
    // `$18.00` is invalid to the strict pattern: three invalid replies win.
    let theirs = Pipeline::new(&vote).unwrap().apply(&REPLIES, &[]).unwrap();
    assert_eq!(theirs, ["[invalid]"]);
    let metric = ExactMatch::default().compile().unwrap();
    assert!(!metric.matches(&theirs[0], ["18"]).unwrap());

    let verdicts: Vec<Verdict> = REPLIES.iter().map(|reply| judge("18", reply, false)).collect();
    assert_eq!(verdicts, [Correct, Correct, Unparsed, Wrong, Unparsed]);
    let answers = [Some("18"), Some("$18.00"), None, Some("17"), None];
    assert_eq!(majority(&answers), Some((0, 2)));
    let right = verdicts.iter().filter(|verdict| **verdict == Correct).count() as u64;
    assert!((pass_at_k(5, right, 1).unwrap() - 0.4).abs() < 1e-12);
}

#[test]
fn a_pattern_that_does_not_compile_is_bad_input_with_its_text() {
    let broken = filters(json!([{ "function": "regex", "regex_pattern": "(a" }]));
    let error = Pipeline::new(&broken).unwrap_err();
    assert_eq!(error.exit(), Exit::BadInput);
    assert!(error.to_string().contains("(a") && error.hint().is_some(), "{error}");
    let metric = ExactMatch { regexes_to_ignore: vec!["[".to_owned()], ..ExactMatch::default() };
    assert_eq!(metric.compile().unwrap_err().exit(), Exit::BadInput);
}
