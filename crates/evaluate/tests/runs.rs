//! Two runs compared, and runs in a history.

mod made_up;

use std::fs;
use std::path::{Path, PathBuf};

use limbeck_cot_data::CotRecord;
use limbeck_evaluate::history::Entry;
use limbeck_evaluate::report::RunComparison;
use limbeck_evaluate::{Error, Evaluation, History, Scores};
use limbeck_run::{Diagnose, Exit, Manifest};

/// A run with an evaluation of each name, of which the first problems are wrong.
fn run(root: &Path, name: &str, models: &[(&str, usize)], records: &[CotRecord]) -> PathBuf {
    let folder = root.join(name);
    for (index, (model, wrong)) in models.iter().enumerate() {
        let mut evaluation = made_up::evaluation(index, records);
        (*model).clone_into(&mut evaluation.model);
        for (place, sample) in evaluation.samples.iter_mut().enumerate() {
            sample.correct = place >= *wrong;
        }
        evaluation.overall = Scores::of(&evaluation.samples);
        let folder = folder.join("evaluate").join(model);
        fs::create_dir_all(&folder).unwrap();
        evaluation.write(&folder).unwrap();
        let manifest = Manifest {
            commit: Some("c0ffee".to_owned()),
            seconds: 12.5,
            hardware: "a machine".to_owned(),
            ..Manifest::default()
        };
        manifest.write(&folder).unwrap();
    }
    folder
}

#[test]
fn models_are_paired_by_name_and_problems_that_changed_are_named() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(5);
    let before = run(root.path(), "before", &[("teacher", 1), ("tuned", 20), ("old", 0)], &records);
    let after = run(root.path(), "after", &[("teacher", 1), ("tuned", 2), ("new", 0)], &records);
    let runs = RunComparison::read(&before, &after, 0).unwrap();
    let names: Vec<&str> = runs.changes.iter().map(|change| change.model.as_str()).collect();
    assert_eq!(names, ["teacher", "tuned"]);
    assert_eq!(
        (runs.only_first.as_slice(), runs.only_second.as_slice()),
        (&["old".to_owned()][..], &["new".to_owned()][..])
    );
    let tuned = &runs.changes[1];
    assert_eq!((tuned.fixed.len(), tuned.broken.len()), (18, 0));
    assert!((tuned.comparison.accuracy.difference - 18.0 / 60.0).abs() < 1e-12);
    assert_eq!(tuned.figures["weight_bytes"][0], tuned.figures["weight_bytes"][1]);
    let table = runs.table();
    assert!(table.contains("+30.0 [") && table.contains("better"), "{table}");
    assert!(table.contains("Only in before: old."), "{table}");

    let output = tempfile::tempdir().unwrap();
    runs.write(output.path()).unwrap();
    for name in ["report.json", "table.txt", "summary.md", "report.html"] {
        let text = fs::read_to_string(output.path().join(name)).unwrap();
        assert!(text.contains("tuned"), "{name}");
    }
    let page = fs::read_to_string(output.path().join("report.html")).unwrap();
    assert_eq!(page.matches("class=\"sample\"").count(), 18);
    assert!(page.contains("fixed, arithmetic"));
}

#[test]
fn a_problem_that_only_one_run_has_is_counted_and_not_compared() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(5);
    let before = run(root.path(), "before", &[("tuned", 0)], &records[..40]);
    let after = run(root.path(), "after", &[("tuned", 0)], &records[30..]);
    let runs = RunComparison::read(&before, &after, 0).unwrap();
    assert_eq!(runs.changes[0].comparison.accuracy.n, 10);
    assert_eq!(runs.changes[0].unpaired, [30, 20]);
    assert!(runs.table().contains("10 problems are in both runs; 30 only in before, 20 only in"));
}

#[test]
fn runs_without_anything_in_common_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(5);
    let one = run(root.path(), "one", &[("a", 0), ("b", 0)], &records[..30]);
    let two = run(root.path(), "two", &[("c", 0), ("d", 0)], &records[..30]);
    let error = RunComparison::read(&one, &two, 0).unwrap_err();
    assert!(
        error.to_string().contains("one has a, b") && error.exit() == Exit::BadInput,
        "{error}"
    );
    let other = run(root.path(), "other", &[("a", 0), ("b", 0)], &records[30..]);
    let error = RunComparison::read(&one, &other, 0).unwrap_err();
    let said = "a: none of its 30 problems in one run is among the 30 of the other";
    assert_eq!(error.to_string(), said);
    fs::create_dir(root.path().join("empty")).unwrap();
    let error = RunComparison::read(&one, &root.path().join("empty"), 0).unwrap_err();
    assert!(matches!(error, Error::NoRun { .. }), "{error}");
}

#[test]
fn a_run_added_twice_is_one_row_and_a_later_one_another() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(5);
    let file = root.path().join("history.sqlite");
    let first = run(root.path(), "first", &[("teacher", 1), ("tuned", 20)], &records);
    let second = run(root.path(), "second", &[("tuned", 10)], &records);
    let entries = Entry::of_run(&first).unwrap();
    assert_eq!(History::open(&file).unwrap().add(&entries).unwrap(), 2);
    assert_eq!(History::open(&file).unwrap().add(&entries).unwrap(), 0);
    let mut history = History::open_existing(&file).unwrap();
    assert_eq!(history.add(&Entry::of_run(&second).unwrap()).unwrap(), 1);
    let kept = history.entries().unwrap();
    assert_eq!(kept.len(), 3);
    for entry in &entries {
        assert!(kept.contains(entry), "{entry:?}");
    }
    let tuned = kept.iter().find(|entry| entry.name == "second").unwrap();
    assert_eq!((tuned.n, tuned.solved, tuned.stage_seconds), (60, 50, Some(12.5)));
    assert_eq!(tuned.commit.as_deref(), Some("c0ffee"));
    let table = history.table().unwrap();
    assert!(table.contains("83.3% [72.0–90.7]"), "{table}");
    let page = history.page().unwrap();
    assert!(page.contains("Accuracy") && page.contains("83.3%") && page.contains("<polyline"));
    assert!(!page.contains(root.path().to_str().unwrap()), "a path of this machine");
}

#[test]
fn a_history_that_is_none_or_not_ours_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let text = root.path().join("notes.txt");
    fs::write(&text, "this is no database, but long enough to be read as one").unwrap();
    let error = History::open(&text).unwrap_err();
    assert!(matches!(error, Error::Database { .. }), "{error}");
    assert!(fs::read_to_string(&text).unwrap().starts_with("this is no database"));
    assert!(History::open_existing(&root.path().join("none")).is_err());
    let other = root.path().join("other.sqlite");
    let connection = rusqlite::Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE mine (x)").unwrap();
    let error = History::open(&other).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    let later = root.path().join("later.sqlite");
    drop(History::open(&later).unwrap());
    let connection = rusqlite::Connection::open(&later).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    let error = History::open(&later).unwrap_err();
    assert!(
        error.to_string().ends_with("expected a history of version 1, found version 7"),
        "{error}"
    );
}

#[test]
fn an_evaluation_alone_is_a_run_too() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path(), "run", &[("tuned", 3)], &made_up::records(5));
    let entries = Entry::of_run(&run.join("evaluate/tuned")).unwrap();
    let evaluation = Evaluation::read(&run.join("evaluate/tuned")).unwrap();
    assert_eq!((entries.len(), entries[0].n), (1, evaluation.overall.n));
}
