//! Tasks of all kinds answered by small models: choices, several replies, stop strings, a run
//! that was killed, replies from elsewhere, models that fail.

use std::collections::BTreeMap;
use std::path::Path;

use limbeck_core::tokenizer_training::{TokenizerConfig, train};
use limbeck_core::{Tokenizer, test_device};
use limbeck_evaluate::chain::rollout::RolloutConfig;
use limbeck_evaluate::chain::{Evidence, TeacherConfig, ask_of_samples};
use limbeck_evaluate::task::Style;
use limbeck_evaluate::{
    Error, EvaluateConfig, Evaluation, Journal, Replies, Subject, Task, Verdict, evaluate_replies,
    evaluate_tasks,
};
use limbeck_infer::{Engine, FinishReason};
use limbeck_model::Decoder;
use limbeck_run::config::Validate;
use serde_json::{Value, json};
use tch::Kind;

const QUESTIONS: [&str; 6] = ["one", "two", "three four", "five", "six seven eight", "nine"];

struct Model {
    folder: tempfile::TempDir,
    decoder: Decoder,
    tokenizer: Tokenizer,
}

fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let config = TokenizerConfig { vocab_size: 300, ..TokenizerConfig::default() };
    train(QUESTIONS.into_iter(), &config, folder.path()).unwrap();
    let config = json!({
        "model_type": "qwen2", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "hidden_act": "silu", "initializer_range": 0.3
    });
    let decoder = Decoder::init(&config, 2, test_device(), Kind::Float).unwrap();
    decoder.save(folder.path(), Kind::Float).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    Model { folder, decoder, tokenizer }
}

impl Model {
    fn run(&self, tasks: Vec<Task>, config: &EvaluateConfig) -> Result<Evaluation, Error> {
        self.run_with(tasks, config, &mut Journal::nowhere())
    }

    fn run_with(
        &self,
        tasks: Vec<Task>,
        config: &EvaluateConfig,
        journal: &mut Journal,
    ) -> Result<Evaluation, Error> {
        let subject = Subject { name: "small", decoder: &self.decoder, tokenizer: &self.tokenizer };
        evaluate_tasks(subject, tasks, config, journal)
    }

    fn task(&self, name: &str, toml: &str) -> Task {
        let row = |(at, question): (usize, &&str)| {
            json!({ "q": question, "a": if at % 2 == 0 { "yes" } else { "no" } }).to_string()
        };
        let rows: Vec<String> = QUESTIONS.iter().enumerate().map(row).collect();
        std::fs::write(self.folder.path().join("rows.jsonl"), rows.join("\n")).unwrap();
        let path = self.folder.path().join(format!("{name}.toml"));
        let common = "data = \"rows.jsonl\"\nprompt = \"{{q}}?\"\ntarget = \"a\"\n";
        std::fs::write(&path, format!("{common}{toml}")).unwrap();
        Task::read(&path).unwrap()
    }

    fn choices(&self) -> Task {
        let toml =
            "ask = \"choose\"\nchoices = [\"yes\", \"no\"]\nstyle = \"raw\"\npositive = \"yes\"";
        self.task("choices", toml)
    }

    fn replies(&self) -> Task {
        self.task("replies", "max_new_tokens = 24")
    }
}

fn config() -> EvaluateConfig {
    EvaluateConfig { max_new_tokens: 16, ..EvaluateConfig::default() }
}

#[test]
fn choices_are_rated_as_the_engine_scores_them() {
    let model = model();
    let evaluation = model.run(vec![model.choices()], &config()).unwrap();
    let engine = Engine::new(&model.decoder, config().engine()).unwrap();
    for (sample, question) in evaluation.samples.iter().zip(QUESTIONS) {
        let rated = sample.rated.as_ref().unwrap();
        for (choice, logprob) in [" yes", " no"].iter().zip(&rated.logprobs) {
            let start = model.tokenizer.encode_document(&format!("{question}?")).unwrap().len();
            let whole = model.tokenizer.encode_document(&format!("{question}?{choice}")).unwrap();
            let scores = engine.score(&[whole]).unwrap();
            let expected: f32 = scores[0][start..].iter().map(|score| score.unwrap()).sum();
            assert!((f64::from(expected) - logprob).abs() < 1e-3, "{expected} {logprob}");
        }
        let likeliest = usize::from(rated.logprobs[1] > rated.logprobs[0]);
        assert_eq!(rated.likeliest, likeliest);
        assert_eq!(sample.correct, likeliest == rated.expected);
    }
    let metrics = &evaluation.tasks[0].metrics;
    let right = evaluation.samples.iter().filter(|sample| sample.correct).count();
    assert!((metrics["acc,none"].value - right as f64 / 6.0).abs() < 1e-12);
    assert_eq!(metrics["acc,none"].n, 6);
    for name in ["acc_norm,none", "recall,none", "false_positive_rate,none", "auroc,none"] {
        assert!(metrics.contains_key(name), "{name} is none of {:?}", metrics.keys());
    }
    assert_eq!(evaluation.overall.cot_completion.n, 0, "a choice has no chain");
}

