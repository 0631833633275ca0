//! `limbeck gate`, `limbeck history` and `limbeck report --compare` as a user runs them.

mod check;
#[path = "../../evaluate/tests/made_up/mod.rs"]
mod made_up;

use std::fs;
use std::path::{Path, PathBuf};

use limbeck_evaluate::Scores;
use serde_json::Value;

use check::check;

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// An evaluation of 60 problems, the first of them wrong, in `RUN/evaluate/NAME`.
fn evaluation(run: &Path, name: &str, wrong: usize) -> PathBuf {
    let mut evaluation = made_up::evaluation(1, &made_up::records(5));
    name.clone_into(&mut evaluation.model);
    for (place, sample) in evaluation.samples.iter_mut().enumerate() {
        sample.correct = place >= wrong;
    }
    evaluation.overall = Scores::of(&evaluation.samples);
    let folder = run.join("evaluate").join(name);
    fs::create_dir_all(&folder).unwrap();
    evaluation.write(&folder).unwrap();
    folder
}

#[test]
fn a_broken_limit_ends_with_5_and_leaves_the_last_good_result() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (tuned, quantized) =
        (evaluation(root.path(), "tuned", 1), evaluation(root.path(), "gptq-4bit", 2));
    fs::create_dir(root.path().join("quantized")).unwrap();
    fs::write(root.path().join("quantized/model.safetensors"), "good").unwrap();
    fs::write(root.path().join("gates.toml"), "[models.gptq-4bit]\nmax_accuracy_drop = 2.0\n")
        .unwrap();
    let (input, reference) = (quantized.to_str().unwrap(), tuned.to_str().unwrap());
    let (config, model, output) = (path("gates.toml"), path("quantized"), path("gates"));
    let arguments = [
        "gate",
        "--config",
        &config,
        "--input",
        input,
        "--reference",
        reference,
        "--keep",
        &model,
        "--output",
        &output,
    ];
    check(&arguments, 0, &["kept as the last good result"]);
    assert_eq!(json(&root.path().join("gates/gates.json"))["passed"], true);
    let kept = root.path().join("last-good/quantized/model.safetensors");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "good");

    // The next model is much worse. The output of before stays, as does the good model.
    evaluation(root.path(), "gptq-4bit", 30);
    fs::remove_file(root.path().join("quantized/model.safetensors")).unwrap();
    fs::write(root.path().join("quantized/model.safetensors"), "bad").unwrap();
    let said = [
        "1 of 1 gate is not passed: gptq-4bit: max_accuracy_drop 2, found 48.3 [",
        "n = 60",
        "--from quantize",
        "last-good",
    ];
    check(&arguments, 5, &said);
    assert_eq!(fs::read_to_string(&kept).unwrap(), "good");
    let failed = json(&root.path().join("gates-failed.json"));
    assert_eq!(failed["held"][0]["passed"], false);

    evaluation(root.path(), "gptq-4bit", 1);
    check(&arguments, 0, &[]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), "bad");
    assert!(!root.path().join("gates-failed.json").exists());

    let typo = [&arguments[..], &["--set", "models.gptq-4bit.max_accurracy_drop=3"]].concat();
    check(&typo, 2, &["max_accurracy_drop"]);
    let nobody = [&arguments[..], &["--set", "models.nobody.min_accuracy=3"]].concat();
    check(&nobody, 2, &["found \"nobody\""]);
}

#[test]
fn runs_are_compared_and_remembered() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    for (run, wrong) in [("before", 20), ("after", 2)] {
        evaluation(&root.path().join(run), "tuned", wrong);
    }
    let (before, after, output) = (path("before"), path("after"), path("changes"));
    let shown = check(&["report", "--compare", &before, &after, "--output", &output], 0, &[]);
    let table = String::from_utf8(shown.stdout).unwrap();
    assert!(table.starts_with("after against before\n") && table.contains("better"), "{table}");
    let changes = json(&root.path().join("changes/report.json"));
    assert_eq!(changes["changes"][0]["fixed"].as_array().unwrap().len(), 18);
    let empty = path("nothing");
    fs::create_dir(&empty).unwrap();
    check(&["report", "--compare", &before, &empty, "--output", &path("x")], 3, &["no evaluation"]);
    check(&["report", "--output", &path("x")], 2, &["--input"]);

    let database = path("history.sqlite");
    let add = ["--json", "history", "add", "--database", &database, &before, &after];
    for added in [2, 0] {
        let said: Value = serde_json::from_slice(&check(&add, 0, &[]).stdout).unwrap();
        assert_eq!((said["evaluations"].as_u64(), said["added"].as_u64()), (Some(2), Some(added)));
    }
    let show = check(&["history", "show", "--database", &database], 0, &[]);
    assert_eq!(String::from_utf8(show.stdout).unwrap().lines().count(), 4);
    let show = check(&["--json", "history", "show", "--database", &database], 0, &[]);
    let entries: Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(entries[1]["n"], 60);
    let page = path("history.html");
    check(&["history", "page", "--database", &database, "--output", &page], 0, &[]);
    assert!(fs::read_to_string(&page).unwrap().contains("Quality of reasoning"));
    check(&["history", "show", "--database", &path("none.sqlite")], 3, &["none.sqlite"]);
}
