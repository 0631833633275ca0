//! Augmentation against a real HTTP server in this process, which also answers 429, 500,
//! late, cut off and malformed.
#![cfg(feature = "augment")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use limbeck_cot_data::augment::{Outcome, SelectReport, Template};
use limbeck_cot_data::{AugmentConfig, Augmentation, CotRecord, ErrorKind, Shard};
use serde_json::{Value, json};

/// What the server does with a request.
#[derive(Clone, Debug)]
enum Deed {
    /// A reply: reasoning beside it, content, and why it stopped.
    Say(&'static str, &'static str, &'static str),
    /// A status, with or without a time to wait in seconds.
    Status(u16, Option<&'static str>),
    /// A 200 that is no reply.
    Malformed,
    /// A length, and less than that.
    Cut,
    /// Nothing, for longer than anyone waits.
    Hang,
}

/// Where the reasoning of a reply stands.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    ReasoningContent,
    Reasoning,
    ThinkMarks,
}

/// A server that follows a script for each question, and then repeats its last deed.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<(Instant, Value)>>>,
    authorization: Arc<Mutex<Option<String>>>,
}

type Scripts = HashMap<&'static str, Vec<Deed>>;

impl Server {
    fn start(scripts: Scripts, dialect: Dialect) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let authorization = Arc::new(Mutex::new(None));
        let (seen, key) = (Arc::clone(&requests), Arc::clone(&authorization));
        let scripts = Arc::new(Mutex::new(scripts));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, key, scripts) =
                    (Arc::clone(&seen), Arc::clone(&key), Arc::clone(&scripts));
                thread::spawn(move || {
                    let _ = serve(stream, &seen, &key, &scripts, dialect);
                });
            }
        });
        Self { url, requests, authorization }
    }

    fn num_requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<(Instant, Value)>>,
    key: &Mutex<Option<String>>,
    scripts: &Mutex<Scripts>,
    dialect: Dialect,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = 0;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        assert!(line.starts_with("POST /v1/chat/completions "), "{line}");
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            match name.to_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => *key.lock().unwrap() = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let prompt = body["messages"][0]["content"].as_str().unwrap().to_owned();
        seen.lock().unwrap().push((Instant::now(), body));
        let deed = {
            let mut scripts = scripts.lock().unwrap();
            let (_, script) = scripts
                .iter_mut()
                .find(|(question, _)| prompt.ends_with(**question))
                .unwrap_or_else(|| panic!("no script for {prompt}"));
            if script.len() > 1 { script.remove(0) } else { script[0].clone() }
        };
        let mut answer = |status: u16, more: &str, body: &str, length: usize| {
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n{body}"
            )
        };
        match deed {
            Deed::Say(reasoning, content, finish) => {
                let mut message = json!({"role": "assistant", "content": content});
                match dialect {
                    Dialect::ReasoningContent => message["reasoning_content"] = reasoning.into(),
                    Dialect::Reasoning => message["reasoning"] = reasoning.into(),
                    Dialect::ThinkMarks => {
                        message["content"] =
                            format!("<think>\n{reasoning}\n</think>\n\n{content}").into();
                    }
                }
                let body = json!({
                    "id": "x", "object": "chat.completion", "model": "teacher-1",
                    "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                    "usage": {"prompt_tokens": 50, "completion_tokens": 100, "total_tokens": 150},
                })
                .to_string();
                answer(200, "", &body, body.len())?;
            }
            Deed::Status(status, wait) => {
                let wait = wait.map_or(String::new(), |wait| format!("retry-after: {wait}\r\n"));
                answer(status, &wait, "{\"error\": \"no\"}", 15)?;
            }
            Deed::Malformed => answer(200, "", "{\"choices\": 3}", 14)?,
            Deed::Cut => {
                answer(200, "", "{\"choices\": [{\"mess", 4000)?;
                return Ok(());
            }
            Deed::Hang => {
                thread::sleep(Duration::from_secs(30));
                return Ok(());
            }
        }
    }
}

const BAGS: &str = "Ann has 3 bags of 4 eggs and eats 2 eggs. How many eggs are left?";
const RIGHT: Deed = Deed::Say("3*4=12\n12-2=10", "The answer is: 10", "stop");

struct Bench {
    folder: tempfile::TempDir,
    config: AugmentConfig,
    shard: Shard,
}

