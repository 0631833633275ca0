//! Packed tensors that `GPTQModel` wrote must mean here what they mean there. The fixture is
//! made by `scripts/make_quant_fixtures.py`.

use std::path::Path;

use limbeck_core::TensorFile;
use limbeck_quant::gptq_format::{Origin, PackedTensors};
use limbeck_quant::packing::{PackedWeights, PackedZeros};
use limbeck_quant::{Bits, Format};
use tch::{Device, Kind, Tensor};

const OUT: usize = 16;
const IN: usize = 64;

/// Name in the fixture, bits, version.
const CASES: [(&str, Bits, Format); 7] = [
    ("four_bits", Bits::Four, Format::Gptq),
    ("four_bits_v2", Bits::Four, Format::GptqV2),
    ("four_bits_asymmetric_v1", Bits::Four, Format::Gptq),
    ("four_bits_asymmetric_v2", Bits::Four, Format::GptqV2),
    ("four_bits_act_order", Bits::Four, Format::Gptq),
    ("eight_bits", Bits::Eight, Format::Gptq),
    ("eight_bits_asymmetric_v2", Bits::Eight, Format::GptqV2),
];

fn words(tensor: &Tensor) -> Vec<i32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

#[test]
fn weights_are_those_that_gptqmodel_unpacks() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/quant/gptq.safetensors");
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.names().len(), 5 * CASES.len());
    for (name, bits, format) in CASES {
        let tensor = |suffix: &str| file.tensor(&format!("{name}.{suffix}")).unwrap();
        let packed = PackedTensors {
            qweight: tensor("qweight"),
            qzeros: tensor("qzeros"),
            scales: tensor("scales"),
            g_idx: tensor("g_idx"),
        };
        let origin = Origin { path: &path, layer: name };
        let dense = packed.dequantize(bits, format, &origin).unwrap();
        // Theirs is computed in f16, ours is exact in fp32.
        let dense = dense.to_tensor(Kind::Half, Device::Cpu).unwrap().to_kind(Kind::Float);
        assert_eq!(dense, tensor("expected"), "{name}");

        // What we would write is what they wrote.
        let qweight = words(&packed.qweight);
        let codes = PackedWeights::from_words(qweight.clone(), bits, OUT, IN).unwrap().unpack();
        assert_eq!(PackedWeights::pack(&codes, bits, OUT, IN).unwrap().words(), qweight, "{name}");
        let qzeros = words(&packed.qzeros);
        let zeros = PackedZeros::from_words(qzeros.clone(), bits).unpack();
        assert_eq!(PackedZeros::pack(&zeros, bits, OUT).unwrap().words(), qzeros, "{name}");
    }
}
