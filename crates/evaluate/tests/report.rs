//! Reports of made-up evaluations: what is in the files, and what must never be.

mod made_up;

use std::path::{Path, PathBuf};

use limbeck_cot_data::{Family, generate};
use limbeck_evaluate::sample::RawReply;
use limbeck_evaluate::{Error, Evaluation, Group, Report, ReportConfig, Sample, Scores};
use limbeck_infer::FinishReason;
use limbeck_run::config::Validate;
use limbeck_run::{Diagnose, Exit, Manifest};

fn write(evaluation: &Evaluation, root: &Path) -> PathBuf {
    let folder = root.join(format!("evaluate-{}", root.read_dir().unwrap().count()));
    std::fs::create_dir(&folder).unwrap();
    evaluation.write(&folder).unwrap();
    folder
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let records = made_up::records(5);
    (0..made_up::MODELS.len())
        .map(|model| write(&made_up::evaluation(model, &records), root))
        .collect()
}

fn until_quote(text: &str) -> &str {
    text.split('"').next().unwrap_or_default()
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn adapters_are_held_against_their_base_problem_by_problem() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(20);
    let base = write(&made_up::evaluation(2, &records), root.path());
    let domain = made_up::domain(root.path(), "medical");
    let report = Report::read(std::slice::from_ref(&base)).unwrap();
    let report = report.with_domains(std::slice::from_ref(&domain)).unwrap();
    let adapter = &report.domains[0];
    assert_eq!((adapter.name.as_str(), adapter.gain.second.as_str()), ("medical", "distilled"));
    let gain = adapter.after.value - adapter.before.value;
    assert!(gain > 0.0 && (adapter.gain.accuracy.difference - gain).abs() < 1e-12);
    assert_eq!((adapter.gain.accuracy.n, adapter.base_change.accuracy.n), (120, 240));
    let output = tempfile::tempdir().unwrap();
    report.write(output.path()).unwrap();
    for (name, after) in [("table.txt", " ["), ("table.md", " ["), ("report.html", "<small>[")] {
        let content = read(output.path(), name);
        let gain = format!("+{:.1}{after}", 100.0 * gain);
        assert!(content.contains("medical") && content.contains(&gain), "{name}: {content}");
    }
    // Without the base's own evaluation there is nothing to hold its task against.
    let teacher = write(&made_up::evaluation(0, &records), root.path());
    let error = Report::read(&[teacher]).unwrap().with_domains(&[domain]).unwrap_err();
    assert!(error.to_string().contains("distilled"), "{error}");
}

#[test]
fn every_file_tells_the_same_numbers() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path());
    let manifest = Manifest { seed: 77, commit: Some("c0ffee".to_owned()), ..Manifest::default() };
    manifest.write(&folders[0]).unwrap();
    let report = Report::read(&folders).unwrap();
    let output = tempfile::tempdir().unwrap();
    report.write(output.path()).unwrap();

    let json: serde_json::Value =
        serde_json::from_str(&read(output.path(), "report.json")).unwrap();
    let text = read(output.path(), "table.txt");
    let markdown = read(output.path(), "table.md");
    let page = read(output.path(), "report.html");
    for (index, (name, ..)) in made_up::MODELS.iter().enumerate() {
        let evaluation = &report.models[index].evaluation;
        assert_eq!(&evaluation.model, name);
        let accuracy = evaluation.overall.accuracy;
        let found = &json["models"][index]["evaluation"]["overall"]["accuracy"];
        assert_eq!(found["value"], serde_json::json!(accuracy.value));
        assert_eq!(found["n"], serde_json::json!(60));
        let percent = format!("{:.1}%", 100.0 * accuracy.value);
        let interval = format!("{:.1}–{:.1}", 100.0 * accuracy.low, 100.0 * accuracy.high);
        for content in [&text, &markdown, &page] {
            assert!(content.contains(&percent) && content.contains(&interval), "{name} {content}");
        }
        assert!(text.lines().any(|line| line.starts_with(name) && line.contains(&percent)));
    }
    assert_eq!(json["comparisons"].as_array().unwrap().len(), 5);
    assert!(json["models"][1]["provenance"].is_null());
    assert!(page.contains("c0ffee") && page.contains("no manifest"));
    assert!(text.contains("n = 60 problems for each model"), "{text}");
    assert!(!text.contains('<'), "{text}");
}

