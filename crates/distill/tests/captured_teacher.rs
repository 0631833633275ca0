//! A capture on disk: what was written is read, and whatever happens to the files is
//! noticed.

use std::fs;
use std::path::{Path, PathBuf};

use limbeck_core::seed::CounterRng;
use limbeck_core::test_device;
use limbeck_distill::capture::{
    CaptureError, CaptureWriter, CapturedRecord, CapturedTeacher, Expected, Header, MAX_ERROR, ask,
    compare, loss_positions,
};
use limbeck_distill::{Error, capture::Wanted};
use limbeck_model::Decoder;
use limbeck_run::Diagnose as _;
use limbeck_train::objective::forward;
use limbeck_train::{Batch, Example, head};
use serde_json::json;
use tch::{Kind, Tensor};

const VOCAB: i64 = 90;
const TOP_K: usize = 8;

fn header() -> Header {
    Header {
        top_k: TOP_K,
        temperature: 1.0,
        vocab_size: VOCAB,
        tokenizer_hash: "tokenizer".to_owned(),
        template_hash: "template".to_owned(),
        teacher: "teacher".to_owned(),
        teacher_config_hash: "config".to_owned(),
        teacher_hash: "weights".to_owned(),
        dtype: "float32".to_owned(),
    }
}

fn expected() -> Expected {
    Expected {
        tokenizer_hash: "tokenizer".to_owned(),
        template_hash: "template".to_owned(),
        vocab_size: VOCAB,
    }
}

fn teacher() -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 256, "initializer_range": 0.2,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
        "tie_word_embeddings": true,
    });
    Decoder::init(&config, 3, test_device(), Kind::Float).unwrap()
}

fn examples(count: usize) -> Vec<Example> {
    let mut rng = CounterRng::new(7);
    (0..count)
        .map(|index| {
            let length = 6 + rng.below(20);
            let tokens = (0..length).map(|_| rng.below(VOCAB as usize) as i64).collect();
            let weights = (0..length).map(|at| if at > 3 { 1.0 } else { 0.0 }).collect();
            Example { id: format!("record-{index}"), tokens, weights, ..Example::default() }
        })
        .collect()
}

fn asked(teacher: &Decoder, header: &Header, examples: &[Example]) -> Vec<CapturedRecord> {
    ask(teacher, &examples.iter().collect::<Vec<_>>(), header, 0).unwrap()
}