impl Bench {
    fn new(server: &Server, questions: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = questions.iter().map(Value::to_string).collect();
        fs::write(folder.path().join("questions.jsonl"), lines.join("\n")).unwrap();
        let config = AugmentConfig {
            url: server.url.clone(),
            model: "teacher".to_owned(),
            key_variable: "LIMBECK_TEST_NO_KEY".to_owned(),
            num_samples: 1,
            concurrency: 2,
            retry_seconds: 0.01,
            timeout_seconds: 5.0,
            prompt_price: 1.0,
            completion_price: 2.0,
            ..AugmentConfig::default()
        };
        Self { folder, config, shard: Shard::WHOLE }
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.jsonl")
    }

    fn open(&self) -> Augmentation {
        let questions: &Path = &self.folder.path().join("questions.jsonl");
        Augmentation::open(self.config.clone(), questions, self.shard, &self.journal()).unwrap()
    }

    fn select(&self) -> (SelectReport, Vec<CotRecord>, Vec<Outcome>) {
        let (mut records, mut outcomes) = (Vec::new(), Vec::new());
        let report = self
            .open()
            .select(
                |record| {
                    records.push(record);
                    Ok(())
                },
                |_, outcome| {
                    outcomes.push(outcome);
                    Ok(())
                },
            )
            .unwrap();
        (report, records, outcomes)
    }
}

fn question(text: &str, answer: Option<&str>) -> Value {
    match answer {
        Some(answer) => json!({"question": text, "answer": answer}),
        None => json!({"question": text}),
    }
}

#[test]
fn a_chain_is_asked_for_verified_and_paid_for_once() {
    for dialect in [Dialect::ReasoningContent, Dialect::Reasoning, Dialect::ThinkMarks] {
        let server = Server::start(HashMap::from([(BAGS, vec![RIGHT])]), dialect);
        let bench = Bench::new(&server, &[question(BAGS, Some("10"))]);
        let mut run = bench.open();
        let plan = run.plan().unwrap();
        assert_eq!((plan.num_samples, plan.num_done, plan.num_missing), (1, 0, 1));
        assert!(plan.cost > 0.0 && plan.cost < plan.max_cost, "{plan:?}");
        let account = run.sample(|_| ()).unwrap();
        assert_eq!((account.num_samples, account.num_retries, account.num_failed), (1, 0, 0));
        assert_eq!((account.prompt_tokens, account.completion_tokens), (50, 100));
        assert!((account.cost - 250.0 / 1e6).abs() < 1e-12);
        drop(run);

        let (report, records, _) = bench.select();
        assert_eq!((report.num_questions, report.num_solved, report.num_voted), (1, 1, 0));
        let record = &records[0];
        assert_eq!(record.thought_process, ["3*4=12", "12-2=10"]);
        assert_eq!((record.answer.as_str(), record.checks.answer.as_str()), ("10", "verified"));
        assert_eq!(record.checks.steps, [true, true]);
        assert_eq!(record.source.teacher.as_deref(), Some("teacher-1"));
        assert_eq!(record.extra["template"], "step_by_step");

        let mut again = bench.open();
        assert_eq!(again.plan().unwrap().num_missing, 0);
        assert_eq!(again.sample(|_| ()).unwrap().num_samples, 0);
        assert_eq!(server.num_requests(), 1);
        let (_, body) = server.requests.lock().unwrap()[0].clone();
        assert_eq!(body["model"], "teacher");
        assert!(body["seed"].is_u64() && body["messages"].as_array().unwrap().len() == 1);
    }
}

#[test]
fn what_may_go_better_is_asked_again() {
    let script = vec![
        Deed::Status(429, Some("0.4")),
        Deed::Status(500, None),
        Deed::Malformed,
        Deed::Cut,
        RIGHT,
    ];
    let server = Server::start(HashMap::from([(BAGS, script)]), Dialect::ReasoningContent);
    let bench = Bench::new(&server, &[question(BAGS, Some("10"))]);
    let account = bench.open().sample(|_| ()).unwrap();
    assert_eq!((account.num_samples, account.num_retries), (1, 4));
    let times: Vec<Instant> =
        server.requests.lock().unwrap().iter().map(|(time, _)| *time).collect();
    assert_eq!(times.len(), 5);
    assert!(times[1] - times[0] >= Duration::from_millis(400), "Retry-After is obeyed");
    assert_eq!(bench.select().0.num_solved, 1);
}

