//! Task files, ours and lm-eval's, read into problems and prompts.

use std::path::{Path, PathBuf};

use limbeck_evaluate::task::{Ask, Judge, Style};
use limbeck_evaluate::{Error, Task};
use limbeck_run::{Diagnose, Exit};
use tempfile::TempDir;

const ROWS: &str = r#"{"question": "Ann has 2 eggs and buys 3. How many?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}
{"question": "Half of 1,200?", "answer": "1,200 / 2 = 600\n#### 600"}
{"question": "Who knows?"}
not json
{"question": "Four and four?", "answer": "4 + 4 = 8\n#### 8"}
"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn prompt(task: &Task, place: usize) -> String {
    task.problems[place].prompt.render(Style::Raw, None).unwrap()
}

fn task(files: &[(&str, &str)], name: &str) -> Result<Task, Error> {
    let folder = folder(files);
    Task::read(&folder.path().join(name))
}

#[test]
fn a_preset_reads_its_files_and_names_what_it_leaves_out() {
    let task = task(
        &[("rows.jsonl", ROWS), ("eggs.toml", "preset = \"gsm8k\"\ndata = \"rows.jsonl\"")],
        "eggs.toml",
    )
    .unwrap();
    assert_eq!(task.name, "eggs");
    let answers: Vec<&str> =
        task.problems.iter().map(|problem| problem.record.answer.as_str()).collect();
    assert_eq!(answers, ["5", "600", "8"]);
    assert_eq!(task.problems[2].record.id, "eggs-3");
    assert_eq!(task.problems[0].record.domain, "arithmetic");
    assert_eq!((task.style, task.ask, task.judge), (Style::Chat, Ask::Reply, Judge::Robust));
    assert_eq!(task.skipped.len(), 2);
    assert!(task.skipped.iter().any(|row| row.contains("rows.jsonl:3: target: ")), "{task:?}");
    assert!(task.skipped.iter().any(|row| row.contains("rows.jsonl:4: ")), "{task:?}");
}

#[test]
fn choices_and_examples() {
    let rows = r#"[
        {"question": " Which is even? ", "choices": ["1", "2", "3", "5"], "answer": 1, "subject": "sums"},
        {"question": "Which is odd?", "choices": ["4", "6", "7", "8"], "answer": 2, "subject": "sums"},
        {"question": "Which is none?", "choices": ["4", "6", "7", "8"], "answer": 9, "subject": "sums"}
    ]"#;
    let toml = "preset = \"mmlu\"\ndata = \"rows.json\"\nshots = 1\nsampler = \"first_n\"\n\
                description = \"About {{subject}}.\\n\\n\"\nshot_data = [\"good.json\"]";
    let good = r#"[{"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 3}]"#;
    let files = [("rows.json", rows), ("good.json", good), ("numbers.toml", toml)];
    let task = task(&files, "numbers.toml").unwrap();
    assert_eq!(task.problems.len(), 2);
    assert_eq!(task.ask, Ask::Choose);
    assert_eq!(task.problems[0].gold, Some(1));
    assert_eq!(task.problems[0].record.answer, "B");
    assert_eq!(
        prompt(&task, 0),
        "About sums.\n\nWhich?\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\n\
         Which is even?\nA. 1\nB. 2\nC. 3\nD. 5\nAnswer:"
    );
}

#[test]
fn rows_within_a_file_and_ids_of_another() {
    let bbh = r#"{"canary": "x", "examples": [{"input": "not True is", "target": "False"}]}"#;
    let toml = "preset = \"bbh\"\ndata = \"bbh.json\"";
    let found = task(&[("bbh.json", bbh), ("bool.toml", toml)], "bool.toml").unwrap();
    assert_eq!(found.problems[0].record.answer, "False");

    let pubmed = r#"{"11": {"QUESTION": "Is it?", "CONTEXTS": ["A.", "B."], "final_decision": "yes"},
                     "12": {"QUESTION": "Was it?", "CONTEXTS": ["C."], "final_decision": "no"}}"#;
    let toml = "preset = \"pubmedqa\"\ndata = \"pubmed.json\"\nids = \"test.json\"\n\
                positive = \"yes\"";
    let files = [("pubmed.json", pubmed), ("test.json", r#"{"12": "no"}"#), ("pubmed.toml", toml)];
    let found = task(&files, "pubmed.toml").unwrap();
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.problems[0].record.id, "12");
    assert!(prompt(&found, 0).starts_with("Abstract: C.\nQuestion: Was it?"));
    assert_eq!(found.problems[0].record.question, "Was it?");
}

