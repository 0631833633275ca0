//! Chain and task examples, or fields of knowledge, in batches of their own, at fixed or
//! adapting shares.

use std::collections::BTreeMap;
use std::path::PathBuf;

use limbeck_run::Manifest;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::{Error, Example, Kind, Result};

/// What tells one group of examples from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixBy {
    /// Whether they think: `chain` and `task`.
    #[default]
    Kind,
    /// The record's domain.
    Domain,
}

/// The `[….train.mix]` table. Examples are mixed as they come unless `task_share`, `shares`
/// or `dynamic` is set, or `by` is `domain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixConfig {
    /// What tells the groups apart: `kind` or `domain`. Default `kind`.
    pub by: MixBy,
    /// Share of the micro-batches, 0 to 1, whose examples answer at once; the first share
    /// where `dynamic`. Default: half where the mix is by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_share: Option<f64>,
    /// With `by = "domain"`: the share of each domain's micro-batches, 1 in all. Default:
    /// equal shares.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, f64>,
    /// Whether a mix by kind has every record with a chain in both forms; else a record is
    /// a task only where it has no chain or the stage draws it as one. Default true.
    pub both_forms: bool,
    /// Whether the shares adapt: groups whose loss is furthest above its reference get more.
    /// Default false.
    pub dynamic: bool,
    /// Loss, in nats a token, that each group is expected to reach.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reference_losses: BTreeMap<String, f64>,
    /// Folder of a finished run with the same groups, whose manifest gives the reference
    /// losses that are not given here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<PathBuf>,
    /// Steps between adaptations, and over which a group's loss is averaged. Default 50.
    pub adapt_interval: u64,
    /// η of the shares' update. Default 1.
    pub step_size: f64,
    /// Part of the shares, 0 to 1, that is dealt out evenly after each update: no group is
    /// lost for good. Default 1e-3.
    pub smoothing: f64,
}

impl Default for MixConfig {
    fn default() -> Self {
        Self {
            by: MixBy::Kind,
            task_share: None,
            shares: BTreeMap::new(),
            both_forms: true,
            dynamic: false,
            reference_losses: BTreeMap::new(),
            reference: None,
            adapt_interval: 50,
            step_size: 1.0,
            smoothing: 1e-3,
        }
    }
}

impl MixConfig {
    /// Whether examples are drawn by group at all.
    pub fn is_on(&self) -> bool {
        self.task_share.is_some()
            || !self.shares.is_empty()
            || self.dynamic
            || self.by == MixBy::Domain
    }

    /// Whether every record with a chain is to be rendered as a task too.
    pub fn renders_both_forms(&self) -> bool {
        self.is_on() && self.by == MixBy::Kind && self.both_forms
    }

    /// The name of an example's group.
    pub(crate) fn group(&self, example: &Example) -> String {
        match self.by {
            MixBy::Kind => example.traits.kind.to_string(),
            MixBy::Domain if example.traits.domain.is_empty() => "unknown".to_owned(),
            MixBy::Domain => example.traits.domain.clone(),
        }
    }

    /// Takes the reference losses that are not given from the manifest of [`Self::reference`]
    /// (its metrics `loss_<group>`), so that they are part of the run's configuration.
    ///
    /// # Errors
    /// [`Error::Mix`] where the folder has no manifest or its metrics no such loss; read
    /// errors.
    pub fn resolve_reference(&mut self) -> Result<()> {
        let Some(folder) = self.reference.take() else { return Ok(()) };
        let failed = |reason: &str| Error::Mix {
            reason: format!("reference {}: {reason}", folder.display()),
        };
        let manifest =
            Manifest::read(&folder)?.ok_or_else(|| failed("there is no manifest.json"))?;
        let mut found = false;
        for (name, value) in &manifest.metrics {
            if let (Some(group), Some(loss)) = (name.strip_prefix(LOSS), value.as_f64()) {
                self.reference_losses.entry(group.to_owned()).or_insert(loss);
                found = true;
            }
        }
        if found {
            return Ok(());
        }
        Err(failed("its manifest has no metric loss_<group>; was it a run with a mix?"))
    }

