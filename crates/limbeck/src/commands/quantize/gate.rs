//! The reasoning gate: a quantised model beside the one that it was made from.

use std::fmt;

use anyhow::{Context as _, Result};
use limbeck_core::{Message, Tokenizer};
use limbeck_cot_data::CotRecord;
use limbeck_evaluate::{Compared, Divergence, EvaluateConfig, Gate, GateConfig, evaluate};
use limbeck_model::Decoder;
use limbeck_quant::QuantizeReport;
use limbeck_run::{Diagnose, Exit, Progress};
use limbeck_train::{Completion, Example, TokenWeights};

/// Layers that a failed gate proposes to keep at more bits: this share of all, the worst.
const PROPOSED_SHARE: usize = 8;

/// Solves records with both models and compares what they think of the records' own chains.
///
/// # Errors
/// Those of evaluation; a record that the models cannot take.
pub(super) fn measure(
    original: &Decoder,
    quantized: &Decoder,
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &GateConfig,
) -> Result<Gate> {
    let count = config.records.min(records.len()).max(1);
    let chosen: Vec<CotRecord> =
        (0..count).map(|place| records[place * records.len() / count].clone()).collect();
    let sequences = chains(tokenizer, &chosen)?;
    let progress = Progress::new("gate", sequences.len() as u64, "chains");
    let divergence =
        Divergence::measure("original", original, quantized, &sequences, &mut || progress.inc(1))?;
    progress.finish();
    let solve = EvaluateConfig { max_new_tokens: config.max_new_tokens, ..Default::default() };
    let before = evaluate("original", original, tokenizer, &chosen, &solve)?;
    let after = evaluate("quantized", quantized, tokenizer, &chosen, &solve)?;
    Ok(Gate::new(config, divergence, &before, &after))
}

/// The records' own chains as the models would write them; prompts are not compared.
pub(crate) fn chains(tokenizer: &Tokenizer, records: &[CotRecord]) -> Result<Vec<Compared>> {
    let even = TokenWeights::default();
    records
        .iter()
        .map(|record| {
            let reasoning = record.reasoning();
            let completion = Completion::Chain { reasoning: &reasoning, answer: &record.answer };
            let prompt = [Message::user(record.question.as_str())];
            let example =
                Example::render(tokenizer, &record.id, &prompt, completion, usize::MAX, &even)
                    .with_context(|| format!("record {}", record.id))?;
            let counted = example.weights.iter().map(|&weight| weight > 0.0).collect();
            Ok(Compared { tokens: example.tokens, counted })
        })
        .collect()
}

/// A gate that was not passed.
#[derive(Debug)]
pub(crate) struct GateFailed {
    failures: Vec<String>,
    proposal: Vec<String>,
}

impl GateFailed {
    /// What failed, and the layers that lost most.
    pub(super) fn new(gate: &Gate, report: &QuantizeReport) -> Self {
        let mut layers: Vec<_> = report.layers.iter().collect();
        let loss =
            |layer: &limbeck_quant::LayerReport| layer.output_error.unwrap_or(layer.weight_error);
        layers.sort_by(|left, right| loss(right).total_cmp(&loss(left)));
        let count = layers.len().div_ceil(PROPOSED_SHARE);
        Self {
            failures: gate.failures().iter().map(ToString::to_string).collect(),
            proposal: layers.iter().take(count).map(|layer| layer.name.clone()).collect(),
        }
    }
}

impl fmt::Display for GateFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.failures.join("; ");
        write!(formatter, "the quantised model does not pass its gate: {failures}")
    }
}

impl std::error::Error for GateFailed {}

impl Diagnose for GateFailed {
    fn exit(&self) -> Exit {
        Exit::Gate
    }

    fn hint(&self) -> Option<String> {
        let layers: Vec<String> =
            self.proposal.iter().map(|layer| format!("'{}'", layer.replace('.', r"\."))).collect();
        Some(format!(
            "keep the layers that lost most at 8 bits: --set \"keep_bits8=[{}]\"; or use smaller \
             groups, or more calibration records of this task",
            layers.join(", ")
        ))
    }
}