const GSM8K: &str = r#####"tag:
  - math_word_problems
task: gsm8k
dataset_path: json
dataset_kwargs:
  data_files:
    train: train.jsonl
    test: rows.jsonl
output_type: generate_until
training_split: train
fewshot_split: train
test_split: test
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{answer}}" #" {{answer.split('### ')[-1].rstrip()}}"
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore:
      - ","
      - "\\$"
      - "(?s).*#### "
      - "\\.$"
generation_kwargs:
  until:
    - "Question:"
  do_sample: false
  temperature: 0.0
repeats: 1
num_fewshot: 2
filter_list:
  - name: "strict-match"
    filter:
      - function: "regex"
        regex_pattern: "#### (\\-?[0-9\\.\\,]+)"
      - function: "take_first"
metadata:
  version: 3.0
"#####;

/// Twelve rows: the examples that `random.Random(1234)` draws of them are those of `CPython` 3.11.
fn train() -> String {
    let row = |n| format!("{{\"question\": \"{n}?\", \"answer\": \"{n}\\n#### {n}\"}}");
    (0..12).map(row).collect::<Vec<String>>().join("\n")
}

#[test]
fn lm_evals_tasks_are_read_as_they_are() {
    let files = [("rows.jsonl", ROWS), ("train.jsonl", &*train()), ("gsm8k.yaml", GSM8K)];
    let task = task(&files, "gsm8k.yaml").unwrap();
    assert_eq!((task.name.as_str(), task.style, task.judge), ("gsm8k", Style::Raw, Judge::Filter));
    assert_eq!(task.until, ["Question:"]);
    assert_eq!((task.temperature, task.repeats), (Some(0.0), Some(1)));
    assert_eq!(task.filters[0].name, "strict-match");
    assert!(task.exact_match.ignore_case);
    let shots = [7, 1, 0, 1];
    let shown = |n: usize| format!("Question: {n}?\nAnswer: {n}\n#### {n}\n\n");
    assert_eq!(
        prompt(&task, 0),
        format!(
            "{}{}Question: Ann has 2 eggs and buys 3. How many?\nAnswer:",
            shown(shots[0]),
            shown(shots[1])
        )
    );
    assert!(prompt(&task, 1).starts_with(&format!("{}{}", shown(shots[2]), shown(shots[3]))));
}

#[test]
fn an_include_lies_under_the_file() {
    let base = "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n\
                output_type: generate_until\ntest_split: test\ndoc_to_text: question\n\
                doc_to_target: answer\nnum_fewshot: 3\n\
                fewshot_config: {sampler: first_n, samples: [{question: q, answer: a}]}\n";
    let top = "include: base.yaml\ntask: top\nnum_fewshot: 1\ntarget_delimiter: \"=\"\n";
    let files = [("rows.jsonl", ROWS), ("base.yaml", base), ("top.yaml", top)];
    let task = task(&files, "top.yaml").unwrap();
    assert_eq!(task.name, "top");
    assert_eq!(prompt(&task, 1), "q=a\n\nHalf of 1,200?");
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let with = |from: &str, to: &str| GSM8K.replacen(from, to, 1);
    let cases = [
        (with("\"{{answer}}\"", "!function utils.target"), "`doc_to_target: !function"),
        (with("output_type: generate_until", "output_type: loglikelihood"), "output_type"),
        (with("dataset_path: json", "dataset_path: openai/gsm8k"), "openai/gsm8k"),
        (with("test: rows.jsonl", "dev: rows.jsonl"), "train, dev"),
        (with("metric: exact_match", "metric: bleu"), "metric_list: bleu"),
        (with("repeats: 1", "process_results: x"), "process_results"),
        (with("do_sample: false", "do_sample: false\n  num_beams: 4"), "num_beams"),
        (with("function: \"take_first\"", "function: \"custom\""), "custom"),
        (with("num_fewshot: 2", "num_fewshot: 20"), "12"),
        ("task: [".to_owned(), "YAML"),
    ];
    for (yaml, named) in cases {
        let files = [("rows.jsonl", ROWS), ("train.jsonl", &*train()), ("t.yaml", &*yaml)];
        let error = task(&files, "t.yaml").unwrap_err();
        let shown = format!("{error}");
        assert!(shown.contains(named) && shown.contains("t.yaml"), "{named}: {shown}");
        assert_eq!(error.exit(), Exit::BadInput, "{shown}");
    }
    let circle = [("a.yaml", "include: b.yaml"), ("b.yaml", "include: a.yaml")];
    assert!(task(&circle, "a.yaml").unwrap_err().to_string().contains("circle"));
}