#[test]
fn an_endpoint_that_hangs_is_given_up() {
    let other = "What is 2 + 2?";
    let server = Server::start(
        HashMap::from([
            (BAGS, vec![Deed::Hang]),
            (other, vec![Deed::Say("2+2=4", "The answer is: 4", "stop")]),
        ]),
        Dialect::ReasoningContent,
    );
    let mut bench = Bench::new(&server, &[question(BAGS, Some("10")), question(other, Some("4"))]);
    bench.config.timeout_seconds = 0.3;
    bench.config.max_attempts = 2;
    let account = bench.open().sample(|_| ()).unwrap();
    assert_eq!((account.num_samples, account.num_failed), (1, 1));
    assert_eq!(bench.open().plan().unwrap().num_missing, 1, "a rerun asks for what is missing");
    let (report, records, outcomes) = bench.select();
    assert_eq!((records.len(), outcomes), (1, vec![Outcome::Unanswered]), "it is listed");
    assert_eq!(report.samples[&Outcome::Unanswered], 1);
}

#[test]
fn a_refused_key_stops_the_run_and_nothing_is_lost() {
    let questions: Vec<Value> =
        (0..20).map(|index| question(&format!("{index} birds? {BAGS}"), Some("10"))).collect();
    // The fifth request is refused.
    let mut script = vec![RIGHT; 4];
    script.push(Deed::Status(401, None));
    let server = Server::start(HashMap::from([(BAGS, script)]), Dialect::ReasoningContent);
    let mut bench = Bench::new(&server, &questions);
    bench.config.concurrency = 1;
    let error = bench.open().sample(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("401"), "{error}");
    assert!(error.hint().unwrap().contains("journal"));
    assert_eq!(bench.open().plan().unwrap().num_done, 4);
    assert_eq!(server.num_requests(), 5);

    // A crash in the middle of a line, then a good endpoint.
    let mut journal = fs::OpenOptions::new().append(true).open(bench.journal()).unwrap();
    journal.write_all(b"{\"key\": \"0123").unwrap();
    drop(journal);
    let good = Server::start(HashMap::from([(BAGS, vec![RIGHT])]), Dialect::ReasoningContent);
    bench.config.url.clone_from(&good.url);
    let account = bench.open().sample(|_| ()).unwrap();
    assert_eq!((account.num_samples, good.num_requests()), (16, 16));
    assert_eq!(bench.select().0.num_solved, 20);
}

#[test]
fn only_what_holds_is_kept() {
    let script = vec![
        Deed::Say("3*4=12\n12-2=10", "The answer is: 10", "stop"),
        Deed::Say("3 * 4 = 12\n12 - 2 = 10", "**The answer is: 10**", "stop"),
        Deed::Say("3*4=12\n12-2=9", "The answer is: 9", "stop"),
        Deed::Say("3*4=13\n12-2=10", "The answer is: 10", "stop"),
        Deed::Say("3*4=12", "", "length"),
        Deed::Say("", "The answer is: 10", "stop"),
        Deed::Say("3*4=12", "I do not know.", "stop"),
        Deed::Say("She has 4+4+4=12 eggs.\nOf these 12-2=10 stay.", "The answer is: $10$", "stop"),
    ];
    let server = Server::start(HashMap::from([(BAGS, script)]), Dialect::ReasoningContent);
    let mut bench = Bench::new(&server, &[question(BAGS, Some("10"))]);
    bench.config.num_samples = 8;
    bench.config.concurrency = 1;
    bench.open().sample(|_| ()).unwrap();
    let (report, records, mut outcomes) = bench.select();
    outcomes.sort_unstable();
    assert_eq!(
        outcomes,
        [
            Outcome::Incomplete,
            Outcome::NoReasoning,
            Outcome::NoAnswer,
            Outcome::WrongAnswer,
            Outcome::WrongStep,
            Outcome::Similar,
        ]
    );
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(report.samples[&Outcome::Kept], 2);
    bench.config.max_chains = 1;
    assert_eq!(bench.select().0.samples[&Outcome::Surplus], 1);
}

#[test]
fn without_an_answer_the_samples_vote() {
    let (clear, split) = ("A riddle?", "Another riddle?");
    let say = |reasoning, content| Deed::Say(reasoning, content, "stop");
    let server = Server::start(
        HashMap::from([
            (
                clear,
                vec![
                    say("It rings in the tower", "The answer is: a bell"),
                    say("Iron that sings at noon", "The answer is: A bell."),
                    say("Wood floats", "The answer is: a boat"),
                ],
            ),
            (
                split,
                ["The answer is: 1", "The answer is: 2", "The answer is: 3"]
                    .map(|answer| say("Now this", answer))
                    .to_vec(),
            ),
        ]),
        Dialect::ThinkMarks,
    );
    let mut bench = Bench::new(&server, &[question(clear, None), question(split, None)]);
    bench.config.num_samples = 3;
    bench.config.concurrency = 1;
    bench.open().sample(|_| ()).unwrap();
    let (report, records, outcomes) = bench.select();
    assert_eq!((report.num_solved, report.num_voted), (1, 1));
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.checks.answer == "voted"));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Outvoted).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::NoMajority).count(), 3);
}

