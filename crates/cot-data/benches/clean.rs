//! Records a second of cleaning on one core: `cargo bench -p limbeck-cot-data`.
//!
//! The text has GSM8K's shape: a question of about 46 words with three numbers and a
//! chain of about 55 words in four steps; 1,319 benchmark items, as GSM8K's test has. One
//! record in fifty repeats another nearly. The pool has one thread; a second one only
//! copies the records that a source would read.

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use limbeck_cot_data::{CleanConfig, CotRecord, clean};

const NUM_RECORDS: u64 = 8192;

/// A small generator of its own: the text need only be the same at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    /// Words of two to four syllables: about 4000 of them, of 4 to 8 letters.
    fn sentence(&mut self, num_words: u64) -> String {
        const SYLLABLES: [&str; 16] = [
            "ba", "ker", "mar", "ket", "ri", "ver", "so", "ld", "ap", "ples", "gi", "ves", "to",
            "her", "in", "all",
        ];
        let words: Vec<String> = (0..num_words)
            .map(|_| {
                let num_syllables = 2 + self.below(2);
                (0..num_syllables).map(|_| SYLLABLES[self.below(16) as usize]).collect()
            })
            .collect();
        words.join(" ")
    }

    fn question(&mut self) -> String {
        format!(
            "{} has {} of them, {} gives ${} away. {} in {} days, how many are left?",
            self.sentence(10),
            self.below(100),
            self.sentence(9),
            self.below(100),
            self.sentence(10),
            self.below(30)
        )
    }

    fn record(&mut self, id: u64) -> CotRecord {
        let steps = (0..4).map(|_| {
            let (first, second) = (self.below(100), self.below(100));
            let words = self.sentence(9);
            format!("{words} {first}+{second} = <<{first}+{second}={}>>.", first + second)
        });
        let thought_process = steps.collect();
        CotRecord {
            id: id.to_string(),
            question: self.question(),
            thought_process,
            answer: self.below(1000).to_string(),
            domain: "arithmetic".to_owned(),
            ..CotRecord::default()
        }
    }
}

fn records() -> Vec<CotRecord> {
    let mut numbers = Numbers(1);
    let mut records: Vec<CotRecord> = (0..NUM_RECORDS).map(|id| numbers.record(id)).collect();
    for place in (50..records.len()).step_by(50) {
        let question = records[place - 50].question.replace("are left", "were left");
        records[place].question = question;
    }
    records
}

fn run(records: &[CotRecord], config: &CleanConfig) -> u64 {
    let report = clean(records, config, |_| Ok(()), |_| Ok(()));
    report.map_or(0, |report| report.num_kept)
}

fn bench(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("limbeck-bench-{}", std::process::id()));
    let items = benchmark_file(&folder);
    let base = CleanConfig::default;
    let none = CleanConfig { exact_duplicates: false, near_duplicates: false, ..base() };
    let configs = [
        ("filters", none.clone()),
        ("filters+language", CleanConfig { languages: vec!["eng".to_owned()], ..none.clone() }),
        ("filters+decontaminate", CleanConfig { benchmarks: vec![items.clone()], ..none }),
        ("filters+dedup", base()),
        ("filters+dedup+decontaminate", CleanConfig { benchmarks: vec![items], ..base() }),
    ];
    let records = records();
    let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(1).build() else { return };
    let mut group = criterion.benchmark_group("clean");
    group.sample_size(10).throughput(Throughput::Elements(NUM_RECORDS));
    for (name, config) in configs {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| pool.install(|| black_box(run(&records, &config))));
        });
    }
    group.finish();
    // Best effort: it lies in the folder for temporary files.
    let _ = std::fs::remove_dir_all(folder);
}

fn benchmark_file(folder: &Path) -> std::path::PathBuf {
    let mut numbers = Numbers(2);
    let items: Vec<String> = (0..1319).map(|_| numbers.question()).collect();
    let path = folder.join("test.txt");
    // A bench that cannot write its input has nothing to measure: `clean` then fails at once.
    let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, items.join("\n")));
    path
}

criterion_group!(benches, bench);
criterion_main!(benches);
