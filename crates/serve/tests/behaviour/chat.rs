//! `/v1/chat/completions`: messages, the chain of thought apart from the answer, streams.

use crate::harness::Running;
use serde_json::{Value, json};

const THINKING: &str = "<think>\none\ntwo\n</think>\n\nThe answer is 4.";

fn user(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

/// The parts of a streamed reply: role, chain, answer, last chunk.
#[track_caller]
fn joined(events: &[Value]) -> (String, String, String, Value) {
    let mut parts = (String::new(), String::new(), String::new(), Value::Null);
    for event in events.iter().filter(|event| !event["choices"].as_array().unwrap().is_empty()) {
        assert_eq!(event["object"], "chat.completion.chunk");
        let choice = &event["choices"][0];
        let delta = &choice["delta"];
        parts.0 += delta["role"].as_str().unwrap_or_default();
        assert_eq!(delta["reasoning"], delta["reasoning_content"]);
        parts.1 += delta["reasoning"].as_str().unwrap_or_default();
        parts.2 += delta["content"].as_str().unwrap_or_default();
        parts.3 = choice.clone();
    }
    parts
}

#[test]
fn the_chain_stands_apart_from_the_answer() {
    let server = Running::saying(THINKING);
    let reply = server.chat(json!({ "model": "fake", "messages": user("2 + 2?") }));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["object"], "chat.completion");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let message = &body["choices"][0]["message"];
    assert_eq!(message["role"], "assistant");
    assert_eq!(message["content"], "The answer is 4.");
    assert_eq!(message["reasoning_content"], "one\ntwo");
    assert_eq!(message["reasoning"], "one\ntwo");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let usage = &body["usage"];
    let details = &usage["completion_tokens_details"];
    let reasoning = details["reasoning_tokens"].as_u64().unwrap();
    assert!(reasoning > 4 && reasoning < usage["completion_tokens"].as_u64().unwrap(), "{usage}");
}

#[test]
fn a_stream_splits_as_the_whole_does() {
    let server = Running::saying(THINKING);
    let reply = server.chat(json!({
        "messages": user("2 + 2?"), "stream": true, "stream_options": { "include_usage": true }
    }));
    let events = reply.events();
    let (role, reasoning, content, last) = joined(&events);
    assert_eq!((role.as_str(), reasoning.as_str()), ("assistant", "one\ntwo"));
    assert_eq!(content, "The answer is 4.");
    assert_eq!(last["finish_reason"], "stop");
    assert!(events.iter().all(|event| !event.to_string().contains("think")));
    let whole = server.chat(json!({ "messages": user("2 + 2?") })).json();
    assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
}

#[test]
fn a_template_may_open_the_chain() {
    let server = Running::with(|options| {
        options.reply = Some("one\n</think>\n\n4");
        options.chat_template = Some(
            "{% for m in messages %}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}",
        );
    });
    let asked = json!({ "messages": user("a <think> mark of the user's") });
    let body = server.chat(asked.clone()).json();
    assert_eq!(body["choices"][0]["message"]["reasoning"], "one");
    assert_eq!(body["choices"][0]["message"]["content"], "4");
    let mut streamed = asked;
    streamed["stream"] = json!(true);
    let (_, reasoning, content, _) = joined(&server.chat(streamed).events());
    assert_eq!((reasoning.as_str(), content.as_str()), ("one", "4"));
    let mut none = json!({ "messages": user("a <think> mark"), "add_generation_prompt": false });
    let body = server.chat(none.take()).json();
    assert_eq!(body["choices"][0]["message"]["reasoning"], Value::Null);
}

#[test]
fn a_chain_that_is_cut_has_no_answer() {
    let server = Running::saying(THINKING);
    let body = server.chat(json!({ "messages": user("?"), "max_tokens": 3 })).json();
    let choice = &body["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!(""), &json!("length"))
    );
    assert!(choice["message"]["reasoning"].is_string());
    let body = server.chat(json!({
        "messages": user("?"), "max_tokens": 9, "max_completion_tokens": 2
    }));
    assert_eq!(body.json()["usage"]["completion_tokens"], 2, "the newer name counts");
}

#[test]
fn an_answer_without_a_chain_is_all_there_is() {
    let server = Running::saying(" 4 < 5 ");
    let body = server.chat(json!({ "messages": user("?") })).json();
    assert_eq!(body["choices"][0]["message"]["content"], " 4 < 5 ");
    assert_eq!(body["choices"][0]["message"]["reasoning_content"], Value::Null);
    assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
}

