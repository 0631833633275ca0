//! `limbeck adapters` as a user runs it, and adapters that are used by their names.

mod check;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use check::check;
use paths::{fixture, text};
use serde_json::{Value, json};

/// A registry, and files to score.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let line = json!({ "id": "a", "tokens": [5, 6, 7, 8] }).to_string();
        fs::write(place.path("in.jsonl"), line).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `limbeck adapters` on the registry.
    #[track_caller]
    fn adapters(&self, arguments: &[&str], exit: i32, said: &[&str]) -> Output {
        let registry = self.path("registry");
        check(&[&["adapters", "--registry", text(&registry)], arguments].concat(), exit, said)
    }

    /// Publishes a fixture's adapter as `domain/medical`.
    #[track_caller]
    fn publish(&self, adapter: &str, more: &[&str], exit: i32, said: &[&str]) -> Output {
        let (adapter, model) = (fixture("lora").join(adapter), fixture("parity/qwen2"));
        let arguments = ["publish", "--tier", "domain", "--name", "medical", "--adapter"];
        let paths = [text(&adapter), "--model", text(&model)];
        self.adapters(&[&arguments[..], &paths, more].concat(), exit, said)
    }

    /// Scores four tokens with an adapter of the registry or a folder, into `out.jsonl`.
    #[track_caller]
    fn try_score(&self, model: &Path, adapter: &str, exit: i32, said: &[&str]) {
        let [input, output, registry] =
            ["in.jsonl", "out.jsonl", "registry"].map(|name| self.path(name));
        let arguments = ["score", "--model", text(model), "--input", text(&input), "--output"];
        let more = [text(&output), "--adapter", adapter, "--registry", text(&registry)];
        check(&[&arguments[..], &more].concat(), exit, said);
    }

    /// The log-probabilities of four tokens with an adapter.
    #[track_caller]
    fn score(&self, model: &Path, adapter: &str) -> Value {
        self.try_score(model, adapter, 0, &[]);
        let line: Value =
            serde_json::from_slice(&fs::read(self.path("out.jsonl")).unwrap()).unwrap();
        line["logprobs"].clone()
    }
}

