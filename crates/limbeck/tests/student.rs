//! How students start, as a user sees it: files, messages, exit codes.

mod check;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use check::check;
use paths::{fixture, text};

/// A folder with a few records and a configuration.
struct Workplace {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.jsonl");
        let generate = ["data", "generate", "--family", "arith", "--count", "24", "--output"];
        check(&[&generate[..], &[text(&data)]].concat(), 0, &[]);
        Self { folder, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Distils with two steps and the given `[student]` table.
    #[track_caller]
    fn distill(&self, student: &str, exit: i32, said: &[&str]) -> PathBuf {
        let config = self.path("distill.toml");
        let train = "[train]\nsteps = 2\nmicro_batch_tokens = 512\nwarmup_steps = 1\n";
        fs::write(&config, format!("[student]\n{student}\n{train}")).unwrap();
        let output =
            self.path(&format!("student-{}", fs::read_dir(self.folder.path()).unwrap().count()));
        let teacher = fixture("teacher");
        let arguments = ["distill", "--teacher", text(&teacher), "--data", text(&self.data)];
        let more = ["--config", text(&config), "--output", text(&output)];
        check(&[&arguments[..], &more[..]].concat(), exit, said);
        assert_eq!(output.exists(), exit == 0);
        output
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_students_start_is_shown_and_saved() {
    let place = Workplace::new();
    let said = ["student from 3 of 6 blocks of the teacher: [0, 2, 5]", "of the teacher's"];
    let output = place.distill("init = \"teacher_layers\"\nlayers = [0, 2, 5]", 0, &said);
    let record = read(&output.join("student-init.json"));
    assert_eq!(record["init"], "teacher_layers");
    assert_eq!(record["from_teacher"]["layers"], json!([0, 2, 5]));
    assert_eq!(read(&output.join("config.json"))["num_hidden_layers"], 3);
    let outputs = &read(&output.join("manifest.json"))["outputs"];
    assert!(outputs["student-init.json"].is_string(), "{outputs}");

    let widths = "hidden_size = 128\nintermediate_size = 352\nnum_attention_heads = 4";
    let table = format!("init = \"width_sliced\"\n{widths}\ncalibration_records = 8");
    let output = place.distill(&table, 0, &["128 of 256 dimensions", "by 8 records"]);
    let config = read(&output.join("config.json"));
    assert_eq!((&config["hidden_size"], &config["head_dim"]), (&json!(128), &json!(32)));
    assert_eq!(
        (&config["num_attention_heads"], &config["num_key_value_heads"]),
        (&json!(4), &json!(2))
    );
    let record = read(&output.join("student-init.json"));
    assert_eq!(record["from_teacher"]["importance"]["records"], 8);
    assert_eq!(record["from_teacher"]["hidden"].as_array().unwrap().len(), 128);

    // The narrower student is itself a start, and a thing to cut down.
    let table = format!("init = \"folder\"\npath = {:?}", text(&output));
    let from_folder = place.distill(&table, 0, &["student from "]);
    assert_eq!(read(&from_folder.join("config.json"))["hidden_size"], 128);
    let tuned = place.path("tuned");
    let arguments = ["sft", "--model", text(&output), "--data", text(&place.data)];
    let more = ["--set", "model.init=teacher_layers", "--set", "train.steps=1"];
    let rest = ["--set", "train.warmup_steps=0", "--output", text(&tuned)];
    check(
        &[&arguments[..], &more[..], &rest[..]].concat(),
        0,
        &["3 of 6 blocks of the teacher: [0, 3, 5]"],
    );
    assert_eq!(read(&tuned.join("config.json"))["num_hidden_layers"], 3);
}

#[test]
fn impossible_starts_are_refused_before_training() {
    let place = Workplace::new();
    let layers = "init = \"teacher_layers\"\nlayers = [0, 6]";
    place.distill(layers, 2, &["key `layers`", "0 to 5", "found 6", "hint"]);
    let order = "init = \"teacher_layers\"\nlayers = [2, 1]";
    place.distill(order, 2, &["student.layers", "ascending", "2 before 1"]);
    let wide = "init = \"width_sliced\"\nhidden_size = 512";
    place.distill(wide, 2, &["key `hidden_size`", "at most the teacher's 256", "found 512"]);
    let heads = "init = \"width_sliced\"\nnum_attention_heads = 5\nnum_key_value_heads = 4";
    place.distill(heads, 2, &["key `num_key_value_heads`", "a divisor of num_attention_heads (5)"]);
    let other = fixture("parity/qwen2");
    let folder = format!("init = \"folder\"\npath = {:?}", text(&other));
    place.distill(&folder, 3, &["key `path`", "vocabulary", "cross-tokenizer distillation"]);
    let missing = "init = \"folder\"\npath = \"nowhere\"";
    place.distill(missing, 3, &["nowhere"]);

    let teacher = fixture("teacher");
    let output = place.path("tuned");
    let sft = ["sft", "--data", text(&place.data), "--output", text(&output), "--set"];
    let two = ["model.init=folder", "--set", "model.path=x", "--model", text(&teacher)];
    check(&[&sft[..], &two[..]].concat(), 2, &["two models"]);
    let none = ["model.init=teacher_layers", "--tokenizer", text(&teacher)];
    check(&[&sft[..], &none[..]].concat(), 2, &["`teacher_layers`", "--model"]);
    assert!(!output.exists());
}

#[test]
fn a_chat_template_is_a_name_or_a_file() {
    let place = Workplace::new();
    let output = place.path("model");
    let convert = ["convert", "--from", "gguf", "--to", "hf", "--chat-template", "gemini"];
    let arguments = [&convert[..], &["model.gguf", text(&output)]].concat();
    check(&arguments, 2, &["gemini", "names: gemma, chatml"]);
}
