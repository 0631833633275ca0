//! Bodies that no client should send, and many clients at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{JSON, Running};
use limbeck_core::seed::CounterRng;
use serde_json::{Value, json};

/// Draws for the tests, from a fixed seed.
struct Draw(CounterRng);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const PATHS: [&str; 8] = [
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/v1/feedback",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/completions",
];

const FIELDS: [&str; 36] = [
    "prompt",
    "messages",
    "model",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "best_of",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "echo",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "min_tokens",
    "priority",
    "user",
    "suffix",
    "stop_token_ids",
    "ignore_eos",
    "adapters",
    "chat_template_kwargs",
    "tokens",
    "request_id",
    "rating",
    "lora_name",
    "lora_path",
    "continue_final_message",
];

fn good_body(draw: &mut Draw) -> Value {
    let bodies = [
        json!({ "prompt": "Add 1.", "max_tokens": 3 }),
        json!({ "prompt": [[1, 2], [3]], "max_tokens": 2, "echo": true, "logprobs": 1 }),
        json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 3, "stream": true }),
        json!({ "messages": [{ "role": "assistant", "content": [{ "type": "text", "text": "y" }] }], "max_tokens": 2, "logprobs": true }),
        json!({ "prompt": ["a", "b"], "n": 2, "stream": true, "stop": ["q"], "max_tokens": 4 }),
        json!({ "tokens": [1, 2, 3] }),
        json!({ "request_id": "x", "rating": 1, "prompt": "p", "reply": "r", "reasoning": "a\nb", "wrong_step": 1 }),
        json!({ "lora_name": "a", "lora_path": "b" }),
    ];
    draw.of(&bodies).clone()
}

fn value(draw: &mut Draw, depth: usize) -> Value {
    match draw.below(if depth == 0 { 16 } else { 20 }) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(1),
        5 => json!(i64::MAX),
        6 => json!(u64::MAX),
        7 => json!(1e308),
        8 => json!(-0.5),
        9 => json!(""),
        10 => json!("x"),
        11 => json!("\u{0}\u{FFFD}\u{1F9EA}</think><|im_end|>"),
        12 => json!("12 ".repeat(700)),
        13 => json!([]),
        14 => json!({}),
        15 => json!(640),
        16 => Value::Array((0..draw.below(4)).map(|_| value(draw, depth - 1)).collect()),
        17 => json!({ "role": value(draw, depth - 1), "content": value(draw, depth - 1) }),
        18 => json!({ "type": "text", "text": value(draw, depth - 1) }),
        _ => {
            let fields = (0..draw.below(4))
                .map(|_| ((*draw.of(&FIELDS)).to_owned(), value(draw, depth - 1)));
            Value::Object(fields.collect::<Vec<_>>().into_iter().collect())
        }
    }
}

fn body(draw: &mut Draw) -> Vec<u8> {
    let mut body = good_body(draw);
    for _ in 0..draw.below(4) {
        let field = *draw.of(&FIELDS);
        body[field] = value(draw, 2);
    }
    let mut bytes = body.to_string().into_bytes();
    // A third are no JSON any more, or other JSON.
    if draw.below(3) == 0 {
        for _ in 0..=draw.below(4) {
            let at = draw.below(bytes.len());
            match draw.below(4) {
                0 => bytes[at] = draw.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, *draw.of(b"{}[]\",:\\0e-")),
                _ => {
                    bytes.remove(at);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
    }
    bytes
}

#[test]
fn no_body_is_a_fault_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::with(|options| {
        options.config.feedback = Some(folder.path().join("feedback.sqlite"));
        options.config.adapter_roots = vec![folder.path().to_owned()];
        options.adapters = Some(crate::harness::FakeAdapters::holding(&[("law", "domain")]));
        options.fake.tokens_per_step = 64;
    });
    let mut draw = Draw(CounterRng::new(20));
    let mut statuses = std::collections::BTreeMap::new();
    for round in 0..2_000 {
        let path = *draw.of(&PATHS);
        let body = body(&mut draw);
        let shown = || format!("round {round}: {path} {}", String::from_utf8_lossy(&body));
        let reply = server.send("POST", path, JSON, &body).unwrap_or_else(|| panic!("{}", shown()));
        assert!(reply.status < 500, "{}: {}", shown(), reply.text());
        match reply.status {
            200 if reply.header("content-type") == Some("text/event-stream") => {
                for event in reply.events() {
                    assert!(event.get("error").is_none(), "{}: {event}", shown());
                }
            }
            200 => {
                reply.json();
            }
            status => {
                reply.error(status);
            }
        }
        *statuses.entry(reply.status).or_insert(0) += 1;
    }
    // Neither all refused nor all let through.
    assert!(statuses[&200] > 200 && statuses[&400] > 200, "{statuses:?}");
    assert_eq!(server.get("/health").status, 200);
    server.assert_idle();
}

#[test]
fn many_clients_that_come_and_go_leave_nothing_behind() {
    const CLIENTS: usize = 64;
    const REQUESTS: usize = 12;
    let mut server = Running::with(|options| {
        options.config.limits.max_requests = 48;
        options.config.limits.max_prompts = 8;
        options.fake.max_running = 16;
        options.fake.step_time = Duration::from_micros(50);
    });
    let [answered, left, refused] = [0; 3].map(AtomicUsize::new);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, answered, left, refused) = (&server, &answered, &left, &refused);
            scope.spawn(move || {
                let mut draw = Draw(CounterRng::new(client as u64));
                for _ in 0..REQUESTS {
                    let stream = draw.below(2) == 0;
                    let asked = json!({
                        "prompt": "Add 12. Add 30.", "max_tokens": 1 + draw.below(60), "ignore_eos": true,
                        "n": 1 + draw.below(3), "stream": stream, "stop": if draw.below(3) == 0 { json!("12") } else { Value::Null },
                        "priority": draw.below(3)
                    });
                    match draw.below(8) {
                        // Leaves in the middle.
                        0 | 1 if stream => {
                            let mut open = server.post_open("/v1/completions", &asked);
                            if open.status == 200 {
                                open.line();
                            }
                            open.abandon();
                            left.fetch_add(1, Ordering::Relaxed);
                        }
                        2 => {
                            let body = body(&mut draw);
                            let reply = server.send("POST", "/v1/completions", JSON, &body).unwrap();
                            assert!(reply.status < 500, "{}", reply.text());
                        }
                        _ => {
                            let reply = server.completions(asked);
                            match reply.status {
                                200 if stream => {
                                    let events = reply.events();
                                    assert!(events.iter().all(|event| event.get("error").is_none()));
                                    answered.fetch_add(1, Ordering::Relaxed);
                                }
                                200 => {
                                    let choices = reply.json()["choices"].clone();
                                    let ended = |choice: &Value| choice["finish_reason"].is_string();
                                    assert!(choices.as_array().unwrap().iter().all(ended));
                                    answered.fetch_add(1, Ordering::Relaxed);
                                }
                                429 => {
                                    refused.fetch_add(1, Ordering::Relaxed);
                                }
                                _ => panic!("{}", reply.text()),
                            }
                        }
                    }
                }
            });
        }
    });
    let counts = [&answered, &left, &refused].map(|count| count.load(Ordering::Relaxed));
    assert!(counts[0] > 100 && counts[1] > 20, "answered, left, refused: {counts:?}");
    server.assert_idle();
    assert_eq!(server.completions(json!({ "prompt": "x" })).status, 200);
    server.stop().unwrap();
}
