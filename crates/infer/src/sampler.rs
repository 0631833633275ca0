//! One reply's choice of tokens: what changes the logits before one is drawn.
//!
//! The order is vLLM's: what is forbidden, the bias, the penalties, then the temperature and
//! what is left of the likeliest tokens.

use std::collections::{HashMap, HashSet};

use crate::constraint::Constraint;
use crate::sampling::{SamplingParams, sample};
use crate::{Error, Result};

/// What the choice of a reply's next token depends on besides the logits.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// Tokens of the prompt, where a penalty counts them.
    prompt: HashSet<i64>,
    /// How often the reply has a token, where a penalty counts them.
    counts: HashMap<i64, u32>,
    constraint: Option<Box<dyn Constraint>>,
    /// Decides, with the seed, what is drawn.
    stream: u64,
}

/// Where a reply stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// For errors: the request's number.
    pub(crate) request: usize,
    /// Tokens before, those of the prompt included.
    pub(crate) position: usize,
    /// Tokens of the reply.
    pub(crate) generated: usize,
}

impl Sampler {
    pub(crate) fn new(
        params: &SamplingParams,
        prompt: &[i64],
        constraint: Option<Box<dyn Constraint>>,
        stream: u64,
    ) -> Self {
        let counted = params.penalises_repetition();
        let prompt = if counted { prompt.iter().copied().collect() } else { HashSet::new() };
        Self { prompt, counts: HashMap::new(), constraint, stream }
    }

    /// Whether the next token is simply the likeliest.
    pub(crate) fn takes_likeliest(&self, params: &SamplingParams, generated: usize) -> bool {
        params.is_greedy() && !self.changes_logits(params, generated)
    }

    fn changes_logits(&self, params: &SamplingParams, generated: usize) -> bool {
        self.constraint.is_some()
            || params.has_penalties()
            || !params.logit_bias.is_empty()
            || (generated < params.min_tokens && !params.stop_token_ids.is_empty())
    }

