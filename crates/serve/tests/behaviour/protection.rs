//! What the server does with too much, too slow, too strange, and with its own end.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::harness::http::try_open;
use crate::harness::{JSON, Running};
use limbeck_serve::Error;
use limbeck_serve::config::{AccessConfig, ApiKey};
use serde_json::json;

fn endless() -> serde_json::Value {
    json!({ "prompt": "Add 1.", "max_tokens": 900, "ignore_eos": true, "stream": true })
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let server = Running::with(|options| options.fake.hang_after = Some(5));
    let mut open = server.post_open("/v1/completions", &endless());
    open.until("data: ");
    assert_eq!(server.in_flight(), 1);
    open.abandon();
    server.wait_until("cancelled", |control| control.cancelled.load(Ordering::SeqCst) == 1);
    server.assert_idle();
    assert!(server.get("/metrics").text().contains("finished_reason=\"abort\"} 1"));
}

#[test]
fn a_choice_that_has_met_its_stop_string_does_not_go_on_beside_the_others() {
    const REPLY: &str = "one two three four";
    let count = Running::new().tokenizer.encode(REPLY).unwrap().len();
    let server = Running::with(|options| {
        options.reply = Some(REPLY);
        options.fake.hang_after = Some(count);
    });
    // The second choice begins with the second token and ends with the first; the first choice
    // neither stops nor ends.
    let tokens = server.tokenizer.encode(REPLY).unwrap();
    let stop = format!("four{}", server.tokenizer.decode(&tokens[..1], false).unwrap());
    assert!(!REPLY.contains(&stop));
    let mut open = server.post_open(
        "/v1/completions",
        &json!({
            "prompt": "x", "n": 2, "stop": stop, "max_tokens": 400, "ignore_eos": true,
            "stream": true
        }),
    );
    open.until("\"stop\"");
    server.wait_until("ended", |control| control.choices_cancelled.load(Ordering::SeqCst) == 1);
    assert_eq!((server.in_flight(), server.control.cancelled.load(Ordering::SeqCst)), (1, 0));
    open.abandon();
    server.wait_until("cancelled", |control| control.cancelled.load(Ordering::SeqCst) == 1);
    server.assert_idle();
}

#[test]
fn leaving_before_the_whole_reply_cancels_too() {
    let server = Running::new();
    server.pause(true);
    let body = json!({ "prompt": "Add 1.", "max_tokens": 900 }).to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
    server.wait_until("taken", |control| control.submitted.load(Ordering::SeqCst) == 1);
    drop(stream);
    server.wait_until("cancelled", |control| control.cancelled.load(Ordering::SeqCst) == 1);
    server.assert_idle();
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody() {
    let server = Running::new();
    // Its chunks would fill no socket's buffer, so many choices and long chunks are asked for.
    let mut asked = endless();
    asked["n"] = json!(16);
    asked["logprobs"] = json!(20);
    let slow = server.post_open("/v1/completions", &asked);
    let quick = server.completions(json!({ "prompt": "Add 1.", "max_tokens": 50 }));
    assert_eq!(quick.status, 200);
    // The engine finishes the slow one's tokens too, as the channel holds all of them.
    server.wait_until("computed", |control| control.live.load(Ordering::SeqCst) == 0);
    let events = slow.finish().unwrap().events();
    let ended = events.iter().filter(|event| event["choices"][0]["finish_reason"] == "length");
    assert_eq!(ended.count(), 16);
}

#[test]
fn a_full_server_says_when_to_come_again() {
    let server = Running::with(|options| {
        options.config.limits.max_requests = 2;
        options.config.limits.max_prompts = 2;
    });
    server.pause(true);
    let first = server.post_open("/v1/completions", &endless());
    let second = server.post_open("/v1/completions", &endless());
    assert_eq!(server.in_flight(), 2);
    let refused = server.completions(json!({ "prompt": "x" }));
    assert_eq!(refused.error(429)["code"], "rate_limit_exceeded");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    first.abandon();
    server.wait_until("cancelled", |control| control.cancelled.load(Ordering::SeqCst) == 1);
    // Two prompts need two places: none is taken if not both are there.
    server.completions(json!({ "prompt": ["x", "y"] })).error(429);
    server.pause(false);
    assert_eq!(second.finish().unwrap().status, 200);
    server.assert_idle();
    assert_eq!(server.completions(json!({ "prompt": ["x", "y"] })).status, 200);
    assert!(
        server
            .get("/metrics")
            .text()
            .contains("vllm:requests_refused_total{model_name=\"fake\",engine=\"0\"} 2")
    );
}

#[test]
fn a_page_that_renamed_this_machine_gets_nothing() {
    let server = Running::new();
    let body = br#"{"prompt": "x"}"#;
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: evil.example\r\n{JSON}Content-Length: {}\r\n\r\n",
        body.len()
    );
    try_open(server.address, &head, body).unwrap().finish().unwrap().error(403);
}

