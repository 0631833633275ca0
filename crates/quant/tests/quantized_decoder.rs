//! A decoder from calibration to a folder and back.

use std::any::Any;
use std::path::Path;

use limbeck_core::seed::CounterRng;
use limbeck_core::{Checkpoint, DType, test_device, write_tensors};
use limbeck_model::{Decoder, Input, LoadOptions};
use limbeck_quant::{
    CheckpointSettings, Error, Format, Method, Order, PackedEmbedding, PackedLinear, PackedWeight,
    QuantizeConfig, QuantizeReport, WeightMatrix, load_decoder, quantize, rtn, save, verify_logits,
};
use limbeck_run::{Diagnose, Exit};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const VOCAB: usize = 96;

fn hf_config() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.1,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
        "vocab_size": VOCAB,
        "torch_dtype": "bfloat16",
    })
}

/// A decoder whose parameters bf16 holds exactly, computing in fp32.
fn decoder() -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    Decoder::init(&hf_config(), 5, Device::Cpu, Kind::Float)
        .unwrap()
        .save(folder.path(), Kind::BFloat16)
        .unwrap();
    Decoder::load(folder.path(), &fp32()).unwrap()
}

fn fp32() -> LoadOptions<'static> {
    LoadOptions::dense(test_device(), Kind::Float)
}

fn calibration(seed: u64) -> Vec<Vec<i64>> {
    let mut rng = CounterRng::new(seed);
    (0..24).map(|_| (0..8 + rng.below(40)).map(|_| rng.below(VOCAB) as i64).collect()).collect()
}

fn config() -> QuantizeConfig {
    QuantizeConfig { group_size: 32, calibration_tokens_min: 1, ..QuantizeConfig::default() }
}

fn run(decoder: &mut Decoder, config: &QuantizeConfig) -> limbeck_quant::Result<QuantizeReport> {
    quantize(decoder, &calibration(1), config, &mut |_, _, _| {})
}

fn logits(decoder: &Decoder) -> Tensor {
    let tokens: Vec<i64> = (0..40).map(|place| (place * 7 + 3) % VOCAB as i64).collect();
    let tokens = Tensor::from_slice(&tokens).view([2, 20]).to_device(decoder.device());
    let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
    decoder.logits(&hidden).unwrap()
}