    /// The next token, of fp32 logits `[vocab]`.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::NothingAllowed`]; those of the constraint.
    pub(crate) fn choose(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        place: Place,
    ) -> Result<i64> {
        let Place { request: index, position, generated } = place;
        if !self.changes_logits(params, generated) {
            return self.pick(logits, params, position).ok_or(Error::NotFinite { index, position });
        }
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(Error::NotFinite { index, position });
        }
        let mut changed = logits.to_vec();
        self.change(&mut changed, params, generated)?;
        self.pick(&changed, params, position).ok_or_else(|| {
            let highest = changed.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if highest == f32::NEG_INFINITY {
                Error::NothingAllowed { index, position }
            } else {
                Error::NotFinite { index, position }
            }
        })
    }

    /// The reply has gone on with this token.
    pub(crate) fn accept(&mut self, token: i64, params: &SamplingParams) -> Result<()> {
        if params.has_penalties() {
            *self.counts.entry(token).or_default() += 1;
        }
        self.constraint.as_mut().map_or(Ok(()), |constraint| constraint.accept(token))
    }

    fn change(
        &mut self,
        logits: &mut [f32],
        params: &SamplingParams,
        generated: usize,
    ) -> Result<()> {
        if let Some(constraint) = &mut self.constraint {
            constraint.allowed()?.apply(logits);
        }
        let at = |token: i64| usize::try_from(token).ok();
        if generated < params.min_tokens {
            for logit in params.stop_token_ids.iter().filter_map(|&token| at(token)) {
                if let Some(logit) = logits.get_mut(logit) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        for (&token, &bias) in &params.logit_bias {
            if let Some(logit) = at(token).and_then(|token| logits.get_mut(token)) {
                // What is forbidden stays so, whatever is added.
                if *logit > f32::NEG_INFINITY {
                    *logit += bias as f32;
                }
            }
        }
        if params.penalises_repetition() {
            let repeated = self.counts.keys().filter(|token| !self.prompt.contains(token));
            for token in self.prompt.iter().chain(repeated) {
                if let Some(logit) = at(*token).and_then(|token| logits.get_mut(token)) {
                    let penalty = params.repetition_penalty as f32;
                    *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                }
            }
        }
        for (&token, &count) in &self.counts {
            if let Some(logit) = at(token).and_then(|token| logits.get_mut(token)) {
                let penalty = params.presence_penalty + params.frequency_penalty * f64::from(count);
                *logit -= penalty as f32;
            }
        }
        Ok(())
    }

    /// What another model's logits make of the same draw: a guess at [`Self::choose`].
    pub(crate) fn guess(&self, logits: &[f32], params: &SamplingParams, position: usize) -> i64 {
        // What is not finite may be guessed as anything: guesses are judged.
        self.pick(logits, params, position).unwrap_or(0)
    }

    fn pick(&self, logits: &[f32], params: &SamplingParams, position: usize) -> Option<i64> {
        let token = if params.is_greedy() {
            let likeliest = likeliest(logits);
            logits.get(likeliest).filter(|logit| logit.is_finite()).map(|_| likeliest)
        } else {
            sample(logits, params, self.stream, position)
        };
        token.map(|token| token as i64)
    }
}

/// The first place of the highest logit: libtorch's arg max, which looks at each number with
/// its place, takes ten times as long.
pub(crate) fn likeliest(logits: &[f32]) -> usize {
    const PART: usize = 1024;
    let top = |part: &[f32]| {
        let (chunks, rest) = part.as_chunks::<16>();
        let mut tops = [f32::NEG_INFINITY; 16];
        for chunk in chunks {
            for (top, &logit) in tops.iter_mut().zip(chunk) {
                *top = if logit > *top { logit } else { *top };
            }
        }
        tops.iter().chain(rest).fold(f32::NEG_INFINITY, |top, &logit| top.max(logit))
    };
    let mut best = (f32::NEG_INFINITY, 0);
    for (part, logits) in logits.chunks(PART).enumerate() {
        let top = top(logits);
        if top > best.0 {
            best = (top, part);
        }
    }
    let start = best.1 * PART;
    let within = logits[start..].iter().position(|&logit| logit >= best.0);
    start + within.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::TokenMask;

    const PLACE: Place = Place { request: 0, position: 5, generated: 0 };

    /// The logits after these tokens of a prompt and a reply.
    fn changed(params: &SamplingParams, prompt: &[i64], reply: &[i64], logits: &[f32]) -> Vec<f32> {
        let mut sampler = Sampler::new(params, prompt, None, 0);
        for &token in reply {
            sampler.accept(token, params).unwrap();
        }
        let mut logits = logits.to_vec();
        sampler.change(&mut logits, params, reply.len()).unwrap();
        logits
    }

    #[test]
    fn penalties_are_those_of_openai_and_vllm() {
        let logits = [2.0, -2.0, 2.0, -2.0, 1.0];
        let default = SamplingParams::default;
        let params = SamplingParams { repetition_penalty: 2.0, ..default() };
        // Once for a token, whether the prompt or the reply has it, or both.
        assert_eq!(changed(&params, &[0, 1], &[1, 2, 2], &logits), [1.0, -4.0, 1.0, -2.0, 1.0]);
        let params = SamplingParams { presence_penalty: 0.5, ..default() };
        assert_eq!(changed(&params, &[0, 1], &[1, 2, 2], &logits), [2.0, -2.5, 1.5, -2.0, 1.0]);
        let params = SamplingParams { frequency_penalty: 0.5, ..default() };
        assert_eq!(changed(&params, &[0, 1], &[1, 2, 2], &logits), [2.0, -2.5, 1.0, -2.0, 1.0]);
        let params = SamplingParams { logit_bias: [(3, 7.0), (9, 1.0)].into(), ..default() };
        assert_eq!(changed(&params, &[], &[], &logits), [2.0, -2.0, 2.0, 5.0, 1.0]);
    }

    #[test]
    fn stop_tokens_wait_for_the_least_number_of_tokens() {
        let params = SamplingParams {
            min_tokens: 2,
            stop_token_ids: vec![1],
            logit_bias: [(1, 50.0)].into(),
            ..SamplingParams::default()
        };
        let mut sampler = Sampler::new(&params, &[], None, 0);
        let logits = [0.0, 3.0, 1.0];
        let mut choose =
            |generated| sampler.choose(&logits, &params, Place { generated, ..PLACE }).unwrap();
        assert_eq!([choose(0), choose(1), choose(2)], [2, 2, 1]);
    }

    #[derive(Debug)]
    struct Only(Vec<i64>);

    impl Constraint for Only {
        fn allowed(&mut self) -> Result<TokenMask> {
            let mut mask = TokenMask::none(4);
            for &token in &self.0 {
                mask.allow(token);
            }
            Ok(mask)
        }

        fn accept(&mut self, token: i64) -> Result<()> {
            self.0.retain(|other| *other != token);
            Ok(())
        }
    }

    #[test]
    fn a_constraint_is_asked_and_told() {
        for temperature in [0.0, 1.0] {
            let params = SamplingParams { temperature, ..SamplingParams::default() };
            let mut sampler = Sampler::new(&params, &[], Some(Box::new(Only(vec![1, 3]))), 0);
            assert!(!sampler.takes_likeliest(&params, 0));
            let logits = [9.0, 0.0, 9.0, 30.0];
            let mut seen = Vec::new();
            for generated in 0..2 {
                let place = Place { generated, ..PLACE };
                seen.push(sampler.choose(&logits, &params, place).unwrap());
                sampler.accept(seen[generated], &params).unwrap();
            }
            assert_eq!(seen, [3, 1]);
            let error = sampler.choose(&logits, &params, PLACE).unwrap_err();
            assert!(matches!(error, Error::NothingAllowed { position: 5, .. }), "{error}");
        }
    }

    #[test]
    fn the_likeliest_is_the_first_highest() {
        let mut logits: Vec<f32> = (0..3000).map(|place| (place as f32 * 0.37).sin()).collect();
        logits[2100] = 2.0;
        logits[2500] = 2.0;
        assert_eq!(likeliest(&logits), 2100);
        assert_eq!(likeliest(&[-1.0, -1.0]), 0);
        let params = SamplingParams::default();
        let mut sampler = Sampler::new(&params, &[], None, 0);
        for bad in [[f32::NAN; 2], [f32::INFINITY, 0.0]] {
            let error = sampler.choose(&bad, &params, PLACE).unwrap_err();
            assert!(matches!(error, Error::NotFinite { position: 5, .. }), "{error}");
        }
    }
}
