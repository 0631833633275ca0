//! `/v1/completions` in all its forms.

use std::sync::atomic::Ordering;

use crate::harness::{Running, VOCAB_SIZE};
use serde_json::{Value, json};

fn texts(reply: &Value) -> Vec<String> {
    let choices = reply["choices"].as_array().unwrap();
    choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_text_is_continued() {
    let server = Running::new();
    let prompt = "Add 12.";
    let reply = server.completions(json!({
        "model": "fake", "prompt": prompt, "max_tokens": 100, "unheard_of": [1]
    }));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert!(body["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(body["object"], "text_completion");
    assert_eq!(body["model"], "fake");
    let choice = &body["choices"][0];
    assert_eq!((&choice["index"], &choice["logprobs"]), (&json!(0), &Value::Null));
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &Value::Null));
    let mut tokens = server.tokenizer.encode(prompt).unwrap();
    tokens.reverse();
    assert_eq!(choice["text"], server.tokenizer.decode(&tokens, true).unwrap());
    let count = tokens.len();
    // The stop token was generated as well.
    assert_eq!(body["usage"]["prompt_tokens"], count);
    assert_eq!(body["usage"]["completion_tokens"], count + 1);
    assert_eq!(body["usage"]["total_tokens"], 2 * count + 1);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], count / 16 * 16);
}

#[test]
fn a_prompt_has_four_forms() {
    let server = Running::saying("ok");
    let ids = server.tokenizer.encode("Add 1.").unwrap();
    for (prompt, count) in [
        (json!("Add 1."), 1),
        (json!(["Add 1.", "Add 2."]), 2),
        (json!(ids), 1),
        (json!([ids, ids, [5]]), 3),
    ] {
        let reply = server.completions(json!({ "prompt": prompt, "n": 2, "max_tokens": 9 })).json();
        let choices = reply["choices"].as_array().unwrap();
        let indices: Vec<u64> = choices.iter().map(|c| c["index"].as_u64().unwrap()).collect();
        assert_eq!(indices, (0..2 * count).collect::<Vec<_>>(), "{prompt}");
    }
    for prompt in [
        json!(""),
        json!([]),
        json!([[]]),
        json!([1, "a"]),
        json!(["a", 1]),
        json!([[1], "a"]),
        json!({}),
        json!(3),
        json!([-1]),
        json!([VOCAB_SIZE]),
        json!([1.5]),
        json!([null]),
        Value::Null,
    ] {
        let reply = server.completions(json!({ "prompt": prompt }));
        assert_eq!(reply.error(400)["param"], "prompt", "{prompt}");
    }
}

#[test]
fn the_limit_ends_a_choice() {
    let server = Running::saying("one two three four");
    let body = server.completions(json!({ "prompt": "x", "max_tokens": 2 })).json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 2);
    let body =
        server.completions(json!({ "prompt": "x", "max_tokens": 40, "ignore_eos": true })).json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 40);
    let stop = server.tokenizer.encode("o").unwrap();
    assert_eq!(stop.len(), 1);
    let body = server.completions(json!({
        "prompt": "x", "max_tokens": 40, "ignore_eos": true, "stop_token_ids": stop
    }));
    assert_eq!(body.json()["choices"][0]["stop_reason"], stop[0]);
}

#[test]
fn what_lm_eval_asks_for_has_an_entry_more_than_the_prompt() {
    let server = Running::new();
    let prompt: Vec<i64> = vec![40, 41, 42, 43, 44];
    let body = server.completions(json!({
        "model": "fake", "prompt": [prompt], "echo": true, "logprobs": 1, "max_tokens": 1,
        "temperature": 0, "seed": 1234
    }));
    let logprobs = body.json()["choices"][0]["logprobs"].clone();
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), prompt.len() + 1, "{list}");
    }
    assert_eq!(logprobs["token_logprobs"][0], Value::Null);
    assert_eq!(logprobs["top_logprobs"][0], Value::Null);
    for place in 1..=prompt.len() {
        let token = logprobs["tokens"][place].as_str().unwrap();
        let chosen = logprobs["token_logprobs"][place].as_f64().unwrap();
        let top = logprobs["top_logprobs"][place].as_object().unwrap();
        assert_eq!(top[token].as_f64(), Some(chosen), "the very same number");
        let greedy = top.values().all(|other| other.as_f64().unwrap() <= chosen);
        assert_eq!(greedy, place % 2 == 0, "as the fake has it");
    }
}

