//! What a teacher tells of wrong replies where their text does not.

use limbeck_infer::{Engine, EngineConfig};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use super::likelihood::LEAST_DROP;
use super::rollout::RolloutConfig;
use super::split::lines;
use super::{Chain, ModelEvidence, analyze_steps, ask_model};
use crate::evaluation::Subject;
use crate::sample::Sample;
use crate::{Error, Result};

/// The `[evaluate.teacher]` table: what a teacher is asked, where there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherConfig {
    /// Drop of a step's likelihood from which it is taken for wrong, in nats; 0 not to rate
    /// steps. Default 5.
    pub least_drop: f64,
    /// Continuations of what the likelihood leaves open.
    pub rollouts: RolloutConfig,
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self { least_drop: LEAST_DROP, rollouts: RolloutConfig::default() }
    }
}

impl Validate for TeacherConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.least_drop >= 0.0 && self.least_drop.is_finite()) {
            return Err(Invalid::new("least_drop", "0 or more", self.least_drop));
        }
        self.rollouts.validate().map_err(|invalid| invalid.within("rollouts"))
    }
}

/// Looks for the breakpoints of wrong replies that have a chain and none yet, with a teacher's
/// likelihoods and continuations. How many it was asked of, and how many were found.
///
/// # Errors
/// Those of [`ask_model`].
pub fn ask_of_samples(
    teacher: Subject<'_>,
    samples: &mut [Sample],
    config: &TeacherConfig,
) -> Result<(usize, usize)> {
    config.validate().map_err(Error::from)?;
    let open: Vec<usize> = (0..samples.len()).filter(|&at| is_open(&samples[at])).collect();
    if open.is_empty() {
        return Ok((0, 0));
    }
    let chains: Vec<(Chain<'_>, Option<&str>)> = open
        .iter()
        .map(|&at| (chain_of(&samples[at]), Some(samples[at].expected.as_str())))
        .collect();
    let mut reports: Vec<_> =
        chains.iter().map(|(chain, _)| analyze_steps(chain, lines(chain.reasoning))).collect();
    let engine = Engine::new(teacher.decoder, EngineConfig::default())?;
    let evidence = ModelEvidence {
        least_drop: (config.least_drop > 0.0).then_some(config.least_drop),
        rollouts: config.rollouts.clone(),
    };
    let max_tokens = teacher.decoder.config().max_position_embeddings as usize;
    ask_model(&engine, teacher.tokenizer, max_tokens, &chains, &mut reports, &evidence)?;
    let mut found = 0;
    for (&at, report) in open.iter().zip(reports) {
        found += usize::from(report.breakpoint.is_some());
        samples[at].breakpoint = report.breakpoint;
    }
    Ok((open.len(), found))
}

fn is_open(sample: &Sample) -> bool {
    !sample.correct
        && sample.failure.is_none()
        && sample.breakpoint.is_none()
        && !sample.steps.is_empty()
        // A reply without marks that is a line alone is an answer.
        && (sample.reasoning.is_some() || sample.steps.len() > 1)
}

/// The chain; a reply without marks is one itself.
fn chain_of(sample: &Sample) -> Chain<'_> {
    Chain {
        question: &sample.question,
        reasoning: sample.reasoning.as_deref().unwrap_or(&sample.answer),
        answer: &sample.answer,
        correct: Some(false),
        closed: sample.closed,
        finish: sample.finish_reason,
    }
}
