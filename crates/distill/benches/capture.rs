//! Writing and reading a capture of k = 50: records of 200 positions over a vocabulary of
//! 151,936, from a table of 2,000 tokens of which few are frequent; drawn without regard to each
//! other, so that they take more bytes than a real teacher's. The last line on stderr is
//! the size.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use limbeck_core::seed::CounterRng;
use limbeck_distill::capture::{CaptureWriter, CapturedRecord, CapturedTeacher, Expected, Header};

const POSITIONS: usize = 200;
const TOP_K: usize = 50;
const VOCAB: i64 = 151_936;

fn record(rng: &mut CounterRng) -> CapturedRecord {
    let table: Vec<i32> = (0..2000).map(|_| rng.below(VOCAB as usize) as i32).collect();
    let mut record = CapturedRecord {
        positions: (0..POSITIONS as u32).collect(),
        top_k: TOP_K,
        ids: Vec::new(),
        log_probs: Vec::new(),
        log_tail: Vec::new(),
    };
    for _ in 0..POSITIONS {
        let mut log_probs = vec![0.0_f64];
        for _ in 1..TOP_K {
            // Gaps as those of a trained model: wide at the top, narrow below.
            let place = log_probs.len() as f64;
            log_probs.push(log_probs[log_probs.len() - 1] - 4.0 * rng.next_f64() / place);
        }
        // The square makes the tokens at the table's head frequent.
        record.ids.extend((0..TOP_K).map(|_| table[(rng.next_f64().powi(2) * 2000.0) as usize]));
        let kept: f64 = log_probs.iter().map(|value| value.exp()).sum();
        let total = kept * 1.05;
        record.log_probs.extend(log_probs.iter().map(|value| (value - total.ln()) as f32));
        record.log_tail.push((1.0 - kept / total).ln() as f32);
    }
    record
}

fn main() {
    let header = Header {
        top_k: TOP_K,
        temperature: 1.0,
        vocab_size: VOCAB,
        tokenizer_hash: String::new(),
        template_hash: String::new(),
        teacher: String::new(),
        teacher_config_hash: String::new(),
        teacher_hash: String::new(),
        dtype: "float32".to_owned(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.capture");
    let tokens: Vec<i64> = (0..=POSITIONS as i64).collect();
    let record = record(&mut CounterRng::new(1));
    let mut writer = CaptureWriter::open(&path, &header).expect("a new file");
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("capture");
    group.throughput(Throughput::Elements(POSITIONS as u64));
    let mut count = 0_u64;
    let start = writer.written_bytes();
    let mut append = || {
        writer.append(&count.to_string(), &tokens, &record).expect("written");
        count += 1;
    };
    append();
    group.bench_function("append", |bencher| bencher.iter(&mut append));
    let size = (writer.written_bytes() - start) as f64 / (count * POSITIONS as u64) as f64;
    writer.finish().expect("finished");
    let expected =
        Expected { tokenizer_hash: String::new(), template_hash: String::new(), vocab_size: VOCAB };
    let store = CapturedTeacher::open(&[path], &expected).expect("a capture");
    group.bench_function("get", |bencher| {
        bencher.iter(|| black_box(store.get("0", &tokens).expect("read")));
    });
    group.finish();
    criterion.final_summary();
    eprintln!("{size:.1} bytes a position");
}