#[test]
fn echo_works_without_generating() {
    let server = Running::new();
    let prompt = "Start with 3. Add 4.";
    let count = server.tokenizer.encode(prompt).unwrap().len();
    let ask = |extra: Value| {
        let mut body = json!({ "prompt": prompt, "echo": true, "max_tokens": 0, "n": 1 });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.completions(body).json()
    };
    let body = ask(json!({ "logprobs": 2 }));
    let choice = &body["choices"][0];
    assert_eq!(choice["text"], prompt);
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), count);
    let joined: String = choice["logprobs"]["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token.as_str().unwrap())
        .collect();
    assert_eq!(joined, prompt);
    let offsets: Vec<u64> = choice["logprobs"]["text_offset"]
        .as_array()
        .unwrap()
        .iter()
        .map(|offset| offset.as_u64().unwrap())
        .collect();
    assert!(offsets.is_sorted() && offsets[0] == 0);
    assert_eq!(body["usage"]["completion_tokens"], 0);
    assert_eq!(texts(&ask(json!({})))[0], prompt);
    let error = server.completions(json!({ "prompt": prompt, "max_tokens": 0 })).error(400);
    assert_eq!(error["param"], "max_tokens");
    server.assert_idle();
}

#[test]
fn echo_is_streamed_with_its_logprobs() {
    let server = Running::new();
    let ask = |stream: bool| {
        server.completions(json!({
            "prompt": "Add 4.", "echo": true, "logprobs": 1, "max_tokens": 5, "stream": stream
        }))
    };
    let whole = ask(false).json()["choices"][0].clone();
    let mut text = String::new();
    let mut tokens = Vec::new();
    for event in ask(true).events() {
        let choice = &event["choices"][0];
        text += choice["text"].as_str().unwrap();
        tokens.extend(choice["logprobs"]["tokens"].as_array().unwrap().iter().cloned());
    }
    assert_eq!(whole["text"], text);
    assert_eq!(whole["logprobs"]["tokens"], Value::Array(tokens));
}

#[test]
fn choices_differ_and_the_best_are_shown() {
    let server = Running::new();
    let body = server.completions(json!({ "prompt": "Add 12.", "n": 3, "max_tokens": 3 })).json();
    let three = texts(&body);
    assert_eq!(three.len(), 3);
    assert_ne!(three[0], three[1]);
    let body = server
        .completions(json!({ "prompt": "Add 12.", "best_of": 3, "n": 1, "max_tokens": 3 }))
        .json();
    assert_eq!(texts(&body).len(), 1);
    assert_eq!(body["choices"][0]["logprobs"], Value::Null);
    assert_eq!(body["usage"]["completion_tokens"], 9, "all that were generated count");
    let error = server.completions(json!({ "prompt": "x", "n": 3, "best_of": 2 })).error(400);
    assert_eq!(error["param"], "best_of");
    let error =
        server.completions(json!({ "prompt": "x", "best_of": 2, "stream": true })).error(400);
    assert_eq!(error["param"], "best_of");
}

#[test]
fn stop_strings_are_found_across_tokens_and_never_shown() {
    let server = Running::with(|options| {
        options.reply = Some("one two three four");
        // The stop string comes before, and what is not cancelled never ends.
        options.fake.hang_after = Some(20);
    });
    let tokens = server.tokenizer.encode("one two three four").unwrap();
    assert!(tokens.len() > 6 && tokens.len() < 20, "the fixture's words have several tokens");
    for stop in [json!("o thr"), json!(["never", "o thr"]), json!(["four", "o thr"])] {
        for stream in [false, true] {
            let reply = server.completions(json!({
                "prompt": "x", "max_tokens": 400, "ignore_eos": true, "stop": stop, "stream": stream
            }));
            let (text, last) = if stream {
                let events = reply.events();
                let text =
                    events.iter().map(|e| e["choices"][0]["text"].as_str().unwrap()).collect();
                (text, events.last().unwrap()["choices"][0].clone())
            } else {
                (texts(&reply.json())[0].clone(), reply.json()["choices"][0].clone())
            };
            assert_eq!(text, "one tw", "{stop}");
            assert_eq!(last["finish_reason"], "stop");
            assert_eq!(last["stop_reason"], "o thr");
        }
    }
    // The rest was cancelled, not generated.
    server.assert_idle();
    assert_eq!(server.control.cancelled.load(Ordering::SeqCst), 6);
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("vllm:request_success_total{model_name=\"fake\",engine=\"0\",finished_reason=\"stop\"} 6"),
        "{metrics}"
    );
}

