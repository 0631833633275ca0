//! Whether a model that goes on from a step still arrives at the answer.
//!
//! The first step after which it no longer does is where the chain goes wrong: Wang et al.,
//! Math-Shepherd (arXiv 2312.08935), who estimate a step's worth so, and Luo et al. (arXiv
//! 2406.06592), who find the first wrong one by halving. Halving takes for granted that what is
//! lost stays lost, and asks of `n` steps log₂ n prefixes instead of n.

use std::ops::Range;

use limbeck_core::Tokenizer;
use limbeck_cot_data::answers_equal;
use limbeck_infer::{Engine, Error as InferError, Generation, SamplingParams, split_reasoning};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use super::likelihood::opening;
use super::{Breakpoint, ErrorKind, Evidence};
use crate::Result;

/// How rollouts are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutConfig {
    /// Continuations of each prefix; 0 for no rollouts. Default 4.
    pub samples: usize,
    /// Their temperature; 0 takes the most likely token, and then one is all there is. Default
    /// 0.7.
    pub temperature: f64,
    /// Most tokens of a continuation. Default 256.
    pub max_new_tokens: usize,
    /// Share of the continuations that may still arrive where a step is taken for wrong: from a
    /// wrong one some recover by luck, or see the mistake. Default 0.
    pub recovered: f64,
    /// Fixes the draws. Default 0.
    pub seed: u64,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self { samples: 4, temperature: 0.7, max_new_tokens: 256, recovered: 0.0, seed: 0 }
    }
}

impl Validate for RolloutConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(0.0..1.0).contains(&self.recovered) {
            return Err(Invalid::new("recovered", "a share from 0 up to 1", self.recovered));
        }
        SamplingParams {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            ..SamplingParams::default()
        }
        .validate()
    }
}

/// A chain to go on from.
#[derive(Debug, Clone, Copy)]
pub struct Unfinished<'a> {
    /// The problem.
    pub question: &'a str,
    /// The chain of thought, without its marks.
    pub reasoning: &'a str,
    /// The places of its steps.
    pub places: &'a [Range<usize>],
    /// The right answer.
    pub expected: &'a str,
}

/// The search in one chain: after `kept` steps some continuations still arrive, after `lost`
/// none do, or that is not asked yet.
#[derive(Debug)]
struct Search {
    kept: usize,
    /// How many of the continuations after `kept` steps arrive; `None` before they were asked.
    arrived: Option<usize>,
    lost: usize,
}

impl Search {
    /// How many steps to go on from next; nothing where the search is over. First it is asked
    /// whether the model can solve the problem at all, and whether it is lost after the last.
    fn next(&self, tells: bool, num_steps: usize) -> Option<usize> {
        if self.arrived.is_none() {
            return Some(0);
        }
        if !tells {
            return None;
        }
        if self.lost > num_steps {
            return Some(num_steps);
        }
        (self.lost - self.kept > 1).then(|| self.kept.midpoint(self.lost))
    }
}

