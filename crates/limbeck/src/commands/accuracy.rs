//! The accuracy of greedy replies as a training run's validation metric.

use limbeck_core::Tokenizer;
use limbeck_cot_data::CotRecord;
use limbeck_evaluate::{EvaluateConfig, evaluate};
use limbeck_model::Decoder;
use limbeck_train::{Error, MetricKind, TrainConfig, ValidationMetric};

const NAME: &str = "validation_accuracy";

/// Lets the model answer records, without sampling, and judges the answers.
pub(crate) struct Accuracy<'a> {
    tokenizer: &'a Tokenizer,
    records: &'a [CotRecord],
    config: EvaluateConfig,
}

impl<'a> Accuracy<'a> {
    /// The metric that the configuration asks for, if it asks for one.
    pub(crate) fn new(
        config: &TrainConfig,
        tokenizer: &'a Tokenizer,
        records: &'a [CotRecord],
    ) -> Option<Self> {
        (config.validation_metric == MetricKind::Accuracy).then(|| Self {
            tokenizer,
            records,
            config: EvaluateConfig {
                max_new_tokens: config.max_length,
                limit: config.accuracy_records,
                ..EvaluateConfig::default()
            },
        })
    }
}

impl ValidationMetric for Accuracy<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn measure(&mut self, model: &Decoder) -> limbeck_train::Result<f64> {
        // Half of the positions are left for the prompt.
        let half = (model.config().max_position_embeddings / 2).max(1) as usize;
        self.config.max_new_tokens = self.config.max_new_tokens.min(half);
        let evaluation = evaluate("validation", model, self.tokenizer, self.records, &self.config)
            .map_err(|source| Error::Metric { name: NAME, source: source.into() })?;
        Ok(evaluation.overall.accuracy.value)
    }
}