#[test]
fn what_was_held_back_comes_at_the_end() {
    let server = Running::saying("one two");
    for stream in [false, true] {
        let reply = server.completions(
            json!({ "prompt": "x", "max_tokens": 99, "stop": "two!", "stream": stream }),
        );
        let text: String = if stream {
            reply
                .events()
                .iter()
                .map(|e| e["choices"][0]["text"].as_str().unwrap().to_owned())
                .collect()
        } else {
            texts(&reply.json())[0].clone()
        };
        assert_eq!(text, "one two");
    }
}

#[test]
fn characters_are_streamed_whole() {
    let server = Running::saying("数学 \u{1F9EA} naïve");
    let reply = server.completions(json!({ "prompt": "x", "max_tokens": 99, "stream": true }));
    let events = reply.events();
    let text: String =
        events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, "数学 \u{1F9EA} naïve");
    assert!(events.iter().all(|event| !event.to_string().contains('\u{FFFD}')));
}

#[test]
fn a_stream_has_chunks_usage_and_an_end() {
    let server = Running::saying("one two");
    let reply = server.completions(json!({
        "prompt": ["a", "b"], "n": 2, "max_tokens": 99, "stream": true,
        "stream_options": { "include_usage": true }
    }));
    let events = reply.events();
    let mut choices = vec![String::new(); 4];
    let mut finished = vec![None; 4];
    let (usage, chunks) = events.split_last().unwrap();
    for chunk in chunks {
        assert_eq!(chunk["object"], "text_completion");
        assert_eq!(chunk["id"], events[0]["id"]);
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        assert_eq!(finished[index], None, "nothing comes after the end");
        choices[index] += choice["text"].as_str().unwrap();
        finished[index] = choice["finish_reason"].as_str().map(str::to_owned);
    }
    assert_eq!(choices[0], "one two");
    assert_eq!(choices[0], choices[2]);
    assert!(finished.iter().all(|reason| reason.as_deref() == Some("stop")));
    assert_eq!(usage["choices"], json!([]));
    let tokens = server.tokenizer.encode("one two").unwrap().len();
    assert_eq!(usage["usage"]["completion_tokens"], 4 * (tokens + 1));
    assert_eq!(usage["usage"]["prompt_tokens"], 2);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let server = Running::with(|options| options.fake.capacity = 500);
    for (body, param, code) in [
        (json!({ "prompt": "x", "suffix": "y" }), "suffix", json!("unsupported_parameter")),
        (json!({ "prompt": "x", "max_tokens": 2000 }), "prompt", json!("context_length_exceeded")),
        // Fits the model, not the engine.
        (json!({ "prompt": "x", "max_tokens": 800 }), "prompt", json!("context_length_exceeded")),
        (
            json!({ "prompt": "x", "max_tokens": 800, "stream": true }),
            "prompt",
            json!("context_length_exceeded"),
        ),
        (json!({ "prompt": "x", "max_tokens": -1 }), "max_tokens", Value::Null),
        (json!({ "prompt": "x", "logprobs": true }), "logprobs", Value::Null),
        (json!({ "prompt": "x", "logprobs": 21 }), "logprobs", Value::Null),
        (json!({ "prompt": "x", "min_tokens": 17 }), "min_tokens", Value::Null),
        (json!({ "prompt": "x", "echo": "yes" }), "echo", Value::Null),
        (json!({ "prompt": vec!["x"; 257] }), "prompt", Value::Null),
        (json!({}), "prompt", Value::Null),
    ] {
        let error = server.completions(body.clone()).error(400);
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &code), "{body}");
    }
    server.assert_idle();
}

#[test]
fn a_request_that_the_engine_fails_on_is_alone() {
    let server = Running::with(|options| options.fake.failing_token = Some(77));
    let error = server.completions(json!({ "prompt": [77] })).error(500);
    assert_eq!(error["type"], "server_error");
    let reply = server.completions(json!({ "prompt": [77], "stream": true }));
    let events = reply.events();
    assert_eq!(events.last().unwrap()["error"]["type"], "server_error");
    assert_eq!(server.completions(json!({ "prompt": [78] })).status, 200);
    server.assert_idle();
}