/// Writes what is missing of the examples.
fn write(path: &Path, header: &Header, examples: &[Example], records: &[CapturedRecord]) {
    let mut writer = CaptureWriter::open(path, header).unwrap();
    for (example, record) in examples.iter().zip(records) {
        if !writer.contains(&example.id, &example.tokens).unwrap() {
            writer.append(&example.id, &example.tokens, record).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn open(paths: &[&Path]) -> Result<CapturedTeacher, CaptureError> {
    let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
    CapturedTeacher::open(&paths, &expected())
}

/// A file with so many records, and what they are made of.
fn written(folder: &Path, count: usize) -> (PathBuf, Vec<Example>, Vec<CapturedRecord>) {
    let examples = examples(count);
    let records = asked(&teacher(), &header(), &examples);
    let path = folder.join("a.capture");
    write(&path, &header(), &examples, &records);
    (path, examples, records)
}

#[test]
fn what_is_read_is_what_the_teacher_says() {
    let folder = tempfile::tempdir().unwrap();
    let (path, examples, records) = written(folder.path(), 9);
    let store = open(&[&path]).unwrap();
    assert_eq!(store.len(), 9);
    store.check_covers(&examples).unwrap();
    let refs: Vec<&Example> = examples[2..6].iter().collect();
    let batch = Batch::new(&refs, 0, test_device()).unwrap();
    let rows = store.batch_rows(&refs, test_device()).unwrap();
    let teacher = teacher();
    let log_probs = tch::no_grad(|| {
        let hidden = head::select_rows(&forward(&teacher, &batch).unwrap(), &batch).unwrap();
        teacher.logits(&hidden).unwrap().log_softmax(-1, Kind::Double)
    });
    assert_eq!(rows.ids.size(), [batch.rows.size()[0], TOP_K as i64]);
    assert_eq!((rows.ids.kind(), rows.log_probs.kind()), (Kind::Int64, Kind::Float));
    let of_ids = log_probs.gather(-1, &rows.ids, false);
    let error = (of_ids - &rows.log_probs).abs().max().double_value(&[]);
    assert!(error <= MAX_ERROR + 1e-5, "{error}");
    let (_, likeliest) = log_probs.topk(TOP_K as i64, -1, true, true);
    assert_eq!(likeliest, rows.ids);
    let kept = log_probs.gather(-1, &likeliest, false).exp().sum_dim_intlist(-1, false, None);
    let tail: Tensor = (1.0_f64 - kept).log();
    let error = (tail - &rows.log_tail).abs().max().double_value(&[]);
    assert!(error < 1e-5, "the tail is exact, and off by {error}");
    for (example, record) in examples.iter().zip(&records) {
        let read = store.get(&example.id, &example.tokens).unwrap().unwrap();
        assert!(compare(&example.id, &read, record, 1e-5).is_ok());
    }
    assert!(store.get("another", &[1, 2]).unwrap().is_none());
}

#[test]
fn a_temperature_flattens_what_is_kept() {
    let examples = examples(2);
    let hot = Header { temperature: 3.0, ..header() };
    let (cold, hot) = (header(), hot);
    let teacher = teacher();
    let (cold, hot) = (asked(&teacher, &cold, &examples), asked(&teacher, &hot, &examples));
    let flatness = |record: &CapturedRecord| record.log_probs[0] - record.log_probs[TOP_K - 1];
    let ratio = flatness(&cold[0]) / flatness(&hot[0]);
    assert!((ratio - 3.0).abs() < 1e-3, "{ratio}");
    assert!(hot[0].log_tail[0] > cold[0].log_tail[0]);
}

#[test]
fn a_file_cut_anywhere_is_noticed_and_continued_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, examples, records) = written(folder.path(), 3);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let error = open(&[&path]).unwrap_err();
        assert!(matches!(error, CaptureError::CutOff { .. }), "cut to {length}: {error}");
        assert!(error.hint().unwrap().contains("again"));
        write(&path, &header(), &examples, &records);
        assert!(fs::read(&path).unwrap() == whole, "cut to {length}");
    }
    // What a machine that lost its power may leave: the length is there, the content not.
    for length in (whole.len() - 400..whole.len()).step_by(3) {
        for size in [whole.len(), whole.len() + 5000] {
            let mut bytes = whole[..length].to_vec();
            bytes.resize(size, 0);
            fs::write(&path, &bytes).unwrap();
            assert!(open(&[&path]).is_err());
            write(&path, &header(), &examples, &records);
            assert!(fs::read(&path).unwrap() == whole, "zeros from {length} to {size}");
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, examples, _) = written(folder.path(), 3);
    let whole = fs::read(&path).unwrap();
    let store = open(&[&path]).unwrap();
    let mut rng = CounterRng::new(5);
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << rng.below(8);
        fs::write(&path, &bytes).unwrap();
        let error = open(&[&path]).unwrap_err();
        assert!(error.exit() == limbeck_run::Exit::BadInput, "{place}: {error}");
        // A file that changes after it was opened.
        for example in &examples {
            if let Ok(found) = store.get(&example.id, &example.tokens) {
                assert!(found.is_some());
            }
        }
    }
    fs::write(&path, &whole).unwrap();
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..2 + rng.below(30) {
            let place = rng.below(bytes.len());
            bytes[place] = rng.next_u64() as u8;
        }
        bytes.truncate(bytes.len() - rng.below(40) * rng.below(2));
        fs::write(&path, &bytes).unwrap();
        assert!(bytes == whole || open(&[&path]).is_err());
    }
}

