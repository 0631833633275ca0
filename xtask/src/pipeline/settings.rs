//! The table `[pipeline]`: what all stages of a run share.

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// Keys of `[pipeline]`. Paths are relative to the repository's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Name of the run, for its report. Default `default`.
    pub(crate) name: String,
    /// Folder of the run. Default `runs/default`.
    pub(crate) output: String,
    /// Folder of the teacher. Default `fixtures/teacher`.
    pub(crate) teacher: String,
    /// Seed of data, initialisation, order and sampling. Default 0.
    pub(crate) seed: u64,
    /// `auto`, `cpu`, `cuda` or `cuda:N`. Default `cpu`.
    pub(crate) device: String,
    /// `float32`, `bfloat16` or `float16`: what the models compute in. Default `float32`.
    pub(crate) dtype: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            output: "runs/default".to_owned(),
            teacher: "fixtures/teacher".to_owned(),
            seed: 0,
            device: "cpu".to_owned(),
            dtype: "float32".to_owned(),
        }
    }
}

impl Validate for Settings {
    fn validate(&self) -> Result<(), Invalid> {
        for (field, value) in
            [("name", &self.name), ("output", &self.output), ("teacher", &self.teacher)]
        {
            if value.trim().is_empty() {
                return Err(Invalid::new(field, "a name or path", "an empty one"));
            }
        }
        let index = self.device.strip_prefix("cuda:").map(str::parse::<u32>);
        if !["auto", "cpu", "cuda"].contains(&self.device.as_str()) && !matches!(index, Some(Ok(_)))
        {
            return Err(Invalid::new("device", "auto, cpu, cuda or cuda:N", &self.device));
        }
        if !["float32", "bfloat16", "float16"].contains(&self.dtype.as_str()) {
            return Err(Invalid::new("dtype", "float32, bfloat16 or float16", &self.dtype));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_dtypes_are_checked_before_any_work() {
        let with = |device: &str, dtype: &str| {
            let settings =
                Settings { device: device.into(), dtype: dtype.into(), ..Settings::default() };
            settings.validate().map_err(|invalid| invalid.field)
        };
        assert_eq!(with("auto", "float32"), Ok(()));
        assert_eq!(with("cuda:3", "bfloat16"), Ok(()));
        assert_eq!(with("cuda:x", "bfloat16"), Err("device".to_owned()));
        assert_eq!(with("gpu", "bfloat16"), Err("device".to_owned()));
        assert_eq!(with("cpu", "fp32"), Err("dtype".to_owned()));
    }
}
