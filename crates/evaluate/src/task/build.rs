//! From a task's definition and the rows of its files to problems.

use std::path::{Path, PathBuf};

use limbeck_cot_data::CotRecord;
use limbeck_run::config;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::definition::{Ask, Choices, Classes, Definition, Judge, Sampler};
use super::prompt::{Prompt, Turn};
use super::python_random::PythonRandom;
use super::rows::{self, Row};
use super::template::Templates;
use super::{Problem, Task, presets};
use crate::{Error, Result};

/// The seed of lm-eval's `--seed`, that its examples are drawn with.
const SHOT_SEED: u32 = 1234;

/// Reads a task in TOML.
pub(super) fn read(path: &Path) -> Result<Task> {
    let mut table = config::load_table(Some(path))?;
    if let Some(name) = table.get("preset").and_then(|value| value.as_str()) {
        let text = presets::text(name).ok_or_else(|| Error::Task {
            path: path.to_owned(),
            expected: "a preset".to_owned(),
            found: format!("{name:?}"),
            hint: Some(format!("there are {}", presets::names().collect::<Vec<_>>().join(", "))),
        })?;
        let preset: toml::Table = parse(path, text)?;
        for (key, value) in preset {
            table.entry(key).or_insert(value);
        }
    }
    let definition: Definition =
        table.try_into().map_err(|error: toml::de::Error| Error::Task {
            path: path.to_owned(),
            expected: "the keys of a task".to_owned(),
            found: error.message().to_owned(),
            hint: None,
        })?;
    build(path, definition)
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text)
        .map_err(|error| Error::task(path, "a preset's TOML", error.message().to_owned()))
}

/// Makes a task of a definition; `path` is where relative paths start from, and what errors
/// name.
pub(super) fn build(path: &Path, definition: Definition) -> Result<Task> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let name = match definition.name.as_str() {
        "" => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        name => name.to_owned(),
    };
    let missing = |key: &str| Error::task(path, format!("the key `{key}`"), "none".to_owned());
    let data = definition.data.as_ref().ok_or_else(|| missing("data"))?.paths(&folder);
    let prompt = definition.prompt.as_deref().ok_or_else(|| missing("prompt"))?;
    let target = definition.target.as_deref().ok_or_else(|| missing("target"))?;
    if definition.ask == Ask::Choose && definition.choices.is_none() {
        return Err(missing("choices"));
    }
    let (mut rows, mut skipped) = read_all(&data, definition.rows.as_deref())?;
    if let Some(ids) = &definition.ids {
        let ids = rows::read_ids(&folder.join(ids))?;
        rows.retain(|row| row.key.as_ref().is_some_and(|key| ids.contains(key)));
    }
    let templates = Templates::new(rows.iter().flat_map(|row| row.fields.keys()));
    let builder = Builder { templates, definition: &definition, prompt, target };
    let mut shots = Shots::new(path, &folder, &builder, &rows)?;
    let total = rows.len() + skipped.len();
    let mut problems = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        // Examples are drawn for rows without an answer too: the next ones depend on it.
        let examples = shots.next(index);
        match builder.problem(&name, index, row, examples) {
            Ok(problem) => problems.push(problem),
            Err(reason) => skipped.push(format!("{}: {reason}", row.place)),
        }
    }
    if problems.is_empty() {
        let first = skipped.into_iter().next();
        return Err(Error::EmptyTask { path: path.to_owned(), rows: total, first });
    }
    let judge = definition.judge.unwrap_or_default();
    if judge == Judge::Filter && definition.filters.is_empty() && definition.ask == Ask::Reply {
        return Err(missing("filters"));
    }
    let mut files = data;
    files.extend(definition.shot_data.iter().flat_map(|files| files.paths(&folder)));
    files.extend(definition.ids.iter().map(|ids| folder.join(ids)));
    Ok(Task {
        name,
        files,
        problems,
        skipped,
        style: definition.style,
        ask: definition.ask,
        target_delimiter: definition.target_delimiter,
        until: definition.until,
        max_new_tokens: definition.max_new_tokens,
        temperature: definition.temperature,
        top_p: definition.top_p,
        repeats: definition.repeats,
        judge,
        filters: definition.filters,
        exact_match: definition.exact_match,
        classes: definition
            .positive
            .map(|positive| Classes { positive, negative: definition.negative }),
    })
}

