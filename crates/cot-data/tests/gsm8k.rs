//! People's solutions of GSM8K: no annotation is refused, and chain and answer agree.
//! Skipped where the public data is not beside the repository.

use std::fs;
use std::path::{Path, PathBuf};

use limbeck_cot_data::{StepVerdict, check_chain, find_equations};
use serde_json::Value;

/// The training questions with their solutions; nothing where the file is absent.
fn solutions() -> Option<Vec<(String, String)>> {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gsm8k/train.jsonl");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is absent", path.display());
        return None;
    };
    let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    Some(rows.map(|row| (field(&row, "question"), field(&row, "answer"))).collect())
}

#[test]
fn no_annotation_of_the_training_set_is_refused() {
    let Some(solutions) = solutions() else { return };
    let (mut written, mut read, mut bare, mut wrong) = (0, 0, 0, 0);
    for (question, answer) in solutions {
        written += answer.matches("<<").count();
        let steps: Vec<&str> = answer.lines().collect();
        let findings = find_equations(&question, &steps);
        for finding in &findings {
            let equation = finding.equation(steps[finding.step]);
            if finding.annotation {
                read += 1;
                assert_ne!(finding.verdict, StepVerdict::Wrong, "{equation} {finding:?}");
            } else {
                bare += 1;
                wrong += usize::from(finding.verdict == StepVerdict::Wrong);
            }
        }
    }
    println!("{read} of {written} annotations read; {wrong} of {bare} bare equations wrong");
    assert_eq!(written, 23_716);
    // One is `3*+6`.
    assert!(read >= written - 2, "{read}");
    // Slips of the pen that people made beside a right annotation.
    assert!(wrong <= 40 && bare > 24_000, "{wrong} of {bare}");
}

#[test]
fn the_last_result_of_most_chains_is_their_answer() {
    let Some(solutions) = solutions() else { return };
    let num_solutions = solutions.len();
    let agree = solutions.into_iter().filter(|(question, solution)| {
        let (chain, answer) = solution.split_once("\n#### ").unwrap();
        let steps: Vec<String> = chain.lines().map(str::to_owned).collect();
        let marked = [&steps[..], &[format!("#### {answer}")]].concat();
        assert!(check_chain(question, &marked, answer).consistent, "{solution}");
        check_chain(question, &steps, answer).consistent
    });
    let num_consistent = agree.count();
    println!("{num_consistent} of {num_solutions} chains end with their answer");
    assert!(num_consistent > 6_900);
}
