//! Ablations of made-up trees: what is in the files and on the page, and what is refused.

mod made_up;
mod made_up_tree;

use std::path::{Path, PathBuf};

use limbeck_evaluate::ablation::{Selection, Tree, Verdict};
use limbeck_evaluate::{Ablation, Error, Evaluation, Report, Scores};
use limbeck_run::{Diagnose, Exit};
use made_up_tree::{SEEDS, save, write};

const VARIANTS: [(&str, f64); 4] =
    [("labels", 0.6), ("sequence", 0.63), ("kl", 0.8), ("captured", 0.2)];

fn tree(root: &Path) -> Tree {
    write(root, &made_up::records(20), &VARIANTS);
    open(root).unwrap()
}

fn open(root: &Path) -> Result<Tree, Error> {
    let variants = VARIANTS.map(|(name, _)| name.to_owned()).to_vec();
    Tree::open(root, &Selection { variants, ..Selection::default() })
}

fn accuracy(tree: &Tree, variant: &str, seed: u64) -> f64 {
    Evaluation::read(&tree.evaluation(variant, seed)).unwrap().overall.accuracy.value
}

#[test]
fn means_shares_and_differences_are_those_of_the_evaluations() {
    let root = tempfile::tempdir().unwrap();
    let tree = tree(root.path());
    let ablation = Ablation::of(&tree, 7).unwrap();
    assert_eq!((ablation.problems, ablation.seeds.as_slice()), (240, &SEEDS[..]));
    assert_eq!(ablation.against, ["labels", "sequence"]);
    let names: Vec<&str> = ablation.variants.iter().map(|variant| variant.name.as_str()).collect();
    assert_eq!(names, VARIANTS.map(|(name, _)| name));
    for variant in &ablation.variants {
        let by_seed = SEEDS.map(|seed| accuracy(&tree, &variant.name, seed));
        assert_eq!(variant.accuracy.by_run, by_seed);
        let mean = by_seed.iter().sum::<f64>() / 3.0;
        assert!((variant.accuracy.mean - mean).abs() < 1e-12);
        let share = variant.share_of_teacher.unwrap();
        assert!((share - mean / ablation.teacher.value).abs() < 1e-12);
        let training = variant.training.as_ref().unwrap();
        assert!((training.seconds - 143.0).abs() < 1e-9);
        assert_eq!(training.devices, ["cpu"]);
        let itself = usize::from(ablation.against.contains(&variant.name));
        assert_eq!(variant.differences.len(), 2 - itself);
        for difference in &variant.differences {
            let theirs = SEEDS.map(|seed| accuracy(&tree, &difference.against, seed));
            let expected = mean - theirs.iter().sum::<f64>() / 3.0;
            assert!((difference.accuracy.difference - expected).abs() < 1e-12);
        }
    }
    let verdict = |variant: usize| ablation.variants[variant].differences[0].verdict;
    assert_eq!(verdict(2), Verdict::Better);
    assert_eq!(verdict(3), Verdict::Worse);
    // The same problems are hard for all, so pairing leaves a narrower interval than the
    // accuracies' own.
    let kl = &ablation.variants[2];
    let paired = kl.differences[0].accuracy.high - kl.differences[0].accuracy.low;
    let own = (kl.accuracy.high - kl.accuracy.low)
        + (ablation.variants[0].accuracy.high - ablation.variants[0].accuracy.low);
    assert!(paired < 0.8 * own, "{paired} {own}");
}

#[test]
fn the_files_tell_the_same_and_are_read_back() {
    let root = tempfile::tempdir().unwrap();
    let ablation = Ablation::of(&tree(root.path()), 7).unwrap();
    let output = tempfile::tempdir().unwrap();
    ablation.write(output.path()).unwrap();
    assert_eq!(Ablation::read(&output.path().join("ablation.json")).unwrap(), ablation);
    let read = |name: &str| std::fs::read_to_string(output.path().join(name)).unwrap();
    let (markdown, text) = (read("ablation.md"), read("ablation.txt"));
    assert_eq!(text, ablation.table());
    for variant in &ablation.variants {
        let accuracy = format!("{:.1}% ± ", 100.0 * variant.accuracy.mean);
        for content in [&markdown, &text] {
            let line = content.lines().find(|line| {
                line.trim_start_matches("| ").starts_with(&format!("{} ", variant.name))
            });
            let line = line.unwrap_or_else(|| panic!("{} in {content}", variant.name));
            assert!(line.contains(&accuracy), "{line}");
            for difference in &variant.differences {
                assert!(line.contains(&difference.words()), "{line}");
            }
        }
    }
    assert!(markdown.starts_with("| variant | accuracy | by seed | of teacher | vs labels [95%] | verdict | vs sequence [95%] | verdict | tokens/s | training |\n"), "{markdown}");
    assert!(markdown.contains("n = 240 problems, seeds 42, 43, 44; the teacher solves"));
    std::fs::write(output.path().join("ablation.json"), "{}").unwrap();
    let error = Ablation::read(&output.path().join("ablation.json")).unwrap_err();
    assert!(error.to_string().ends_with("ablation.json: expected an ablation"), "{error}");
    assert_eq!(error.exit(), Exit::BadInput);
    assert!(error.hint().unwrap().contains("limbeck ablation"));
}