    /// The first share of each group.
    ///
    /// # Errors
    /// [`Error::Mix`] for a group without share or reference loss, a share without group, or
    /// a single group whose share is to adapt.
    pub(crate) fn first_shares(&self, groups: &[String]) -> Result<Vec<f64>> {
        fn failed<T>(reason: String) -> Result<T> {
            Err(Error::Mix { reason })
        }
        if self.dynamic {
            if let [only] = groups {
                return failed(format!("shares can adapt between groups, and all is {only}"));
            }
            let lacking = groups.iter().find(|&name| !self.reference_losses.contains_key(name));
            if let Some(name) = lacking {
                return failed(format!("mix.reference_losses has none for {name}"));
            }
        }
        if let Some(task) = self.task_share {
            let share =
                |name: &String| if *name == Kind::Task.to_string() { task } else { 1.0 - task };
            let lacking = [(Kind::Task, task), (Kind::Chain, 1.0 - task)]
                .into_iter()
                .find(|(kind, share)| *share > 0.0 && !groups.contains(&kind.to_string()));
            return match lacking {
                Some((kind, share)) => {
                    failed(format!("a share of {share} for {kind} examples, and there is none"))
                }
                None => Ok(groups.iter().map(share).collect()),
            };
        }
        if self.shares.is_empty() {
            return Ok(vec![1.0 / groups.len() as f64; groups.len()]);
        }
        if let Some(name) = self.shares.keys().find(|name| !groups.contains(name)) {
            return failed(format!("mix.shares names {name}, and no example is of it"));
        }
        let share = |name: &String| match self.shares.get(name) {
            Some(&share) => Ok(share),
            None => failed(format!("mix.shares has none for {name}")),
        };
        groups.iter().map(share).collect()
    }
}

/// What the metric of a group's loss begins with.
pub(crate) const LOSS: &str = "loss_";

