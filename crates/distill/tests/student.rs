//! Students out of the tiny models of every family, and what is refused.

use std::path::{Path, PathBuf};

use limbeck_core::tokenizer_training::{TokenizerConfig, train};
use limbeck_core::{TensorFile, Tokenizer, test_device};
use limbeck_distill::{Error, Init, Origin, Student, StudentConfig, StudentError};
use limbeck_model::{Decoder, Input, LoadOptions};
use limbeck_run::config::Validate;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const FAMILIES: [&str; 7] =
    ["llama2", "llama3", "mistral", "qwen2", "qwen2_untied", "qwen3", "gemma3"];

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(family)
}

fn load(folder: &Path) -> Decoder {
    Decoder::load(folder, &LoadOptions::dense(test_device(), Kind::Float)).unwrap()
}

fn tokens(family: &str) -> Tensor {
    let expected = TensorFile::open(&folder(family).join("expected.safetensors")).unwrap();
    expected.tensor("tokens").unwrap().to_device(test_device())
}

fn logits(decoder: &Decoder, tokens: &Tensor) -> Tensor {
    let _guard = tch::no_grad_guard();
    let hidden = decoder.forward(&Input::causal(tokens), None, None).unwrap();
    decoder.logits(&hidden).unwrap()
}

fn config(value: Value) -> StudentConfig {
    let config: StudentConfig = serde_json::from_value(value).unwrap();
    config.validate().unwrap();
    config
}

const SEQUENCES: [&[i64]; 3] = [&[5, 9, 200, 31, 7, 7, 12], &[40, 41, 42, 43], &[100; 5]];

fn try_build(config: &StudentConfig, teacher: &mut Decoder) -> Result<Student, Error> {
    let tokenizer = Tokenizer::load(&folder("qwen2")).unwrap();
    config.build(Origin {
        tokenizer: &tokenizer,
        teacher: Some(teacher),
        vocab_size: None,
        aligned: false,
        calibration: &SEQUENCES,
        seed: 3,
        device: test_device(),
    })
}

fn build(config: &StudentConfig, teacher: &mut Decoder) -> Student {
    try_build(config, teacher).unwrap()
}

fn difference(left: &Tensor, right: &Tensor) -> f64 {
    assert_eq!(left.size(), right.size());
    (left - right).abs().max().double_value(&[])
}

#[test]
fn a_student_of_all_blocks_is_the_teacher_and_shares_nothing_with_it() {
    for family in FAMILIES {
        let mut teacher = load(&folder(family));
        let depth = teacher.num_layers();
        let tokens = tokens(family);
        let expected = logits(&teacher, &tokens);
        let all = config(json!({ "init": "teacher_layers", "num_hidden_layers": depth }));
        let student = build(&all, &mut teacher);
        assert_eq!(student.decoder.config(), teacher.config(), "{family}");
        assert!(logits(&student.decoder, &tokens).equal(&expected), "{family}");
        let sliced = build(&config(json!({ "init": "width_sliced" })), &mut teacher);
        assert!(logits(&sliced.decoder, &tokens).equal(&expected), "{family}");
        for (_, mut tensor) in student.decoder.named_parameters() {
            let _ = tch::no_grad(|| tensor.zero_());
        }
        assert!(logits(&teacher, &tokens).equal(&expected), "{family}: the teacher has changed");
    }
}

