//! The pipeline's `[lora]` table.

use limbeck_core::seed::{CounterRng, derive};
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::config::Init;
use crate::forgetting::ReplayConfig;
use crate::{AdapterConfig, Alpha, Rank, Result, TargetModules};

/// How the frozen base is held while an adapter is trained on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaseFormat {
    /// As it is stored: dense, or packed where it is a 4- or 8-bit model.
    #[default]
    Stored,
    /// In NF4 with double quantisation, 4.13 bits a weight (`QLoRA`, arXiv:2305.14314).
    Nf4,
}

/// How an adapter is made and trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the update of each projection. Default 16.
    pub rank: Rank,
    /// Numerator of the update's scale. Default 32.
    pub alpha: Alpha,
    /// Probability with which an input of the update is dropped. Default 0.
    pub dropout: f64,
    /// `"all-linear"`, a regular expression for whole names, or a list of names or their
    /// last parts. Default `"all-linear"`.
    pub target_modules: TargetModules,
    /// Scale by alpha/√rank instead of alpha/rank. Default false.
    pub use_rslora: bool,
    /// Weight-decomposed adapters (DoRA). Default false.
    pub use_dora: bool,
    /// `"default"`: A random, B zero; `"pissa"`: the base's principal part. Default
    /// `"default"`.
    pub init: Init,
    /// Ranks of modules whose name, or its last parts, match a pattern, in the order in which
    /// they are tried: `[["down_proj", 8]]`. Default none.
    pub rank_pattern: Vec<(String, Rank)>,
    /// Alphas of modules, likewise and independently. Default none.
    pub alpha_pattern: Vec<(String, Alpha)>,
    /// Modules that are trained whole: `["lm_head"]`. Default none.
    pub modules_to_save: Vec<String>,
    /// Learning rate of B as a multiple of A's (LoRA+; the paper advises 16). Default 1.
    pub lora_plus_ratio: f64,
    /// How the base is held: `"stored"`, or rounded to `"nf4"`. Below a packed base,
    /// `train.activation_checkpointing` is true unless it is set. Default `"stored"`.
    pub base: BaseFormat,
    /// Share of the records that are rendered as an answer without a chain; the others
    /// think first. Default 0.25.
    pub answer_only_ratio: f64,
    /// How much of earlier tasks is seen again, where their records are given.
    pub replay: ReplayConfig,
    /// The training run.
    pub train: TrainConfig,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: Rank::DEFAULT,
            alpha: Alpha::DEFAULT,
            dropout: 0.0,
            target_modules: TargetModules::AllLinear,
            use_rslora: false,
            use_dora: false,
            init: Init::Default,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            modules_to_save: Vec::new(),
            lora_plus_ratio: 1.0,
            base: BaseFormat::Stored,
            answer_only_ratio: 0.25,
            replay: ReplayConfig::default(),
            train: TrainConfig::default(),
        }
    }
}

impl LoraConfig {
    /// The adapter's own configuration; `base_model` is the base's folder or name.
    pub fn adapter(&self, base_model: Option<String>) -> AdapterConfig {
        AdapterConfig {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            use_rslora: self.use_rslora,
            use_dora: self.use_dora,
            init: self.init,
            target_modules: self.target_modules.clone(),
            modules_to_save: self.modules_to_save.clone(),
            rank_pattern: self.rank_pattern.clone(),
            alpha_pattern: self.alpha_pattern.clone(),
            base_model,
            revision: None,
        }
    }

    /// Whether the record is rendered as an answer without a chain
    /// (`Completion::AnswerOnly`). Decided by the record's id, so that it depends on
    /// neither the order of the records nor which others there are.
    pub fn is_answer_only(&self, seed: u64, record_id: &str) -> bool {
        let key = derive(seed, &format!("answer only {record_id}"), 0);
        CounterRng::new(key).next_f64() < self.answer_only_ratio
    }
}

