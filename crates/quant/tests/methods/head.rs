//! Heads and embeddings, packed.

use std::any::Any;

use limbeck_core::DType;
use limbeck_model::Decoder;
use limbeck_quant::{
    Bits, Error, Method, PackedEmbedding, PackedLinear, QuantizeConfig, load_decoder, quantize,
    save,
};
use limbeck_run::Diagnose;

use super::{config, fp32, load, logits, relative, sequences, small};

fn packed_head(decoder: &Decoder) -> Option<Bits> {
    let head: &dyn Any = decoder.linear("lm_head")?;
    Some(head.downcast_ref::<PackedLinear>()?.packed().bits())
}

fn packed_embedding(decoder: &Decoder) -> Option<Bits> {
    let embedding: &dyn Any = decoder.embedding();
    Some(embedding.downcast_ref::<PackedEmbedding>()?.packed().bits())
}

#[test]
fn heads_and_embeddings_come_back_from_their_folder() {
    for method in [Method::Rtn, Method::Gptq, Method::Awq] {
        for tied in [true, false] {
            for (head_bits, embedding_bits) in [(8, 0), (4, 0), (3, 0), (8, 4), (0, 8)] {
                if tied && embedding_bits != 0 {
                    continue;
                }
                let mut decoder = small(tied);
                let sequences = sequences(&decoder, 1);
                let config = QuantizeConfig { head_bits, embedding_bits, ..config(method) };
                let mut last = String::new();
                let report = quantize(&mut decoder, &sequences, &config, &mut |_, total, layer| {
                    assert_eq!(
                        total,
                        14 + [head_bits, embedding_bits].iter().filter(|&&b| b > 0).count()
                    );
                    last.clone_from(&layer.name);
                })
                .unwrap();
                let case = format!("{method:?} tied {tied} {head_bits} {embedding_bits}");
                let embedding = if tied { head_bits } else { embedding_bits };
                assert_eq!(packed_embedding(&decoder), Bits::new(embedding), "{case}");
                let own = if tied { 0 } else { head_bits };
                assert_eq!(packed_head(&decoder), Bits::new(own), "{case}");
                if head_bits != 0 {
                    assert_eq!(last, if tied { "model.embed_tokens" } else { "lm_head" });
                    let head = report.layers.last().unwrap();
                    assert_eq!(u64::from(head.bits), head_bits);
                    assert_eq!(head.output_error.is_some(), method != Method::Rtn);
                }
                let expected = logits(&decoder);
                let folder = tempfile::tempdir().unwrap();
                save(&decoder, folder.path(), DType::Float32).unwrap();
                let loaded = load_decoder(folder.path(), &fp32()).unwrap();
                assert_eq!(logits(&loaded), expected, "{case}");
                assert_eq!(packed_embedding(&loaded), packed_embedding(&decoder), "{case}");
                assert_eq!(packed_head(&loaded), packed_head(&decoder), "{case}");
                assert_eq!(
                    loaded.hf_config()["quantization_config"]["lm_head"],
                    head_bits != 0,
                    "{case}"
                );
                // What is packed is not quantised again.
                let error =
                    quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap_err();
                assert!(matches!(error, Error::AlreadyQuantized { .. }), "{case}: {error}");
            }
        }
    }
}

#[test]
fn gptq_lowers_the_error_of_a_head() {
    let error = |method| {
        let mut decoder = small(false);
        let original = logits(&decoder);
        let sequences = sequences(&decoder, 2);
        // All else stays dense.
        let config =
            QuantizeConfig { dense: vec!["model".to_owned()], head_bits: 3, ..config(method) };
        let report = quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap();
        assert_eq!(report.layers.len(), 1);
        relative(&original, &logits(&decoder))
    };
    let (rounded, solved) = (error(Method::Rtn), error(Method::Gptq));
    assert!(solved < 0.97 * rounded, "GPTQ {solved}, RTN {rounded}");
}

#[test]
fn groups_of_a_head_fit_its_width() {
    let mut decoder = load("gemma3");
    let width = decoder.config().hidden_size;
    let sequences = sequences(&decoder, 3);
    let with = |head_group_size, group_size| QuantizeConfig {
        bits: 8,
        head_bits: 8,
        head_group_size,
        group_size,
        ..config(Method::Rtn)
    };
    let error = quantize(&mut load("gemma3"), &sequences, &with(128, -1), &mut |_, _, _| {});
    if width % 128 != 0 {
        let error = error.unwrap_err();
        assert!(error.to_string().contains("model.embed_tokens"), "{error}");
        assert!(error.hint().unwrap().contains("group sizes that fit"), "{error}");
    }
    quantize(&mut decoder, &sequences, &with(0, -1), &mut |_, _, _| {}).unwrap();
    let embedding: &dyn Any = decoder.embedding();
    let packed = embedding.downcast_ref::<PackedEmbedding>().unwrap();
    assert_eq!(packed.packed().to_quantized().unwrap().group_size() as i64, width);
}

#[test]
fn the_embedding_of_a_tied_model_has_no_bits_of_its_own() {
    let mut decoder = small(true);
    let config = QuantizeConfig { embedding_bits: 8, ..config(Method::Rtn) };
    let error = quantize(&mut decoder, &[], &config, &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("head_bits"), "{error}");
}