fn read_all(paths: &[PathBuf], within: Option<&str>) -> Result<(Vec<Row>, Vec<String>)> {
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        let (more, wrong) = rows::read(path, within)?;
        rows.extend(more);
        faults.extend(wrong);
    }
    Ok((rows, faults))
}

/// What turns rows into problems and examples.
struct Builder<'a> {
    templates: Templates,
    definition: &'a Definition,
    prompt: &'a str,
    target: &'a str,
}

/// The right answer of a row.
struct Target {
    texts: Vec<String>,
    gold: Option<usize>,
}

impl Builder<'_> {
    fn problem(
        &self,
        task: &str,
        index: usize,
        row: &Row,
        shots: Vec<Turn>,
    ) -> std::result::Result<Problem, String> {
        let definition = self.definition;
        let fields = &row.fields;
        let text = |key: &str, template: &str| {
            self.templates.text(template, fields).map_err(|error| format!("{key}: {error}"))
        };
        let optional = |key: &str, template: &Option<String>| {
            template.as_deref().map(|template| text(key, template)).transpose()
        };
        let ask = text("prompt", self.prompt)?;
        let choices = self.choices(definition.choices.as_ref(), fields)?;
        let Target { texts: targets, gold } = self.target(self.target, &choices, fields)?;
        if definition.ask == Ask::Choose && gold.is_none() {
            return Err(format!("target: {:?} is none of {choices:?}", targets.join(", ")));
        }
        let description = optional("description", &definition.description)?.unwrap_or_default();
        let question = optional("question", &definition.question)?;
        let id = match (&definition.id, &row.key) {
            (Some(template), _) => text("id", template)?,
            (None, Some(key)) => key.clone(),
            (None, None) => format!("{task}-{index}"),
        };
        let domain = optional("domain", &definition.domain)?;
        let level = optional("level", &definition.level)?;
        let level = level.map(|level| level_of(&level).ok_or(level)).transpose();
        let difficulty = level.map_err(|level| format!("level: no number in {level:?}"))?;
        let record = CotRecord {
            id,
            question: question.unwrap_or_else(|| ask.clone()),
            answer: targets.first().cloned().ok_or("target: there is none")?,
            domain: domain.unwrap_or_else(|| task.to_owned()),
            difficulty: difficulty.unwrap_or_default(),
            bloom: optional("bloom", &definition.bloom)?.unwrap_or_default(),
            ..CotRecord::default()
        };
        let prompt = Prompt {
            description,
            shots,
            ask,
            target_delimiter: definition.target_delimiter.clone(),
            shot_delimiter: definition.shot_delimiter.clone(),
        };
        Ok(Problem { place: index, record, prompt, targets, choices, gold })
    }

    fn example(&self, fields: &Map<String, Value>) -> std::result::Result<Turn, String> {
        let definition = self.definition;
        let prompt = definition.shot_prompt.as_deref().unwrap_or(self.prompt);
        let target = definition.shot_target.as_deref().unwrap_or(self.target);
        let choices = definition.shot_choices.as_ref().or(definition.choices.as_ref());
        let choices = self.choices(choices, fields)?;
        let user = self.templates.text(prompt, fields)?;
        let assistant = self.target(target, &choices, fields)?.texts.into_iter().next();
        Ok(Turn { user, assistant: assistant.ok_or("target: there is none")? })
    }

    fn choices(
        &self,
        choices: Option<&Choices>,
        fields: &Map<String, Value>,
    ) -> std::result::Result<Vec<String>, String> {
        let choices = match choices {
            None => return Ok(Vec::new()),
            Some(Choices::List(list)) => list.clone(),
            Some(Choices::Text(template)) => self.templates.list(template, fields)?,
        };
        if choices.len() < 2 {
            return Err(format!("choices: at least two are needed, found {}", choices.len()));
        }
        Ok(choices)
    }

    /// A number is the place of a choice where there are choices; a list is several answers that
    /// are all right.
    fn target(
        &self,
        template: &str,
        choices: &[String],
        fields: &Map<String, Value>,
    ) -> std::result::Result<Target, String> {
        let value =
            self.templates.value(template, fields).map_err(|error| format!("target: {error}"))?;
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if choices.is_empty() {
            // lm-eval takes a text that reads as a list for several answers.
            let as_list = |text: &str| serde_json::from_str(text).ok().filter(Value::is_array);
            let value = match &value {
                Value::String(text) if self.definition.judge == Some(Judge::Filter) => {
                    as_list(text).unwrap_or(value)
                }
                _ => value,
            };
            let texts: Vec<String> = match value {
                Value::Array(items) => items.into_iter().map(text).collect(),
                other => vec![text(other)],
            };
            if texts.iter().all(|text| text.trim().is_empty()) {
                return Err("target: it is empty".to_owned());
            }
            return Ok(Target { texts, gold: None });
        }
        let written = text(value);
        let place = written.trim().parse::<usize>().ok().filter(|place| *place < choices.len());
        let gold = choices.iter().position(|choice| *choice == written).or(place);
        let texts = vec![gold.map_or(written, |gold| choices[gold].clone())];
        Ok(Target { texts, gold })
    }
}