#[test]
fn messages_have_many_forms() {
    let server = Running::new();
    for messages in [
        json!([{ "role": "system", "content": "s" }, { "role": "user", "content": "u" }]),
        json!([{ "role": "developer", "content": "s" }, { "role": "user", "content": "u", "name": "n" }]),
        json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] }]),
        json!([{ "role": "user", "content": "u" }, { "role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [] }]),
        json!([{ "role": "tool", "content": "t", "tool_call_id": "x" }]),
    ] {
        let reply = server.chat(json!({ "messages": messages, "max_tokens": 3 }));
        assert_eq!(reply.status, 200, "{messages}: {}", reply.text());
    }
    // Parts are one text.
    let count = |content: Value| {
        let messages = json!([{ "role": "user", "content": content }]);
        server.post("/tokenize", &json!({ "messages": messages })).json()["count"].clone()
    };
    let parts = json!([{ "type": "text", "text": "Add" }, { "type": "text", "text": " 1." }]);
    assert_eq!(count(parts), count(json!("Add 1.")));
}

#[test]
fn the_template_gets_its_variables() {
    let server = Running::new();
    let count = |extra: Value| {
        let mut body = json!({ "messages": user("a") });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.post("/tokenize", &body).json()["count"].as_u64().unwrap()
    };
    let plain = count(json!({}));
    let closed = count(json!({ "chat_template_kwargs": { "enable_thinking": false } }));
    assert!(closed > plain, "the fixture's template closes the block");
    assert!(count(json!({ "add_generation_prompt": false })) < plain);
}

#[test]
fn a_message_is_gone_on_with() {
    let server = Running::new();
    let messages = json!([
        { "role": "user", "content": "Count." },
        { "role": "assistant", "content": "one two" }
    ]);
    let tokens = server.post(
        "/tokenize",
        &json!({ "messages": messages, "continue_final_message": true, "add_generation_prompt": false }),
    );
    let text = server.post("/detokenize", &json!({ "tokens": tokens.json()["tokens"] })).json();
    assert!(text["prompt"].as_str().unwrap().ends_with("assistant\none two"), "{text}");
    let reply = server.chat(json!({
        "messages": messages, "continue_final_message": true, "add_generation_prompt": true
    }));
    assert_eq!(reply.error(400)["param"], "continue_final_message");
    let reply = server.chat(json!({ "messages": user("x"), "continue_final_message": true }));
    assert_eq!(reply.error(400)["param"], "continue_final_message");
}

#[test]
fn logprobs_have_bytes_and_rivals() {
    let server = Running::saying("one two");
    let ask = |stream: bool| {
        server.chat(json!({
            "messages": user("x"), "logprobs": true, "top_logprobs": 2, "stream": stream, "temperature": 0
        }))
    };
    let body = ask(false).json();
    let content = body["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(content.len(), server.tokenizer.encode("one two").unwrap().len());
    for entry in &content {
        let text = entry["token"].as_str().unwrap();
        let bytes: Vec<u8> = serde_json::from_value(entry["bytes"].clone()).unwrap();
        assert_eq!(bytes, text.as_bytes());
        assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
        assert!(entry["top_logprobs"].to_string().contains(&entry["logprob"].to_string()));
    }
    let mut streamed = Vec::new();
    for event in ask(true).events() {
        if let Some(entries) = event["choices"][0]["logprobs"]["content"].as_array() {
            streamed.extend(entries.clone());
        }
    }
    assert_eq!(streamed, content);
}

#[test]
fn several_choices_are_streamed_together() {
    let server = Running::saying("one two");
    let events = server.chat(json!({ "messages": user("x"), "n": 3, "stream": true })).events();
    let of = |index: u64| {
        let own: Vec<Value> =
            events.iter().filter(|event| event["choices"][0]["index"] == index).cloned().collect();
        joined(&own)
    };
    assert_eq!(of(0).2, "one two");
    assert_ne!(of(1).2, of(0).2);
    assert_eq!(of(2).3["finish_reason"], "stop");
}

#[test]
fn what_cannot_be_done_is_refused() {
    let server = Running::new();
    let message = |message: Value| json!({ "messages": [message] });
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    for (body, param) in [
        (json!({}), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": "hi" }), "messages"),
        (message(json!({ "role": "user" })), "messages[0].content"),
        (message(json!({ "content": "x" })), "messages[0].role"),
        (message(json!({ "role": "robot", "content": "x" })), "messages[0].role"),
        (message(json!({ "role": 3, "content": "x" })), "messages[0].role"),
        (message(json!({ "role": "user", "content": 3 })), "messages[0].content"),
        (message(json!("hi")), "messages[0]"),
        (
            message(json!({ "role": "user", "content": [{ "type": "image_url" }] })),
            "messages[0].content[0].type",
        ),
        (json!({ "messages": user("x"), "tools": tools }), "tools"),
        (json!({ "messages": user("x"), "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "messages": user("x"), "logprobs": 2 }), "logprobs"),
        (json!({ "messages": user("x"), "max_tokens": 0 }), "max_tokens"),
        (json!({ "messages": user("x"), "max_tokens": 2000 }), "messages"),
        (json!({ "messages": user(&"12 ".repeat(2000)) }), "messages"),
        (json!({ "messages": user("x"), "chat_template_kwargs": [] }), "chat_template_kwargs"),
        (
            json!({ "messages": user("x"), "response_format": { "type": "json_schema" } }),
            "response_format.json_schema",
        ),
        (json!({ "messages": user("x"), "guided_json": { "type": "nothing" } }), "guided_json"),
    ] {
        let error = server.chat(body.clone()).error(400);
        assert_eq!(error["param"], param, "{body}");
    }
    let reply =
        server.chat(json!({ "messages": user("x"), "tools": tools, "tool_choice": "none" }));
    assert_eq!(reply.status, 200);
}

#[test]
fn a_template_that_raises_is_the_clients_fault() {
    let server = Running::with(|options| {
        options.chat_template = Some("{{ raise_exception('roles must alternate') }}");
    });
    let error = server.chat(json!({ "messages": user("x") })).error(400);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("roles must alternate") && !message.contains("tmp"), "{message}");
}
