//! Files of records in all three forms: round trips, broken files, nothing half-written.

use std::fs;
use std::path::Path;

use limbeck_cot_data::{
    At, Checks, CotRecord, ErrorKind, InputOptions, Label, ObjectReader, Reason, RecordWriter,
    Source, read_records, write_records,
};
use serde_json::{Map, Value, json};

const NAMES: [&str; 3] = ["a.jsonl", "a.jsonl.zst", "a.parquet"];

/// Draws that are the same on every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A text that is never blank.
    fn text(&mut self) -> String {
        let pieces = ["a", " ", "\n", "é", "\"", "\\", "漢字", "\u{0}", "{", "🙂", "\t", "null"];
        let length = self.below(12);
        let text: String =
            (0..length).map(|_| pieces[self.below(pieces.len() as u64) as usize]).collect();
        text + "x"
    }

    fn texts(&mut self, least: u64) -> Vec<String> {
        (0..least + self.below(4)).map(|_| self.text()).collect()
    }

    fn optional(&mut self) -> Option<String> {
        match self.below(3) {
            0 => None,
            1 => Some(String::new()),
            _ => Some(self.text()),
        }
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => self.chance().into(),
            2 => (i64::MIN + self.below(1 << 31) as i64).into(),
            3 => u64::MAX.into(),
            4 => (self.below(1 << 31) as f64 / 7.0).into(),
            5 => self.text().into(),
            6 => (0..self.below(3)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object(self.fields(depth - 1)),
        }
    }

    /// Fields in no order, none with the name of one of ours.
    fn fields(&mut self, depth: u64) -> Map<String, Value> {
        let names = ["zeta", "extra", "alpha", "id_of_origin", "größe", "record", ""];
        let mut map = Map::new();
        for _ in 0..self.below(4) {
            let name = names[self.below(names.len() as u64) as usize];
            map.insert(name.to_owned(), self.value(depth));
        }
        map
    }

    fn record(&mut self, number: usize) -> CotRecord {
        let steps = self.texts(0);
        let label = match self.below(3) {
            1 if !steps.is_empty() => Label::Wrong {
                first_wrong_step: self.below(steps.len() as u64) as usize,
                error: self.text(),
            },
            2 => Label::Corrected {
                wrong_thought_process: self.texts(1),
                first_wrong_step: 0,
                correction: self.optional().unwrap_or_default(),
            },
            _ => Label::Correct,
        };
        let checked = if self.chance() { steps.len() } else { 0 };
        CotRecord {
            id: format!("r-{number}"),
            question: self.text(),
            answer: self.text(),
            domain: self.text(),
            difficulty: self.below(256) as u8,
            bloom: self.optional().unwrap_or_default(),
            label,
            source: Source {
                name: self.text(),
                license: self.optional().unwrap_or_default(),
                teacher: self.optional(),
                generator: self.optional(),
                seed: [None, Some(u64::MAX), Some(7)][self.below(3) as usize],
                extra: self.fields(2),
            },
            checks: Checks {
                answer: self.optional().unwrap_or_default(),
                steps: (0..checked).map(|_| self.chance()).collect(),
                extra: self.fields(2),
            },
            extra: self.fields(2),
            thought_process: steps,
        }
    }
}

/// Text, so that the order of fields counts.
fn texts(records: &[CotRecord]) -> Vec<String> {
    records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

#[test]
fn records_come_back_as_they_were() {
    for seed in 0..40 {
        let mut draw = Draw(seed);
        let count = draw.below(60) as usize;
        let records: Vec<CotRecord> = (0..count).map(|number| draw.record(number)).collect();
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES {
            let path = folder.path().join(name);
            write_records(&path, &records).unwrap();
            let read = read_records(&path).unwrap();
            assert_eq!(texts(&read), texts(&records), "seed {seed} {name}");
            assert_eq!(read, records);
        }
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, NAMES.len(), "no temporary file is left");
    }
}

#[test]
fn a_table_with_many_row_groups_keeps_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut record = Draw(1).record(0);
    record.question = "q".repeat(12_000);
    let mut writer = RecordWriter::create(&path).unwrap();
    for number in 0..3_500 {
        record.id = format!("r-{number}");
        writer.write(&record).unwrap();
    }
    assert_eq!(writer.num_written(), 3_500);
    writer.finish().unwrap();
    let mut reader = ObjectReader::open(&path, &InputOptions::default()).unwrap();
    let mut number = 0;
    loop {
        let batch = reader.next_batch().unwrap();
        if batch.is_empty() {
            break;
        }
        for item in batch {
            assert_eq!(item.place.at, At::Row(number + 1));
            assert_eq!(item.content.unwrap()["id"], format!("r-{number}"));
            number += 1;
        }
    }
    assert_eq!(number, 3_500);
    assert_eq!(reader.bytes_read(), fs::metadata(&path).unwrap().len());
}

#[test]
fn a_file_that_is_given_up_leaves_nothing_and_spares_what_was_there() {
    let record = Draw(3).record(0);
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, "before").unwrap();
        let mut writer = RecordWriter::create(&path).unwrap();
        writer.write(&record).unwrap();
        drop(writer);
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
        let mut writer = RecordWriter::create(&path).unwrap();
        writer.write(&record).unwrap();
        writer.finish().unwrap();
        assert_eq!(read_records(&path).unwrap(), std::slice::from_ref(&record));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn wrong_names_and_absent_folders_are_errors() {
    let error = RecordWriter::create(Path::new("a.csv")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("a.csv") && error.to_string().contains(".parquet"));
    for name in NAMES {
        let error = RecordWriter::create(&Path::new("/absent").join(name)).err().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn what_is_no_record_is_named_by_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let mut draw = Draw(5);
    write_records(&path, &[draw.record(0), draw.record(1)]).unwrap();
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"id\": \"r-2\"}\n");
    fs::write(&path, text).unwrap();
    let error = read_records(&path).unwrap_err();
    assert!(error.to_string().contains("a.jsonl:3: field `question`"), "{error}");
    assert_eq!(error.kind(), ErrorKind::BadInput);
}

#[test]
fn a_damaged_table_never_panics_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut draw = Draw(9);
    let records: Vec<CotRecord> = (0..50).map(|number| draw.record(number)).collect();
    write_records(&path, &records).unwrap();
    let whole = fs::read(&path).unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    let mut num_faults = 0;
    for round in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..=draw.below(4) {
            // The first and last bytes stay, or it would be no Parquet at all.
            let place = 4 + draw.below(bytes.len() as u64 - 12) as usize;
            bytes[place] = draw.below(256) as u8;
        }
        fs::write(&path, &bytes).unwrap();
        let mut reader = ObjectReader::open(&path, &InputOptions::default()).unwrap();
        loop {
            let batch = reader.next_batch().unwrap();
            if batch.is_empty() {
                break;
            }
            for item in batch {
                if let Err(fault) = item.content {
                    assert_eq!(fault.reason, Reason::Damaged, "round {round}");
                    num_faults += 1;
                }
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(num_faults > 30, "{num_faults}");
    let cut = &whole[..whole.len() / 2];
    fs::write(&path, cut).unwrap();
    let error = read_records(&path).unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn a_table_that_others_made_of_our_lines_is_read_too() {
    // The label's absent fields are nulls there, and `extra` is a field like others.
    let mut record = Draw(2).record(0);
    record.label = Label::Correct;
    record.extra = Map::from_iter([("extra".to_owned(), json!("not ours"))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write_records(&path, &[record.clone()]).unwrap();
    assert_eq!(read_records(&path).unwrap(), [record]);
}