#[test]
fn several_replies_give_pass_and_majority() {
    let model = model();
    let task = model.task("often", "repeats = 4\ntemperature = 1.0\nmax_new_tokens = 6");
    let evaluation = model.run(vec![task], &config()).unwrap();
    assert_eq!(evaluation.samples.len(), 24);
    let mut replies: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    for sample in &evaluation.samples {
        replies.entry(&sample.id).or_default().push((sample.repeat, &sample.reply));
    }
    for several in replies.values() {
        assert_eq!(several.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(several.iter().any(|(_, reply)| *reply != several[0].1), "{several:?}");
    }
    let metrics = &evaluation.tasks[0].metrics;
    for name in ["pass@1,none", "pass@2,none", "pass@4,none", "maj@4,none"] {
        assert_eq!(metrics[name].n, 6, "{name}");
    }
    let output = tempfile::tempdir().unwrap();
    evaluation.write(output.path()).unwrap();
    assert_eq!(Evaluation::read(output.path()).unwrap().samples, evaluation.samples);
}

#[test]
fn a_stop_string_ends_a_reply() {
    let model = model();
    let whole = model.run(vec![model.replies()], &config()).unwrap();
    let longest = whole.samples.iter().max_by_key(|sample| sample.reply.len()).unwrap();
    // A piece that is nowhere earlier in the reply.
    let characters: Vec<char> = longest.reply.chars().collect();
    let stop: String = characters[characters.len() / 2..].iter().take(2).collect();
    let mut task = model.replies();
    task.until = vec![stop.clone()];
    let cut = model.run(vec![task], &config()).unwrap();
    for (cut, whole) in cut.samples.iter().zip(&whole.samples) {
        let expected = whole.reply.split(stop.as_str()).next().unwrap();
        assert_eq!(cut.reply, expected, "{:?}", whole.reply);
        if cut.reply != whole.reply {
            assert_eq!(cut.finish_reason, FinishReason::Stop);
        }
    }
    assert!(cut.samples.iter().any(|sample| !sample.truncated()));
}

#[test]
fn a_killed_run_goes_on_and_ends_the_same() {
    let model = model();
    let tasks = || vec![model.replies(), model.choices()];
    let config = EvaluateConfig { temperature: 0.8, ..config() };
    let whole = model.run(tasks(), &config).unwrap();

    let path = model.folder.path().join("journal.jsonl");
    let mut journal = Journal::open(&path, "same").unwrap();
    model.run_with(tasks(), &config, &mut journal).unwrap();
    drop(journal);
    // Killed in the middle of the fifth line.
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 13, "a heading and an answer for each question");
    let mut kept = (lines[..4].join("\n") + "\n").into_bytes();
    kept.extend(&lines[4].as_bytes()[..lines[4].len() / 2]);
    std::fs::write(&path, &kept).unwrap();

    let mut journal = Journal::open(&path, "same").unwrap();
    let again = model.run_with(tasks(), &config, &mut journal).unwrap();
    assert_eq!(again.samples, whole.samples);
    assert!(again.cost.generated_tokens < whole.cost.generated_tokens);
    assert!(again.cost.generated_tokens > 0);
    journal.remove().unwrap();
    assert!(!Path::new(&path).exists());
}

#[test]
fn deterministic_scores_do_not_depend_on_the_batch() {
    if test_device() != tch::Device::Cpu {
        return;
    }
    let model = model();
    let run = |max_batch: usize| {
        let config = EvaluateConfig { deterministic: true, max_batch, ..config() };
        model.run(vec![model.replies(), model.choices()], &config).unwrap().samples
    };
    let alone = run(1);
    assert_eq!(alone, run(6));
    assert_eq!(alone, run(4));
}