#[test]
fn damage_in_the_middle_is_not_thrown_away_by_a_continuation() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _, _) = written(folder.path(), 3);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let error = CaptureWriter::open(&path, &header()).unwrap_err();
    assert!(matches!(error, CaptureError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let bytes = [fs::read(&path).unwrap(), vec![0]].concat();
    fs::write(&path, b"{\"id\": 1}").unwrap();
    let error = CaptureWriter::open(&path, &header()).unwrap_err();
    assert!(matches!(error, CaptureError::NotACapture { .. }), "{error}");
    assert!(bytes.len() > 1);
}

#[test]
fn a_finished_file_takes_more_records() {
    let folder = tempfile::tempdir().unwrap();
    let (path, examples, records) = written(folder.path(), 6);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    write(&path, &header(), &examples[..2], &records[..2]);
    assert_eq!(open(&[&path]).unwrap().len(), 2);
    let error = open(&[&path]).unwrap().check_covers(&examples).unwrap_err();
    assert!(error.to_string().contains("4 of 6"), "{error}");
    write(&path, &header(), &examples, &records);
    assert!(fs::read(&path).unwrap() == whole);
    write(&path, &header(), &examples, &records);
    assert!(fs::read(&path).unwrap() == whole, "nothing was missing");
}

#[test]
fn any_number_of_shards_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (path, examples, records) = written(folder.path(), 20);
    let whole = open(&[&path]).unwrap();
    for count in [2, 7] {
        let shards = folder.path().join(count.to_string());
        for shard in 0..count {
            let part = |index: &usize| index % count == shard;
            let (examples, records): (Vec<_>, Vec<_>) = (0..20)
                .filter(part)
                .map(|index| (examples[index].clone(), records[index].clone()))
                .unzip();
            let path = shards.join(format!("{shard}-of-{count}.capture"));
            write(&path, &header(), &examples, &records);
        }
        let store = open(&[&shards]).unwrap();
        assert_eq!(store.len(), 20);
        for example in &examples {
            let (id, tokens) = (&example.id, &example.tokens);
            assert_eq!(store.get(id, tokens).unwrap(), whole.get(id, tokens).unwrap());
        }
    }
    let error = open(&[&path, &folder.path().join("2")]).unwrap_err();
    assert!(matches!(error, CaptureError::Repeated { .. }), "{error}");
    let error = open(&[folder.path().join("none").as_path()]).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let error = open(&[folder.path().join("empty").as_path()]).unwrap_err();
    assert!(matches!(error, CaptureError::NoFile { .. }), "{error}");
}

#[test]
fn what_a_capture_was_made_with_is_what_it_is_used_with() {
    let folder = tempfile::tempdir().unwrap();
    let (path, examples, records) = written(folder.path(), 2);
    let paths = [path.clone()];
    for (what, other) in [
        ("chat template", Expected { template_hash: "x".to_owned(), ..expected() }),
        ("tokenizer", Expected { tokenizer_hash: "x".to_owned(), ..expected() }),
        ("vocabulary size", Expected { vocab_size: 91, ..expected() }),
    ] {
        let error = CapturedTeacher::open(&paths, &other).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("a.capture"), "{error}");
    }
    let second = folder.path().join("b.capture");
    for (what, other) in [
        ("top_k", Header { top_k: 9, ..header() }),
        ("temperature", Header { temperature: 2.0, ..header() }),
        ("teacher", Header { teacher_hash: "x".to_owned(), ..header() }),
        ("dtype", Header { dtype: "bfloat16".to_owned(), ..header() }),
    ] {
        let error = CaptureWriter::open(&path, &other).unwrap_err();
        assert!(matches!(error, CaptureError::Differs { what: found, .. } if found == what));
        write(&second, &other, &[], &[]);
        let error = open(&[&path, &second]).unwrap_err();
        assert!(matches!(error, CaptureError::ShardsDiffer { what: found, .. } if found == what));
        fs::remove_file(&second).unwrap();
    }
    let renamed = Header { teacher: "moved".to_owned(), ..header() };
    write(&path, &renamed, &examples, &records);
}

