//! Every kind of teacher, as a user sees it: files, figures, messages, exit codes.

mod check;
mod paths;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use limbeck_cot_data::CotRecord;
use serde_json::{Value, json};

use check::check;
use paths::{fixture, text};

/// A folder with a few records, and two steps of a small student.
struct Workplace {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.jsonl");
        let generate = ["data", "generate", "--family", "arith", "--count", "12", "--output"];
        check(&[&generate[..], &[text(&data)]].concat(), 0, &[]);
        let config = "[student]\nhidden_size = 32\nnum_hidden_layers = 2\nintermediate_size = 32\n\
                      [train]\nsteps = 2\nmicro_batch_tokens = 512\nwarmup_steps = 1\n";
        fs::write(folder.path().join("distill.toml"), config).unwrap();
        Self { folder, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn records(&self) -> Vec<CotRecord> {
        limbeck_cot_data::read_jsonl(&self.data).unwrap()
    }

    /// Distils into `output`; asserts the exit code and what stderr must say.
    #[track_caller]
    fn distill(&self, output: &str, more: &[&str], exit: i32, said: &[&str]) -> Value {
        let (teacher, config) = (fixture("teacher"), self.path("distill.toml"));
        let output = self.path(output);
        let fixed = ["distill", "--json", "--teacher", text(&teacher), "--data", text(&self.data)];
        let files = ["--config", text(&config), "--output", text(&output)];
        let output = check(&[&fixed[..], &files, more].concat(), exit, said);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The metrics of a run that ends well.
    #[track_caller]
    fn metrics(&self, output: &str, more: &[&str]) -> Value {
        self.distill(output, more, 0, &[])["metrics"].take()
    }
}

/// Only the teacher's distributions.
const PLAIN: [&str; 4] = ["--set", "hidden_weight=0", "--set", "attention_weight=0"];

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

#[test]
fn a_captured_teacher_is_captured_first_or_before() {
    let place = Workplace::new();
    let captured = [&PLAIN[..], &["--set", "teacher=captured"]].concat();
    let first = place.metrics("first", &captured);
    let live = place.metrics("live", &[&PLAIN[..], &["--set", "top_k=50"]].concat());
    for key in ["cross_entropy", "divergence"] {
        let difference = (number(&first, key) - number(&live, key)).abs();
        assert!(difference < 0.02 * number(&live, key), "{key}: {first} {live}");
    }
    assert!(place.path("first/capture/0-of-1.capture").is_file());

    let (teacher, store) = (fixture("teacher"), place.path("store"));
    let capture = ["capture", "--teacher", text(&teacher), "--data", text(&place.data)];
    let at = |temperature: &'static str| ["--temperature", temperature, "--output", text(&store)];
    check(&[&capture[..], &at("2")].concat(), 0, &[]);
    let before = [&captured[..], &["--capture", text(&store)]].concat();
    let from_store = place.metrics("before", &before);
    assert!((number(&from_store, "loss") - number(&first, "loss")).abs() < 1e-4);
    assert!(!place.path("before/capture").exists());

    let other = [&before[..], &["--set", "temperature=1"]].concat();
    place.distill("other", &other, 2, &["captured at temperature 2, expected 1", "hint"]);
    let whole = ["--set", "teacher=captured", "--capture", text(&store)];
    place.distill("whole", &whole, 2, &["hidden_weight", "hint"]);
    let live = [&PLAIN[..], &["--capture", text(&store)]].concat();
    place.distill("live-store", &live, 2, &["--set teacher=captured"]);
    let file = store.join("0-of-1.capture");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    place.distill("cut", &before, 3, &["0-of-1.capture", "cut off or unfinished"]);
    assert!(!place.path("cut").exists());
}

#[test]
fn a_teacher_of_sequences_leaves_its_replies() {
    let place = Workplace::new();
    let metrics = place.metrics("sequence", &["--set", "teacher=sequence"]);
    let replies = limbeck_cot_data::read_jsonl(&place.path("sequence/replies.jsonl")).unwrap();
    assert_eq!(number(&metrics, "replies") as usize, replies.len());
    // The fixture's teacher solves nearly all of its own families.
    assert!(replies.len() >= 10, "{metrics}");
    for reply in &replies {
        assert_eq!(reply.source.teacher.as_deref(), Some("teacher"));
        let record = place.records().into_iter().find(|record| record.id == reply.id).unwrap();
        assert_eq!(reply.answer, record.answer);
        assert!(!reply.thought_process.is_empty());
    }
    let several = ["--set", "teacher=sequence", "--set", "sequence.num_samples=2"];
    place.distill("greedy", &several, 2, &["sequence.temperature", "above 0"]);
}

/// Answers every request with the chain and the answer of the record that it asks about.
fn endpoint(records: Vec<CotRecord>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let by_question: HashMap<String, CotRecord> =
        records.into_iter().map(|record| (record.question.clone(), record)).collect();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that is gone has its answer.
            let _ = reply(stream, &by_question);
        }
    });
    url
}

