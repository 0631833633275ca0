//! How a decoder's matrices lie in memory must not change what it computes; what was changed
//! in a packed decoder can be packed again.

use std::any::Any;
use std::path::Path;

use limbeck_core::{DType, test_device};
use limbeck_model::{Decoder, DenseEmbedding, DenseLinear, Embedding, Input, Linear, LoadOptions};
use limbeck_quant::nf4::{Nf4Embedding, Nf4Linear};
use limbeck_quant::{
    Activations, Error, Method, PackedLinear, QuantizeConfig, Residency, Storage, load_decoder_as,
    quantize, requantize, save,
};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const VOCAB: i64 = 96;
const CHANGED: &str = "model.layers.1.mlp.up_proj";

fn options() -> LoadOptions<'static> {
    LoadOptions::dense(test_device(), Kind::Float)
}

/// A model in a folder, with a head of its own or tied.
fn write_model(folder: &Path, tied: bool) {
    let config = json!({
        "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64,
        "initializer_range": 0.1, "intermediate_size": 96, "max_position_embeddings": 256,
        "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": tied,
        "vocab_size": VOCAB,
    });
    let decoder = Decoder::init(&config, 5, test_device(), Kind::Float).unwrap();
    decoder.save(folder, Kind::BFloat16).unwrap();
}

fn config(method: Method) -> QuantizeConfig {
    QuantizeConfig {
        method,
        group_size: 32,
        calibration_tokens_min: 1,
        ..QuantizeConfig::default()
    }
}

fn sequences() -> Vec<Vec<i64>> {
    (0..8).map(|row| (0..20).map(|place| (row * 31 + place * 7 + 3) % VOCAB).collect()).collect()
}

fn logits(decoder: &Decoder) -> Tensor {
    let tokens = Tensor::from_slice(&sequences().concat()).view([8, 20]).to_device(test_device());
    decoder.logits(&decoder.forward(&Input::causal(&tokens), None, None).unwrap()).unwrap()
}

fn assert_close(left: &Tensor, right: &Tensor) {
    let difference = (left - right).abs().max().double_value(&[]);
    assert!(difference < 1e-4, "{difference}");
}

#[test]
fn a_plain_folder_in_nf4_is_the_dense_model_of_its_rounded_weights() {
    for tied in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), tied);
        let mut decoder = load_decoder_as(folder.path(), &options(), Residency::Nf4).unwrap();
        assert!((decoder.embedding() as &dyn Any).is::<Nf4Embedding>());
        let expected = logits(&decoder);
        let mut names = decoder.linear_names();
        names.extend(decoder.head_name().map(str::to_owned));
        for name in names {
            let layer = decoder.linear(&name).unwrap() as &dyn Any;
            assert!(layer.is::<Nf4Linear>(), "{name}");
            let dense = |layer: Box<dyn Linear>| -> limbeck_model::Result<Box<dyn Linear>> {
                Ok(Box::new(DenseLinear::new(layer.dense_weight()?, layer.bias())?))
            };
            decoder.map_linear(&name, &mut |layer| dense(layer)).unwrap();
        }
        let dense = |embedding: Box<dyn Embedding>| -> limbeck_model::Result<Box<dyn Embedding>> {
            Ok(Box::new(DenseEmbedding::new(embedding.dense_weight()?)?))
        };
        decoder.map_embedding(&mut |embedding| dense(embedding)).unwrap();
        assert_close(&logits(&decoder), &expected);
    }
}

