//! The three kinds of evidence in order, each used only where those before it say nothing.

use std::ops::Range;

use limbeck_core::Tokenizer;
use limbeck_infer::Engine;
use limbeck_run::Progress;

use super::likelihood::{self, Rateable};
use super::rollout::{self, RolloutConfig, Unfinished};
use super::text::{Chain, ChainReport};
use crate::Result;

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEvidence {
    /// Drop of likelihood from which a step is taken for wrong, in nats
    /// ([`likelihood::LEAST_DROP`]); nothing not to rate steps.
    pub least_drop: Option<f64>,
    /// How rollouts are drawn; `samples` of 0 for none.
    pub rollouts: RolloutConfig,
}

/// Adds what a model tells to reports of the text ([`super::analyze`]): each step's drop of likelihood,
/// and a breakpoint where the chain has none and is not known to be right. `expected` holds the
/// right answers, without which there is no rollout.
///
/// # Errors
/// Those of [`likelihood::rate`] and [`rollout::locate`].
pub fn ask_model(
    engine: &Engine<'_>,
    tokenizer: &Tokenizer,
    max_tokens: usize,
    chains: &[(Chain<'_>, Option<&str>)],
    reports: &mut [ChainReport],
    evidence: &ModelEvidence,
) -> Result<()> {
    let places: Vec<Vec<Range<usize>>> = reports
        .iter()
        .map(|report| report.steps.iter().map(|step| step.place.clone()).collect())
        .collect();
    if let Some(least) = evidence.least_drop {
        let rateable: Vec<_> = chains
            .iter()
            .zip(&places)
            .map(|((chain, _), places)| {
                let Chain { question, reasoning, answer, closed, .. } = *chain;
                (Rateable { question, reasoning, answer, closed }, places.as_slice())
            })
            .collect();
        let progress = Progress::new("rate", chains.len() as u64, "chains");
        let rated = likelihood::rate(engine, tokenizer, &rateable, max_tokens, &mut |done| {
            progress.inc(done as u64);
        })?;
        progress.finish();
        for (report, rated) in reports.iter_mut().zip(rated) {
            let drops = likelihood::drops(&rated);
            for (step, drop) in report.steps.iter_mut().zip(&drops) {
                step.likelihood_drop = Some(*drop);
            }
            if is_open(report) {
                report.breakpoint = likelihood::locate(&drops, least);
            }
        }
    }
    if evidence.rollouts.samples == 0 {
        return Ok(());
    }
    let asked: Vec<usize> =
        (0..chains.len()).filter(|&at| is_open(&reports[at]) && chains[at].1.is_some()).collect();
    let unfinished: Vec<Unfinished<'_>> = asked
        .iter()
        .map(|&at| Unfinished {
            question: chains[at].0.question,
            reasoning: chains[at].0.reasoning,
            places: &places[at],
            expected: chains[at].1.unwrap_or_default(),
        })
        .collect();
    let progress = Progress::new("roll out", 0, "continuations");
    let mut heard = |done| progress.inc(done as u64);
    let found = rollout::locate(
        engine,
        tokenizer,
        &unfinished,
        &evidence.rollouts,
        max_tokens,
        &mut heard,
    )?;
    progress.finish();
    for (at, found) in asked.into_iter().zip(found) {
        reports[at].breakpoint = found;
    }
    Ok(())
}

/// Whether a chain may be wrong and nothing says where.
fn is_open(report: &ChainReport) -> bool {
    report.breakpoint.is_none() && report.correct != Some(true)
}
