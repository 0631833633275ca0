//! How fast answers are compared, on one core.
//!
//! `cargo bench -p limbeck-cot-data --bench equivalence`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use limbeck_cot_data::equivalence;

/// By what comparing them takes.
const KINDS: [(&str, &[(&str, &str)]); 3] = [
    ("numbers", &[("18", "18"), ("1,000", "1000"), ("18", "$18.00"), ("0.5", "1/2"), ("42", "41")]),
    ("lists", &[("(1, 2)", "(1,2)"), (r"\{1,2\}", r"\{2,1\}"), ("[1, 2)", "1 ≤ x < 2")]),
    (
        "formulas",
        &[
            ("$(x+1)^2$", "$x^2+2x+1$"),
            (r"$\sqrt8$", r"$2\sqrt2$"),
            ("$2x+3y=6$", "$4x+6y=12$"),
            (r"$1-\frac1{\mathrm e}$", r"$1+\frac1{\mathrm e}$"),
        ],
    ),
];

fn compared(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("equivalence");
    for (kind, pairs) in KINDS {
        group.throughput(Throughput::Elements(pairs.len() as u64));
        group.bench_function(kind, |bencher| {
            bencher.iter(|| {
                let outcomes = pairs.iter().map(|(left, right)| equivalence(left, right));
                outcomes.fold(0, |sum, outcome| sum + outcome as usize)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, compared);
criterion_main!(benches);
