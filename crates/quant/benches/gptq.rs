//! Time of GPTQ's parts on named layer shapes: the Hessian of a batch of inputs, its
//! factor, the solver, rounding to nearest for comparison, and packing for the formats.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use limbeck_core::seed::CounterRng;
use limbeck_quant::{
    Bits, Format, GridRule, Hessian, Order, PackedWeight, WeightMatrix, gptq, rtn,
};
use tch::{Device, Tensor};

struct Shape {
    name: &'static str,
    out_features: usize,
    in_features: usize,
    group_size: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "student.gate_proj", out_features: 192, in_features: 128, group_size: 64 },
    Shape { name: "student.down_proj", out_features: 128, in_features: 192, group_size: 64 },
    Shape { name: "1B.q_proj", out_features: 2048, in_features: 2048, group_size: 128 },
];
const TOKENS: usize = 2048;

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gptq");
    group.sample_size(10);
    for shape in SHAPES {
        let (out_features, in_features) = (shape.out_features, shape.in_features);
        let mut rng = CounterRng::new(1);
        let inputs = Tensor::from_slice(&rng.normals(TOKENS * in_features))
            .view([TOKENS as i64, in_features as i64]);
        let mut hessian = Hessian::new(in_features as i64, Device::Cpu).unwrap();
        hessian.add(&inputs).unwrap();
        let factor = hessian.factor(0.01, Order::None, shape.group_size).unwrap().unwrap();
        let values = rng.normals(out_features * in_features);
        let weight = WeightMatrix::new(values, out_features, in_features).unwrap();
        let rule = GridRule::symmetric(Bits::Four);
        let name = format!("{} {out_features}x{in_features}", shape.name);

        group.throughput(Throughput::Elements(TOKENS as u64));
        group.bench_function(BenchmarkId::new("hessian (tokens)", &name), |bencher| {
            bencher.iter(|| hessian.add(black_box(&inputs)).unwrap());
        });
        group.throughput(Throughput::Elements((out_features * in_features) as u64));
        group.bench_function(BenchmarkId::new("factor", &name), |bencher| {
            bencher.iter(|| hessian.factor(0.01, Order::None, shape.group_size).unwrap().unwrap());
        });
        group.bench_function(BenchmarkId::new("solve", &name), |bencher| {
            bencher.iter(|| gptq::quantize(black_box(&weight), &factor, rule, shape.group_size));
        });
        group.bench_function(BenchmarkId::new("round to nearest", &name), |bencher| {
            bencher.iter(|| rtn::quantize(black_box(&weight), rule, shape.group_size));
        });
        let rounded = rtn::quantize(&weight, rule, shape.group_size).unwrap();
        for format in [Format::Gptq, Format::Awq, Format::CompressedTensors] {
            let id = BenchmarkId::new(format!("pack {}", format.name()), &name);
            group.bench_function(id, |bencher| {
                bencher.iter(|| format.pack(black_box(&rounded)).unwrap().unwrap());
            });
        }
        group.bench_function(BenchmarkId::new("tiles", &name), |bencher| {
            bencher.iter(|| PackedWeight::new(rounded.clone(), Device::Cpu).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
