//! Cleaning as a whole: reasons, order, thread counts, and real files where there are any.

use std::fs;
use std::path::{Path, PathBuf};

use limbeck_cot_data::clean::{BenchmarkReport, DuplicateScope, PiiKind, Reason};
use limbeck_cot_data::{
    CleanConfig, CleanReport, CotRecord, Family, JsonlSource, RecordSource, Removed, Shard, Source,
    clean, generate_many, write_jsonl,
};
use serde_json::Value;

struct Outcome {
    kept: Vec<CotRecord>,
    removed: Vec<Removed>,
    report: CleanReport,
}

fn cleaned(source: &(impl RecordSource + ?Sized), config: &CleanConfig) -> Outcome {
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    let report = clean(
        source,
        config,
        |record| {
            kept.push(record);
            Ok(())
        },
        |record| {
            removed.push(record);
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(report.num_kept, kept.len() as u64);
    let total: u64 = report.num_removed.values().sum();
    assert_eq!(total, removed.len() as u64);
    assert_eq!(report.num_read, report.num_kept + total);
    Outcome { kept, removed, report }
}

fn record(id: &str, question: &str, steps: &[&str], answer: &str) -> CotRecord {
    CotRecord {
        id: id.to_owned(),
        question: question.to_owned(),
        thought_process: steps.iter().map(|step| (*step).to_owned()).collect(),
        answer: answer.to_owned(),
        domain: "arithmetic".to_owned(),
        source: Source { name: "hand".to_owned(), ..Source::default() },
        ..CotRecord::default()
    }
}

const STORY: &str = "A baker makes 12 loaves each morning and sells them on the market square for \
                     3 coins apiece, then walks home with what is left over and shares it with \
                     all of the neighbours. How many coins are earned in a week?";

fn mixed(folder: &Path) -> (Vec<CotRecord>, CleanConfig) {
    let bench = folder.join("test.txt");
    fs::write(&bench, "How many of the red boxes were sent to Paris by the old merchant?\n")
        .unwrap();
    let loops = vec!["Wait, that cannot be right, let me think about it once more."; 20];
    let records = vec![
        record("a", STORY, &["12*3=36", "36*7=252"], "252"),
        record("loop", "What is 7 times 8?", &loops, "56"),
        record("b", &STORY.replace("all of the", "all the  friendly"), &["12*3=36"], "252"),
        record("c", &STORY.to_uppercase(), &[], "252"),
        record("d", &STORY.replace("12", "13"), &["13*3=39"], "273"),
        record("dirty", "Mail\u{200b}  x@y.org\r\nplease", &["  a  b "], "ok "),
        record("e", "Say how many of the red boxes were sent to Rome.", &[], "3"),
        record("long", "Why?", &["x"], &"y".repeat(30_000)),
        record("empty", "Why \u{200b}not?", &["x"], "\u{200b}"),
    ];
    let config = CleanConfig {
        benchmarks: vec![bench],
        scrub: vec![PiiKind::Email],
        ..CleanConfig::default()
    };
    (records, config)
}

#[test]
fn every_removal_has_a_reason_and_a_detail() {
    let folder = tempfile::tempdir().unwrap();
    let (records, config) = mixed(folder.path());
    let Outcome { kept, removed, report } = cleaned(&records, &config);
    let ids: Vec<&str> = kept.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["a", "d", "dirty"]);
    assert_eq!(kept[0], records[0]);
    assert_eq!(kept[2].question, "Mail [EMAIL]\nplease");
    assert_eq!(kept[2].thought_process, ["a b"]);
    let found: Vec<(&str, Reason)> =
        removed.iter().map(|removed| (removed.id.as_str(), removed.reason)).collect();
    assert_eq!(
        found,
        [
            ("loop", Reason::RepeatedLines),
            ("e", Reason::Contaminated),
            ("long", Reason::AnswerLength),
            ("empty", Reason::Empty),
            ("b", Reason::NearDuplicate),
            ("c", Reason::ExactDuplicate),
        ]
    );
    assert_eq!(removed[4].detail, "a");
    assert_eq!(removed[2].detail, "30000 characters");
    assert!(removed[1].detail.contains("item 1: \"how many of the red boxes were sent\""));
    assert_eq!(report.removed_for(Reason::Empty), 1);
    assert_eq!(report.num_changed, 1);
    assert_eq!(report.num_scrubbed, [(PiiKind::Email, 1)].into());
    let BenchmarkReport { num_items, num_hits, num_removed, .. } = report.benchmarks[0];
    assert_eq!((num_items, num_hits, num_removed), (1, 2, 1));
    let line = serde_json::to_string(&removed[5]).unwrap();
    assert_eq!(line, r#"{"id":"c","reason":"exact_duplicate","detail":"a"}"#);
}

#[test]
fn neither_threads_nor_the_kind_of_source_matter() {
    let folder = tempfile::tempdir().unwrap();
    let (mut records, config) = mixed(folder.path());
    for family in Family::ALL {
        records.extend(generate_many(family, None, 400, 3, Shard::WHOLE).unwrap());
    }
    let path = folder.path().join("records.jsonl");
    write_jsonl(&path, &records).unwrap();
    let whole = cleaned(&records, &config);
    for num_threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
        let source = JsonlSource { paths: vec![path.clone()] };
        let found = pool.install(|| cleaned(&source, &config));
        assert_eq!(found.kept, whole.kept);
        assert_eq!(found.removed, whole.removed);
        assert_eq!(found.report, whole.report);
    }
    let files: Vec<PathBuf> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "no temporary file is left: {files:?}");
}