#[test]
fn the_page_stands_alone_and_closes_what_it_opens() {
    let root = tempfile::tempdir().unwrap();
    let report = Report::read(&folders(root.path())).unwrap();
    let output = tempfile::tempdir().unwrap();
    report.write(output.path()).unwrap();
    let page = read(output.path(), "report.html");
    for fetched in ["http:", "https:", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    // One script, the page's own, and the policy that lets no other run.
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("default-src 'none'") && page.contains("script-src 'nonce-"));
    for element in ["table", "caption", "tr", "td", "th", "svg", "details", "article", "section"] {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
    // All that the links lead to is there, and no id twice.
    let ids: Vec<&str> = page.split(" id=\"").skip(1).map(until_quote).collect();
    let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len());
    for target in page.split("href=\"#").skip(1).map(until_quote) {
        assert!(unique.contains(target), "{target}");
    }
    let labels =
        page.split("aria-labelledby=\"").skip(1).flat_map(|rest| until_quote(rest).split(' '));
    for label in labels {
        assert!(unique.contains(label), "{label}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
}

#[test]
fn what_a_model_wrote_is_text_and_never_markup() {
    let record = generate(Family::Arith, 1, 1, 1).unwrap();
    let text = "<think>\n</li><script>alert(1)</script>\n</think>\n\n<b>\"x\" & 'y'</b>";
    let raw = RawReply {
        text,
        prompt_opened: false,
        finish_reason: FinishReason::Stop,
        prompt_tokens: 1,
        reply_tokens: 1,
    };
    let samples = vec![Sample::judge(&record, raw)];
    let evaluation = Evaluation {
        model: "<img src=x onerror=alert(1)> | a".to_owned(),
        overall: Scores::of(&samples),
        groups: Group::all(&samples),
        samples,
        ..made_up::evaluation(0, &made_up::records(1))
    };
    let root = tempfile::tempdir().unwrap();
    let folder = write(&evaluation, root.path());
    let report = Report::read(&[folder]).unwrap();
    assert!(report.comparisons.is_empty());
    let output = tempfile::tempdir().unwrap();
    report.write(output.path()).unwrap();
    let page = read(output.path(), "report.html");
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains("<img") && !page.contains("<b>\""));
    assert!(page.contains("&lt;script&gt;") && page.contains("&lt;img src=x"));
    assert!(read(output.path(), "table.md").contains(r"alert(1)> \| a |"));
}

#[test]
fn comparisons_pair_the_problems_that_both_models_met() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(5);
    let all = write(&made_up::evaluation(0, &records), root.path());
    let part = write(&made_up::evaluation(1, &records[10..40]), root.path());
    let config = ReportConfig {
        comparisons: vec![["baseline".to_owned(), "teacher".to_owned()]],
        ..ReportConfig::default()
    };
    config.validate().unwrap();
    let report = Report::read_with(&[all.clone(), part.clone()], &config).unwrap();
    let comparison = &report.comparisons[0];
    assert_eq!((comparison.first.as_str(), comparison.accuracy.n), ("baseline", 30));
    let solved = |model: usize| {
        let samples = &report.models[model].evaluation.samples;
        let shared =
            samples.iter().filter(|sample| records[10..40].iter().any(|r| r.id == sample.id));
        shared.filter(|sample| sample.correct).count() as f64
    };
    let expected = (solved(1) - solved(0)) / 30.0;
    assert!((comparison.accuracy.difference - expected).abs() < 1e-12);
    assert!((comparison.accuracy_ratio.unwrap() - solved(1) / solved(0)).abs() < 1e-12);
    assert!(report.table().contains("n = 60, 30 problems"));

    let unknown = ReportConfig {
        comparisons: vec![["baseline".to_owned(), "expert".to_owned()]],
        ..ReportConfig::default()
    };
    let error = Report::read_with(&[all, part], &unknown).unwrap_err();
    assert!(error.to_string().contains("teacher, baseline, found \"expert\""), "{error}");
    assert_eq!(error.exit(), Exit::Usage);
    let same = ReportConfig {
        comparisons: vec![["a".to_owned(), "a".to_owned()]],
        ..ReportConfig::default()
    };
    assert_eq!(same.validate().unwrap_err().field, "comparisons");
}

