//! What dequantising costs beside the product that it is for, on the shapes of Gemma 3 270M.
//!
//!     cargo bench -p limbeck-quant --bench nf4

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use limbeck_core::seed::CounterRng;
use limbeck_quant::nf4::Nf4Matrix;
use limbeck_quant::{Bits, GridRule, PackedWeight, WeightMatrix, rtn};
use tch::{Device, Kind, Tensor};

/// Name, outputs, inputs, and rows of the activations that they are multiplied with.
const SHAPES: [(&str, i64, i64, i64); 3] = [
    ("q_proj, 960 tokens", 1024, 640, 960),
    ("gate_proj, 960 tokens", 2048, 640, 960),
    ("4,096 rows of the head, 128 tokens", 4096, 640, 128),
];

fn dequantize(criterion: &mut Criterion) {
    for (name, outputs, inputs, rows) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements((outputs * inputs) as u64));
        let values = CounterRng::new(1).normals((outputs * inputs) as usize);
        let weight = Tensor::from_slice(&values).view([outputs, inputs]);
        let read = &mut |start, length| Ok(weight.f_narrow(0, start, length)?);
        let nf4 = Nf4Matrix::quantize("bench", (outputs, inputs), Device::Cpu, read).unwrap();
        for kind in [Kind::Float, Kind::BFloat16] {
            group.bench_function(format!("NF4 to {kind:?}"), |bencher| {
                bencher.iter(|| black_box(nf4.dequantize(0, outputs, kind).unwrap()));
            });
        }
        let matrix = WeightMatrix::new(values, outputs as usize, inputs as usize).unwrap();
        let codes = rtn::quantize(&matrix, GridRule::symmetric(Bits::Four), 128).unwrap();
        let gptq = PackedWeight::new(codes, Device::Cpu).unwrap();
        group.bench_function("GPTQ to Float", |bencher| {
            bencher.iter(|| gptq.rows(0, outputs, Kind::Float).unwrap());
        });
        let input = Tensor::randn([rows, inputs], (Kind::Float, Device::Cpu));
        let gradient = Tensor::randn([rows, outputs], (Kind::Float, Device::Cpu));
        group.bench_function("product forward and backward", |bencher| {
            bencher.iter(|| {
                let output = input.f_linear(&weight, None::<&Tensor>).unwrap();
                black_box((output, gradient.f_mm(&weight).unwrap()))
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = dequantize
}
criterion_main!(benches);