#[test]
fn replies_from_elsewhere_are_judged_alike() {
    let model = model();
    let made = model.run(vec![model.replies()], &config()).unwrap();
    let path = model.folder.path().join("made.jsonl");
    let lines: Vec<String> = made
        .samples
        .iter()
        .map(|sample| {
            let finish = if sample.truncated() { "length" } else { "stop" };
            json!({ "id": sample.id, "text": sample.reply, "finish_reason": finish }).to_string()
        })
        .collect();
    std::fs::write(&path, lines[..5].join("\n")).unwrap();
    let replies = Replies::read(&path).unwrap();
    let judged = evaluate_replies("theirs", vec![model.replies()], &replies, &config()).unwrap();
    let verdicts = |evaluation: &Evaluation| -> Vec<Verdict> {
        evaluation.samples[..5].iter().map(|sample| sample.verdict).collect()
    };
    assert_eq!(verdicts(&judged), verdicts(&made));
    let missing = judged.samples[5].failure.as_deref();
    assert_eq!(missing, Some("no reply is given"));
    assert_eq!(judged.tasks[0].failures["no reply is given"], 1);

    let theirs = json!({ "doc_id": 2, "resps": [["the answer is yes"]], "filter": "none" });
    std::fs::write(&path, format!("{theirs}\n{theirs}\n")).unwrap();
    let replies = Replies::read(&path).unwrap();
    let judged = evaluate_replies("theirs", vec![model.replies()], &replies, &config()).unwrap();
    assert_eq!(judged.samples.len(), 6);
    assert_eq!(judged.samples[2].verdict, Verdict::Correct);

    std::fs::write(&path, "{\"id\": \"a\"}\n").unwrap();
    let error = Replies::read(&path).unwrap_err().to_string();
    assert!(error.contains("made.jsonl:1: expected id and text"), "{error}");
}

#[test]
fn a_model_whose_logits_are_not_finite_fails_by_name() {
    let model = model();
    let _no_grad = tch::no_grad_guard();
    let mut broken = Vec::new();
    for (name, mut tensor) in model.decoder.named_parameters() {
        if name.ends_with("norm.weight") {
            let _ = tensor.fill_(f64::NAN);
            broken.push(name);
        }
    }
    assert!(!broken.is_empty());
    let error = model.run(vec![model.replies(), model.choices()], &config()).unwrap_err();
    assert!(matches!(&error, Error::NothingAnswered { count: 12, .. }), "{error}");
    assert!(error.to_string().contains("not finite"), "{error}");
}