#[test]
fn faults_of_our_own_task_files() {
    let cases = [
        ("", "the key `data`"),
        ("data = \"rows.jsonl\"", "the key `prompt`"),
        ("data = \"rows.jsonl\"\nprompt = \"question\"", "the key `target`"),
        ("preset = \"gsm9k\"", "gsm9k"),
        ("preset = \"gsm8k\"\ndata = \"rows.jsonl\"\nshotz = 3", "shotz"),
        ("preset = \"gsm8k\"\ndata = \"rows.jsonl\"\nask = \"choose\"", "`choices`"),
        ("preset = \"gsm8k\"\ndata = \"rows.jsonl\"\njudge = \"filter\"", "`filters`"),
        ("preset = \"gsm8k\"\ndata = \"rows.jsonl\"\nshots = 7", "at least 8 examples"),
        ("preset = \"gsm8k\"\ndata = \"none.jsonl\"", "none.jsonl"),
        (
            "preset = \"gsm8k\"\ndata = \"rows.jsonl\"\ntarget = \"nothing_here\"\nprompt='{{x}}'",
            "none of its",
        ),
        ("preset = \"bbh\"\ndata = \"list.json\"", "a list of rows"),
    ];
    for (toml, named) in cases {
        let files = [("rows.jsonl", ROWS), ("list.json", "{}"), ("t.toml", toml)];
        let error = task(&files, "t.toml").unwrap_err();
        assert!(error.to_string().contains(named), "{named}: {error}");
    }
}

/// The public data that a developer may have: the presets fit the real files.
#[test]
fn presets_fit_the_public_files() {
    let Some(data) = std::env::var_os("LIMBECK_PUBLIC_DATA").map(PathBuf::from) else { return };
    let read = |name: &str, toml: String| {
        let folder = folder(&[(name, &toml)]);
        Task::read(&folder.path().join(name)).unwrap()
    };
    let path = |path: &str| data.join(path).display().to_string();
    let of = |preset: &str, file: &str| format!("preset = \"{preset}\"\ndata = \"{}\"", path(file));
    let gsm8k = read("gsm8k.toml", of("gsm8k", "gsm8k/test.jsonl"));
    assert_eq!((gsm8k.problems.len(), gsm8k.skipped.len()), (1319, 0));
    let ids = format!("\nids = \"{}\"", path("pubmedqa/test_ground_truth.json"));
    let pubmed = read("p.toml", of("pubmedqa", "pubmedqa/ori_pqal.json") + &ids);
    assert_eq!((pubmed.problems.len(), pubmed.skipped.len()), (500, 0));
    for name in ["navigate", "boolean_expressions", "multistep_arithmetic_two"] {
        let bbh = read("b.toml", of("bbh", &format!("bbh/{name}.json")));
        assert_eq!((bbh.problems.len(), bbh.skipped.len()), (250, 0), "{name}");
    }
    assert!(Path::new(&path("gsm8k")).is_dir());
}