#[test]
fn another_record_than_was_captured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut examples, records) = written(folder.path(), 2);
    let store = open(&[&path]).unwrap();
    let wanted = Wanted { id: &examples[0].id, tokens: &examples[0].tokens, positions: &[0] };
    let error = store.rows(&[wanted], test_device()).unwrap_err();
    assert!(matches!(error, CaptureError::Position { position: 0, .. }), "{error}");
    let wanted = Wanted { id: "another", ..wanted };
    let error = store.rows(&[wanted], test_device()).unwrap_err();
    assert!(matches!(error, CaptureError::Missing { .. }), "{error}");
    examples[0].tokens[1] += 1;
    let (id, tokens) = (&examples[0].id, &examples[0].tokens);
    let writer = CaptureWriter::open(&path, &header()).unwrap();
    for error in [
        store.get(id, tokens).unwrap_err(),
        store.check_covers(&examples).unwrap_err(),
        writer.contains(id, tokens).unwrap_err(),
    ] {
        assert!(matches!(error, CaptureError::OtherTokens { .. }), "{error}");
    }
    let error = CaptureWriter::open(&path, &header()).unwrap_err();
    assert!(matches!(error, CaptureError::Locked { .. }), "{error}");
    drop(writer);
    let mut writer = CaptureWriter::open(&path, &header()).unwrap();
    let error = writer.append(id, tokens, &records[0]).unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
    let mut short = records[0].clone();
    short.log_tail.pop();
    let far =
        CapturedRecord { ids: vec![VOCAB as i32; records[0].ids.len()], ..records[0].clone() };
    let late = CapturedRecord {
        positions: records[0].positions.iter().map(|position| position + 1).collect(),
        ..records[0].clone()
    };
    let mut rising = records[0].clone();
    rising.log_probs.reverse();
    for (record, said) in
        [(short, "tails"), (far, "vocabulary"), (late, "inputs"), (rising, "falling")]
    {
        let error = writer.append("new", tokens, &record).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_teacher_that_changed_its_mind_or_lost_it_is_named() {
    let examples = examples(2);
    let records = asked(&teacher(), &header(), &examples);
    let mut other = records[1].clone();
    for value in &mut other.log_probs[..TOP_K] {
        *value -= 0.5;
    }
    let error = compare("r", &records[1], &other, 0.01).unwrap_err();
    assert!(matches!(error, CaptureError::Disagrees { position: 3, .. }), "{error}");
    let error = compare("r", &records[0], &records[1], 0.01).unwrap_err();
    assert!(matches!(error, CaptureError::Shape { .. }), "{error}");
    let teacher = teacher();
    let _ = tch::no_grad(|| teacher.named_parameters()[0].1.get(5).fill_(f64::NAN));
    let refs: Vec<&Example> = examples.iter().collect();
    let error = ask(&teacher, &refs, &header(), 0).unwrap_err();
    assert!(matches!(error, Error::Capture(CaptureError::NotFinite { .. })), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_usage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.capture");
    for (other, said) in [
        (Header { top_k: 0, ..header() }, "top_k must be 1 up to"),
        (Header { top_k: 91, ..header() }, "found 91"),
        (Header { temperature: 0.0, ..header() }, "temperature must be a number above 0"),
        (Header { temperature: f64::NAN, ..header() }, "found NaN"),
    ] {
        let error = CaptureWriter::open(&path, &other).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.exit(), limbeck_run::Exit::Usage);
        assert!(!path.exists());
    }
    let example = &examples(1)[0];
    assert_eq!(loss_positions(example)[0], 3);
}
