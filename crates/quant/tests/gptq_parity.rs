//! Packed tensors that `GPTQModel` wrote must mean here what they mean there. The fixture is
//! made by `scripts/make_quant_fixtures.py`.

use std::path::Path;

use limbeck_core::{Checkpoint, TensorFile};
use limbeck_quant::formats::LayerSettings;
use limbeck_quant::{Activations, Bits, CheckpointSettings, Format, PackedLoader, Residency};
use tch::{Device, Kind};

const OUT: i64 = 16;
const IN: i64 = 64;

/// Name in the fixture, bits, group size, version.
const CASES: [(&str, Bits, usize, Format); 7] = [
    ("four_bits", Bits::Four, 32, Format::Gptq),
    ("four_bits_v2", Bits::Four, 32, Format::GptqV2),
    ("four_bits_asymmetric_v1", Bits::Four, 32, Format::Gptq),
    ("four_bits_asymmetric_v2", Bits::Four, 16, Format::GptqV2),
    ("four_bits_act_order", Bits::Four, 16, Format::Gptq),
    ("eight_bits", Bits::Eight, 64, Format::Gptq),
    ("eight_bits_asymmetric_v2", Bits::Eight, 32, Format::GptqV2),
];

#[test]
fn weights_are_those_that_gptqmodel_unpacks() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/quant/gptq.safetensors");
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.names().len(), 5 * CASES.len());
    let mut checkpoint = Checkpoint::open_file(&path).unwrap();
    for (name, bits, group_size, format) in CASES {
        let symmetric = !name.contains("asymmetric");
        let layer = LayerSettings { bits, group_size: Some(group_size), symmetric };
        let settings = CheckpointSettings { format, layer, overrides: Vec::new(), head: false };
        let loader = PackedLoader {
            settings,
            residency: Residency::Packed,
            activations: Activations::Float32,
        };
        let weight = loader.read(name, &mut checkpoint, (OUT, IN)).unwrap().unwrap();
        assert_eq!(weight.is_symmetric(), symmetric, "{name}");
        // Theirs is computed in f16, ours is exact in fp32.
        let dense = weight.dequantize().to_tensor(Kind::Half, Device::Cpu).unwrap();
        let tensor = |suffix: &str| file.tensor(&format!("{name}.{suffix}")).unwrap();
        assert_eq!(dense.to_kind(Kind::Float), tensor("expected"), "{name}");
        // What we would write is what they wrote.
        for (suffix, written) in format.pack(&weight).unwrap().unwrap() {
            assert_eq!(written, tensor(&suffix), "{name}.{suffix}");
        }
    }
}
