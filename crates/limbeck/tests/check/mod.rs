//! Running the program.

use std::process::{Command, Output};

/// Runs and asserts the exit code and what stderr must say.
#[track_caller]
pub(crate) fn check(arguments: &[&str], exit: i32, said: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .args(["--threads", "1"])
        .args(arguments)
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{stderr}");
    for text in said {
        assert!(stderr.contains(text), "expected {text:?} in:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}