#[test]
fn two_evaluations_of_one_name_and_none_at_all_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(1);
    let one = write(&made_up::evaluation(0, &records), root.path());
    let two = write(&made_up::evaluation(0, &records), root.path());
    let error = Report::read(&[one, two]).unwrap_err();
    assert!(matches!(&error, Error::DuplicateName { name, .. } if name == "teacher"), "{error}");
    assert!(error.hint().is_some());
    assert!(matches!(Report::read(&[]).unwrap_err(), Error::NoEvaluations));
}

/// The whole table as a reader sees it; its numbers hang on nothing but the counts here.
#[test]
fn the_terminal_table() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(5);
    let with_every_wrong = |model: usize, every: usize| {
        let mut evaluation = made_up::evaluation(model, &records);
        for (index, sample) in evaluation.samples.iter_mut().enumerate() {
            sample.correct = index % every != 0;
            sample.complete = sample.correct && index % 7 != 1;
        }
        evaluation.overall = Scores::of(&evaluation.samples);
        evaluation.cost.tokens_per_second = 1234.5 * (model + 1) as f64;
        write(&evaluation, root.path())
    };
    let folders = [with_every_wrong(0, 30), with_every_wrong(1, 4)];
    let report = Report::read(&folders).unwrap();
    let expected = "\
Evaluation (n = 60 problems for each model)

model        accuracy [95%]  CoT completion [95%]  parameters     size  tokens/s  peak memory
────────  ─────────────────  ────────────────────  ──────────  ───────  ────────  ───────────
teacher   96.7% [88.6–99.1]     81.7% [70.1–89.4]      4.52 M  9.04 MB     1,234       290 MB
baseline  75.0% [62.8–84.2]     63.3% [50.7–74.4]       446 K   892 KB     2,469       209 MB

Accuracy, paired by problem:
  baseline vs teacher: −21.7 points [−33.3 to −10.0], p < 0.001, 77.6% of its accuracy (n = 60)
";
    assert_eq!(report.table(), expected, "\n{}", report.table());
}

#[test]
fn long_replies_do_not_make_the_page_grow_without_bound() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(20);
    let folders: Vec<PathBuf> = (0..made_up::MODELS.len())
        .map(|model| {
            let mut evaluation = made_up::evaluation(model, &records);
            for sample in &mut evaluation.samples {
                // A model that never stops, on every problem.
                sample.reply = "and again 1 + 1 = 2 & so on\n".repeat(600);
                sample.reasoning = Some(sample.reply.clone());
                sample.steps = vec![limbeck_evaluate::sample::Step::Unchecked; 600];
                sample.correct = false;
            }
            evaluation.overall = Scores::of(&evaluation.samples);
            write(&evaluation, root.path())
        })
        .collect();
    let report = Report::read(&folders).unwrap();
    let output = tempfile::tempdir().unwrap();
    report.write(output.path()).unwrap();
    let page = read(output.path(), "report.html");
    assert!(page.len() < 5_000_000, "{}", page.len());
    assert!(page.contains("more steps") && page.contains("more that are not right are in"));
    let shown = page.matches("class=\"sample\"").count();
    assert!(shown > 0 && shown < 5 * 240, "{shown}");
}

#[test]
fn attention_and_what_is_behind_each_chart_are_on_the_page() {
    let root = tempfile::tempdir().unwrap();
    let records = made_up::records(5);
    let folder = write(&made_up::evaluation(0, &records), root.path());
    let map = made_up::attention("teacher", &records[0]);
    let text = serde_json::to_string(&[map]).unwrap();
    std::fs::write(folder.join("attention.json"), text).unwrap();
    let report = Report::read(std::slice::from_ref(&folder)).unwrap();
    let output = tempfile::tempdir().unwrap();
    report.write(output.path()).unwrap();
    let page = read(output.path(), "report.html");
    assert!(page.contains("layer 1, head 3") && page.contains("Looks most, beside itself:"));
    for figure in page.split("<figure class=\"chart\">").skip(1) {
        let figure = figure.split("</figure>").next().unwrap();
        assert!(
            figure.contains("<table")
                || figure.contains("class=\"legend marks\"")
                || figure.contains("class=\"interval\""),
            "{figure}"
        );
    }
    std::fs::write(folder.join("attention.json"), "[{]").unwrap();
    let error = Report::read(&[folder]).unwrap_err();
    assert!(error.to_string().contains("attention.json: expected a list of attention maps"));
}