impl Validate for LoraConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Invalid::new("dropout", "a number from 0 to below 1", self.dropout));
        }
        if !(0.0..=1.0).contains(&self.answer_only_ratio) {
            let found = self.answer_only_ratio;
            return Err(Invalid::new("answer_only_ratio", "a number from 0 to 1", found));
        }
        if !(self.lora_plus_ratio > 0.0 && self.lora_plus_ratio.is_finite()) {
            let found = self.lora_plus_ratio;
            return Err(Invalid::new("lora_plus_ratio", "a number above 0", found));
        }
        if self.use_dora && self.init == Init::Pissa {
            let expected = "\"default\" where use_dora is set";
            return Err(Invalid::new("init", expected, "\"pissa\""));
        }
        let targets: Result<()> = self.target_modules.validate();
        if targets.is_err() {
            let expected = "\"all-linear\", a regular expression, or a list that is not empty";
            return Err(Invalid::new("target_modules", expected, &self.target_modules));
        }
        self.replay.validate().map_err(|invalid| invalid.within("replay"))?;
        self.train.validate().map_err(|invalid| invalid.within("train"))
    }
}

#[cfg(test)]
mod tests {
    use limbeck_run::config::{apply_overrides, load_table, parse};

    use super::*;

    fn with(overrides: &[&str]) -> limbeck_run::Result<LoraConfig> {
        let mut table = load_table(None).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        apply_overrides(&mut table, &overrides).unwrap();
        parse(&table, "my.toml")
    }

    #[test]
    fn an_empty_table_is_the_default_and_keys_are_read() {
        assert_eq!(with(&[]).unwrap(), LoraConfig::default());
        let config = with(&[
            "rank=8",
            "alpha=12",
            "target_modules=[\"q_proj\", \"v_proj\"]",
            "use_rslora=true",
            "init=\"pissa\"",
            "rank_pattern=[[\"v_proj\", 4]]",
            "base=nf4",
            "train.steps=100",
        ])
        .unwrap();
        assert_eq!((config.rank.get(), config.alpha.get(), config.train.steps), (8, 12.0, 100));
        assert_eq!(config.target_modules.to_string(), "[q_proj, v_proj]");
        assert_eq!(config.base, BaseFormat::Nf4);
        let adapter = config.adapter(Some("base".to_owned()));
        assert_eq!(adapter.rank_pattern, [("v_proj".to_owned(), Rank::new(4).unwrap())]);
        assert!(
            adapter.init == Init::Pissa
                && adapter.use_rslora
                && adapter.base_model.as_deref() == Some("base")
        );
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        for (text, key) in [
            ("ranks=8", "ranks"),
            ("rank=0", "rank"),
            ("alpha=-1.0", "alpha"),
            ("dropout=1.0", "dropout"),
            ("answer_only_ratio=1.5", "answer_only_ratio"),
            ("lora_plus_ratio=0.0", "lora_plus_ratio"),
            ("init=\"olora\"", "init"),
            ("rank_pattern=[[\"v_proj\", 0]]", "rank_pattern"),
            ("target_modules=[]", "target_modules"),
            ("target_modules=\"(\"", "target_modules"),
            ("target_modules=3", "target_modules"),
            ("base=int4", "base"),
            ("train.steps=0", "train.steps"),
        ] {
            let error = with(&[text]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("my.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn the_resolved_table_is_read_back_the_same() {
        let config = with(&["rank=8", "target_modules=[\"q_proj\"]"]).unwrap();
        let value = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<LoraConfig>(value).unwrap(), config);
    }

    #[test]
    fn the_share_of_answers_is_the_ratio_and_repeatable() {
        let config = LoraConfig { answer_only_ratio: 0.3, ..LoraConfig::default() };
        let chosen = |seed| -> Vec<bool> {
            (0..10_000)
                .map(|index| config.is_answer_only(seed, &format!("arith-{index:06}")))
                .collect()
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        let share = chosen(1).iter().filter(|&&chosen| chosen).count() as f64 / 10_000.0;
        assert!((share - 0.3).abs() < 0.02, "{share}");
        let none = LoraConfig { answer_only_ratio: 0.0, ..LoraConfig::default() };
        let all = LoraConfig { answer_only_ratio: 1.0, ..LoraConfig::default() };
        assert!(!none.is_answer_only(1, "x") && all.is_answer_only(1, "x"));
    }
}
