//! `limbeck ablation` and its part of the report, on a made-up tree.

mod check;
#[path = "../../evaluate/tests/made_up/mod.rs"]
mod made_up;
#[path = "../../evaluate/tests/made_up_tree/mod.rs"]
mod made_up_tree;

use std::fs;
use std::path::Path;

use serde_json::Value;

use check::check;

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_tree_becomes_a_table_and_a_section_of_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    let variants = [("labels", 0.5), ("sequence", 0.5), ("kl", 0.9)];
    made_up_tree::write(&root, &made_up::records(5), &variants);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (tree, output) = (path("tree"), path("ablation"));
    let start = ["ablation", "--input", &tree, "--output", &output];

    let table = check(&[&start[..], &["--variants", "labels", "sequence", "kl"]].concat(), 0, &[]);
    let table = String::from_utf8(table.stdout).unwrap();
    let line = table.lines().find(|line| line.starts_with("kl ")).unwrap();
    assert_eq!(line.matches(" better").count(), 2, "{table}");
    assert_eq!(table, fs::read_to_string(folder.path().join("ablation/ablation.txt")).unwrap());
    let manifest = json(&folder.path().join("ablation/manifest.json"));
    assert_eq!(manifest["metrics"]["variants"], 3);
    // Nine students with evaluation and manifest, and the teacher.
    assert_eq!(manifest["inputs"].as_object().unwrap().len(), 19);

    let by_name = check(&[&start[..], &["--json", "--seeds", "43", "42"]].concat(), 0, &[]);
    let by_name: Value = serde_json::from_slice(&by_name.stdout).unwrap();
    assert_eq!(by_name["stage"], "ablation");
    let ablation = json(&folder.path().join("ablation/ablation.json"));
    assert_eq!(ablation["seeds"], serde_json::json!([43, 42]));
    assert_eq!(ablation["variants"][0]["name"], "kl");

    let file = path("ablation/ablation.json");
    let (report, teacher) = (path("report"), path("tree/teacher/evaluation"));
    let shown = ["report", "--input", &teacher, "--ablation", &file, "--output", &report];
    check(&shown, 0, &[]);
    let page = fs::read_to_string(folder.path().join("report/report.html")).unwrap();
    assert!(page.contains("Accuracy against labels") && page.contains("no difference shown"));
    let (no, other) = (path("ablation/manifest.json"), path("other"));
    let wrong = ["report", "--input", &teacher, "--ablation", &no, "--output", &other];
    check(&wrong, 3, &["expected an ablation", "hint: --ablation takes"]);
    assert!(!folder.path().join("other").exists());
}

#[test]
fn what_is_missing_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    made_up_tree::write(&root, &made_up::records(2), &[("labels", 0.5), ("kl", 0.9)]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (tree, output) = (path("tree"), path("ablation"));
    let start = ["ablation", "--input", &tree, "--output", &output];
    let with = |more: &[&'static str]| [&start[..], more].concat();
    let missing = "labels/seed-45/evaluation, kl/seed-45/evaluation";
    check(&with(&["--seeds", "42", "45", "--variants", "labels", "kl"]), 3, &[missing, "hint"]);
    let missing = "3 evaluations are missing: mse/seed-42/evaluation";
    check(&with(&["--variants", "labels", "mse"]), 3, &[missing]);
    check(&with(&["--against", "mse"]), 2, &["expected one of the variants kl, labels"]);
    check(&with(&["--variants", "kl", "kl"]), 2, &["\"kl\" is named twice"]);
    fs::remove_dir_all(root.join("teacher")).unwrap();
    check(&start, 3, &["1 evaluation is missing: teacher/evaluation"]);
    assert!(!folder.path().join("ablation").exists());
}
