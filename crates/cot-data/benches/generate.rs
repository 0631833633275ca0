//! Verified records a second of each family on one core: a record is drawn, put into words,
//! read again from its text, solved a second time and judged line by line.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use limbeck_cot_data::{Family, Shard, generate_many};

/// Records of each measurement, a quarter of them of each level: so many that waking the
/// thread that makes them does not count.
const RECORDS: u64 = 512;

/// The families that are measured first, so that a short run has them.
const FIRST: [Family; 3] = [Family::Arith, Family::Knights, Family::Zebra];

fn bench(criterion: &mut Criterion) {
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut group = criterion.benchmark_group("generate");
    group.sample_size(10);
    group.throughput(Throughput::Elements(RECORDS));
    let others = Family::ALL.into_iter().filter(|family| !FIRST.contains(family));
    for family in FIRST.into_iter().chain(others) {
        let mut seed = 0;
        group.bench_function(BenchmarkId::from_parameter(family.name()), |bencher| {
            bencher.iter(|| {
                seed += 1;
                one_core
                    .install(|| generate_many(family, None, RECORDS, seed, Shard::WHOLE).unwrap())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