fn stdout(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_adapter_is_published_promoted_used_and_rolled_back() {
    let place = Place::new();
    let model = fixture("parity/qwen2");
    let folder = |name: &str| text(&fixture("lora").join(name)).to_owned();
    place.publish("all_linear", &[], 0, &[]);
    // A candidate is not used unless it is asked for.
    let said = ["domain/medical has no champion", "promote"];
    place.try_score(&model, "domain/medical", 2, &said);
    let first = place.score(&model, &folder("all_linear"));
    assert_eq!(place.score(&model, "domain/medical@candidate"), first);

    place.adapters(&["promote", "domain/medical", "--expect-generation", "1"], 0, &[]);
    place.publish("rslora_patterns", &["--pin"], 0, &[]);
    assert_eq!(place.score(&model, "domain/medical"), first);
    place.adapters(&["promote", "domain/medical"], 0, &[]);
    let second = place.score(&model, &folder("rslora_patterns"));
    assert_ne!(first, second);
    assert_eq!(place.score(&model, "domain/medical"), second);
    place.adapters(&["rollback", "domain/medical"], 0, &[]);
    assert_eq!(place.score(&model, "domain/medical"), first);
    assert_eq!(place.score(&model, "domain/medical@4"), second);

    let listed = stdout(&place.adapters(&["list", "--json"], 0, &[]));
    assert_eq!(listed[0]["ref"], "domain/medical");
    assert_eq!(listed[0]["state"]["generation"], 5);
    let shown = stdout(&place.adapters(&["show", "domain/medical@champion", "--json"], 0, &[]));
    assert_eq!(shown["hash"], listed[0]["state"]["champion"]);
    let table = place.adapters(&["show", "domain/medical"], 0, &[]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.matches("publish").count(), 2, "{table}");
    assert_eq!(table.matches("rollback").count(), 1, "{table}");
    place.adapters(
        &["rollback", "domain/medical"],
        2,
        &["cannot go back by 1: it had 0 champions"],
    );

    // The second version is pinned, then it is not, and nothing else keeps it.
    let collect = ["gc", "--keep", "0", "--json"];
    assert_eq!(stdout(&place.adapters(&collect, 0, &[]))["removed"], json!([]));
    place.adapters(&["unpin", "domain/medical@4"], 0, &[]);
    let removed = stdout(&place.adapters(&collect, 0, &[]));
    assert_eq!((removed["removed"].as_array().unwrap().len(), &removed["kept"]), (1, &json!(1)));
    place.adapters(&["pin", "domain/medical@4"], 3, &["is not in the store"]);
    place.adapters(&["verify"], 0, &[]);
}

#[test]
fn an_adapter_stays_with_its_base_and_what_was_made_of_it() {
    let place = Place::new();
    place.publish("all_linear", &["--pin"], 0, &[]);
    place.adapters(&["promote", "domain/medical"], 0, &[]);
    let other = fixture("parity/llama2");
    let said = ["domain/medical@champion was trained", "parity/llama2 has"];
    place.try_score(&other, "domain/medical", 3, &said);
    assert!(!place.path("out.jsonl").exists());

    // The same adapter by its name, merged; the adapter fits the merged model, too.
    let (model, merged) = (fixture("parity/qwen2"), place.path("merged"));
    let registry = place.path("registry");
    let arguments = ["lora", "merge", "--model", text(&model), "--registry", text(&registry)];
    let more = ["--adapter", "domain/medical", "--output", text(&merged)];
    check(&[&arguments[..], &more].concat(), 0, &[]);
    place.score(&merged, "domain/medical");
    // But not the base of the merged model's adapters.
    let adapter = fixture("lora/rslora_patterns");
    let arguments = ["publish", "--tier", "domain", "--name", "later", "--adapter"];
    let paths = [text(&adapter), "--model", text(&merged)];
    place.adapters(&[&arguments[..], &paths].concat(), 0, &[]);
    let said = ["domain/later@candidate was trained on the base with weights"];
    place.try_score(&model, "domain/later@candidate", 3, &said);
}

#[test]
fn scores_come_from_evaluations() {
    let place = Place::new();
    let (records, evaluation) = (place.path("records.jsonl"), place.path("arithmetic"));
    let arguments = ["data", "generate", "--family", "arith", "--count", "2", "--seed", "3"];
    check(&[&arguments[..], &["--output", text(&records)]].concat(), 0, &[]);
    let teacher = fixture("teacher");
    let arguments = ["evaluate", "--model", text(&teacher), "--task", text(&records)];
    check(&[&arguments[..], &["--output", text(&evaluation)]].concat(), 0, &[]);
    let named = format!("tuned={}", text(&evaluation));
    place.publish("all_linear", &["--evaluation", text(&evaluation), &named], 0, &[]);
    let shown = stdout(&place.adapters(&["show", "domain/medical@1", "--json"], 0, &[]));
    let read: Value =
        serde_json::from_slice(&fs::read(evaluation.join("evaluation.json")).unwrap()).unwrap();
    let scores = &shown["scores"];
    for name in ["arithmetic/accuracy", "tuned/accuracy"] {
        assert_eq!(scores[name], read["overall"]["accuracy"]["value"], "{scores}");
    }
    assert_eq!(scores["tuned/n"], 2.0);
    assert!(scores.as_object().unwrap().len() > 6, "{scores}");
    let missing = place.path("nowhere");
    place.publish("all_linear", &["--evaluation", text(&missing)], 3, &["nowhere"]);
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let place = Place::new();
    place.adapters(&["list"], 3, &["is no adapter registry", "hint: `limbeck adapters publish`"]);
    place.publish("nowhere", &[], 3, &["nowhere/adapter_config.json"]);
    place.publish("all_linear", &["--expect-generation", "1"], 1, &["at generation 0, expected 1"]);
    place.adapters(&["list"], 0, &[]);
    place.publish("all_linear", &["--expect-generation", "0"], 0, &[]);
    let conflict = ["is at generation 1, expected 0", "the last change was publish of", "hint:"];
    place.publish("rslora_patterns", &["--expect-generation", "0"], 1, &conflict);
    let missing = ["has no domain/legal: it has domain/medical"];
    place.adapters(&["promote", "domain/legal"], 3, &missing);
    place.adapters(&["show", "domain/legal"], 3, &missing);
    place.adapters(&["show", "domain/medical@9"], 3, &["no generation 9", "holds 1 to 1"]);
    place.adapters(&["show", "medical"], 2, &["TIER/NAME"]);
    place.adapters(&["promote", "team/medical"], 2, &["base-task, domain or user"]);
    let model = fixture("parity/qwen2");
    let arguments = ["score", "--model", text(&model), "--input", "x", "--output", "y"];
    let more = ["--adapter", "domain/medical"];
    check(&[&arguments[..], &more].concat(), 2, &["no registry", "--registry DIR"]);

    let occupied = fixture("lora");
    let adapter = occupied.join("all_linear");
    let arguments = ["adapters", "publish", "--registry", text(&occupied), "--tier", "user"];
    let more = ["--name", "x", "--adapter", text(&adapter), "--model", text(&model)];
    check(&[&arguments[..], &more].concat(), 2, &["cannot become an adapter registry"]);

    // An adapter that does not say where its base lies.
    let copy = place.path("adapter");
    fs::create_dir(&copy).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(name), copy.join(name)).unwrap();
    }
    let arguments = ["publish", "--tier", "user", "--name", "x", "--adapter", text(&copy)];
    place.adapters(&arguments, 2, &["which is no folder here", "--model DIR"]);

    let shown = stdout(&place.adapters(&["show", "domain/medical", "--json"], 0, &[]));
    assert_eq!(shown["state"]["generation"], 1);
    let hash = shown["state"]["candidate"].as_str().unwrap().to_owned();
    let tensors = place.path("registry/store/sha256").join(hash).join("adapter_model.safetensors");
    let mut bytes = fs::read(&tensors).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&tensors, bytes).unwrap();
    let damage = place.adapters(&["verify"], 3, &["registry: 1 damaged", "hint: publishing"]);
    let said = String::from_utf8(damage.stdout).unwrap();
    assert!(said.contains("adapter_model.safetensors is damaged: expected SHA-256"), "{said}");
}

/// As on a disk that fills up within the tensors' file: larger files than a few KiB cannot
/// be written.
#[cfg(unix)]
#[test]
fn a_write_that_fails_leaves_the_registry_as_it_was() {
    let place = Place::new();
    place.publish("all_linear", &[], 0, &[]);
    let before = stdout(&place.adapters(&["show", "domain/medical", "--json"], 0, &[]));
    let (adapter, model) = (fixture("lora/rslora_patterns"), fixture("parity/qwen2"));
    let registry = place.path("registry");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
        .args([env!("CARGO_BIN_EXE_limbeck"), "adapters", "--registry", text(&registry)])
        .args(["publish", "--tier", "domain", "--name", "medical"])
        .args(["--adapter", text(&adapter), "--model", text(&model)])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write") && stderr.contains("adapter_model"), "{stderr}");

    let after = stdout(&place.adapters(&["show", "domain/medical", "--json"], 0, &[]));
    assert_eq!(before, after);
    place.adapters(&["verify"], 0, &[]);
    assert_eq!(fs::read_dir(registry.join("staging")).unwrap().count(), 0);
    place.publish("rslora_patterns", &["--expect-generation", "1"], 0, &[]);
}