/// `3`, `Level 3`: the first number.
fn level_of(text: &str) -> Option<u8> {
    let digits = text.trim_start_matches(|character: char| !character.is_ascii_digit());
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Where the examples of the problems come from.
struct Shots {
    /// Each with the place of its row among the problems, where it is one of them.
    pool: Vec<(Option<usize>, Turn)>,
    count: usize,
    sampler: Sampler,
    random: PythonRandom,
    /// Whether the pool is the problems themselves, of which none is its own example.
    own: bool,
}

impl Shots {
    fn new(path: &Path, folder: &Path, builder: &Builder<'_>, rows: &[Row]) -> Result<Self> {
        let definition = builder.definition;
        let own = definition.shot_data.is_none() && definition.samples.is_empty();
        let mut shots = Self {
            pool: Vec::new(),
            count: definition.shots,
            sampler: definition.sampler,
            random: PythonRandom::new(SHOT_SEED),
            own,
        };
        if shots.count == 0 {
            return Ok(shots);
        }
        let example = |fields: &Map<String, Value>, place: &str| {
            builder
                .example(fields)
                .map_err(|error| Error::task(path, format!("an example at {place}"), error))
        };
        if let Some(files) = &definition.shot_data {
            let (found, _) = read_all(&files.paths(folder), definition.rows.as_deref())?;
            for row in &found {
                shots.pool.push((None, example(&row.fields, &row.place)?));
            }
        } else if own {
            // A row that is no problem is no example either.
            let known = rows.iter().map(|row| builder.example(&row.fields)).enumerate();
            shots.pool.extend(known.filter_map(|(at, turn)| Some((Some(at), turn.ok()?))));
        } else {
            for fields in &definition.samples {
                shots.pool.push((None, example(fields, "samples")?));
            }
        }
        let needed = shots.count + usize::from(own);
        if shots.pool.len() < needed {
            let found = shots.pool.len().to_string();
            return Err(Error::task(path, format!("at least {needed} examples"), found));
        }
        Ok(shots)
    }

    /// The examples of the problem at `index`.
    fn next(&mut self, index: usize) -> Vec<Turn> {
        if self.count == 0 {
            return Vec::new();
        }
        let others = |place: &usize| self.pool[*place].0 != Some(index);
        let places: Vec<usize> = match self.sampler {
            Sampler::FirstN => (0..self.pool.len()).filter(others).take(self.count).collect(),
            Sampler::Default => {
                let count = self.count + usize::from(self.own);
                let drawn = self.random.sample(self.pool.len(), count);
                drawn.into_iter().filter(others).take(self.count).collect()
            }
        };
        places.into_iter().map(|place| self.pool[place].1.clone()).collect()
    }
}
