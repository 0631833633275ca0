//! How likely a model finds the steps of a chain, by the tokens.
//!
//! A model that knows the matter is surprised by the first token that is wrong, and may be less
//! so by what follows from it. So a step is rated by its most surprising token, and held against
//! the steps before it: a chain about which the model is unsure throughout has no outlier.

use std::ops::Range;

use limbeck_core::{Message, Tokenizer};
use limbeck_infer::reasoning::opens_reasoning;
use limbeck_infer::{Engine, Error as InferError, Score};

use super::{Breakpoint, ErrorKind, Evidence};
use crate::Result;

/// A chain whose steps are to be rated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rateable<'a> {
    /// The problem.
    pub question: &'a str,
    /// The chain of thought, without its marks.
    pub reasoning: &'a str,
    /// What follows it.
    pub answer: &'a str,
    /// Whether the chain was closed: its end and the answer are rated with its last step.
    pub closed: bool,
}

/// How likely a model finds a step, with the white space behind it; the last step with the end
/// of the chain and the answer, since the chain may be wrong in ending there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLikelihood {
    /// Tokens rated.
    pub tokens: usize,
    /// Mean of their negative log-likelihood, in nats.
    pub mean: f64,
    /// The highest, in nats.
    pub peak: f64,
}

/// The prompt of a question as the model is asked it, up to where its chain begins.
///
/// # Errors
/// A tokenizer without a chat template.
pub(super) fn opening(tokenizer: &Tokenizer, question: &str) -> Result<String> {
    let template = tokenizer.require_chat_template()?;
    let mut text = template.render(&[Message::user(question)], true, None)?;
    if !opens_reasoning(&text) {
        text.push_str("<think>\n");
    }
    Ok(text)
}

