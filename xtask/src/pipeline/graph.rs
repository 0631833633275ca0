//! The stages of a run with their inputs and outputs, made from the table of command
//! lines; and which of them `--from` and `--to` select.

use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_run::Exit;

use crate::commands::Row;
use crate::failure::Failure;
use crate::pipeline::settings::Settings;

/// What stands for the placeholders of a command line.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The repository, where the processes run.
    pub(crate) root: PathBuf,
    /// The table `[pipeline]`.
    pub(crate) settings: Settings,
    /// The folder of the data, as the processes see it.
    pub(crate) data: String,
}

impl Context {
    /// A run whose data is its own.
    pub(crate) fn new(root: impl Into<PathBuf>, settings: Settings) -> Self {
        let data = format!("{}/data", settings.output);
        Self { root: root.into(), settings, data }
    }

    /// The run's folder.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join(&self.settings.output)
    }

    /// The file that holds one table of the resolved configuration.
    pub(crate) fn config_file(&self, table: &str) -> PathBuf {
        self.root.join(self.config_name(table))
    }

    /// The same as the processes see it.
    fn config_name(&self, table: &str) -> PathBuf {
        Path::new(&self.settings.output).join("config").join(format!("{table}.toml"))
    }
}

/// One process to run.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// What `--from` and `--to` name.
    pub(crate) name: &'static str,
    /// The process's own name.
    pub(crate) label: &'static str,
    /// The table of the configuration that it takes.
    pub(crate) table: Option<&'static str>,
    /// What it reads, each with the words that name it in the command line.
    pub(crate) inputs: Vec<Input>,
    /// The folder that it writes.
    pub(crate) output: PathBuf,
    /// The arguments after `limbeck`.
    pub(crate) argv: Vec<String>,
    /// The same with placeholders for paths: what identifies the command wherever it runs.
    pub(crate) words: Vec<String>,
}

/// A path that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// With its placeholder, such as `{run}/data/train.jsonl`.
    pub(crate) word: String,
    /// As it is given to the process.
    pub(crate) name: String,
    /// On this machine.
    pub(crate) path: PathBuf,
}

/// The stages of a table of command lines, in their order.
pub(crate) fn stages(rows: &[Row], context: &Context) -> Vec<Stage> {
    rows.iter().map(|row| stage(row, context)).collect()
}

fn stage(row: &Row, context: &Context) -> Stage {
    let settings = &context.settings;
    let config = row.table.map_or(PathBuf::new(), |table| context.config_name(table));
    let config = config.to_string_lossy();
    let words: Vec<String> = row
        .line
        .split_whitespace()
        .map(|word| {
            word.replace("{name}", &settings.name)
                .replace("{seed}", &settings.seed.to_string())
                .replace("{device}", &settings.device)
                .replace("{dtype}", &settings.dtype)
        })
        .collect();
    // A path may itself hold braces, so each word is filled only once.
    let fill = |word: &String| {
        let places = [
            ("{config}", &*config),
            ("{run}", &settings.output),
            ("{teacher}", &settings.teacher),
            ("{data}", &context.data),
        ];
        let filled = places
            .iter()
            .find_map(|(name, value)| word.strip_prefix(name).map(|rest| format!("{value}{rest}")));
        filled.unwrap_or_else(|| word.clone())
    };
    let argv: Vec<String> = words.iter().map(fill).collect();
    let mut inputs = Vec::new();
    let mut output = context.run().join(row.stage);
    for (index, word) in words.iter().enumerate() {
        let path = context.root.join(&argv[index]);
        let option = if index > 0 { words[index - 1].as_str() } else { "" };
        if option == "--output" {
            output = path;
        } else if option == "--registry" {
            // It is written to, and what else stands in it makes no difference.
        } else if ["{run}", "{teacher}", "{data}"].iter().any(|place| word.starts_with(place)) {
            inputs.push(Input { word: word.clone(), name: argv[index].clone(), path });
        }
    }
    Stage { name: row.stage, label: row.label, table: row.table, inputs, output, argv, words }
}

