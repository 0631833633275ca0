//! `limbeck serve` with a real model, as clients see it.

#[path = "../../serve/tests/behaviour/harness/http.rs"]
#[allow(dead_code, reason = "the client is the server's own tests'")]
mod http;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use limbeck_core::seed::CounterRng;
use serde_json::{Value, json};

use http::{Open, Reply, try_open};

const QUESTION: &str = "Take 30.\n#A multiply by 4\n#B add 7\nWhat number is it now?";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// A running server, killed when it is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::of("teacher", arguments)
    }

    fn of(model: &str, arguments: &[&str]) -> Self {
        let model = fixture(model);
        let mut process = Command::new(env!("CARGO_BIN_EXE_limbeck"))
            .args(["serve", "--json", "--threads", "1", "--port", "0", "--model"])
            .arg(model)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        let address = started["address"].as_str().unwrap().trim_start_matches("http://");
        Self { address: address.parse().unwrap(), process }
    }

    fn open(&self, path: &str, body: &[u8]) -> Option<Open> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        try_open(self.address, &head, body)
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Reply {
        self.open(path, body.to_string().as_bytes()).unwrap().finish().unwrap()
    }

    fn get(&self, path: &str) -> Reply {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        try_open(self.address, &head, b"").unwrap().finish().unwrap()
    }

    #[track_caller]
    fn chat(&self, more: &Value) -> Value {
        let mut body = json!({
            "messages": [{ "role": "user", "content": QUESTION }], "temperature": 0
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = self.post("/v1/chat/completions", &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// The value of a metric.
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until nothing runs.
    fn idle(&self) {
        let start = Instant::now();
        while self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting")
            > 0.0
        {
            assert!(start.elapsed() < Duration::from_secs(60), "requests are left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn replies_are_those_of_generate() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["prompts.jsonl", "replies.jsonl"].map(|name| folder.path().join(name));
    let messages = json!([{ "role": "user", "content": QUESTION }]);
    fs::write(&input, json!({ "id": "a", "messages": messages }).to_string()).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .args(["generate", "--threads", "1", "--model"])
        .arg(fixture("teacher"))
        .arg("--input")
        .arg(&input)
        .arg("--output")
        .arg(&output)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let expected: Value = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();

    let server = Server::start(&[]);
    let reply = server.chat(&json!({}));
    let message = &reply["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], expected["reasoning"]);
    assert_eq!(message["content"], "127", "{message}");
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    // The second reads the prompt from the cache: whole blocks of 16.
    let prompt = reply["usage"]["prompt_tokens"].as_u64().unwrap();
    let again = server.chat(&json!({}));
    assert_eq!(again["choices"], reply["choices"]);
    let cached = &again["usage"]["prompt_tokens_details"]["cached_tokens"];
    assert_eq!(cached.as_u64().unwrap(), (prompt - 1) / 16 * 16);
}

#[test]
fn a_form_is_kept_to_after_the_thoughts() {
    let server = Server::start(&[]);
    let schema = json!({
        "type": "object", "properties": { "answer": { "type": "integer", "minimum": 0, "maximum": 999 } },
        "required": ["answer"], "additionalProperties": false,
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": schema } });
    let reply = server.chat(&json!({ "response_format": format, "max_tokens": 300 }));
    let choice = &reply["choices"][0];
    assert_eq!(choice["message"]["reasoning"], "#A multiply by 4: 30*4=120\n#B add 7: 120+7=127");
    let content: Value =
        serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
    assert!(content["answer"].is_i64(), "{choice}");
    let body = json!({
        "prompt": "Take 3.", "guided_choice": ["left", "right"], "max_tokens": 20,
        "temperature": 1, "seed": 1, "n": 3,
    });
    for choice in server.post("/v1/completions", &body).json()["choices"].as_array().unwrap() {
        assert!(choice["text"] == "left" || choice["text"] == "right", "{choice}");
    }
}

/// Of one prompt, the log-probabilities of all tokens but the first.
fn logprobs(reply: &Value) -> Vec<f64> {
    let logprobs = reply["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    logprobs[1..].iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn adapters_are_loaded_chosen_and_dropped() {
    let roots = format!("server.adapter_roots=[{:?}]", fixture("lora").to_str().unwrap());
    let server = Server::of("parity/qwen2", &["--set", &roots]);
    let load = |name: &str, folder: &str| {
        let path = fixture(folder);
        let body = json!({ "lora_name": name, "lora_path": path.to_str().unwrap() });
        server.post("/v1/load_lora_adapter", &body).status
    };
    assert_eq!(load("outside", "teacher"), 403);
    assert_eq!(load("outside", "lora/../teacher"), 403);
    assert_eq!(load("first", "lora/all_linear"), 200);
    let tokens = json!([5, 60, 7, 18, 200, 33]);
    let ask = |more: Value| {
        let mut body = json!({ "prompt": tokens, "echo": true, "max_tokens": 0, "logprobs": 0 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/v1/completions", &body)
    };
    let folder = tempfile::tempdir().unwrap();
    let score = |adapters: &[&str]| {
        let [input, output] = ["in.jsonl", "out.jsonl"].map(|name| folder.path().join(name));
        fs::write(&input, json!({ "id": "a", "tokens": tokens }).to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_limbeck"));
        command.args(["score", "--threads", "1", "--model"]).arg(fixture("parity/qwen2"));
        for adapter in adapters {
            command.arg("--adapter").arg(fixture(adapter));
        }
        command.arg("--input").arg(input).arg("--output").arg(&output).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
        let scored: Value = serde_json::from_str(&fs::read_to_string(output).unwrap()).unwrap();
        let logprobs = scored["logprobs"].as_array().unwrap();
        logprobs[1..].iter().map(|value| value.as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let base = score(&[]);
    let adapted = score(&["lora/all_linear"]);
    let farthest = |left: &[f64], right: &[f64]| {
        left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f64::max)
    };
    assert!(farthest(&base, &adapted) > 1e-3);
    assert!(farthest(&logprobs(&ask(json!({})).json()), &base) < 1e-4);
    let named = ask(json!({ "model": "first" })).json();
    assert_eq!(named["model"], "first");
    assert!(farthest(&logprobs(&named), &adapted) < 1e-4);
    let off = ask(json!({ "adapters": { "first": 0.0 } })).json();
    assert!(farthest(&logprobs(&off), &base) < 1e-4);
    let models = server.get("/v1/models").json();
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["qwen2", "first"]);
    let drop = json!({ "lora_name": "first" });
    assert_eq!(server.post("/v1/unload_lora_adapter", &drop).status, 200);
    assert_eq!(ask(json!({ "model": "first" })).status, 404);
}

/// A seeded mixture of requests that end, are abandoned, are too long or are no requests.
#[test]
fn nothing_is_left_of_a_crowd() {
    let server = Server::start(&["--set", "engine.max_cache_bytes=8000000"]);
    std::thread::scope(|scope| {
        for client in 0..12 {
            let server = &server;
            scope.spawn(move || {
                let mut rng = CounterRng::new(client);
                for _ in 0..10 {
                    let tokens = 1 + rng.below(60);
                    let kind = rng.below(6);
                    let body = json!({
                        "prompt": QUESTION.repeat(1 + rng.below(3)), "max_tokens": tokens,
                        "stream": kind < 3, "n": 1 + rng.below(3), "seed": client,
                    });
                    let mut text = body.to_string();
                    match kind {
                        // Left in the middle of its stream, or before it began.
                        0 | 1 => {
                            let Some(mut open) = server.open("/v1/completions", text.as_bytes())
                            else {
                                panic!("no reply")
                            };
                            if kind == 0 {
                                open.line();
                            }
                            open.abandon();
                        }
                        2 | 3 => {
                            let open = server.open("/v1/completions", text.as_bytes()).unwrap();
                            assert_eq!(open.finish().unwrap().status, 200);
                        }
                        4 => {
                            text.truncate(rng.below(text.len()));
                            let open = server.open("/v1/completions", text.as_bytes()).unwrap();
                            open.finish().unwrap().error(400);
                        }
                        _ => {
                            let long = json!({ "prompt": QUESTION.repeat(99), "max_tokens": 9 });
                            server.post("/v1/completions", &long).error(400);
                        }
                    }
                }
            });
        }
    });
    server.idle();
    assert!(server.metric("vllm:kv_cache_usage_perc") < 1e-9);
    let failed =
        "vllm:request_success_total{model_name=\"teacher\",engine=\"0\",finished_reason=\"error\"}";
    assert!(server.metric(failed) < 1.0);
    assert_eq!(server.chat(&json!({}))["choices"][0]["message"]["content"], "127");
}

#[test]
fn a_signal_stops_it_in_good_order() {
    let mut server = Server::start(&[]);
    let body = json!({ "prompt": QUESTION, "max_tokens": 200, "stream": true, "ignore_eos": true });
    let mut open = server.open("/v1/completions", body.to_string().as_bytes()).unwrap();
    open.until("data:");
    let status = Command::new("kill").arg(server.process.id().to_string()).status().unwrap();
    assert!(status.success());
    // What runs may end.
    open.until("[DONE]");
    assert!(server.process.wait().unwrap().success());
}

#[test]
fn impossible_settings_are_refused_before_the_model_is_loaded() {
    for (setting, said) in [
        ("server.port=70000", "port"),
        ("engine.max_batch=0", "engine.max_batch"),
        ("server.hosts=1", "hosts"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_limbeck"))
            .args(["serve", "--model", "nowhere", "--set", setting])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{setting}: {stderr}");
        assert!(stderr.contains(said), "{setting}: {stderr}");
    }
}
