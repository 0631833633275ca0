//! NF4 must be what bitsandbytes makes of the same matrix. The fixture is made by
//! `scripts/make_nf4_fixture.py`.

use std::path::Path;

use limbeck_core::{TensorFile, dynamic_map};
use limbeck_quant::nf4::Nf4Matrix;
use limbeck_quant::nf4::levels::LEVELS;
use tch::{Device, Kind, Tensor};

#[test]
fn codes_scales_and_weights_are_those_of_bitsandbytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/quant/nf4.safetensors");
    let file = TensorFile::open(&path).unwrap();
    let expected = |name: &str| file.tensor(name).unwrap();
    let largest = |difference: Tensor| difference.abs().max().double_value(&[]);

    assert_eq!(expected("book"), Tensor::from_slice(&LEVELS));
    let book = Tensor::from_slice(&dynamic_map(true));
    assert!(largest(expected("nested_book") - book) < 1e-7);

    let weight = expected("weight");
    let (rows, columns) = weight.size2().unwrap();
    let read = &mut |start, length| Ok(weight.f_narrow(0, start, length)?);
    let matrix = Nf4Matrix::quantize("fixture", (rows, columns), Device::Cpu, read).unwrap();
    let [codes, absmax, nested_absmax] = matrix.named().try_into().unwrap();
    assert_eq!(codes.1.view(-1), expected("codes"));
    assert_eq!(absmax.1.view(-1), expected("absmax"));
    assert!(largest(nested_absmax.1 - expected("nested_absmax")) < 1e-6);
    // Theirs sums the mean of the block maxima in float32.
    let dense = matrix.dequantize(0, rows, Kind::Float).unwrap();
    assert!(largest(dense - expected("dequantized")) < 1e-6);
}
