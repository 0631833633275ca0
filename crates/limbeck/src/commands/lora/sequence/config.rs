//! The file of `--sequence`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use limbeck_cot_data::{DataConfig, Family};
use limbeck_evaluate::EvaluateConfig;
use limbeck_lora::LoraConfig;
use limbeck_lora::config::Init;
use limbeck_lora::forgetting::{EwcConfig, OrthogonalConfig, ReplayConfig};
use limbeck_lora::train_config::BaseFormat;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// Tasks in their order, and the ways of learning them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SequenceConfig {
    /// Of adapters and orders; `--seed` is that of the data. Default `[0, 1, 2]`.
    pub(super) seeds: Vec<u64>,
    /// What the model could do before: its retention counts as a task's, and its records are
    /// replayed and give importances. Default: arith, logic and spatial.
    pub(super) base: TaskConfig,
    /// The tasks, in the order of learning.
    pub(super) task: Vec<TaskConfig>,
    /// The ways of learning them. Gains are held against those of the first.
    pub(super) method: Vec<MethodConfig>,
    /// The adapter of each task and its training.
    pub(super) lora: LoraConfig,
    /// How every task is tested after every task.
    pub(super) evaluate: EvaluateConfig,
}

/// What a task is trained and tested on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TaskConfig {
    /// What tables call it. Default `base`.
    pub(super) name: String,
    /// Families of generated problems.
    pub(super) families: Vec<Family>,
    /// Their levels, from 1 to 4. Default: all.
    pub(super) levels: Vec<u8>,
    /// Instead of families: a folder with `train.jsonl` and `test.jsonl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<PathBuf>,
    /// Share, from 0 to 1, of the generated training records whose chain is the short one.
    /// Default 0.
    pub(super) short_share: f64,
    /// Records to train on; of a folder the first ones. Default 4000.
    pub(super) num_train: usize,
    /// Problems to test on; of a folder the first ones. Default 128.
    pub(super) num_test: usize,
}

/// A way of learning: with none of the three, plain LoRA.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MethodConfig {
    /// What tables call it; also the name of its folder.
    pub(super) name: String,
    /// Records of earlier tasks among the new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<ReplayConfig>,
    /// A penalty on changes of weights that matter to earlier tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ewc: Option<EwcConfig>,
    /// A penalty on inputs that earlier adapters read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orthogonal: Option<OrthogonalConfig>,
}

impl Default for SequenceConfig {
    fn default() -> Self {
        Self {
            seeds: vec![0, 1, 2],
            base: TaskConfig { families: Family::CORE.to_vec(), ..TaskConfig::default() },
            task: Vec::new(),
            method: Vec::new(),
            lora: LoraConfig::default(),
            evaluate: EvaluateConfig::default(),
        }
    }
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            name: "base".to_owned(),
            families: Vec::new(),
            levels: vec![1, 2, 3, 4],
            data: None,
            short_share: 0.0,
            num_train: 4000,
            num_test: 128,
        }
    }
}

impl SequenceConfig {
    /// The base and the tasks.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &TaskConfig> {
        std::iter::once(&self.base).chain(&self.task)
    }

    /// Whether any method holds the adapter's update back.
    pub(super) fn has_penalties(&self) -> bool {
        self.method.iter().any(|method| method.ewc.is_some() || method.orthogonal.is_some())
    }

    /// The folders that tasks read, by their names.
    pub(super) fn data_folders(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.tasks().filter_map(|task| Some((task.name.as_str(), task.data.as_deref()?)))
    }
}

impl TaskConfig {
    /// What is generated for it.
    pub(super) fn generated(&self, seed: u64) -> DataConfig {
        DataConfig {
            families: self.families.clone(),
            levels: self.levels.clone(),
            num_train: self.num_train,
            num_validation: 0,
            num_test: self.num_test,
            num_calibration: 0,
            short_share: self.short_share,
            seed,
            ..DataConfig::default()
        }
    }
}

impl Validate for SequenceConfig {
    fn validate(&self) -> Result<(), Invalid> {
        let distinct: BTreeSet<u64> = self.seeds.iter().copied().collect();
        if self.seeds.is_empty() || distinct.len() < self.seeds.len() {
            let found = format!("{:?}", self.seeds);
            return Err(Invalid::new("seeds", "different seeds, at least one", found));
        }
        if self.task.is_empty() {
            return Err(Invalid::new("task", "at least one [[task]]", "none"));
        }
        if self.method.is_empty() {
            return Err(Invalid::new("method", "at least one [[method]]", "none"));
        }
        self.base.validate().map_err(|invalid| invalid.within("base"))?;
        for task in &self.task {
            task.validate().map_err(|invalid| invalid.within("task"))?;
        }
        distinct_names("task", self.tasks().map(|task| &task.name))?;
        for method in &self.method {
            method.validate().map_err(|invalid| invalid.within("method"))?;
        }
        distinct_names("method", self.method.iter().map(|method| &method.name))?;
        self.lora.validate().map_err(|invalid| invalid.within("lora"))?;
        if self.lora.base != BaseFormat::Stored {
            let expected = "\"stored\": adapters are merged into float32 weights";
            return Err(Invalid::new("lora.base", expected, "\"nf4\""));
        }
        let plain = !self.lora.use_dora
            && self.lora.init == Init::Default
            && self.lora.modules_to_save.is_empty();
        if self.has_penalties() && !plain {
            let expected = "no use_dora, init = \"pissa\" or modules_to_save beside ewc or \
                            orthogonal, which hold back the product of A and B";
            return Err(Invalid::new("lora", expected, "one"));
        }
        if self.lora.replay != ReplayConfig::default() {
            let expected = "the replay of a [[method]]";
            return Err(Invalid::new("lora.replay", expected, "one for all"));
        }
        if self.lora.train.mix.is_on() {
            let expected = "no mix: a method's replay makes it";
            return Err(Invalid::new("lora.train.mix", expected, "one"));
        }
        if self.lora.train.selects() {
            let expected = "false: there are no validation records";
            return Err(Invalid::new("lora.train.keep_best", expected, true));
        }
        self.evaluate.validate().map_err(|invalid| invalid.within("evaluate"))
    }
}

