//! How well a model's replies fit a domain.

use serde::{Deserialize, Serialize};

use crate::statistics::Estimate;

/// A model's replies beside the chains that the records of the task hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainFit {
    /// From 0 (a classifier always tells replies from the records' own chains) to 1 (it cannot):
    /// `1 - |2·AUROC - 1|`.
    pub score: f64,
    /// Area under the curve of that classifier, on held-out folds.
    pub auroc: Estimate,
    /// Perplexity of the records' chains under the model over that under the reference model;
    /// none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_ratio: Option<f64>,
}
