//! Conversion of models, as a user sees it: files, messages, exit codes.

mod check;
mod paths;

use check::check;
use paths::{fixture, text};
use serde_json::Value;

#[test]
fn a_folder_goes_to_a_file_and_back() {
    let place = tempfile::tempdir().unwrap();
    let (file, folder) = (place.path().join("model.gguf"), place.path().join("model"));
    let student = fixture("student");
    let to_file = ["convert", "--from", "hf", "--to", "gguf", "--type", "q4_k"];
    let arguments = [&["--json"], &to_file[..], &[text(&student), text(&file)]].concat();
    // Rows of 128 weights are no whole blocks of 256.
    let output = check(&arguments, 0, &["as q5_0, since blocks of q4_k"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["tensors"]["q5_0"], 21, "{report}");
    assert_eq!(report["bytes"], std::fs::metadata(&file).unwrap().len());
    check(&arguments, 2, &["model.gguf exists"]);
    let back = ["convert", "--from", "gguf", "--to", "hf", text(&file), text(&folder)];
    check(&back, 0, &[]);
    assert!(folder.join("tokenizer.json").exists());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out");
    let refuse = |arguments: &[&str], said: &[&str]| {
        let whole = [&["convert"], arguments, &["model", text(&output)]].concat();
        check(&whole, 2, said);
    };
    refuse(&["--from", "hf", "--to", "hf"], &["from hf to hf", "--from hf --to gguf"]);
    refuse(&["--from", "hf", "--to", "gguf", "--type", "q3_k"], &["q3_k", "q4_k"]);
    refuse(&["--from", "gguf", "--to", "hf", "--type", "q8_0"], &["--dtype"]);
    refuse(&["--from", "hf", "--to", "gguf", "--chat-template", "chatml"], &["for folders"]);
    assert!(!output.exists());
}