#[test]
fn templates_samples_and_seeds_differ() {
    let server = Server::start(HashMap::from([(BAGS, vec![RIGHT])]), Dialect::ReasoningContent);
    let mut bench = Bench::new(&server, &[question(BAGS, Some("10"))]);
    bench.config.templates = Template::ALL.to_vec();
    bench.config.num_samples = 2;
    bench.open().sample(|_| ()).unwrap();
    let requests = server.requests.lock().unwrap().clone();
    let distinct = |field: &dyn Fn(&Value) -> String| {
        let all: std::collections::HashSet<String> =
            requests.iter().map(|(_, body)| field(body)).collect();
        all.len()
    };
    assert_eq!(requests.len(), 10);
    assert_eq!(distinct(&|body| body["seed"].to_string()), 10);
    assert_eq!(distinct(&|body| body["messages"][0]["content"].to_string()), 5);
}

#[test]
fn shards_ask_for_all_questions_once_and_make_the_same_records() {
    let questions: Vec<Value> =
        (0..9).map(|index| question(&format!("{index} birds? {BAGS}"), Some("10"))).collect();
    let server = Server::start(HashMap::from([(BAGS, vec![RIGHT])]), Dialect::ReasoningContent);
    let mut digests = Vec::new();
    for count in [1, 2, 7] {
        let before = server.num_requests();
        let mut records = Vec::new();
        for index in 0..count {
            let mut bench = Bench::new(&server, &questions);
            bench.shard = Shard { index, count };
            bench.open().sample(|_| ()).unwrap();
            records.extend(bench.select().1);
        }
        assert_eq!(server.num_requests() - before, 9, "{count} shards");
        let mut lines: Vec<String> =
            records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        lines.sort_unstable();
        digests.push(lines);
    }
    assert_eq!(digests[0].len(), 9);
    assert!(digests.iter().all(|lines| *lines == digests[0]));
}

#[test]
fn a_question_that_a_file_has_twice_is_asked_once() {
    let server = Server::start(HashMap::from([(BAGS, vec![RIGHT])]), Dialect::ReasoningContent);
    let twice = vec![question(BAGS, Some("10")); 6];
    let bench = Bench::new(&server, &twice);
    assert_eq!(bench.open().sample(|_| ()).unwrap().num_samples, 1);
    assert_eq!(server.num_requests(), 1);
}

#[test]
fn the_key_is_sent() {
    let questions: Vec<Value> =
        (0..4).map(|index| question(&format!("{index} birds? {BAGS}"), Some("10"))).collect();
    let server = Server::start(HashMap::from([(BAGS, vec![RIGHT])]), Dialect::ReasoningContent);
    let mut bench = Bench::new(&server, &questions);
    // Any variable that is set will do.
    bench.config.key_variable = "PATH".to_owned();
    bench.open().sample(|_| ()).unwrap();
    let sent = server.authorization.lock().unwrap().clone().unwrap();
    assert_eq!(sent, format!("Bearer {}", std::env::var("PATH").unwrap()));
    assert_eq!(server.num_requests(), 4);
}

#[test]
fn a_line_without_a_question_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.jsonl");
    fs::write(&path, "{\"question\": \"2+2?\"}\n{\"quest\": 3}\n").unwrap();
    let config = AugmentConfig {
        url: "http://127.0.0.1:9".to_owned(),
        model: "m".to_owned(),
        ..AugmentConfig::default()
    };
    let journal = folder.path().join("journal.jsonl");
    let error = Augmentation::preview(&config, &path, Shard::WHOLE, &journal).unwrap_err();
    assert!(error.to_string().contains("questions.jsonl:2"), "{error}");
    let second = Shard { index: 1, count: 2 };
    let first = Shard { index: 0, count: 2 };
    assert!(Augmentation::preview(&config, &path, second, &journal).is_err());
    assert_eq!(Augmentation::preview(&config, &path, first, &journal).unwrap().num_missing, 4);
    assert!(!journal.exists(), "a preview writes nothing");
    let mut run = Augmentation::open(config, &path, Shard::WHOLE, &journal).unwrap();
    assert!(run.plan().unwrap_err().to_string().contains("questions.jsonl:2"));
    assert!(run.sample(|_| ()).unwrap_err().to_string().contains("questions.jsonl:2"));
}