#[test]
fn chosen_blocks_are_saved_and_loaded_with_their_kind() {
    for family in FAMILIES {
        let mut teacher = load(&folder(family));
        let last = teacher.num_layers() - 1;
        // Of gemma3's four blocks the third sees everything, and at another base.
        let layers = if family == "gemma3" { vec![0, 2] } else { vec![last] };
        let student =
            build(&config(json!({ "init": "teacher_layers", "layers": layers })), &mut teacher);
        let kinds: Vec<_> = layers.iter().map(|layer| teacher.config().layers[*layer]).collect();
        assert_eq!(student.decoder.config().layers, kinds, "{family}");
        let saved = tempfile::tempdir().unwrap();
        student.decoder.save(saved.path(), Kind::Float).unwrap();
        let again = load(saved.path());
        assert_eq!(again.config(), student.decoder.config(), "{family}");
        let tokens = tokens(family);
        assert!(logits(&again, &tokens).equal(&logits(&student.decoder, &tokens)), "{family}");
        // The blocks are the teacher's: each gives what the teacher's does on the same input.
        let hidden = teacher.embed(&Input::causal(&tokens)).unwrap();
        for (block, layer) in layers.iter().enumerate() {
            let input = Input::causal(&tokens);
            let theirs = teacher.layer_forward(*layer, &hidden, &input).unwrap();
            let ours = again.layer_forward(block, &hidden, &input).unwrap();
            assert!(ours.equal(&theirs), "{family}: block {layer}");
        }
    }
}

#[test]
fn patterns_of_sliding_blocks_become_lists() {
    // A period instead of a list: blocks 1 and 3 of four see everything.
    let shape = json!({
        "model_type": "gemma3_text", "vocab_size": 64, "hidden_size": 16,
        "intermediate_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4,
        "sliding_window_pattern": 2, "query_pre_attn_scalar": 8,
    });
    let mut teacher = Decoder::init(&shape, 1, test_device(), Kind::Float).unwrap();
    let student =
        build(&config(json!({ "init": "teacher_layers", "layers": [1, 2] })), &mut teacher);
    let keys = student.decoder.hf_config();
    assert_eq!(keys["layer_types"], json!(["full_attention", "sliding_attention"]));
    assert_eq!(keys["sliding_window_pattern"], Value::Null);
    // The same below an image model's `text_config`.
    let wrapped = json!({ "model_type": "gemma3", "text_config": shape, "eos_token_id": [1, 106] });
    let mut teacher = Decoder::init(&wrapped, 1, test_device(), Kind::Float).unwrap();
    let student =
        build(&config(json!({ "init": "teacher_layers", "layers": [0, 3] })), &mut teacher);
    let keys = student.decoder.hf_config();
    assert_eq!(keys["model_type"], "gemma3_text");
    assert_eq!(keys["layer_types"], json!(["sliding_attention", "full_attention"]));
    assert_eq!(keys["eos_token_id"], json!([1, 106]));
    // Qwen's shorthand: blocks from the second on slide.
    let shape = json!({
        "model_type": "qwen2", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 8,
        "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1,
        "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 2,
    });
    let mut teacher = Decoder::init(&shape, 1, test_device(), Kind::Float).unwrap();
    let student =
        build(&config(json!({ "init": "teacher_layers", "layers": [0, 2] })), &mut teacher);
    let keys = student.decoder.hf_config();
    assert_eq!(keys["layer_types"], json!(["full_attention", "sliding_attention"]));
    assert_eq!(keys["max_window_layers"], 1);
    let kinds: Vec<_> = [0, 2].iter().map(|layer| teacher.config().layers[*layer]).collect();
    assert_eq!(student.decoder.config().layers, kinds);
}

/// Zeroes what a slice may then leave out: dimensions of the residual stream, neurons, and
/// whole groups of heads or one head of each.
fn hollow(decoder: &Decoder, dimensions: &[i64], neurons: &[i64], groups: &[i64], heads: &[i64]) {
    let _guard = tch::no_grad_guard();
    let width = decoder.config().head_dim;
    let rows = |tensor: &Tensor, axis: i64, places: &[i64]| {
        for &place in places {
            let _ = tensor.narrow(axis, place, 1).zero_();
        }
    };
    let of_heads = |heads: &[i64]| -> Vec<i64> {
        heads.iter().flat_map(|head| head * width..(head + 1) * width).collect()
    };
    for (name, tensor) in decoder.named_parameters() {
        let matrix = tensor.dim() == 2;
        if name.contains("embed_tokens") {
            rows(&tensor, 1, dimensions);
        } else if name.contains("down_proj") || name.contains("o_proj") {
            rows(&tensor, 0, dimensions);
        } else if name.contains("up_proj") {
            rows(&tensor, 0, neurons);
        } else if name.contains("v_proj") {
            rows(&tensor, 0, &of_heads(groups));
        }
        if name.contains("o_proj") && matrix {
            rows(&tensor, 1, &of_heads(heads));
        }
    }
}