#[test]
fn a_teacher_is_asked_of_what_the_text_leaves_open() {
    let model = model();
    let chain = "<think>\none two\nthree, four\nfive six\n</think>\n\n";
    let replies = [
        format!("{chain}no"),                        // wrong, and nothing tells where
        format!("{chain}no"),                        // right
        "no".to_owned(),                             // wrong, without a chain
        format!("{chain}perhaps"),                   // wrong
        "<think>\n2 + 2 = 5\n</think>\n\nno".into(), // wrong where the text shows it
    ];
    let lines: Vec<String> = replies
        .iter()
        .enumerate()
        .map(|(at, text)| json!({ "id": format!("replies-{at}"), "text": text }).to_string())
        .collect();
    let path = model.folder.path().join("theirs.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let given = Replies::read(&path).unwrap();
    let judged = evaluate_replies("theirs", vec![model.replies()], &given, &config()).unwrap();
    let shown = judged.samples[4].breakpoint.clone();
    assert!(shown.is_some());
    let rollouts = RolloutConfig { samples: 0, ..RolloutConfig::default() };
    let ask = |model: &Model, least_drop, rollouts: &RolloutConfig| {
        let subject =
            Subject { name: "teacher", decoder: &model.decoder, tokenizer: &model.tokenizer };
        let mut samples = judged.samples.clone();
        let config = TeacherConfig { least_drop, rollouts: rollouts.clone() };
        let counts = ask_of_samples(subject, &mut samples, &config).unwrap();
        (counts, samples)
    };
    // An untrained model is surprised by some step more than by those before it.
    let ((asked, found), samples) = ask(&model, 1e-6, &rollouts);
    assert_eq!((asked, found), (2, 2));
    for at in [0, 3] {
        let breakpoint = samples[at].breakpoint.as_ref().unwrap();
        assert_eq!(breakpoint.evidence, Evidence::Likelihood);
        assert!(breakpoint.step < 3);
    }
    assert_eq!((&samples[1].breakpoint, &samples[2].breakpoint), (&None, &None));
    assert_eq!(samples[4].breakpoint, shown);
    // It never solves the problem, so that going on from a step tells nothing.
    let rollouts = RolloutConfig { samples: 2, max_new_tokens: 4, ..rollouts };
    assert_eq!(ask(&model, 1e6, &rollouts).0, (2, 0));

    let _no_grad = tch::no_grad_guard();
    for (name, mut tensor) in model.decoder.named_parameters() {
        if name.ends_with("norm.weight") {
            let _ = tensor.fill_(f64::NAN);
        }
    }
    let (counts, samples) = ask(&model, 1e-6, &rollouts);
    assert_eq!(counts, (2, 0), "logits that are not finite tell nothing, and stop nothing");
    assert_eq!(samples[4].breakpoint, shown);
    for (field, config) in [
        ("least_drop", TeacherConfig { least_drop: f64::NAN, ..TeacherConfig::default() }),
        (
            "rollouts.recovered",
            TeacherConfig {
                rollouts: RolloutConfig { recovered: 2.0, ..RolloutConfig::default() },
                ..TeacherConfig::default()
            },
        ),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}

#[test]
fn lm_evals_samples_are_written_for_tasks_with_filters() {
    let model = model();
    let filters = "judge = \"filter\"\nstyle = \"raw\"\n[[filters]]\nname = \"first\"\n\
                   filter = [{ function = \"regex\", regex_pattern = \"([a-z])\" }, \
                   { function = \"take_first\" }]\n";
    let evaluation = model.run(vec![model.task("letters", filters)], &config()).unwrap();
    let output = tempfile::tempdir().unwrap();
    evaluation.write(output.path()).unwrap();
    let path = output.path().join("samples_letters_limbeck.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[3]["doc_id"], 3);
    assert_eq!(rows[3]["arguments"]["gen_args_0"]["arg_0"], "five?");
    assert_eq!(rows[3]["resps"][0][0], json!(evaluation.samples[3].reply));
    assert_eq!(rows[3]["filter"], "first");
    let results = std::fs::read_to_string(output.path().join("results_limbeck.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    assert!(results["results"]["letters"]["exact_match,first"].is_number(), "{results}");
    assert!(evaluation.samples.iter().all(|sample| sample.filters.contains_key("first")));
}

#[test]
fn a_style_may_be_forced() {
    let model = model();
    let raw = EvaluateConfig { style: Some(Style::Raw), ..config() };
    let (chat, raw) =
        (model.run(vec![model.replies()], &config()), model.run(vec![model.replies()], &raw));
    let (chat, raw) = (chat.unwrap(), raw.unwrap());
    assert!(chat.samples[0].prompt_tokens > raw.samples[0].prompt_tokens);
}

#[test]
fn two_classes_are_told_apart_among_other_answers() {
    let folder = tempfile::tempdir().unwrap();
    let row = |id: &str, answer: &str| json!({ "id": id, "q": id, "a": answer }).to_string();
    let rows = [
        row("found", "fraud"),
        row("missed", "fraud"),
        row("said nothing", "fraud"),
        row("false alarm", "not fraud"),
        row("passed", "not fraud"),
        row("a sum", "12.5"),
    ];
    std::fs::write(folder.path().join("rows.jsonl"), rows.join("\n")).unwrap();
    let toml = "data = \"rows.jsonl\"\nid = \"id\"\nprompt = \"q\"\ntarget = \"a\"\n\
                judge = \"strict\"\npositive = \"fraud\"\nnegative = \"not fraud\"\n";
    std::fs::write(folder.path().join("cases.toml"), toml).unwrap();
    let reply = |id: &str, text: &str| json!({ "id": id, "text": text }).to_string();
    let replies = [
        reply("found", "fraud"),
        reply("missed", "not fraud"),
        reply("said nothing", "12.5"),
        reply("false alarm", "fraud"),
        reply("passed", "Not fraud."),
        reply("a sum", "fraud"),
    ];
    let path = folder.path().join("replies.jsonl");
    std::fs::write(&path, replies.join("\n")).unwrap();
    let task = Task::read(&folder.path().join("cases.toml")).unwrap();
    let judged =
        evaluate_replies("m", vec![task], &Replies::read(&path).unwrap(), &config()).unwrap();
    let metrics = &judged.tasks[0].metrics;
    let value = |name: &str| (metrics[name].value, metrics[name].n);
    assert_eq!(value("recall,none"), (1.0 / 3.0, 3));
    assert_eq!(value("false_positive_rate,none"), (0.5, 2));
    assert_eq!(value("precision,none"), (0.5, 2), "the sum is no case");
    assert_eq!(value("acc,none"), (0.4, 5));
    assert!(!metrics.contains_key("auroc,none"), "replies have no scores");
}
