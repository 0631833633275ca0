//! The program as a user runs it: exit codes, messages, files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use limbeck_core::{TensorFile, write_tensors};
use serde_json::{Value, json};
use tch::Tensor;

const FAMILIES: [&str; 7] =
    ["llama2", "llama3", "mistral", "qwen2", "qwen2_untied", "qwen3", "gemma3"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn limbeck(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .args(["--threads", "1"])
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs and asserts the exit code and what stderr must say.
#[track_caller]
fn check(arguments: &[&str], exit: i32, said: &[&str]) -> Output {
    let output = limbeck(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{stderr}");
    for text in said {
        assert!(stderr.contains(text), "expected {text:?} in:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}

/// Where the stages whose results a device could change run.
fn device() -> String {
    std::env::var("LIMBECK_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn score_gives_transformers_logits_for_every_family() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    let logits = folder.path().join("logits.safetensors");
    for family in FAMILIES {
        let model = fixture("parity").join(family);
        let expected = TensorFile::open(&model.join("expected.safetensors")).unwrap();
        let tokens: Vec<i64> = Vec::try_from(expected.tensor("tokens").unwrap().view(-1)).unwrap();
        fs::write(&input, json!({ "id": "a", "tokens": tokens }).to_string()).unwrap();
        let arguments = ["score", "--model", text(&model), "--input", text(&input), "--output"];
        let more = [text(&output), "--logits", text(&logits), "--device", &device()];
        check(&[&arguments[..], &more[..]].concat(), 0, &[]);
        let found = TensorFile::open(&logits).unwrap().tensor("a").unwrap();
        let expected = expected.tensor("logits").unwrap();
        let difference = (&found - &expected).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{family}: {difference}");
        let line = &lines(&output)[0];
        assert_eq!(line["tokens"], json!(tokens));
        assert_eq!(line["logprobs"][0], Value::Null);
        let second = expected.get(0).log_softmax(-1, tch::Kind::Float).double_value(&[tokens[1]]);
        assert!((line["logprobs"][1].as_f64().unwrap() - second).abs() < 1e-4);
    }
}

#[test]
fn generate_answers_prompts_and_conversations_of_every_family() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    let conversation = json!({ "id": "b", "messages": [{ "role": "user", "content": "2 + 3?" }] });
    fs::write(&input, format!("{}\n{conversation}\n", json!({ "id": "a", "prompt": "12" })))
        .unwrap();
    for family in FAMILIES {
        let model = fixture("parity").join(family);
        let arguments = ["generate", "--model", text(&model), "--input", text(&input), "--output"];
        let more = [text(&output), "--max-new-tokens", "5", "--device", &device()];
        check(&[&arguments[..], &more[..]].concat(), 0, &[]);
        let replies = lines(&output);
        assert_eq!(replies.len(), 2, "{family}");
        for (reply, id) in replies.iter().zip(["a", "b"]) {
            assert_eq!(reply["id"], id);
            let count = reply["tokens"].as_array().unwrap().len();
            match reply["finish_reason"].as_str().unwrap() {
                "length" => assert_eq!(count, 5, "{family}"),
                "stop" => assert!(count < 5, "{family}"),
                other => panic!("{family}: {other}"),
            }
        }
    }
}

#[test]
fn an_adapter_changes_the_scores() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&input, json!({ "id": "a", "tokens": [5, 6, 7, 8] }).to_string()).unwrap();
    let model = fixture("parity/qwen2");
    let adapter = adapter_fixture();
    let plain =
        ["score", "--model", text(&model), "--input", text(&input), "--output", text(&output)];
    check(&plain, 0, &[]);
    let before = lines(&output);
    check(&[&plain[..], &["--adapter", text(&adapter)]].concat(), 0, &[]);
    assert_ne!(before, lines(&output));
    // The adapter of another base.
    let other = fixture("parity/llama2");
    let arguments = ["score", "--model", text(&other), "--input", text(&input), "--output"];
    check(
        &[&arguments[..], &[text(&output), "--adapter", text(&adapter)]].concat(),
        3,
        &["adapter"],
    );
}

/// The first folder under fixtures/lora that holds an adapter.
fn adapter_fixture() -> PathBuf {
    let mut pending = vec![fixture("lora")];
    while let Some(folder) = pending.pop() {
        if folder.join("adapter_config.json").exists() {
            return folder;
        }
        let mut folders: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        folders.sort();
        pending.extend(folders.into_iter().rev());
    }
    panic!("fixtures/lora holds no adapter");
}

#[test]
fn damaged_models_are_bad_input_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    let output = folder.path().join("out.jsonl");
    fs::write(&input, json!({ "id": "a", "tokens": [5, 6] }).to_string()).unwrap();
    let model = folder.path().join("model");
    let weights = model.join("model.safetensors");
    let fresh = || {
        let _ = fs::remove_dir_all(&model);
        copy_folder(&fixture("parity/qwen2"), &model);
    };
    let score =
        ["score", "--model", text(&model), "--input", text(&input), "--output", text(&output)];

    fresh();
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    check(&score, 3, &["model.safetensors", "expected", "found", "hint"]);

    fresh();
    let file = TensorFile::open(&weights).unwrap();
    let mut tensors: Vec<(String, Tensor)> =
        file.names().into_iter().map(|name| (name.clone(), file.tensor(&name).unwrap())).collect();
    let victim = "model.layers.1.mlp.up_proj.weight";
    let position = tensors.iter().position(|(name, _)| name == victim).unwrap();
    let removed = tensors.remove(position);
    write_tensors(&weights, &tensors, &[]).unwrap();
    check(&score, 3, &[victim, "missing"]);
    tensors.push((victim.to_owned(), removed.1.transpose(0, 1).contiguous()));
    write_tensors(&weights, &tensors, &[]).unwrap();
    check(&score, 3, &[victim, "expected", "found"]);
    tensors.pop();
    tensors.push((victim.to_owned(), removed.1));
    tensors.push(("model.layers.9.extra".to_owned(), Tensor::from_slice(&[1.0_f32])));
    write_tensors(&weights, &tensors, &[]).unwrap();
    check(&score, 3, &["model.layers.9.extra"]);

    fresh();
    let config = model.join("config.json");
    let changed = fs::read_to_string(&config).unwrap().replace("\"qwen2\"", "\"mamba\"");
    fs::write(&config, changed).unwrap();
    check(&score, 3, &["mamba", "qwen2", "llama"]);

    fresh();
    let tokenizer = fs::read_to_string(model.join("tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&tokenizer).unwrap();
    tokenizer["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": 100_000, "content": "<far>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true,
    }));
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    check(&score, 3, &["tokenizer", "rows"]);
    assert!(!output.exists(), "nothing may be written after a failure");
}

#[test]
fn bad_lines_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let output = folder.path().join("out");
    let record = Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .args(["data", "generate", "--family", "logic", "--count", "2", "--output"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(record.success());
    let whole = fs::read_to_string(&data).unwrap();
    fs::write(&data, format!("{whole}{{\"id\": \"x\"}}\n")).unwrap();
    let tokenizer = fixture("parity/qwen2");
    let arguments = ["sft", "--tokenizer", text(&tokenizer), "--data", text(&data), "--output"];
    check(&[&arguments[..], &[text(&output)]].concat(), 3, &["data.jsonl", "3"]);
    assert!(!output.exists());

    let input = folder.path().join("in.jsonl");
    fs::write(&input, "{\"id\":\"a\",\"tokens\":[1]}\n{\"id\":\"b\"}\n").unwrap();
    let lines = text(&output).to_owned();
    let score = ["score", "--model", text(&tokenizer), "--input", text(&input), "--output", &lines];
    check(&score, 3, &["in.jsonl", "line 2", "neither"]);
}

#[test]
fn wrong_configuration_is_usage_and_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pipeline.toml");
    fs::write(&config, "[distill]\ntemprature = 2.0\n").unwrap();
    check(&["check-config", text(&config)], 2, &["pipeline.toml", "temprature"]);
    fs::write(&config, "[distill]\ntemperature = -1.0\n").unwrap();
    check(&["check-config", text(&config)], 2, &["distill.temperature", "above 0", "-1"]);
    fs::write(&config, "[lora.train]\nsteps = \"many\"\n").unwrap();
    check(&["check-config", text(&config)], 2, &["steps"]);
    fs::write(&config, "").unwrap();
    let output = check(&["check-config", text(&config), "--set", "distill.kd_weight=0.5"], 0, &[]);
    let resolved: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(resolved["distill"]["kd_weight"], 0.5);
    check(&["check-config", text(&config), "--set", "nothing"], 2, &["nothing"]);
}

#[test]
fn a_missing_gpu_is_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    fs::write(&input, json!({ "id": "a", "tokens": [5, 6] }).to_string()).unwrap();
    let (model, output) = (fixture("parity/qwen2"), folder.path().join("out.jsonl"));
    let score = ["score", "--model", text(&model), "--input", text(&input), "--output"];
    check(&[&score[..], &[text(&output), "--device", "cuda:63"]].concat(), 4, &["cuda:63", "hint"]);
}

#[test]
fn a_folder_of_somebody_else_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("home");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("thesis.txt"), "years of work").unwrap();
    let arguments = ["data", "build", "--set", "num_train=10", "--output", text(&precious)];
    check(&arguments, 2, &["home", "hint"]);
    assert_eq!(fs::read_to_string(precious.join("thesis.txt")).unwrap(), "years of work");
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    // Mounting needs privileges that a developer's shell may lack.
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs", text(&disk)])
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    }
    let output = disk.join("records.jsonl");
    let arguments = ["data", "generate", "--family", "all", "--count", "400", "--output"];
    let result = limbeck(&[&arguments[..], &[text(&output)]].concat());
    let left: Vec<_> = fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().path()).collect();
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    let stderr = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("records.jsonl") && stderr.contains("hint"), "{stderr}");
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let arguments = ["data", "generate", "--family", "all", "--count", "60", "--output"];
    check(&[&arguments[..], &[text(&data)]].concat(), 0, &[]);
    let tokenizer = fixture("parity/qwen2");
    let settings = [
        "--set",
        "train.steps=40",
        "--set",
        "train.micro_batch_tokens=1024",
        "--set",
        "train.checkpoint_every=4",
        "--set",
        "train.warmup_steps=4",
        "--set",
        "train.max_length=2000",
        "--set",
        "model.hidden_size=64",
        "--set",
        "model.num_hidden_layers=2",
        "--set",
        "model.intermediate_size=96",
    ];
    let train = |output: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limbeck"));
        command.args(["--threads", "1", "sft", "--tokenizer", text(&tokenizer)]);
        command.args(["--device", &device()]);
        command.args(["--data", text(&data), "--output", text(output)]).args(settings);
        command.stderr(std::process::Stdio::null());
        command
    };
    let (straight, broken) = (folder.path().join("straight"), folder.path().join("broken"));
    assert!(train(&straight).status().unwrap().success());

    let mut child = train(&broken).spawn().unwrap();
    let started = Instant::now();
    let state = folder.path().join(".broken.partial/trainer-state.safetensors");
    while !state.exists() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(300), "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!broken.exists(), "the training ended before it could be killed");
    assert!(train(&broken).status().unwrap().success());
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&straight) == weights(&broken), "the weights differ");
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(broken.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["stage"], "sft");
    let outputs = manifest["outputs"].as_object().unwrap();
    assert!(outputs.contains_key("model.safetensors"));
    for name in outputs.keys() {
        assert!(broken.join(name).is_file(), "the manifest lists {name}, which is not there");
        assert!(name != "metrics.jsonl", "times of a run are no output");
    }
    assert!(!broken.join("trainer-state.safetensors").exists());
}

#[test]
fn what_other_settings_left_behind_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let arguments = ["data", "generate", "--family", "all", "--count", "8", "--output"];
    check(&[&arguments[..], &[text(&data)]].concat(), 0, &[]);
    let partial = folder.path().join(".out.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join(".fingerprint"), "another run's").unwrap();
    fs::write(partial.join("trainer-state.safetensors"), "another run's").unwrap();
    let (tokenizer, output) = (fixture("parity/qwen2"), folder.path().join("out"));
    let arguments = ["sft", "--tokenizer", text(&tokenizer), "--data", text(&data), "--output"];
    let settings = ["--set", "train.steps=1", "--set", "train.warmup_steps=0"];
    let settings = [&settings[..], &["--set", "train.max_length=2000"]].concat();
    check(&[&arguments[..], &[text(&output)], &settings].concat(), 0, &[]);
    assert!(output.join("model.safetensors").exists());
}
