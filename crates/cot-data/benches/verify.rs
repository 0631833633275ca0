//! How fast records are made and verified, and how fast a chain in prose is checked, on one
//! core.
//!
//! `cargo bench -p limbeck-cot-data --bench verify`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use limbeck_cot_data::{CotRecord, Family, Shard, check_chain, find_equations, generate_many};

/// Records to a batch.
const NUM_RECORDS: u64 = 2_000;

/// Two solutions as people write them.
const QUESTION: &str = "Ann works 5 hours a day for $12 an hour and saves 20% of it. Her rent is \
                        $1,200. How many days does she work for it?";
const STEPS: [&str; 6] = [
    "Ann earns 5 hours * $12/hour = $<<5*12=60>>60 a day.",
    "She saves 20% of that, which is 60 * .2 = $<<60*.2=12>>12.",
    "So she keeps 60 - 12 = $<<60-12=48>>48 of her pay each day.",
    "Each month she pays $1,200 for the flat that she lives in.",
    "That takes her 1200 / 48 = <<1200/48=25>>25 days of work.",
    "The answer is 25 days.",
];

fn generated(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread");
    let mut group = criterion.benchmark_group("generate_and_verify");
    group.sample_size(10).throughput(Throughput::Elements(NUM_RECORDS));
    for family in Family::ALL {
        let mut seed = 0;
        group.bench_function(family.name(), |bencher| {
            bencher.iter(|| {
                seed += 1;
                pool.install(|| generate_many(family, None, NUM_RECORDS, seed, Shard::WHOLE))
                    .expect("generated records are verified")
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(10).throughput(Throughput::Elements(NUM_RECORDS));
    for family in Family::ALL {
        let records: Vec<CotRecord> = generate_many(family, None, NUM_RECORDS, 7, Shard::WHOLE)
            .expect("generated records are verified");
        group.bench_function(family.name(), |bencher| {
            bencher.iter(|| {
                let checks = records.iter().map(|record| {
                    check_chain(&record.question, &record.thought_process, &record.answer)
                });
                checks.filter(limbeck_cot_data::ChainCheck::all_ok).count()
            });
        });
    }
    group.finish();
}

fn prose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prose");
    group.sample_size(20).throughput(Throughput::Elements(STEPS.len() as u64));
    group.bench_function("steps", |bencher| bencher.iter(|| find_equations(QUESTION, &STEPS)));
    group.finish();
}

criterion_group!(benches, generated, prose);
criterion_main!(benches);
