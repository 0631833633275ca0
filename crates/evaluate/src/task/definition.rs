//! A task as its file defines it, in TOML.
//!
//! The same keys serve lm-eval's YAML, which is read into them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::scorer::exact_match::ExactMatch;
use crate::scorer::filters::Filter;

/// How a prompt is put to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// As turns of the tokenizer's chat template.
    #[default]
    Chat,
    /// As text to go on with.
    Raw,
}

/// What is asked of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// To write a reply.
    #[default]
    Reply,
    /// To rate the choices, of which the likeliest is taken: `multiple_choice`.
    Choose,
}

/// What says whether a reply is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// What follows the chain is the answer and nothing else: for models that are trained to
    /// close their chains.
    Strict,
    /// The answer is looked for in what follows the chain, and compared by value.
    #[default]
    Robust,
    /// The task's first filter and `exact_match`, as lm-eval does.
    Filter,
}

/// Which examples are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Drawn anew for each problem, as lm-eval draws them from its seed 1234.
    #[default]
    Default,
    /// The first ones.
    FirstN,
}

/// The two answers of a task that tells cases apart, such as fraud from what is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// The answer of the cases to be found.
    pub positive: String,
    /// That of the others; problems with neither are left out then. Default: every other answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
}

/// A way to take an answer from a reply: filters one after another, and what that is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFilters {
    /// What the figure is called: `strict-match`.
    pub name: String,
    /// The filters.
    pub filter: Vec<Filter>,
}

/// One file, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Files {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

/// Choices: a field or an expression that gives a list, or the list itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Choices {
    Text(String),
    List(Vec<String>),
}

/// A task's file.
///
/// Texts are the name of a field of the row, or a Jinja template over its fields.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Definition {
    /// What the task is called. Default: the file's name.
    pub(super) name: String,
    /// Keys not given are taken from this one of [`super::presets`].
    pub(super) preset: Option<String>,
    /// The problems: JSON, JSON Lines or Parquet, from the task file's folder.
    pub(super) data: Option<Files>,
    /// The field of a JSON file that holds the list of rows.
    pub(super) rows: Option<String>,
    /// A JSON file that names the ids to keep.
    pub(super) ids: Option<PathBuf>,
    /// A problem's id. Default: its key or its place in the file.
    pub(super) id: Option<String>,
    /// What the model is asked.
    pub(super) prompt: Option<String>,
    /// What the report shows as the problem. Default: the prompt.
    pub(super) question: Option<String>,
    /// The right answer; a choice's text or number, where there are choices.
    pub(super) target: Option<String>,
    /// The choices.
    pub(super) choices: Option<Choices>,
    /// Field of knowledge. Default: the task's name.
    pub(super) domain: Option<String>,
    /// Difficulty, from 1. Default 0: not known.
    pub(super) level: Option<String>,
    /// Level of Bloom's taxonomy.
    pub(super) bloom: Option<String>,
    /// What comes before everything: the system turn of a chat.
    pub(super) description: Option<String>,
    /// Examples shown before each problem.
    pub(super) shots: usize,
    /// Files of examples. Default: the problems' own, without the one asked.
    pub(super) shot_data: Option<Files>,
    /// Examples written out.
    pub(super) samples: Vec<Map<String, Value>>,
    /// Which examples are shown.
    pub(super) sampler: Sampler,
    /// An example's prompt, target and choices, where they differ.
    pub(super) shot_prompt: Option<String>,
    pub(super) shot_target: Option<String>,
    pub(super) shot_choices: Option<Choices>,
    /// Between a prompt and its answer.
    pub(super) target_delimiter: String,
    /// Between examples.
    pub(super) shot_delimiter: String,
    pub(super) style: Style,
    pub(super) ask: Ask,
    /// Strings that end a reply.
    pub(super) until: Vec<String>,
    /// Most tokens of a reply. Default: that of the evaluation.
    pub(super) max_new_tokens: Option<usize>,
    /// Sampling, where it is not that of the evaluation.
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    /// Replies to each problem. Default: that of the evaluation.
    pub(super) repeats: Option<usize>,
    pub(super) judge: Option<Judge>,
    /// Ways to take an answer from a reply, each a figure of its own.
    pub(super) filters: Vec<NamedFilters>,
    /// How what a filter takes is compared with the target.
    pub(super) exact_match: ExactMatch,
    /// The answer that counts as positive, for recall and the rate of false alarms.
    pub(super) positive: Option<String>,
    /// The other one; problems with neither then have no part in these figures. Default: every
    /// other answer.
    pub(super) negative: Option<String>,
}

impl Default for Definition {
    fn default() -> Self {
        Self {
            name: String::new(),
            preset: None,
            data: None,
            rows: None,
            ids: None,
            id: None,
            prompt: None,
            question: None,
            target: None,
            choices: None,
            domain: None,
            level: None,
            bloom: None,
            description: None,
            shots: 0,
            shot_data: None,
            samples: Vec::new(),
            sampler: Sampler::Default,
            shot_prompt: None,
            shot_target: None,
            shot_choices: None,
            target_delimiter: " ".to_owned(),
            shot_delimiter: "\n\n".to_owned(),
            style: Style::Chat,
            ask: Ask::Reply,
            until: Vec::new(),
            max_new_tokens: None,
            temperature: None,
            top_p: None,
            repeats: None,
            judge: None,
            filters: Vec::new(),
            exact_match: ExactMatch::default(),
            positive: None,
            negative: None,
        }
    }
}

impl Files {
    /// The files, those with a relative path from `folder`.
    pub(super) fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        match self {
            Self::One(path) => vec![folder.join(path)],
            Self::Many(paths) => paths.iter().map(|path| folder.join(path)).collect(),
        }
    }
}