/// The stages between two names, both included.
///
/// # Errors
/// A name that no stage has, or a range that is empty.
pub(crate) fn select<'a>(
    stages: &'a [Stage],
    from: Option<&str>,
    to: Option<&str>,
) -> Result<&'a [Stage]> {
    let named = |name: &str| stages.iter().position(|stage| stage.name == name);
    let unknown = |option: &str, name: &str| {
        let mut names: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
        names.dedup();
        Failure::new(Exit::Usage, format!("{option} {name}: there is no such stage"))
            .hint(format!("the stages are {}", names.join(", ")))
    };
    let first = match from {
        Some(name) => named(name).ok_or_else(|| unknown("--from", name))?,
        None => 0,
    };
    let last = match to {
        Some(name) => {
            named(name).ok_or_else(|| unknown("--to", name))?;
            stages.iter().rposition(|stage| stage.name == name).unwrap_or_default()
        }
        None => stages.len() - 1,
    };
    if first > last {
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        return Err(
            Failure::new(Exit::Usage, format!("--from {from} comes after --to {to}")).into()
        );
    }
    Ok(&stages[first..=last])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::commands::{ABLATION_LABELS, ABLATION_SHARED, ABLATION_VARIANT, PIPELINE, TEACHER};
    use crate::failure::diagnose;

    fn context() -> Context {
        let settings =
            Settings { output: "r".to_owned(), teacher: "/t".to_owned(), ..Settings::default() };
        Context::new("/repo", settings)
    }

    #[test]
    fn inputs_and_output_come_from_the_command_line() {
        let stages = stages(PIPELINE, &context());
        let quantize = stages.iter().find(|stage| stage.name == "quantize").unwrap();
        let inputs: Vec<&Path> = quantize.inputs.iter().map(|input| input.path.as_path()).collect();
        let expected = ["tuned", "data/train.jsonl", "data/validation.jsonl"];
        assert_eq!(inputs, expected.map(|name| Path::new("/repo/r").join(name)));
        assert_eq!(quantize.output, Path::new("/repo/r/quantized"));
        assert_eq!(quantize.argv[..3], ["quantize", "--config", "r/config/quantize.toml"]);
        assert_eq!(quantize.words[2], "{config}");
    }

    #[test]
    fn data_may_lie_outside_the_run() {
        let context = Context { data: "shared/data".to_owned(), ..context() };
        let stages = stages(ABLATION_VARIANT, &context);
        let inputs = |stage: &Stage| -> Vec<PathBuf> {
            stage.inputs.iter().map(|input| input.path.clone()).collect()
        };
        let path = |name: &str| PathBuf::from(name);
        assert_eq!(inputs(&stages[0]), [path("/t"), path("/repo/shared/data")]);
        let expected = [path("/repo/r/student"), path("/repo/shared/data/test.jsonl")];
        assert_eq!(inputs(&stages[1]), expected);
    }

    #[test]
    fn no_placeholder_is_left_and_a_config_has_its_table() {
        let all = [PIPELINE, TEACHER, ABLATION_SHARED, ABLATION_VARIANT, ABLATION_LABELS];
        for stage in all.into_iter().flat_map(|rows| stages(rows, &context())) {
            let open: Vec<&String> = stage.argv.iter().filter(|word| word.contains('{')).collect();
            assert!(open.is_empty(), "{}: {open:?}", stage.label);
            let takes_config = stage.words.iter().any(|word| word == "{config}");
            assert_eq!(takes_config, stage.table.is_some(), "{}", stage.label);
        }
    }

    #[test]
    fn every_input_is_the_teacher_or_the_output_of_an_earlier_stage() {
        for rows in [PIPELINE, TEACHER] {
            let mut made: BTreeSet<PathBuf> = BTreeSet::from([PathBuf::from("/t")]);
            for stage in stages(rows, &context()) {
                for input in &stage.inputs {
                    let known = input.path.ancestors().any(|path| made.contains(path))
                        || made.iter().any(|path| path.starts_with(&input.path));
                    assert!(known, "{} reads {}", stage.label, input.word);
                }
                assert!(made.insert(stage.output.clone()), "{} writes twice", stage.label);
            }
        }
    }

    #[test]
    fn from_and_to_bound_whole_stages() {
        let stages = stages(PIPELINE, &context());
        let names = |from, to| -> Vec<&str> {
            let selected = select(&stages, from, to).unwrap();
            selected.iter().map(|stage| stage.label).collect()
        };
        assert_eq!(names(None, None).len(), stages.len());
        assert_eq!(names(None, Some("distill")), ["data", "baseline", "distill"]);
        let quantized = ["merge", "quantize", "quantize awq", "quantize 8 bits"];
        assert_eq!(names(Some("merge"), Some("quantize")), quantized);
        assert_eq!(names(Some("evaluate"), Some("evaluate")).len(), 8 + 3 * 3);

        let error = select(&stages, Some("destil"), None).unwrap_err();
        assert_eq!(error.to_string(), "--from destil: there is no such stage");
        let hint = "the stages are data, baseline, distill, lora, merge, quantize, evaluate, \
                    publish, report, gate";
        assert_eq!(diagnose(&error), (2, Some(hint.to_owned())));
        assert_eq!(diagnose(&select(&stages, Some("lora"), Some("data")).unwrap_err()).0, 2);
    }
}