impl Validate for MixConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        let share = 0.0..=1.0;
        if let Some(task) = self.task_share {
            if !share.contains(&task) {
                return Err(Invalid::new("task_share", "a number from 0 to 1", task));
            }
            if self.by == MixBy::Domain {
                return Err(Invalid::new("task_share", "none where by is domain", task));
            }
        }
        if !self.shares.is_empty() {
            let sum: f64 = self.shares.values().sum();
            if self.by == MixBy::Kind {
                return Err(Invalid::new("shares", "none where by is kind", sum));
            }
            let outside = self.shares.iter().find(|(_, value)| !share.contains(*value));
            if let Some((name, value)) = outside {
                let field = format!("shares.{name}");
                return Err(Invalid::new(field, "a number from 0 to 1", value));
            }
            if (sum - 1.0).abs() > 1e-6 {
                return Err(Invalid::new("shares", "numbers whose sum is 1", sum));
            }
        }
        for (name, loss) in &self.reference_losses {
            if !(*loss >= 0.0 && loss.is_finite()) {
                let field = format!("reference_losses.{name}");
                return Err(Invalid::new(field, "a number from 0 up", loss));
            }
        }
        if self.dynamic && self.reference_losses.is_empty() && self.reference.is_none() {
            let expected = "the loss of each group, or reference, where dynamic is true";
            return Err(Invalid::new("reference_losses", expected, "neither"));
        }
        if self.adapt_interval == 0 {
            return Err(Invalid::new("adapt_interval", "at least 1 step", 0));
        }
        if !(self.step_size > 0.0 && self.step_size.is_finite()) {
            return Err(Invalid::new("step_size", "a number above 0", self.step_size));
        }
        if !share.contains(&self.smoothing) {
            return Err(Invalid::new("smoothing", "a number from 0 to 1", self.smoothing));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(chain: f64, task: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([("chain".to_owned(), chain), ("task".to_owned(), task)])
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn impossible_values_name_their_key() {
        MixConfig::default().validate().unwrap();
        let shares = |pairs: &[(&str, f64)]| {
            pairs.iter().map(|&(name, share)| (name.to_owned(), share)).collect()
        };
        let domain = MixConfig { by: MixBy::Domain, ..MixConfig::default() };
        let cases = [
            ("task_share", MixConfig { task_share: Some(1.1), ..MixConfig::default() }),
            ("task_share", MixConfig { task_share: Some(0.5), ..domain.clone() }),
            ("shares", MixConfig { shares: shares(&[("a", 1.0)]), ..MixConfig::default() }),
            ("shares", MixConfig { shares: shares(&[("a", 0.5)]), ..domain.clone() }),
            ("shares.a", MixConfig { shares: shares(&[("a", -1.0), ("b", 2.0)]), ..domain }),
            ("reference_losses", MixConfig { dynamic: true, ..MixConfig::default() }),
            (
                "reference_losses.chain",
                MixConfig { reference_losses: losses(f64::NAN, 0.0), ..MixConfig::default() },
            ),
            ("adapt_interval", MixConfig { adapt_interval: 0, ..MixConfig::default() }),
            ("step_size", MixConfig { step_size: 0.0, ..MixConfig::default() }),
            ("smoothing", MixConfig { smoothing: 2.0, ..MixConfig::default() }),
        ];
        for (field, config) in cases {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn shares_need_their_groups_and_groups_their_shares() {
        let kinds = names(&["chain", "task"]);
        let config = MixConfig { task_share: Some(0.25), ..MixConfig::default() };
        assert_eq!(config.first_shares(&kinds).unwrap(), [0.75, 0.25]);
        let refused = |config: &MixConfig, groups: &[&str], part: &str| {
            let error = config.first_shares(&names(groups)).unwrap_err();
            assert!(matches!(error, Error::Mix { .. }), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        };
        refused(&config, &["chain"], "0.25 for task");
        refused(&config, &["task"], "0.75 for chain");
        let all = MixConfig { task_share: Some(0.0), ..MixConfig::default() };
        assert_eq!(all.first_shares(&names(&["chain"])).unwrap(), [1.0]);
        let domain = MixConfig { by: MixBy::Domain, ..MixConfig::default() };
        assert_eq!(domain.first_shares(&names(&["a", "b"])).unwrap(), [0.5, 0.5]);
        let shares = BTreeMap::from([("a".to_owned(), 1.0)]);
        let given = MixConfig { shares, ..domain };
        assert_eq!(given.first_shares(&names(&["a"])).unwrap(), [1.0]);
        refused(&given, &["a", "b"], "none for b");
        refused(&given, &["b"], "names a");
        let reference_losses = BTreeMap::from([("chain".to_owned(), 0.3)]);
        let dynamic = MixConfig { dynamic: true, reference_losses, ..MixConfig::default() };
        refused(&dynamic, &["chain", "task"], "none for task");
        refused(&dynamic, &["chain"], "all is chain");
    }

    #[test]
    fn reference_losses_come_from_a_runs_manifest_unless_given() {
        let folder = tempfile::tempdir().unwrap();
        let with = |losses| MixConfig {
            dynamic: true,
            reference: Some(folder.path().to_owned()),
            reference_losses: losses,
            ..MixConfig::default()
        };
        let error = with(BTreeMap::new()).resolve_reference().unwrap_err();
        assert!(error.to_string().contains("no manifest.json"), "{error}");
        let write = |metrics: &str| {
            let text = format!("{{\"stage\": \"sft\", \"metrics\": {metrics}}}");
            std::fs::write(folder.path().join(Manifest::FILE), text).unwrap();
        };
        write("{\"loss\": 0.5}");
        let error = with(BTreeMap::new()).resolve_reference().unwrap_err();
        assert!(error.to_string().contains("loss_<group>"), "{error}");
        write("{\"loss_chain\": 0.5, \"loss_task\": 0.25, \"steps\": 10}");
        let mut config = with(BTreeMap::from([("task".to_owned(), 0.125)]));
        config.resolve_reference().unwrap();
        assert_eq!(config.reference_losses, losses(0.5, 0.125));
        assert_eq!(config.reference, None, "what was read is the configuration from now on");
    }

    #[test]
    fn it_is_off_unless_asked_for() {
        assert!(!MixConfig::default().is_on() && !MixConfig::default().renders_both_forms());
        let config = MixConfig { task_share: Some(0.5), ..MixConfig::default() };
        assert!(config.is_on() && config.renders_both_forms());
        let config = MixConfig { by: MixBy::Domain, ..MixConfig::default() };
        assert!(config.is_on() && !config.renders_both_forms());
    }
}