#[test]
fn a_quantised_folder_computes_the_same_packed() {
    let (plain, quantized) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_model(plain.path(), true);
    let mut decoder = Decoder::load(plain.path(), &options()).unwrap();
    quantize(&mut decoder, &sequences(), &config(Method::Rtn), &mut |_, _, _| {}).unwrap();
    save(&decoder, quantized.path(), DType::BFloat16).unwrap();
    let load = |residency| load_decoder_as(quantized.path(), &options(), residency);
    let (dense, packed) = (load(Residency::Dense).unwrap(), load(Residency::Packed).unwrap());
    assert_close(&logits(&dense), &logits(&packed));
    // So small a model is in the caches whatever it is.
    assert_eq!(logits(&load(Residency::Auto).unwrap()), logits(&dense));
    let error = load(Residency::Nf4).unwrap_err();
    assert!(matches!(error, Error::PackedTwice { .. }), "{error}");
}

#[test]
fn activations_in_8_bits_are_nearly_the_same_model() {
    let (plain, quantized) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_model(plain.path(), true);
    let mut decoder = Decoder::load(plain.path(), &options()).unwrap();
    let config = QuantizeConfig { head_bits: 4, ..config(Method::Rtn) };
    quantize(&mut decoder, &sequences(), &config, &mut |_, _, _| {}).unwrap();
    save(&decoder, quantized.path(), DType::BFloat16).unwrap();
    let load = |activations| {
        let storage = Storage { residency: Residency::Auto, activations };
        logits(&load_decoder_as(quantized.path(), &options(), storage).unwrap())
    };
    let (exact, rounded) = (load(Activations::Float32), load(Activations::Int8));
    let difference = (&rounded - &exact).norm().double_value(&[]) / exact.norm().double_value(&[]);
    if test_device() == Device::Cpu {
        assert!(difference > 1e-4 && difference < 0.02, "{difference}");
    } else {
        assert!(difference < 1e-3, "activations stay as they are on a GPU: {difference}");
    }
    // A token's logits do not depend on the rows beside it.
    let storage = Storage { residency: Residency::Auto, activations: Activations::Int8 };
    let decoder = load_decoder_as(quantized.path(), &options(), storage).unwrap();
    let hidden = Tensor::randn([5, 1, 64], (Kind::Float, test_device()));
    let together = decoder.logits(&hidden).unwrap();
    if test_device() == Device::Cpu {
        for row in 0..5 {
            let alone = decoder.logits(&hidden.narrow(0, row, 1)).unwrap();
            assert_eq!(alone, together.narrow(0, row, 1));
        }
    }
}

#[test]
fn only_what_was_changed_is_packed_again() {
    for method in [Method::Rtn, Method::Gptq] {
        let (plain, packed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_model(plain.path(), true);
        let mut decoder = Decoder::load(plain.path(), &options()).unwrap();
        quantize(&mut decoder, &[], &config(Method::Rtn), &mut |_, _, _| {}).unwrap();
        let untouched = decoder.named_parameters();
        let again = |decoder: &mut Decoder| {
            requantize(decoder, &sequences(), &config(method), &mut |_, _, _| {})
        };
        assert!(matches!(again(&mut decoder), Err(Error::NothingDense)));

        let mut changed = Tensor::new();
        decoder
            .map_linear(CHANGED, &mut |layer| {
                changed = layer.dense_weight()? * 1.5;
                Ok(Box::new(DenseLinear::new(changed.shallow_clone(), layer.bias())?))
            })
            .unwrap();
        let report = again(&mut decoder).unwrap();
        assert_eq!(report.layers.len(), 1);
        assert_eq!(report.layers[0].name, CHANGED);
        assert!(report.layers[0].weight_error < 0.2, "{}", report.layers[0].weight_error);
        for ((name, before), (_, after)) in untouched.iter().zip(decoder.named_parameters()) {
            let same = before.equal(&after);
            assert!(same || name.starts_with(CHANGED), "{name} was packed again");
        }
        let layer = decoder.linear(CHANGED).unwrap() as &dyn Any;
        assert!(layer.is::<PackedLinear>());
        save(&decoder, packed.path(), DType::BFloat16).unwrap();
        let loaded = load_decoder_as(packed.path(), &options(), Residency::Packed).unwrap();
        assert_close(&logits(&loaded), &logits(&decoder));
    }
}
