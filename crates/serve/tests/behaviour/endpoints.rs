//! The smaller endpoints: models, tokens, adapters, feedback, metrics, the page.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::{FakeAdapters, MAX_MODEL_LEN, Running};
use limbeck_serve::feedback::FeedbackStore;
use serde_json::{Value, json};

#[test]
fn models_are_the_base_and_its_adapters() {
    let server = Running::with(|options| {
        options.adapters = Some(FakeAdapters::holding(&[("law", "domain"), ("team/anna", "user")]));
    });
    let body = server.get("/v1/models").json();
    assert_eq!(body["object"], "list");
    let ids: Vec<&str> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["fake", "law", "team/anna"]);
    assert_eq!(body["data"][0]["max_model_len"], MAX_MODEL_LEN);
    assert_eq!(body["data"][1]["parent"], "fake");
    assert_eq!(server.get("/v1/models/team/anna").json()["id"], "team/anna");
    assert_eq!(server.get("/v1/models/other").error(404)["code"], "model_not_found");
    let ask = |extra: Value| {
        let mut body = json!({ "prompt": "x", "max_tokens": 2 });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.completions(body)
    };
    assert_eq!(ask(json!({ "model": "law" })).json()["model"], "law");
    for stack in [json!({ "domain": "law", "user": "team/anna" }), json!({ "law": 0.5 }), json!({})]
    {
        assert_eq!(ask(json!({ "adapters": stack })).status, 200, "{stack}");
    }
    ask(json!({ "model": "other" })).error(404);
    ask(json!({ "adapters": { "other": 1 } })).error(404);
    ask(json!({ "adapters": { "domain": "other" } })).error(404);
    for wrong in [
        json!({ "user": "law" }),
        json!({ "law": "x" }),
        json!({ "law": true }),
        json!([]),
        json!("law"),
    ] {
        assert_eq!(ask(json!({ "adapters": wrong })).error(400)["param"], "adapters", "{wrong}");
    }
    ask(json!({ "model": "law", "adapters": { "law": 1 } })).error(400);
    assert_eq!(ask(json!({ "model": 3 })).error(400)["param"], "model");
}

#[test]
fn tokens_come_and_go() {
    let server = Running::new();
    let body =
        server.post("/tokenize", &json!({ "prompt": "Add 12.", "return_token_strs": true })).json();
    let tokens = body["tokens"].clone();
    assert_eq!(body["count"], tokens.as_array().unwrap().len());
    assert_eq!(body["max_model_len"], MAX_MODEL_LEN);
    assert_eq!(body["token_strs"].as_array().unwrap().len(), body["count"]);
    let text = server.post("/detokenize", &json!({ "tokens": tokens })).json();
    assert_eq!(text["prompt"], "Add 12.");
    let info = server.get("/tokenizer_info").json();
    assert_eq!(info["eos_token"], "<|im_end|>");
    assert!(info["chat_template"].is_string());
    server.post("/tokenize", &json!({})).error(400);
    server.post("/tokenize", &json!({ "prompt": 3 })).error(400);
    server.post("/detokenize", &json!({ "tokens": [99_999] })).error(400);
    server.post("/detokenize", &json!({ "tokens": "x" })).error(400);
    server.post("/detokenize", &json!({})).error(400);
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let server = Running::new();
    server.get("/v1/nothing").error(404);
    server.get("/../../etc/passwd").error(404);
    server.get("/v1/completions").error(405);
    server.post("/health", &json!({})).error(405);
}

#[test]
fn adapters_are_loaded_from_below_the_roots_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("adapters");
    let make = |path: &std::path::Path| {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("adapter_config.json"), "{}").unwrap();
    };
    make(&root.join("law"));
    make(&folder.path().join("secret"));
    make(&root.join("linked-inside"));
    std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
    std::os::unix::fs::symlink(root.join("law"), root.join("alias")).unwrap();
    let escaping = root.join("linked-inside/adapter_model.safetensors");
    std::os::unix::fs::symlink(folder.path().join("secret/adapter_config.json"), escaping).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    let server = Running::with(|options| {
        options.adapters = Some(FakeAdapters::holding(&[]));
        options.config.adapter_roots = vec![root.clone()];
    });
    let load = |name: &str, path: &str| {
        server.post("/v1/load_lora_adapter", &json!({ "lora_name": name, "lora_path": path }))
    };
    let secret = folder.path().join("secret");
    for outside in [
        secret.to_str().unwrap(),
        "../secret",
        "law/../../secret",
        "link",
        "linked-inside",
        ".",
        "",
        "/",
        "nowhere",
        "law/adapter_config.json",
        "law\0",
        "/etc",
    ] {
        load("x", outside).error(403);
    }
    assert_eq!(load("empty", "empty").error(400)["param"], "lora_path");
    assert_eq!(load("law", "law").json()["tier"], "domain");
    load("law", "law").error(409);
    load("fake", "law").error(409);
    assert_eq!(load("again", "alias").status, 200, "a link within is fine");
    assert_eq!(load("absolute", root.join("law").to_str().unwrap()).status, 200);
    for name in ["", "two words", "x\ny", &"x".repeat(200)] {
        assert_eq!(load(name, "law").error(400)["param"], "lora_name");
    }
    let tiered = json!({ "lora_name": "t", "lora_path": "law", "tier": "attic" });
    assert_eq!(server.post("/v1/load_lora_adapter", &tiered).error(400)["param"], "tier");

    server.pause(true);
    let open = server
        .post_open("/v1/completions", &json!({ "model": "law", "prompt": "x", "stream": true }));
    let unload = |name: &str| server.post("/v1/unload_lora_adapter", &json!({ "lora_name": name }));
    unload("law").error(409);
    server.pause(false);
    assert_eq!(open.finish().unwrap().status, 200);
    server.assert_idle();
    assert_eq!(unload("law").status, 200);
    unload("law").error(404);
    unload("fake").error(404);
    server.completions(json!({ "model": "law", "prompt": "x" })).error(404);
}