/// Mean KL divergence of the quantised model from the original one.
fn divergence(original: &Tensor, quantized: &Tensor) -> f64 {
    let original = original.log_softmax(-1, Kind::Double);
    let quantized = quantized.log_softmax(-1, Kind::Double);
    (original.exp() * (original - quantized))
        .sum_dim_intlist(-1, false, Kind::Double)
        .mean(Kind::Double)
        .double_value(&[])
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn every_setting_comes_back_from_its_folder_with_the_same_logits() {
    let original = logits(&decoder());
    let formats = [Format::Gptq, Format::GptqV2, Format::Awq, Format::CompressedTensors];
    for bits in [4, 8] {
        for format in formats {
            if (format, bits) == (Format::Awq, 8) {
                continue;
            }
            for symmetric in [true, false] {
                for group_size in [32, -1] {
                    let config = QuantizeConfig {
                        bits,
                        format,
                        symmetric: Some(symmetric),
                        group_size,
                        ..config()
                    };
                    let mut decoder = decoder();
                    run(&mut decoder, &config).unwrap();
                    let expected = logits(&decoder);
                    let folder = tempfile::tempdir().unwrap();
                    save(&decoder, folder.path(), DType::BFloat16).unwrap();
                    let loaded = load_decoder(folder.path(), &fp32()).unwrap();
                    assert_eq!(logits(&loaded), expected, "{config:?}");
                    let divergence = divergence(&original, &expected);
                    let bound = if bits == 8 { 1e-4 } else { 0.05 };
                    assert!(divergence < bound, "{config:?}: {divergence}");

                    // And once more: saving what was loaded changes nothing.
                    let again = tempfile::tempdir().unwrap();
                    save(&loaded, again.path(), DType::BFloat16).unwrap();
                    for file in ["model.safetensors", "config.json", "quantize_config.json"] {
                        let read = |folder: &Path| std::fs::read(folder.join(file)).ok();
                        assert_eq!(read(folder.path()), read(again.path()), "{file}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_folder_is_what_gptq_loaders_expect() {
    let mut decoder = decoder();
    run(&mut decoder, &config()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(&decoder, folder.path(), DType::BFloat16).unwrap();

    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let info = |key: &str| {
        let info = checkpoint.info(key).unwrap_or_else(|| panic!("no {key}"));
        (info.kind, info.shape)
    };
    let down = "model.layers.1.mlp.down_proj";
    assert_eq!(info(&format!("{down}.qweight")), (Kind::Int, vec![12, 64]));
    assert_eq!(info(&format!("{down}.qzeros")), (Kind::Int, vec![3, 8]));
    assert_eq!(info(&format!("{down}.scales")), (Kind::Half, vec![3, 64]));
    assert_eq!(info(&format!("{down}.g_idx")), (Kind::Int, vec![96]));
    assert!(!checkpoint.has(&format!("{down}.weight")) && !checkpoint.has("lm_head.weight"));
    assert_eq!(info("model.layers.0.self_attn.k_proj.bias"), (Kind::Half, vec![32]));
    assert_eq!(info("model.embed_tokens.weight"), (Kind::BFloat16, vec![96, 64]));
    assert_eq!(info("model.norm.weight").0, Kind::BFloat16);

    let json = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.path().join(file)).unwrap()).unwrap()
    };
    let settings = json("quantize_config.json");
    assert_eq!(json("config.json")["quantization_config"], settings);
    assert_eq!(json("config.json")["torch_dtype"], "bfloat16");
    for (key, value) in [
        ("quant_method", json!("gptq")),
        ("bits", json!(4)),
        ("group_size", json!(32)),
        ("desc_act", json!(false)),
        ("sym", json!(true)),
        ("checkpoint_format", json!("gptq")),
        ("pack_dtype", json!("int32")),
    ] {
        assert_eq!(settings[key], value, "{key}");
    }
    // The dense loader must not take it for a plain model.
    assert!(Decoder::load(folder.path(), &fp32()).is_err());
}

#[test]
fn calibration_lowers_the_error_and_the_report_adds_up() {
    let original = logits(&decoder());
    let mut divergences = Vec::new();
    for method in [Method::Rtn, Method::Gptq] {
        let mut decoder = decoder();
        let mut done = Vec::new();
        let report = quantize(
            &mut decoder,
            &calibration(1),
            &QuantizeConfig { method, ..config() },
            &mut |number, total, layer| {
                assert_eq!(total, 14);
                done.push((number, layer.name.clone()));
            },
        )
        .unwrap();
        divergences.push(divergence(&original, &logits(&decoder)));

        let mut names = decoder.linear_names();
        assert_eq!(
            done.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            (1..=14).collect::<Vec<_>>()
        );
        assert_eq!(done.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), names);
        let mut bytes = 0;
        for layer in &report.layers {
            assert!((0.03..0.2).contains(&layer.weight_error), "{layer:?}");
            assert_eq!(layer.output_error.is_some(), method == Method::Gptq);
            let packed: &dyn Any = decoder.linear(&layer.name).unwrap();
            bytes += packed.downcast_ref::<PackedLinear>().unwrap().packed_bytes();
            names.retain(|name| name != &layer.name);
        }
        assert!(names.is_empty());
        assert_eq!(report.packed_bytes, bytes);
        // From fp32: 8 times less, but for scales, zeros, groups and biases.
        assert!(report.original_bytes > 5 * report.packed_bytes);
        let tokens: usize = calibration(1).iter().map(Vec::len).sum();
        assert_eq!(report.calibration_tokens, if method == Method::Gptq { tokens } else { 0 });
        assert_eq!(report.mean_output_error().is_some(), method == Method::Gptq);
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    }
    // Random tokens through random weights are hardly correlated: there is little to gain.
    assert!(divergences[1] < 0.95 * divergences[0], "RTN and GPTQ: {divergences:?}");
}

#[test]
fn padding_and_batches_do_not_change_the_result() {
    let results = [1, 5, 100].map(|batch_size| {
        let mut decoder = decoder();
        let config = QuantizeConfig { batch_size, bits: 8, ..config() };
        let report = run(&mut decoder, &config).unwrap();
        (report.mean_output_error().unwrap(), logits(&decoder))
    });
    let (error, expected) = &results[0];
    for (other_error, other) in &results[1..] {
        // Only rounding of the sums differs, which may tip single weights.
        assert!((other_error / error - 1.0).abs() < 0.02, "{other_error} {error}");
        assert!(divergence(expected, other) < 1e-6);
    }
}

#[test]
fn orders_and_the_search_work_on_a_model() {
    let original = logits(&decoder());
    let cases = [
        (Order::Activation, false),
        (Order::Groups, false),
        (Order::None, true),
        (Order::Activation, true),
    ];
    for (order, mse_search) in cases {
        let mut decoder = decoder();
        run(&mut decoder, &QuantizeConfig { order, mse_search, ..config() }).unwrap();
        let expected = logits(&decoder);
        assert!(divergence(&original, &expected) < 0.05);
        let folder = tempfile::tempdir().unwrap();
        save(&decoder, folder.path(), DType::BFloat16).unwrap();
        assert_eq!(logits(&load_decoder(folder.path(), &fp32()).unwrap()), expected);
        let mut checkpoint = Checkpoint::open(folder.path()).unwrap();
        let groups = checkpoint.take("model.layers.0.self_attn.q_proj.g_idx").unwrap();
        let expected: Vec<i32> = (0..64).map(|feature| feature / 32).collect();
        assert_eq!(Vec::<i32>::try_from(groups).unwrap(), expected, "groups must stay in place");
    }
}

#[test]
fn the_calibration_limits_hold() {
    let mut decoder = decoder();
    let config = QuantizeConfig { calibration_records: 3, calibration_tokens_max: 20, ..config() };
    let sequences = vec![vec![1; 9], vec![], vec![2; 9], vec![3; 9], vec![4; 9]];
    let report = quantize(&mut decoder, &sequences, &config, &mut |_, _, _| {}).unwrap();
    assert_eq!(report.calibration_tokens, 20);
}

#[test]
fn plain_folders_load_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let decoder = decoder();
    decoder.save(folder.path(), Kind::Float).unwrap();
    assert_eq!(logits(&load_decoder(folder.path(), &fp32()).unwrap()), logits(&decoder));
    assert!(matches!(save(&decoder, folder.path(), DType::BFloat16), Err(Error::NotQuantized)));
}

#[test]
fn bad_requests_are_refused_before_any_work() {
    let mut decoder = decoder();
    let expected = logits(&decoder);
    let mut refused = |config: QuantizeConfig, sequences: &[Vec<i64>]| {
        let error = quantize(&mut decoder, sequences, &config, &mut |_, _, _| {}).unwrap_err();
        assert_eq!(logits(&decoder), expected, "{error}: the model was changed");
        (error.to_string(), error.exit(), error.hint().unwrap_or_default())
    };

    let (message, exit, _) = refused(QuantizeConfig { bits: 5, ..config() }, &calibration(1));
    assert!(message.contains("bits") && message.contains('5'), "{message}");
    assert_eq!(exit, Exit::Usage);
    let (message, _, hint) =
        refused(QuantizeConfig { group_size: 128, ..config() }, &calibration(1));
    assert!(message.contains("model.layers.0.self_attn.q_proj"), "{message}");
    assert!(hint.ends_with("32, -1"), "{hint}");
    let (message, exit, _) = refused(config(), &[Vec::new()]);
    assert!(message.contains("no calibration token"), "{message}");
    assert_eq!(exit, Exit::BadInput);
    let few = QuantizeConfig { calibration_tokens_min: 2000, ..config() };
    let (message, _, hint) = refused(few, &calibration(1));
    let tokens: usize = calibration(1).iter().map(Vec::len).sum();
    assert!(message.contains("at least 2000 tokens"), "{message}");
    assert!(message.contains(&format!("found {tokens} in 24 sequences")), "{message}");
    assert!(hint.contains("calibration_tokens_min"), "{hint}");
    let (message, ..) = refused(config(), &[vec![1, VOCAB as i64]]);
    assert!(message.contains("token id 96"), "{message}");
}

#[test]
fn quantising_twice_is_refused() {
    let mut decoder = decoder();
    run(&mut decoder, &config()).unwrap();
    let error = run(&mut decoder, &config()).unwrap_err();
    assert!(error.to_string().contains("q_proj is quantised already"), "{error}");
}

#[test]
fn damaged_weights_and_activations_name_their_layer() {
    let mut damaged = decoder();
    let name = "model.layers.1.mlp.up_proj";
    let weight = damaged.linear(name).unwrap().dense_weight().unwrap();
    let _ = weight.get(3).fill_(f64::NAN);
    let error = run(&mut damaged, &QuantizeConfig { method: Method::Rtn, ..config() }).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");

    let mut damaged = decoder();
    let norms = damaged.named_parameters();
    let (_, norm) =
        norms.iter().find(|(name, _)| name.ends_with("1.input_layernorm.weight")).unwrap();
    let _ = norm.shallow_clone().fill_(f64::INFINITY);
    let error = run(&mut damaged, &config()).unwrap_err();
    assert!(matches!(error, Error::ActivationRange { .. }), "{error}");
    assert!(error.to_string().contains("model.layers.1.self_attn.q_proj"), "{error}");
}

#[test]
fn packed_heads_and_embeddings_come_back_in_every_format() {
    for format in [Format::Gptq, Format::GptqV2, Format::Awq, Format::CompressedTensors] {
        for tied in [true, false] {
            let mut hf_config = hf_config();
            hf_config["tie_word_embeddings"] = json!(tied);
            let mut decoder = Decoder::init(&hf_config, 5, Device::Cpu, Kind::Float).unwrap();
            let config = QuantizeConfig { format, method: Method::Rtn, ..config() };
            run(&mut decoder, &config).unwrap();
            let weight = WeightMatrix::from_tensor(&decoder.head_weight().unwrap()).unwrap();
            let weight =
                rtn::quantize(&weight, config.grid_rule(config.bits().unwrap()), 32).unwrap();
            if tied {
                let weight = PackedWeight::new(weight, Device::Cpu).unwrap();
                let mut packed = Some(PackedEmbedding::new(weight, format));
                decoder.map_embedding(&mut |_| Ok(Box::new(packed.take().unwrap()))).unwrap();
            } else {
                let head =
                    PackedLinear::pack("lm_head", weight, None, format, Device::Cpu).unwrap();
                decoder.set_head(Box::new(head)).unwrap();
            }
            let mut settings = CheckpointSettings::of_config(&config).unwrap();
            settings.head = true;
            decoder.hf_config_mut()["quantization_config"] = settings.to_json(&config);
            let folder = tempfile::tempdir().unwrap();
            save(&decoder, folder.path(), DType::Float32).unwrap();
            // On the device of the decoder that it is compared with.
            let options = LoadOptions::dense(Device::Cpu, Kind::Float);
            let loaded = load_decoder(folder.path(), &options).unwrap();
            assert_eq!(logits(&loaded), logits(&decoder), "{format:?} {tied}");
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            let dense = if tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
            assert!(!checkpoint.has(dense), "{format:?}");
        }
    }
}

/// How a tensor is damaged; `None` = taken away.
type Damage = fn(&Tensor) -> Option<Tensor>;

#[test]
fn damaged_folders_name_tensor_and_key() {
    let mut decoder = decoder();
    run(&mut decoder, &config()).unwrap();
    let good = tempfile::tempdir().unwrap();
    save(&decoder, good.path(), DType::BFloat16).unwrap();
    let key = "model.layers.0.mlp.down_proj";

    let damages: [(&str, Damage, &str); 6] = [
        ("scales", |_| None, "missing"),
        ("qweight", |tensor| Some(tensor.narrow(0, 0, 11)), "wrong shape"),
        ("qzeros", |tensor| Some(tensor.to_kind(Kind::Int64)), "expected int32"),
        ("g_idx", |tensor| Some(tensor + 3), "expected groups below 3, found 3"),
        ("scales", |tensor| Some(tensor * f64::INFINITY), "expected finite numbers"),
        ("scales", |tensor| Some(tensor.to_kind(Kind::Int)), "expected a floating-point dtype"),
    ];
    for (suffix, damage, expected) in damages {
        let folder = tempfile::tempdir().unwrap();
        copy(good.path(), folder.path());
        let mut checkpoint = Checkpoint::open(good.path()).unwrap();
        let mut tensors = Vec::new();
        for name in checkpoint.names() {
            let tensor = checkpoint.take(&name).unwrap();
            let tensor =
                if name == format!("{key}.{suffix}") { damage(&tensor) } else { Some(tensor) };
            tensors.extend(tensor.map(|tensor| (name, tensor)));
        }
        write_tensors(&folder.path().join("model.safetensors"), &tensors, &[]).unwrap();
        let error = load_decoder(folder.path(), &fp32()).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(&format!("{key}.{suffix}")) && text.contains(expected), "{text}");
        assert_eq!(error.exit(), Exit::BadInput, "{text}");
    }

    let folder = tempfile::tempdir().unwrap();
    copy(good.path(), folder.path());
    edit_json(&folder.path().join("config.json"), |config| {
        config["quantization_config"]["quant_method"] = json!("exl3");
    });
    let error = load_decoder(folder.path(), &fp32()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("quant_method") && text.contains("exl3") && text.contains("gptq"),
        "{text}"
    );
    assert!(error.hint().is_some());
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn reading_back_notices_zeros_of_the_other_version() {
    // The decoder says version 1, its layers are packed for version 2.
    let mut decoder = decoder();
    run(&mut decoder, &QuantizeConfig { format: Format::GptqV2, ..config() }).unwrap();
    decoder.hf_config_mut()["quantization_config"]["checkpoint_format"] = json!("gptq");
    let folder = tempfile::tempdir().unwrap();
    let error = save(&decoder, folder.path(), DType::BFloat16).unwrap_err();
    assert!(matches!(error, Error::ZeroVersion { .. }), "{error}");
    assert!(error.to_string().contains("model.layers.0.self_attn.q_proj"), "{error}");
    assert!(error.hint().unwrap().contains("gptq_v2"));
}

#[test]
fn a_folder_that_computes_something_else_is_noticed() {
    let mut decoder = decoder();
    run(&mut decoder, &config()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(&decoder, folder.path(), DType::BFloat16).unwrap();
    let tokens = [vec![1, 2, 3], vec![]];
    verify_logits(&decoder, folder.path(), Kind::BFloat16, &tokens).unwrap();
    let norms = decoder.named_parameters();
    let (_, norm) = norms.iter().find(|(name, _)| name == "model.norm.weight").unwrap();
    let _ = norm.get(5).fill_(1.5);
    let error = verify_logits(&decoder, folder.path(), Kind::BFloat16, &tokens).unwrap_err();
    assert!(matches!(error, Error::ReadBackLogits { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Failed);
}

#[test]
fn folders_of_older_quantisers_load() {
    let mut decoder = decoder();
    run(&mut decoder, &config()).unwrap();
    let expected = logits(&decoder);
    let folder = tempfile::tempdir().unwrap();
    save(&decoder, folder.path(), DType::BFloat16).unwrap();

    // Settings only in quantize_config.json, without format; no g_idx; biases of zeros
    // where the architecture has none.
    edit_json(&folder.path().join("config.json"), |config| {
        config.as_object_mut().unwrap().remove("quantization_config");
    });
    edit_json(&folder.path().join("quantize_config.json"), |settings| {
        *settings = json!({ "bits": 4, "group_size": 32, "desc_act": false, "sym": true });
    });
    let path = folder.path().join("model.safetensors");
    let mut checkpoint = Checkpoint::open(folder.path()).unwrap();
    let mut tensors = Vec::new();
    for name in checkpoint.names().iter().filter(|name| !name.ends_with("g_idx")) {
        tensors.push((name.clone(), checkpoint.take(name).unwrap()));
    }
    let zeros = Tensor::zeros([64], (Kind::Half, Device::Cpu));
    tensors.push(("model.layers.0.mlp.down_proj.bias".to_owned(), zeros));
    write_tensors(&path, &tensors, &[]).unwrap();

    let loaded = load_decoder(folder.path(), &fp32()).unwrap();
    assert_eq!(logits(&loaded), expected);
    assert!(loaded.linear("model.layers.0.mlp.down_proj").unwrap().bias().is_none());
}