#[test]
fn what_is_zero_can_be_left_out() {
    for family in FAMILIES {
        let mut teacher = load(&folder(family));
        // Away from the epsilon of norms, which a narrower mean weighs otherwise.
        for (name, mut tensor) in teacher.named_parameters() {
            if name.contains("embed_tokens") {
                let _ = tch::no_grad(|| tensor.g_mul_scalar_(10.0));
            }
        }
        let shared = teacher.config().num_key_value_heads;
        let groups: &[i64] = if shared > 1 { &[0] } else { &[] };
        let dimensions = [0, 3, 4, 9, 17, 21, 30, 31];
        let neurons = [1, 2, 5, 8, 13, 21, 34, 39];
        hollow(&teacher, &dimensions, &neurons, groups, &[]);
        let tokens = tokens(family);
        let expected = logits(&teacher, &tokens);
        let heads = if shared > 1 { 2 } else { 4 };
        let sliced = config(json!({
            "init": "width_sliced", "hidden_size": 24, "intermediate_size": 32,
            "num_attention_heads": heads,
        }));
        let student = build(&sliced, &mut teacher);
        let config = student.decoder.config();
        assert_eq!((config.hidden_size, config.intermediate_size), (24, 32), "{family}");
        assert_eq!((config.num_attention_heads, config.num_key_value_heads), (heads, 1));
        assert_eq!(config.head_dim, teacher.config().head_dim, "{family}");
        let from = student.record.from_teacher.as_ref().unwrap();
        let kept = from.hidden.as_ref().unwrap();
        assert!(dimensions.iter().all(|dimension| !kept.contains(dimension)), "{family}: {kept:?}");
        let importance = from.importance.as_ref().unwrap();
        assert_eq!((importance.records, importance.tokens), (3, 16));
        assert!((importance.hidden_share - 1.0).abs() < 1e-9, "{family}: {importance:?}");
        let found = logits(&student.decoder, &tokens);
        let scale = expected.abs().max().double_value(&[]);
        let error = difference(&found, &expected) / scale;
        assert!(error < 1e-4, "{family}: {error} of {scale}");
        // The recorders are gone, and the teacher is what it was.
        assert!(logits(&teacher, &tokens).equal(&expected), "{family}");
        let saved = tempfile::tempdir().unwrap();
        student.decoder.save(saved.path(), Kind::Float).unwrap();
        let again = load(saved.path());
        assert!(logits(&again, &tokens).equal(&found), "{family}: saved and loaded");
    }
}

#[test]
fn one_head_of_each_group_can_go() {
    let mut teacher = load(&folder("qwen3"));
    // A head without output, in each of the two groups of two.
    let silent = |decoder: &Decoder, of_block: &[[i64; 2]]| {
        let _guard = tch::no_grad_guard();
        let width = decoder.config().head_dim;
        for (block, heads) in of_block.iter().enumerate() {
            let name = format!("model.layers.{block}.self_attn.o_proj.weight");
            let found = decoder.named_parameters().into_iter().find(|(known, _)| *known == name);
            for head in heads {
                let _ = found.as_ref().unwrap().1.narrow(1, head * width, width).zero_();
            }
        }
    };
    let student = config(json!({
        "init": "width_sliced", "num_attention_heads": 2, "num_key_value_heads": 2,
    }));
    let made = build(&student, &mut teacher);
    let blocks = &made.record.from_teacher.as_ref().unwrap().blocks;
    let dropped: Vec<[i64; 2]> = blocks
        .iter()
        .map(|block| {
            let kept = block.heads.as_ref().unwrap();
            assert_eq!(kept.len(), 2);
            assert_eq!((kept[0] / 2, kept[1] / 2), (0, 1), "one head of each group");
            [1 - kept[0], 5 - kept[1]]
        })
        .collect();
    // Without the heads that were dropped, the teacher is the student.
    silent(&teacher, &dropped);
    let tokens = tokens("qwen3");
    let error = difference(&logits(&made.decoder, &tokens), &logits(&teacher, &tokens));
    assert!(error < 1e-4, "{error}");
    assert_eq!(made.decoder.hf_config()["head_dim"], 16);
}