/// Finds the first step of each chain after which the model no longer arrives; nothing where it
/// does not solve the problem from the beginning either, or arrives in spite of all steps.
/// `progress` hears of continuations.
///
/// # Errors
/// Impossible settings; a tokenizer without a chat template; what generation refuses. A prefix
/// that is too long for the model, or after which its logits are not finite, ends its chain's
/// search; of the latter there is a warning.
pub fn locate(
    engine: &Engine<'_>,
    tokenizer: &Tokenizer,
    chains: &[Unfinished<'_>],
    config: &RolloutConfig,
    max_tokens: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Option<Breakpoint>>> {
    config.validate()?;
    if config.samples == 0 {
        return Ok(chains.iter().map(|_| None).collect());
    }
    let samples = if config.temperature == 0.0 { 1 } else { config.samples };
    let limit = (config.recovered * samples as f64).floor() as usize;
    let mut searches: Vec<Search> = chains
        .iter()
        .map(|chain| Search { kept: 0, arrived: None, lost: chain.places.len() + 1 })
        .collect();
    let mut found: Vec<Option<Breakpoint>> = chains.iter().map(|_| None).collect();
    let mut open: Vec<usize> =
        (0..chains.len()).filter(|&index| !chains[index].places.is_empty()).collect();
    let mut round = 0;
    while !open.is_empty() {
        let mut asked = Vec::new();
        let mut prompts = Vec::new();
        for &index in &open {
            let (chain, search) = (&chains[index], &searches[index]);
            let tells = search.arrived.is_some_and(|arrived| arrived > limit);
            let Some(steps) = search.next(tells, chain.places.len()) else { continue };
            let prefix = prefix(tokenizer, chain, steps)?;
            let tokens = tokenizer.encode(&prefix)?;
            if tokens.len() + config.max_new_tokens > max_tokens {
                continue;
            }
            prompts.extend(std::iter::repeat_n(tokens, samples));
            asked.push((index, steps, prefix));
        }
        let params = SamplingParams {
            max_new_tokens: config.max_new_tokens,
            temperature: config.temperature,
            // Requests draw by their index: each round needs draws of its own.
            seed: limbeck_core::seed::derive(config.seed, "rollout", round),
            stop_token_ids: tokenizer.eos_token_ids().to_vec(),
            ..SamplingParams::default()
        };
        let replies = continuations(engine, &mut asked, prompts, samples, &params, progress)?;
        open.clear();
        for ((index, steps, prefix), replies) in asked.into_iter().zip(replies.chunks(samples)) {
            let mut arrived = 0;
            for reply in replies {
                let text = format!("{prefix}{}", tokenizer.decode(&reply.tokens, false)?);
                let from = prefix.rfind("<think>").unwrap_or(0);
                let reply = split_reasoning(&text[from..], false);
                arrived += usize::from(answers_equal(chains[index].expected, reply.answer));
            }
            let search = &mut searches[index];
            if steps == 0 || arrived > limit {
                (search.kept, search.arrived) = (steps, Some(arrived));
            } else {
                search.lost = steps;
            }
            let over = search.lost - search.kept == 1 && search.lost <= chains[index].places.len();
            match search.arrived.filter(|&arrived| over && arrived > limit) {
                Some(arrived) => {
                    found[index] = Some(Breakpoint {
                        step: search.kept,
                        kind: ErrorKind::Unknown,
                        confidence: confidence(samples, arrived, limit),
                        evidence: Evidence::Rollout,
                    });
                }
                // Where it arrives in spite of every step there is nothing to find.
                None if search.kept < chains[index].places.len() => open.push(index),
                None => {}
            }
        }
        round += 1;
    }
    Ok(found)
}

/// What the model goes on with, `samples` times for each chain that is asked; a chain for which
/// its logits are not finite is asked no more.
fn continuations(
    engine: &Engine<'_>,
    asked: &mut Vec<(usize, usize, String)>,
    mut prompts: Vec<Vec<i64>>,
    samples: usize,
    params: &SamplingParams,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Generation>> {
    loop {
        match engine.generate(&prompts, params, progress) {
            Err(InferError::NotFinite { index, position }) => {
                let chain = index / samples;
                let (of, steps, _) = asked.remove(chain);
                prompts.drain(chain * samples..(chain + 1) * samples);
                tracing::warn!(
                    "chain {of}, going on from step {steps}: the logits after {position} tokens \
                     are not finite"
                );
            }
            replies => return Ok(replies?),
        }
    }
}

/// The prompt with the first steps of a chain, at the beginning of the next line.
fn prefix(tokenizer: &Tokenizer, chain: &Unfinished<'_>, steps: usize) -> Result<String> {
    let mut text = opening(tokenizer, chain.question)?;
    let Some(last) = steps.checked_sub(1) else { return Ok(text) };
    let end = chain.places.get(steps).map_or(chain.places[last].end, |next| next.start);
    let given = &chain.reasoning[..end];
    text.push_str(given);
    if steps == chain.places.len() {
        text.push('\n');
    }
    Ok(text)
}

/// The chance that a step is to blame where `arrived` of the `samples` continuations before it
/// arrive, and at most `limit` after it: one less how probable so few would be if the step
/// changed nothing, by the Beta-binomial distribution with a uniform prior.
fn confidence(samples: usize, arrived: usize, limit: usize) -> f64 {
    let ln_beta =
        |a: usize, b: usize| ln_factorial(a - 1) + ln_factorial(b - 1) - ln_factorial(a + b - 1);
    let (a, b) = (arrived + 1, samples - arrived + 1);
    let chance: f64 = (0..=limit)
        .map(|few| {
            let choose = ln_factorial(samples) - ln_factorial(few) - ln_factorial(samples - few);
            (choose + ln_beta(few + a, samples - few + b) - ln_beta(a, b)).exp()
        })
        .sum();
    1.0 - chance
}

fn ln_factorial(n: usize) -> f64 {
    (2..=n).map(|factor| (factor as f64).ln()).sum()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use limbeck_cot_data::{Family, Label, Mistake, generate, wrong_record};
    use limbeck_infer::EngineConfig;
    use limbeck_model::{Decoder, LoadOptions};
    use tch::{Device, Kind};

    use super::*;
    use crate::chain::split::split;

    /// One less a ratio of Beta functions, worked out by hand.
    #[test]
    fn confidence_grows_with_the_continuations() {
        for (samples, arrived, limit, expected) in [
            (1, 1, 0, 1.0 - 1.0 / 3.0),   // B(2,2)/B(2,1)
            (4, 4, 0, 1.0 - 1.0 / 126.0), // B(5,5)/B(5,1)
            (4, 1, 0, 1.0 - 20.0 / 72.0), // B(2,8)/B(2,4)
            (2, 0, 0, 1.0 - 3.0 / 5.0),   // B(1,5)/B(1,3)
        ] {
            let found = confidence(samples, arrived, limit);
            assert!((found - expected).abs() < 1e-9, "{samples} {arrived}: {found} {expected}");
        }
        // All outcomes together are certain.
        assert!(confidence(5, 3, 5).abs() < 1e-9);
    }

    #[test]
    fn halving_asks_the_ends_first() {
        let mut search = Search { kept: 0, arrived: None, lost: 9 };
        assert_eq!(search.next(false, 8), Some(0));
        search.arrived = Some(0);
        assert_eq!(search.next(false, 8), None, "the problem is too hard");
        search.arrived = Some(4);
        assert_eq!(search.next(true, 8), Some(8));
        search.lost = 8;
        assert_eq!(search.next(true, 8), Some(4));
        search.kept = 4;
        assert_eq!(search.next(true, 8), Some(6));
        search.lost = 6;
        assert_eq!(search.next(true, 8), Some(5));
        search.lost = 5;
        assert_eq!(search.next(true, 8), None);
    }

    #[test]
    fn the_student_no_longer_arrives_after_a_wrong_step() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/student");
        let options = LoadOptions::dense(Device::Cpu, Kind::Float);
        let decoder = Decoder::load(&folder, &options).unwrap();
        let tokenizer = Tokenizer::load(&folder).unwrap();
        let engine = Engine::new(&decoder, EngineConfig::default()).unwrap();
        let record = generate(Family::Arith, 2, 5, 1).unwrap();
        let wrong = wrong_record(&record, Mistake::OffByOne, 1).unwrap();
        let Label::Wrong { first_wrong_step, .. } = wrong.label else { panic!("a label") };
        let config =
            RolloutConfig { temperature: 0.0, max_new_tokens: 128, ..RolloutConfig::default() };
        let texts = [record.reasoning(), wrong.reasoning()];
        let places = [split(&texts[0]), split(&texts[1])];
        let chain = |index: usize, expected| Unfinished {
            question: &record.question,
            reasoning: &texts[index],
            places: &places[index],
            expected,
        };
        let chains = [chain(0, &record.answer), chain(1, &record.answer), chain(1, "no number")];
        let locate = |config: &RolloutConfig, most| {
            let mut heard = 0;
            let found =
                locate(&engine, &tokenizer, &chains, config, most, &mut |done| heard += done);
            (found.unwrap(), heard)
        };
        let (found, heard) = locate(&config, 1024);
        assert_eq!((&found[0], &found[2]), (&None, &None));
        let breakpoint = found[1].as_ref().unwrap();
        assert_eq!((breakpoint.step, breakpoint.evidence), (first_wrong_step, Evidence::Rollout));
        // Of three chains the beginning, of two the end, and of one the halves.
        assert!((5..=8).contains(&heard), "{heard}");
        assert_eq!(locate(&config, 130).1, 0, "no room for a continuation");
        assert_eq!(locate(&RolloutConfig { samples: 0, ..config }, 1024).1, 0);
    }

    #[test]
    fn impossible_values_name_their_key() {
        RolloutConfig::default().validate().unwrap();
        let config = RolloutConfig { recovered: 1.0, ..RolloutConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "recovered");
    }
}
