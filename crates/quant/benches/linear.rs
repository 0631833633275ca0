//! Packed projections beside dense ones over the number of rows: one is decoding, many are
//! reading a prompt.
//!
//! `cargo bench -p limbeck-quant --bench linear`. Throughput is in weights: at one row divide
//! the bytes of a weight by it for the memory's speed, at many rows two operations a weight and
//! row.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use limbeck_core::seed::CounterRng;
use limbeck_model::{DenseLinear, Linear};
use limbeck_quant::{Activations, Bits, Format, GridRule, PackedLinear, WeightMatrix, rtn};
use tch::{Device, Kind, Tensor};

/// Name, output and input features, group size: a projection of Gemma 3 270M, one of a 1B
/// model, and a head.
const SHAPES: [(&str, usize, usize, usize); 3] = [
    ("gate_640x2048", 2048, 640, 128),
    ("square_2048", 2048, 2048, 128),
    ("head_640x65536", 65536, 640, 32),
];
const ROWS: [i64; 6] = [1, 4, 8, 16, 64, 256];

fn bench(criterion: &mut Criterion) {
    for (name, outputs, inputs, group_size) in SHAPES {
        let values = CounterRng::new(1).normals(outputs * inputs);
        let weight = WeightMatrix::new(values, outputs, inputs).expect("the sizes fit");
        let packed = |bits| {
            let weight = rtn::quantize(&weight, GridRule::symmetric(bits), group_size);
            let weight = weight.expect("whole groups");
            PackedLinear::pack("bench", weight, None, Format::Gptq, Device::Cpu).expect("it fits")
        };
        let dense = |kind| {
            let weight = weight.to_tensor(kind, Device::Cpu).expect("memory");
            DenseLinear::new(weight, None).expect("a matrix")
        };
        let rounded = |bits| packed(bits).with_activations(Activations::Int8);
        let layers: [(&str, Kind, Box<dyn Linear>); 6] = [
            ("4 bits", Kind::Float, Box::new(packed(Bits::Four))),
            ("8 bits", Kind::Float, Box::new(packed(Bits::Eight))),
            ("4 bits by 8", Kind::Float, Box::new(rounded(Bits::Four))),
            ("8 bits by 8", Kind::Float, Box::new(rounded(Bits::Eight))),
            ("float32", Kind::Float, Box::new(dense(Kind::Float))),
            ("bfloat16", Kind::BFloat16, Box::new(dense(Kind::BFloat16))),
        ];
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for rows in ROWS {
            group.throughput(Throughput::Elements((outputs * inputs) as u64));
            for (label, kind, layer) in &layers {
                let input = Tensor::randn([rows, inputs as i64], (*kind, Device::Cpu));
                group.bench_function(BenchmarkId::new(*label, rows), |bencher| {
                    let _guard = tch::no_grad_guard();
                    bencher.iter(|| layer.forward(black_box(&input)).expect("a product"));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