#[test]
fn depth_and_width_are_cut_together() {
    let mut teacher = load(&folder("gemma3"));
    let student = config(json!({
        "init": "width_sliced", "layers": [1, 2], "hidden_size": 16, "intermediate_size": 20,
        "num_attention_heads": 2,
    }));
    let made = build(&student, &mut teacher);
    assert_eq!(
        made.decoder.hf_config()["layer_types"],
        json!(["sliding_attention", "full_attention"])
    );
    let from = made.record.from_teacher.as_ref().unwrap();
    assert_eq!(from.layers, [1, 2]);
    assert_eq!(from.blocks.iter().map(|block| block.layer).collect::<Vec<_>>(), [1, 2]);
    let said = made.record.to_string();
    assert!(said.contains("2 of 4 blocks of the teacher: [1, 2]; 16 of 32 dimensions"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    made.record.write(folder.path()).unwrap();
    let text = std::fs::read(folder.path().join("student-init.json")).unwrap();
    let again: limbeck_distill::Initialisation = serde_json::from_slice(&text).unwrap();
    assert_eq!(again.from_teacher.unwrap().blocks, from.blocks);
}

#[test]
fn the_same_records_make_the_same_student() {
    let student = config(json!({ "init": "width_sliced", "hidden_size": 16 }));
    let tokens = tokens("qwen2");
    let first = build(&student, &mut load(&folder("qwen2")));
    let second = build(&student, &mut load(&folder("qwen2")));
    assert!(logits(&first.decoder, &tokens).equal(&logits(&second.decoder, &tokens)));
}

#[test]
fn what_does_not_fit_the_teacher_names_key_expected_and_found() {
    // Blocks, hidden 32, MLP 40, heads 4 with 2 key-value heads.
    let cases = [
        ("qwen2", json!({ "layers": [0, 3] }), "layers", "0 to 2", "3"),
        ("qwen2", json!({ "num_hidden_layers": 4 }), "num_hidden_layers", "teacher's 3", "4"),
        ("qwen2", json!({ "hidden_size": 33 }), "hidden_size", "teacher's 32", "33"),
        ("qwen2", json!({ "intermediate_size": 41 }), "intermediate_size", "teacher's 40", "41"),
        ("qwen2", json!({ "num_attention_heads": 6 }), "num_key_value_heads", "teacher's 2", "3"),
        (
            "qwen2",
            json!({ "num_attention_heads": 8, "num_key_value_heads": 2 }),
            "num_attention_heads",
            "teacher's 4",
            "8",
        ),
        (
            "qwen2",
            json!({ "num_attention_heads": 3, "num_key_value_heads": 2 }),
            "num_key_value_heads",
            "a divisor of num_attention_heads (3)",
            "2",
        ),
        (
            "qwen2",
            json!({ "num_attention_heads": 4, "num_key_value_heads": 1 }),
            "num_attention_heads",
            "at most 2",
            "4",
        ),
        ("llama2", json!({ "hidden_size": 30 }), "hidden_size", "a multiple of", "30"),
        ("gemma3", json!({ "hidden_size": 30 }), "hidden_size", "a multiple of", "30"),
    ];
    for (family, mut keys, key, expected, found) in cases {
        keys["init"] = json!("width_sliced");
        refused(&keys, family, key, expected, found);
    }
    let keys = json!({ "init": "teacher_layers", "hidden_size": 16 });
    refused(&keys, "qwen2", "hidden_size", "the teacher's 32", "16");
    let keys = json!({ "init": "teacher_layers", "layers": [7] });
    refused(&keys, "qwen2", "layers", "0 to 2", "7");
    let keys = json!({ "init": "folder", "path": folder("qwen2"), "num_hidden_layers": 2 });
    refused(&keys, "qwen2", "num_hidden_layers", "the folder's 3", "2");
}

#[track_caller]
fn refused(keys: &Value, family: &str, key: &str, expected: &str, found: &str) {
    let error = try_build(&config(keys.clone()), &mut load(&folder(family))).unwrap_err();
    match &error {
        Error::Student(StudentError::Impossible { key: named, expected: wanted, found: given }) => {
            assert_eq!(*named, key, "{keys}: {error}");
            assert!(wanted.contains(expected), "{keys}: {error}");
            assert_eq!(given, found, "{keys}: {error}");
        }
        _ => panic!("{keys}: {error}"),
    }
}

#[test]
fn weights_of_a_teacher_need_a_teacher_and_records() {
    let tokenizer = Tokenizer::load(&folder("qwen2")).unwrap();
    let origin = || Origin {
        tokenizer: &tokenizer,
        teacher: None,
        vocab_size: None,
        aligned: false,
        calibration: &[],
        seed: 0,
        device: Device::Cpu,
    };
    for init in ["teacher_layers", "width_sliced"] {
        let error = config(json!({ "init": init })).build(origin()).unwrap_err();
        let named = matches!(&error, Error::Student(StudentError::NoTeacher { init: named }) if *named == init);
        assert!(named, "{error}");
    }
    let mut teacher = load(&folder("qwen2"));
    let origin = Origin { teacher: Some(&mut teacher), ..origin() };
    let sliced = config(json!({ "init": "width_sliced", "hidden_size": 16 }));
    let error = sliced.build(origin).unwrap_err();
    assert!(matches!(error, Error::Student(StudentError::NoCalibration)), "{error}");
}

#[test]
fn activations_that_are_not_finite_are_refused_and_the_teacher_is_left_whole() {
    let mut teacher = load(&folder("qwen2"));
    let name = "model.layers.1.mlp.up_proj.weight";
    let found = teacher.named_parameters().into_iter().find(|(known, _)| known == name);
    let _ = tch::no_grad(|| found.unwrap().1.narrow(0, 0, 1).fill_(f64::NAN));
    let sliced = config(json!({ "init": "width_sliced", "hidden_size": 16 }));
    let error = try_build(&sliced, &mut teacher).unwrap_err();
    assert!(matches!(error, Error::Student(StudentError::NotFinite { .. })), "{error}");
    let before = load(&folder("qwen2")).named_parameters().len();
    assert_eq!(teacher.named_parameters().len(), before);
    assert!(
        format!("{:?}", teacher.linear("model.layers.0.mlp.down_proj")).contains("DenseLinear")
    );
    assert!(!format!("{:?}", teacher.linear("model.layers.0.mlp.down_proj")).contains("Recorder"));
}

#[test]
fn a_folder_with_the_teachers_ids_is_a_start_and_another_is_refused() {
    let mut teacher = load(&folder("qwen2"));
    let student =
        build(&config(json!({ "init": "folder", "path": folder("llama2") })), &mut teacher);
    let tokens = tokens("llama2");
    assert!(logits(&student.decoder, &tokens).equal(&logits(&load(&folder("llama2")), &tokens)));
    assert_eq!(student.record.init, Init::Folder);
    assert!(student.tokenizer.is_some());

    let other = tempfile::tempdir().unwrap();
    student.decoder.save(other.path(), Kind::Float).unwrap();
    let shape = TokenizerConfig { vocab_size: 270, ..TokenizerConfig::default() };
    train(["quite another text, with other words"].into_iter(), &shape, other.path()).unwrap();
    let start = config(json!({ "init": "folder", "path": other.path() }));
    let error = try_build(&start, &mut teacher).unwrap_err();
    assert!(matches!(error, Error::Student(StudentError::OtherVocabulary { .. })), "{error}");
    let said = error.to_string();
    assert!(said.contains("key `path`") && said.contains("id "), "{said}");
    let hint = limbeck_run::Diagnose::hint(&error).unwrap();
    assert!(hint.contains("cross-tokenizer distillation"), "{hint}");
}