#[test]
fn the_page_has_charts_and_the_table_behind_them() {
    let root = tempfile::tempdir().unwrap();
    let tree = tree(root.path());
    let ablation = Ablation::of(&tree, 7).unwrap();
    let output = tempfile::tempdir().unwrap();
    ablation.write(output.path()).unwrap();
    let evaluations: Vec<PathBuf> = vec![tree.teacher(), tree.evaluation("kl", 42)];
    let report = Report::read(&evaluations).unwrap();
    let without = tempfile::tempdir().unwrap();
    report.write(without.path()).unwrap();
    let page = std::fs::read_to_string(without.path().join("report.html")).unwrap();
    assert!(!page.contains(">Ablation</h2>") && page.contains(">Cost</h2>"));

    let report = report.with_ablation(&output.path().join("ablation.json")).unwrap();
    report.write(output.path()).unwrap();
    let page = std::fs::read_to_string(output.path().join("report.html")).unwrap();
    for text in [">Ablation</h2>", "Accuracy against labels", "Accuracy against sequence"] {
        assert!(page.contains(text), "{text}");
    }
    // 446,208 of 4,520,448 parameters.
    assert!(page.contains("446 K<small>9.9%</small>"), "{page}");
    // A dot for each variant and chart but the one it is held against, three rings each.
    let section = page.split("<h2 id=\"ablation\"").nth(1).expect("the section");
    let section = section.split("</section>").next().expect("its end");
    assert_eq!(section.matches("<circle class=\"dot\"").count(), 6);
    assert_eq!(section.matches("<circle class=\"seed\"").count(), 18);
    for element in ["table", "caption", "tr", "td", "th", "svg", "g", "figure", "section"] {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
    let json = std::fs::read_to_string(output.path().join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ablation"]["variants"][2]["differences"][0]["verdict"], "better");
}

#[test]
fn a_problem_that_one_evaluation_lacks_is_named_with_both() {
    let root = tempfile::tempdir().unwrap();
    let tree = tree(root.path());
    let folder = tree.evaluation("kl", 43);
    let whole = Evaluation::read(&folder).unwrap();
    let mut part = whole.clone();
    let lost = part.samples.remove(17);
    part.overall = Scores::of(&part.samples);
    save(&part, &folder);
    let error = Ablation::of(&tree, 0).unwrap_err();
    let expected = format!(
        "{}: problem {} is missing, which {} has",
        folder.display(),
        lost.id,
        tree.teacher().display()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.exit(), Exit::BadInput);
    assert!(error.hint().is_some());

    // The other way round: one more than the teacher was asked.
    let mut more = whole.clone();
    more.samples.push(limbeck_evaluate::Sample { id: "one-more".to_owned(), ..lost });
    more.overall = Scores::of(&more.samples);
    save(&more, &folder);
    let error = Ablation::of(&tree, 0).unwrap_err().to_string();
    let expected = format!("{}: problem one-more is missing", tree.teacher().display());
    assert!(error.starts_with(&expected), "{error}");

    // And one that asks something else under the same id.
    let mut other = whole;
    other.samples[3].question.push('?');
    save(&other, &folder);
    let error = Ablation::of(&tree, 0).unwrap_err().to_string();
    let expected = format!("expected problem {} as in", other.samples[3].id);
    assert!(error.contains(&expected) && error.contains("kl/seed-43"), "{error}");
}

#[test]
fn missing_seeds_and_variants_are_named() {
    let root = tempfile::tempdir().unwrap();
    let tree = tree(root.path());
    std::fs::remove_dir_all(tree.evaluation("kl", 44)).unwrap();
    std::fs::remove_dir_all(root.path().join("captured")).unwrap();
    let error = open(root.path()).unwrap_err().to_string();
    assert!(
        error.contains(
            "4 evaluations are missing: kl/seed-44/evaluation, captured/seed-42/evaluation"
        ),
        "{error}"
    );
}

#[test]
fn training_is_left_out_where_a_manifest_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let tree = tree(root.path());
    std::fs::remove_dir_all(tree.student("labels", 43)).unwrap();
    let ablation = Ablation::of(&tree, 0).unwrap();
    assert!(ablation.variants[0].training.is_none() && ablation.variants[1].training.is_some());
}