/// Rates the steps of chains, whose places are those of [`super::split::split`]. A chain that is
/// too long for the model, has no step, or for which the model's logits are not finite, has no
/// ratings; of the last there is a warning. `progress` hears of chains rated.
///
/// # Errors
/// A tokenizer without a chat template; what concerns all chains, such as the device.
pub fn rate(
    engine: &Engine<'_>,
    tokenizer: &Tokenizer,
    chains: &[(Rateable<'_>, &[Range<usize>])],
    max_tokens: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<StepLikelihood>>> {
    let mut sequences = Vec::new();
    let mut owners = Vec::new();
    for (index, (chain, places)) in chains.iter().enumerate() {
        let mut text = opening(tokenizer, chain.question)?;
        let starts: Vec<usize> = places.iter().map(|place| text.len() + place.start).collect();
        text.push_str(chain.reasoning);
        if chain.closed {
            text.push_str("\n</think>\n\n");
            text.push_str(chain.answer);
        }
        let (tokens, token_starts) = tokenizer.encode_with_starts(&text)?;
        if starts.is_empty() || tokens.is_empty() || tokens.len() > max_tokens {
            progress(1);
            continue;
        }
        // Each token belongs to the last step that begins no later than it.
        let steps: Vec<Option<usize>> = token_starts
            .iter()
            .map(|at| starts.partition_point(|start| start <= at).checked_sub(1))
            .collect();
        sequences.push(tokens);
        owners.push((index, steps));
    }
    let scores = scores(engine, &sequences, progress)?;
    let mut ratings: Vec<Vec<StepLikelihood>> = chains.iter().map(|_| Vec::new()).collect();
    let not_finite = scores.iter().filter(|score| score.is_none()).count();
    for ((index, steps), score) in owners.into_iter().zip(scores) {
        let Some(score) = score else { continue };
        let none = StepLikelihood { tokens: 0, mean: 0.0, peak: 0.0 };
        let mut rated = vec![none; chains[index].1.len()];
        for (step, logprob) in steps.into_iter().zip(score.logprobs) {
            let (Some(step), Some(logprob)) = (step, logprob) else { continue };
            let surprise = -f64::from(logprob);
            rated[step].tokens += 1;
            rated[step].mean += surprise;
            rated[step].peak = rated[step].peak.max(surprise);
        }
        for step in &mut rated {
            step.mean /= step.tokens.max(1) as f64;
        }
        ratings[index] = rated;
    }
    if not_finite > 0 {
        tracing::warn!("{not_finite} chains have no ratings: the logits are not finite");
    }
    Ok(ratings)
}

/// The scores of sequences; none of one for which the logits are not finite.
fn scores(
    engine: &Engine<'_>,
    sequences: &[Vec<i64>],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Option<Score>>> {
    match engine.score_with(sequences, false, &mut |done| progress(done)) {
        Err(InferError::NotFinite { .. }) => {}
        scores => return Ok(scores?.into_iter().map(Some).collect()),
    }
    // Which ones these are is seen one by one.
    let alone =
        |sequence| match engine.score_with(std::slice::from_ref(sequence), false, &mut |_| {}) {
            Err(InferError::NotFinite { .. }) => Ok(None),
            scores => Ok(scores?.pop()),
        };
    sequences.iter().map(alone).collect()
}

/// How far beyond the steps before it a step's peak must lie to be taken for wrong, in nats. Of
/// chains with planted mistakes and right ones, the fixture teacher locates all from 1 to 6 nats,
/// the fixture student most at 5.
pub const LEAST_DROP: f64 = 5.0;

/// A drop at which as many of the flagged steps are the first wrong one as not.
const EVEN: f64 = 4.5;

/// Confidence is never more: a model may be surprised by what is right.
const MOST: f64 = 0.99;

/// How far each step's peak lies beyond the mean of the peaks before it, in nats.
pub fn drops(steps: &[StepLikelihood]) -> Vec<f64> {
    let mut sum = 0.0;
    steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let drop = step.peak - sum / index.max(1) as f64;
            sum += step.peak;
            drop
        })
        .collect()
}

/// The first step whose drop is more than `least`.
///
/// Its confidence is a logistic curve of the drop, laid through how often the fixture student's
/// flags were right: of 11 between 1 and 4 nats none, of 7 up to 8 nats five, of 172 above all
/// but one.
pub fn locate(drops: &[f64], least: f64) -> Option<Breakpoint> {
    let step = drops.iter().position(|drop| *drop > least)?;
    let confidence = (1.0 / (1.0 + (EVEN - drops[step]).exp())).min(MOST);
    Some(Breakpoint { step, kind: ErrorKind::Unknown, confidence, evidence: Evidence::Likelihood })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use limbeck_cot_data::{CotRecord, Family, Label, Mistake, generate, wrong_record};
    use limbeck_infer::EngineConfig;
    use limbeck_model::{Decoder, LoadOptions};
    use tch::{Device, Kind};

    use super::*;
    use crate::chain::split::split;

    fn step(peak: f64) -> StepLikelihood {
        StepLikelihood { tokens: 3, mean: peak / 3.0, peak }
    }

    #[test]
    fn an_outlier_is_held_against_the_steps_before_it() {
        let steps = [1.0, 3.0, 9.0, 20.0].map(step);
        assert_eq!(drops(&steps), [1.0, 2.0, 7.0, 20.0 - 13.0 / 3.0]);
        let found = locate(&drops(&steps), 5.0).unwrap();
        assert_eq!((found.step, found.evidence), (2, Evidence::Likelihood));
        assert!((found.confidence - 0.924_142).abs() < 1e-5, "{}", found.confidence);
        assert_eq!(locate(&drops(&steps), 16.0), None);
        assert_eq!(locate(&[], 5.0), None);
        let sure = locate(&[50.0], 5.0).unwrap().confidence;
        assert!((sure - 0.99).abs() < 1e-12);
    }

    #[test]
    fn the_student_is_surprised_where_a_chain_goes_wrong() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/student");
        let options = LoadOptions::dense(Device::Cpu, Kind::Float);
        let decoder = Decoder::load(&folder, &options).unwrap();
        let tokenizer = Tokenizer::load(&folder).unwrap();
        let engine = Engine::new(&decoder, EngineConfig::default()).unwrap();
        let mut chains = Vec::new();
        for index in 0..6 {
            let record = generate(Family::Arith, 2, 5, index).unwrap();
            let wrong = wrong_record(&record, Mistake::OffByOne, 1).unwrap();
            chains.extend([record, wrong]);
        }
        let texts: Vec<String> = chains.iter().map(CotRecord::reasoning).collect();
        let places: Vec<_> = texts.iter().map(|text| split(text)).collect();
        let rateable: Vec<_> = chains
            .iter()
            .zip(&texts)
            .zip(&places)
            .map(|((record, reasoning), places)| {
                let question = record.question.as_str();
                let answer = record.answer.as_str();
                (Rateable { question, reasoning, answer, closed: true }, places.as_slice())
            })
            .collect();
        let mut heard = 0;
        let rated =
            rate(&engine, &tokenizer, &rateable, 1024, &mut |chains| heard += chains).unwrap();
        assert_eq!(heard, chains.len());
        for (chain, steps) in chains.iter().zip(&rated) {
            assert_eq!(steps.len(), chain.thought_process.len());
            assert!(steps.iter().all(|step| step.tokens > 0 && step.mean <= step.peak));
            let found = locate(&drops(steps), LEAST_DROP).map(|found| found.step);
            let expected = match chain.label {
                Label::Wrong { first_wrong_step, .. } => Some(first_wrong_step),
                _ => None,
            };
            assert_eq!(found, expected, "{}: {steps:?}", chain.id);
        }
        // What is too long is left out, and the rest is rated.
        let few = rate(&engine, &tokenizer, &rateable[..2], 20, &mut |_| {}).unwrap();
        assert!(few.iter().all(Vec::is_empty));
    }
}