#[test]
fn generated_records_pass_unless_they_repeat_a_problem() {
    for family in Family::ALL {
        let records = generate_many(family, None, 400, 9, Shard::WHOLE).unwrap();
        let found = cleaned(&records, &CleanConfig::default());
        for removed in &found.removed {
            assert_eq!(removed.reason, Reason::ExactDuplicate, "{removed:?}");
        }
        assert_eq!(found.report.num_changed, 0, "{family:?}");
    }
}

#[test]
fn a_source_that_changes_is_an_error() {
    struct Changing(std::sync::atomic::AtomicUsize);
    impl RecordSource for Changing {
        fn open(&self) -> limbeck_cot_data::Result<limbeck_cot_data::clean::RecordStream<'_>> {
            let opened = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Box::new((0..3 + opened).map(|id| Ok(record(&id.to_string(), "q", &[], "a")))))
        }
    }
    let source = Changing(std::sync::atomic::AtomicUsize::new(0));
    let error = clean(&source, &CleanConfig::default(), |_| Ok(()), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("gave 4 records"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn errors_of_the_source_and_the_sink_end_the_work() {
    let missing = JsonlSource { paths: vec![PathBuf::from("/no/such/file.jsonl")] };
    assert!(clean(&missing, &CleanConfig::default(), |_| Ok(()), |_| Ok(())).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.jsonl");
    fs::write(&path, "{\"id\": 1}\n").unwrap();
    let source = JsonlSource { paths: vec![path] };
    let error = clean(&source, &CleanConfig::default(), |_| Ok(()), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("bad.jsonl:1"), "{error}");
    // Many batches, so that the reader must be told to stop.
    let records: Vec<CotRecord> =
        (0..9000).map(|id| record(&id.to_string(), &id.to_string(), &[], "a")).collect();
    let refusal = || limbeck_cot_data::Error::Shard { got: "full".to_owned() };
    let config = CleanConfig::default();
    assert!(clean(&records, &config, |_| Err(refusal()), |_| Ok(())).is_err());
    let temp = CleanConfig { temp_dir: Some(PathBuf::from("/no/such/folder")), ..config };
    assert!(clean(&records, &temp, |_| Ok(()), |_| Ok(())).is_err());
}

/// GSM8K's file as records, or nothing, said aloud, where the data are not at hand.
fn gsm8k(file: &str) -> Option<(PathBuf, Vec<CotRecord>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gsm8k").join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return None;
    };
    let records = text.lines().enumerate().map(|(number, line)| {
        let item: Value = serde_json::from_str(line).unwrap();
        let (chain, answer) = item["answer"].as_str().unwrap().rsplit_once("#### ").unwrap();
        let steps: Vec<&str> = chain.trim().lines().collect();
        record(&format!("{file}-{number}"), item["question"].as_str().unwrap(), &steps, answer)
    });
    Some((path, records.collect()))
}

/// Hit rates that were measured with another implementation: 0.9 to 1.3 % of GSM8K's
/// training questions share 8 words with a test question, 0.05 % share 13. None is a copy.
#[test]
fn gsm8k_train_overlaps_test_as_often_as_is_known() {
    let (Some((_, train)), Some((test, _))) = (gsm8k("train.jsonl"), gsm8k("test.jsonl")) else {
        return;
    };
    for (question_ngram, range) in [(8, 0.8..1.5), (13, 0.01..0.15)] {
        let config = CleanConfig {
            benchmarks: vec![test.clone()],
            question_ngram,
            text_ngram: 0,
            ..CleanConfig::default()
        };
        let found = cleaned(&train, &config);
        let count = found.report.removed_for(Reason::Contaminated);
        let rate = 100.0 * count as f64 / train.len() as f64;
        println!("{question_ngram}-gram: {count} of {} ({rate:.2} %)", train.len());
        assert!(range.contains(&rate), "{question_ngram}-gram: {rate} %");
    }
}

#[test]
fn gsm8k_loses_few_records_to_filters_and_every_test_item_to_its_own_benchmark() {
    let (Some((_, train)), Some((path, test))) = (gsm8k("train.jsonl"), gsm8k("test.jsonl")) else {
        return;
    };
    let config = CleanConfig { languages: vec!["eng".to_owned()], ..CleanConfig::default() };
    let found = cleaned(&train, &config);
    println!("train: {:?}", found.report);
    for removed in &found.removed {
        println!("{removed:?}");
    }
    assert!(found.report.num_kept as f64 > 0.99 * train.len() as f64);
    let scope = DuplicateScope::Record;
    let config = CleanConfig { benchmarks: vec![path], duplicate_scope: scope, ..config };
    let found = cleaned(&test, &config);
    assert_eq!(found.report.removed_for(Reason::Contaminated), test.len() as u64);
}