#[test]
fn adapters_stay_as_they_are_without_roots() {
    let server = Running::with(|options| options.adapters = Some(FakeAdapters::holding(&[])));
    let body = json!({ "lora_name": "x", "lora_path": "/" });
    assert_eq!(server.post("/v1/load_lora_adapter", &body).error(403)["type"], "permission_error");
    server.post("/v1/unload_lora_adapter", &body).error(403);
}

#[test]
fn feedback_is_there_after_the_server_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("feedback.sqlite");
    let mut server = Running::with(|options| {
        options.config.feedback = Some(path.clone());
        options.reply = Some("<think>\none\ntwo\n</think>\n\n4");
    });
    let messages = json!([{ "role": "user", "content": "q" }]);
    let whole = server.chat(json!({ "messages": messages })).json()["id"].clone();
    let events = server.chat(json!({ "messages": messages, "stream": true })).events();
    let streamed = events[0]["id"].clone();
    let say = |body: Value| server.post("/v1/feedback", &body);
    assert_eq!(say(json!({ "request_id": whole, "rating": 1 })).json()["id"], 1);
    assert_eq!(
        say(json!({ "request_id": streamed, "rating": -1, "wrong_step": 1 })).json()["id"],
        2
    );
    assert_eq!(say(json!({ "request_id": whole, "edited_answer": "5" })).status, 200);
    assert_eq!(
        say(json!({ "request_id": streamed, "wrong_step": 2 })).error(400)["param"],
        "wrong_step"
    );
    say(json!({ "request_id": "chatcmpl-0", "rating": 1 })).error(404);
    say(json!({ "request_id": whole, "rating": "up" })).error(400);
    server.stop().unwrap();
    assert_eq!(FeedbackStore::open(&path).unwrap().count().unwrap(), 3);
    let server = Running::new();
    server.post("/v1/feedback", &json!({ "request_id": "x", "rating": 1 })).error(403);
}

#[test]
fn metrics_are_prometheus_text() {
    let server = Running::saying("one two");
    server.completions(json!({ "prompt": "Add 1.", "n": 2 }));
    server.completions(json!({ "prompt": "Add 1.", "max_tokens": 1 }));
    server.assert_idle();
    let reply = server.get("/metrics");
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = reply.text();
    let mut kinds = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap();
            assert!(labels.ends_with('}') && labels.contains("model_name=\"fake\""), "{line}");
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
                name.strip_suffix(end)
                    .filter(|name| kinds.get(*name).is_some_and(|kind| kind == "histogram"))
            });
            assert!(kinds.contains_key(family.unwrap_or(name)), "{line} has no type");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(
                samples.insert(series.to_owned(), value.to_owned()).is_none(),
                "{series} twice"
            );
        }
    }
    let labels = "{model_name=\"fake\",engine=\"0\"}";
    for name in [
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
        "prefix_cache_queries_total",
        "prefix_cache_hits_total",
        "num_preemptions_total",
    ] {
        assert_eq!(samples[&format!("vllm:{name}{labels}")], "0", "{name}");
    }
    for histogram in [
        "time_to_first_token_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_inference_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
    ] {
        assert_eq!(samples[&format!("vllm:{histogram}_count{labels}")], "2", "{histogram}");
    }
    let success = |reason: &str| {
        let labels = format!("{{model_name=\"fake\",engine=\"0\",finished_reason=\"{reason}\"}}");
        samples[&format!("vllm:request_success_total{labels}")].as_str()
    };
    assert_eq!((success("stop"), success("length"), success("abort")), ("1", "1", "0"));
    assert_ne!(samples[&format!("vllm:generation_tokens_total{labels}")], "0");
    assert!(samples.contains_key(&format!("vllm:inter_token_latency_seconds_count{labels}")));
    assert!(samples.contains_key(&format!("vllm:iteration_tokens_total_count{labels}")));
}

#[test]
fn the_page_asks_nobody_else() {
    let server = Running::new();
    let reply = server.get("/");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("'sha256-"));
    assert!(!policy.contains("unsafe"));
    let html = reply.text();
    assert!(!html.contains("/*STYLE*/") && !html.contains("/*SCRIPT*/"));
    for outside in ["http://", "https://", "src=\"//", "@import", "onclick=", "style=\""] {
        assert!(!html.contains(outside), "{outside}");
    }
    let server = Running::with(|options| options.config.page = false);
    server.get("/").error(404);
}