#[test]
fn one_key_may_send_so_many_requests() {
    let server = Running::with(|options| {
        options.config.access = AccessConfig {
            api_keys: vec![ApiKey("alpha".into()), ApiKey("beta".into())],
            requests_per_minute: 1,
            burst: 2,
            ..AccessConfig::default()
        };
    });
    let ask = |key: &str| {
        let extra = format!("{JSON}Authorization: Bearer {key}\r\n");
        server.send("POST", "/v1/completions", &extra, br#"{"prompt": "x"}"#).unwrap()
    };
    assert_eq!(ask("alpha").status, 200);
    assert_eq!(ask("alpha").status, 200);
    let refused = ask("alpha");
    refused.error(429);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 1);
    assert_eq!(ask("beta").status, 200);
    let wrong = ask("gamma");
    assert_eq!(wrong.error(401)["code"], "invalid_api_key");
    assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
    assert_eq!(server.completions(json!({ "prompt": "x" })).status, 401);
    for path in ["/v1/models", "/metrics", "/tokenizer_info", "/nowhere"] {
        server.get(path).error(401);
    }
    for path in ["/", "/health", "/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn bodies_are_bounded_and_json() {
    let server = Running::with(|options| options.config.limits.max_body_bytes = 10_000);
    let large = format!("{{\"prompt\": \"{}\"}}", "x".repeat(2 << 20));
    server.send("POST", "/v1/completions", JSON, large.as_bytes()).unwrap().error(413);
    let reply = server.send("POST", "/v1/completions", "Content-Type: text/plain\r\n", b"{}");
    reply.unwrap().error(415);
    server.send("POST", "/v1/completions", "", b"{}").unwrap().error(415);
    for body in [&b""[..], b"{", b"[]", b"\xff\xfe", b"{\"prompt\": \"\xff\"}", b"null"] {
        server.send("POST", "/v1/completions", JSON, body).unwrap().error(400);
    }
    let charset = "Content-Type: application/json; charset=utf-8\r\n";
    let reply = server.send("POST", "/v1/completions", charset, b"{\"prompt\": \"x\"}").unwrap();
    assert_eq!(reply.status, 200);
}

/// A client that announces more than would ever be read is answered before it has sent it.
#[test]
fn a_body_that_is_announced_too_large_is_not_waited_for() {
    let server = Running::new();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: {}\r\n\r\n",
        1_u64 << 30
    );
    let start = Instant::now();
    try_open(server.address, &head, b"{\"prompt\": ").unwrap().finish().unwrap().error(413);
    assert!(start.elapsed() < Duration::from_secs(5), "it waited for the body");
}

#[test]
fn chunked_bodies_are_bounded_too() {
    let server = Running::with(|options| options.config.limits.max_body_bytes = 1_000);
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n"
    );
    let body = format!("7d0\r\n{}\r\n0\r\n\r\n", " ".repeat(2_000));
    try_open(server.address, &head, body.as_bytes()).unwrap().finish().unwrap().error(413);
}

#[test]
fn a_head_or_a_body_that_does_not_come_is_given_up() {
    let server = Running::with(|options| {
        options.config.limits.header_timeout_seconds = 1;
        options.config.limits.body_timeout_seconds = 1;
    });
    let mut stream = TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut stream, b"POST /v1/comp").unwrap();
    let mut rest = Vec::new();
    // Ends when the server closes the connection.
    stream.read_to_end(&mut rest).unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 100\r\n\r\n"
    );
    try_open(server.address, &head, b"{").unwrap().finish().unwrap().error(408);
}

#[test]
fn what_takes_too_long_is_cut_off() {
    let server = Running::with(|options| options.config.limits.request_timeout_seconds = 1);
    server.pause(true);
    server.completions(json!({ "prompt": "x" })).error(504);
    let reply = server.completions(endless());
    assert_eq!(reply.events().last().unwrap()["error"]["type"], "server_error");
    server.assert_idle();
}

#[test]
fn a_quiet_stream_is_kept_alive() {
    let server = Running::with(|options| options.config.limits.keep_alive_seconds = 1);
    server.pause(true);
    let mut open = server.post_open("/v1/completions", &endless());
    open.until(": keep-alive");
    server.pause(false);
    open.until("[DONE]");
}

#[test]
fn stopping_lets_requests_end() {
    let mut server = Running::new();
    server.pause(true);
    let open = server.post_open("/v1/completions", &endless());
    server.shutdown.begin();
    // No new connections are taken once the listener is gone.
    while TcpStream::connect(server.address).is_ok() {
        std::thread::yield_now();
    }
    server.pause(false);
    let events = open.finish().unwrap().events();
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");
    server.stop().unwrap();
}

#[test]
fn after_the_grace_requests_are_cut_off_with_an_error() {
    let mut server = Running::with(|options| options.config.limits.shutdown_grace_seconds = 0);
    server.pause(true);
    let open = server.post_open("/v1/completions", &endless());
    server.stop().unwrap();
    let events = open.finish().unwrap().events();
    assert!(events.last().unwrap()["error"]["message"].as_str().unwrap().contains("stopping"));
    assert_eq!(server.control.cancelled.load(Ordering::SeqCst), 1);
}

#[test]
fn an_engine_that_panics_ends_the_server_with_an_error() {
    let mut server = Running::with(|options| {
        options.fake.panicking_token = Some(77);
        options.fake.hang_after = Some(5);
    });
    assert_eq!(server.get("/ready").status, 200);
    let other = server.post_open("/v1/completions", &endless());
    let error = server.completions(json!({ "prompt": [77] }));
    assert!(error.status == 503, "{}", error.text());
    assert_eq!(other.finish().unwrap().events().last().unwrap()["error"]["type"], "server_error");
    server.get("/health").error(503);
    server.get("/ready").error(503);
    server.completions(json!({ "prompt": "x" })).error(503);
    let error = server.stop().unwrap_err();
    assert!(
        matches!(&error, Error::EngineStopped { reason } if reason.contains("panicked")),
        "{error}"
    );
}
