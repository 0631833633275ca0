//! How a report is made.

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// The `[report]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportConfig {
    /// Heading of table and page. Default `Evaluation`.
    pub title: String,
    /// Pairs of models' names to compare, the first against the second. Default none:
    /// the pairs of the default pipeline's stages among the models, or else each model
    /// against the first.
    pub comparisons: Vec<[String; 2]>,
    /// Fixes the bootstrap's resamples. Default 0.
    pub seed: u64,
}

impl Default for ReportConfig {
    fn default() -> Self {
        Self { title: "Evaluation".to_owned(), comparisons: Vec::new(), seed: 0 }
    }
}

impl Validate for ReportConfig {
    fn validate(&self) -> Result<(), Invalid> {
        match self.comparisons.iter().find(|[first, second]| first == second) {
            Some([name, _]) => Err(Invalid::new("comparisons", "two different models", name)),
            None => Ok(()),
        }
    }
}