fn reply(stream: TcpStream, records: &HashMap<String, CotRecord>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body)?;
    let asked = request["messages"].to_string();
    let record = records.values().find(|record| {
        let quoted = json!(record.question).to_string();
        asked.contains(quoted.trim_matches('"'))
    });
    let message = record.map_or_else(
        || json!({ "role": "assistant", "content": "?" }),
        |record| {
            let content = format!("#### {}", record.answer);
            let reasoning = record.reasoning();
            json!({ "role": "assistant", "content": content, "reasoning_content": reasoning })
        },
    );
    let body = json!({
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30 },
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

#[test]
fn an_endpoint_teaches_by_its_replies() {
    let place = Workplace::new();
    let url = endpoint(place.records());
    let url = format!("http.url=\"{url}\"");
    let set = ["teacher=http", "http.model=\"big\"", "http.num_samples=1", &url];
    let arguments: Vec<&str> = set.iter().flat_map(|set| ["--set", *set]).collect();
    let metrics = place.metrics("http", &arguments);
    assert_eq!(number(&metrics, "replies") as usize, 12, "{metrics}");
    assert!(place.path("http/replies.jsonl").is_file());
    place.distill("nowhere", &["--set", "teacher=http"], 2, &["http.url"]);
}

#[test]
fn key_heads_are_chosen_shown_and_saved() {
    let place = Workplace::new();
    let arguments = ["--set", "attention_heads=gradient", "--set", "relations.weight=1"];
    place.distill("heads", &arguments, 0, &["heads of the teacher that are followed: block 0:"]);
    let heads = fs::read(place.path("heads/attention-heads.json")).unwrap();
    let heads: Value = serde_json::from_slice(&heads).unwrap();
    assert_eq!(heads["by"], "gradient");
    // Two blocks of the student's, each with four heads.
    let blocks = heads["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 2);
    assert_eq!(blocks[1]["block"], 5);
    assert_eq!(blocks[1]["heads"].as_array().unwrap().len(), 4);
    assert_eq!(blocks[1]["scores"].as_array().unwrap().len(), 8);
    let outside = ["--set", "attention_map=[[3, 1]]"];
    place.distill("outside", &outside, 2, &["attention_map pairs [3, 1]", "the student has 2"]);
    let uneven = ["--set", "relations.weight=1", "--set", "relations.heads=3"];
    place.distill("uneven", &uneven, 2, &["3 relation heads", "hint"]);
}

#[test]
fn the_students_own_replies_are_judged() {
    let place = Workplace::new();
    let short = ["--set", "on_policy.max_new_tokens=8"];
    let own = [&short[..], &["--set", "on_policy.share=1"]].concat();
    place.metrics("own", &own);
    let pair = [&own[..], &["--set", "divergence=contrastive"]].concat();
    let pair = place.metrics("pair", &pair);
    assert!(number(&pair, "divergence") > 0.0, "{pair}");
    let alone = ["--set", "divergence=contrastive"];
    place.distill("alone", &alone, 2, &["on_policy.share", "own text"]);
}

#[test]
fn an_adapter_is_distilled_into_or_takes_turns() {
    let place = Workplace::new();
    let student = place.path("student");
    place.metrics("student", &[]);
    let folder = format!("student.path=\"{}\"", student.display());
    let sizes = ["hidden_size", "num_hidden_layers", "intermediate_size"];
    let sizes = sizes.map(|size| format!("student.{size}=0"));
    let mut base = vec!["--set", "student.init=folder", "--set", &folder];
    base.extend(sizes.iter().flat_map(|size| ["--set", size.as_str()]));
    let rank = ["--set", "lora.rank=4", "--set", "lora.alpha=8"];
    let merged = place.metrics("merged", &[&base[..], &rank].concat());
    assert!(number(&merged, "max_logit_difference") < 0.1, "{merged}");
    let weights = |folder: &str| fs::read(place.path(folder).join("model.safetensors")).unwrap();
    assert!(weights("merged/base") == weights("student"), "the base stays as it was");
    assert!(weights("merged") != weights("student"));
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        assert!(place.path("merged/adapter").join(file).is_file());
    }

    let turns = ["--set", "lora.adapt_interval=2", "--set", "train.steps=4"];
    place.metrics("turns", &[&base[..], &rank, &turns].concat());
    assert!(weights("turns") != weights("student"), "the student learned in its turns");
    let adapter = fs::read(place.path("turns/adapter/adapter_model.safetensors")).unwrap();
    let merged = fs::read(place.path("merged/adapter/adapter_model.safetensors")).unwrap();
    assert!(adapter != merged);
    let never = ["--set", "lora.adapt_interval=1", "--set", "lora.rank=4"];
    place.distill("never", &never, 2, &["lora.adapt_interval"]);
}

#[test]
fn a_student_with_other_tokens_is_aligned_or_refused() {
    let place = Workplace::new();
    let other = fixture("parity/qwen3");
    let folder = format!("student.path=\"{}\"", other.display());
    let mut arguments = vec!["--set", "student.init=folder", "--set", &folder];
    let sizes = ["hidden_size", "num_hidden_layers", "intermediate_size"];
    let sizes = sizes.map(|size| format!("student.{size}=0"));
    arguments.extend(sizes.iter().flat_map(|size| ["--set", size.as_str()]));
    arguments.extend(PLAIN);
    place.distill("refused", &arguments, 3, &["vocabulary"]);
    arguments.extend(["--set", "alignment=byte_offsets", "--set", "temperature=1"]);
    place.distill("by-id", &arguments, 2, &["divergence", "sorted_l1"]);
    arguments.extend(["--set", "divergence=sorted_l1", "--set", "train.max_length=2000"]);
    let said = ["tokens of student and teacher meet at "];
    let metrics = place.distill("aligned", &arguments, 0, &said)["metrics"].take();
    let divergence = number(&metrics, "divergence");
    assert!(divergence > 0.0 && divergence < 2.0, "{metrics}");
}

#[test]
fn the_baseline_has_the_students_shape_and_nothing_of_the_teachers() {
    let place = Workplace::new();
    let shape = ["hidden_size=64", "num_attention_heads=2", "num_key_value_heads=1"];
    let shape = shape.map(|size| format!("student.{size}"));
    let mut sliced = vec!["--set", "student.init=width_sliced", "--set", "student.layers=[0, 5]"];
    sliced.extend(shape.iter().flat_map(|size| ["--set", size.as_str()]));
    let started = |output: &str| {
        let start = fs::read(place.path(output).join("student-init.json")).unwrap();
        let start: Value = serde_json::from_slice(&start).unwrap();
        start["init"].as_str().unwrap_or_default().to_owned()
    };
    let student = place.metrics("student", &[&sliced[..], &PLAIN].concat());
    let baseline = place.metrics("baseline", &[&sliced[..], &["--without-teacher"]].concat());
    assert_eq!((started("student"), started("baseline")), ("width_sliced".into(), "random".into()));
    assert_eq!(student["parameters"], baseline["parameters"]);
}

#[test]
fn a_packed_teacher_teaches() {
    let place = Workplace::new();
    let (teacher, packed) = (fixture("teacher"), place.path("packed"));
    let quantize = ["quantize", "--model", text(&teacher), "--method", "rtn", "--bits", "8"];
    let files =
        ["--group-size", "64", "--calibration", text(&place.data), "--output", text(&packed)];
    check(&[&quantize[..], &files].concat(), 0, &[]);
    let config = place.path("distill.toml");
    let output = place.path("student");
    let fixed = ["distill", "--json", "--teacher", text(&packed), "--data", text(&place.data)];
    let files = ["--config", text(&config), "--output", text(&output)];
    let output = check(&[&fixed[..], &files].concat(), 0, &[]);
    let manifest: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dense = place.metrics("dense", &[]);
    let packed = number(&manifest["metrics"], "divergence");
    assert!((packed - number(&dense, "divergence")).abs() < 0.05 * packed, "{manifest} {dense}");
}