impl Validate for TaskConfig {
    fn validate(&self) -> Result<(), Invalid> {
        check_name(&self.name)?;
        for (field, count) in [("num_train", self.num_train), ("num_test", self.num_test)] {
            if count == 0 {
                return Err(Invalid::new(field, "at least 1", count));
            }
        }
        match &self.data {
            Some(_) if !self.families.is_empty() => {
                let found = format!("both, for {}", self.name);
                Err(Invalid::new("families", "families or data", found))
            }
            Some(_) => Ok(()),
            None => self
                .generated(0)
                .validate()
                .map_err(|error| Invalid::new(error.field, error.expected, error.got)),
        }
    }
}

impl Validate for MethodConfig {
    fn validate(&self) -> Result<(), Invalid> {
        check_name(&self.name)?;
        let within = |table| move |invalid: Invalid| invalid.within(table);
        if let Some(replay) = &self.replay {
            replay.validate().map_err(within("replay"))?;
        }
        if let Some(ewc) = &self.ewc {
            ewc.validate().map_err(within("ewc"))?;
        }
        self.orthogonal
            .map_or(Ok(()), |orthogonal| orthogonal.validate().map_err(within("orthogonal")))
    }
}

/// Names are parts of paths and of metrics' names.
fn check_name(name: &str) -> Result<(), Invalid> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        return Ok(());
    }
    Err(Invalid::new("name", "letters, digits, - and _", format!("{name:?}")))
}

fn distinct_names<'a>(table: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let found = format!("{name:?} twice");
            return Err(Invalid::new(format!("{table}.name"), "different names", found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use limbeck_run::config::parse;

    use super::*;

    const WHOLE: &str = r#"
        seeds = [1, 2]
        [[task]]
        name = "medical"
        families = ["medical"]
        levels = [1, 2]
        [[task]]
        name = "own"
        data = "folder"
        [[method]]
        name = "plain"
        [[method]]
        name = "both"
        replay = { share = 0.2 }
        ewc = { fisher = "exact", lambda = 0.5 }
    "#;

    fn read(text: &str) -> limbeck_run::Result<SequenceConfig> {
        parse(&text.parse().unwrap(), "tasks.toml")
    }

    #[test]
    fn a_file_is_read_with_its_defaults() {
        let config = read(WHOLE).unwrap();
        let names: Vec<&str> = config.tasks().map(|task| task.name.as_str()).collect();
        assert_eq!(names, ["base", "medical", "own"]);
        assert_eq!(config.base.families, Family::CORE);
        assert_eq!(config.data_folders().collect::<Vec<_>>(), [("own", Path::new("folder"))]);
        let both = &config.method[1];
        assert!(both.replay.is_some_and(|replay| replay.records == 512));
        assert!(both.ewc.is_some_and(|ewc| ewc.gamma >= 1.0) && both.orthogonal.is_none());
        let value = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<SequenceConfig>(value).unwrap(), config);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (change, key) in [
            (("seeds = [1, 2]", "seeds = [1, 1]"), "seeds"),
            (("seeds = [1, 2]", "seeds = []"), "seeds"),
            (("seeds = [1, 2]", "sedes = [1, 2]"), "sedes"),
            (("name = \"own\"", "name = \"medical\""), "task.name"),
            (("name = \"own\"", "name = \"a/b\""), "task.name"),
            (("data = \"folder\"", "levels = [1]"), "task.families"),
            (("data = \"folder\"", "data = \"folder\"\nfamilies = [\"legal\"]"), "task.families"),
            (("data = \"folder\"", "data = \"folder\"\nnum_test = 0"), "task.num_test"),
            (("levels = [1, 2]", "levels = [7]"), "task.levels"),
            (("levels = [1, 2]", "short_share = 2.0"), "task.short_share"),
            (("families = [\"medical\"]", "families = [\"magic\"]"), "magic"),
            (("name = \"both\"", "name = \"plain\""), "method.name"),
            (("share = 0.2", "share = 1.2"), "method.replay.share"),
            (("lambda = 0.5", "lambda = -1.0"), "method.ewc.lambda"),
            (("fisher = \"exact\"", "fisher = \"full\""), "full"),
            (("seeds = [1, 2]", "lora.train.mix.task_share = 0.5"), "lora.train.mix"),
            (("seeds = [1, 2]", "lora.rank = 0"), "lora.rank"),
            (("seeds = [1, 2]", "lora.use_dora = true"), "use_dora"),
            (("seeds = [1, 2]", "lora.base = \"nf4\""), "lora.base"),
            (("seeds = [1, 2]", "lora.replay.share = 0.1"), "lora.replay"),
            (
                ("seeds = [1, 2]", "lora.train = { keep_best = true, validate_every = 5 }"),
                "lora.train.keep_best",
            ),
        ] {
            let text = WHOLE.replacen(change.0, change.1, 1);
            assert_ne!(text, WHOLE, "{change:?}");
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("tasks.toml"), "{key}: {error}");
        }
        for (text, key) in
            [("", "task"), ("[[task]]\nname = \"a\"\nfamilies = [\"legal\"]", "method")]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
