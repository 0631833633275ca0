//! Prompts to replies, all at once: a session from beginning to end.

use limbeck_run::config::{Invalid, Validate};

use crate::blocks::blocks_for;
use crate::engine::{Engine, Generation};
use crate::request::{Output, Request};
use crate::sampling::SamplingParams;
use crate::session::Session;
use crate::{Error, Result};

impl Engine<'_> {
    /// Continues each prompt until a stop token or `max_new_tokens`.
    ///
    /// `progress` hears how many requests have finished since it was last called. A request's
    /// draws depend on its index, not on what runs beside it. The router's keys are the
    /// indices.
    ///
    /// # Errors
    /// Impossible parameters, an empty or too long prompt, an unknown token id, logits that
    /// are not finite, a request beyond the cache's limit: all name the request. More than one
    /// reply a request is an [`Error::Setting`]: submit such to a [`Session`].
    pub fn generate(
        &self,
        prompts: &[Vec<i64>],
        params: &SamplingParams,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Generation>> {
        params.validate()?;
        if params.n != 1 {
            return Err(Invalid::new("n", "1, where results are lists", params.n).into());
        }
        self.check(prompts, params.max_new_tokens)?;
        let params = SamplingParams { logprobs: None, ..params.clone() };
        let mut session = Session::new(self, self.blocks(prompts, params.max_new_tokens)?)?;
        for (index, prompt) in prompts.iter().enumerate() {
            let request = Request {
                prompt: prompt.clone(),
                params: params.clone(),
                adapters: self.router.map(|_| index as u64),
                ..Request::default()
            };
            session.submit_stream(request, index as u64)?;
        }
        let mut tokens: Vec<Vec<i64>> = vec![Vec::new(); prompts.len()];
        let mut generations = vec![None; prompts.len()];
        while !session.is_idle() {
            for output in session.step()? {
                match output {
                    Output::Token { request, token, .. } => {
                        tokens[request.0 as usize].push(token);
                    }
                    Output::Finished { request, reason: finish_reason, .. } => {
                        let index = request.0 as usize;
                        let tokens = std::mem::take(&mut tokens[index]);
                        generations[index] = Some(Generation { tokens, finish_reason });
                        progress(1);
                    }
                    Output::Failed { error, .. } => return Err(error),
                    Output::Prompt { .. } => {}
                }
            }
        }
        // An idle session has finished every request.
        Ok(generations.into_iter().flatten().collect())
    }

    /// Blocks of a pool for these prompts: as many as the limit allows, and no more than they
    /// can fill.
    ///
    /// # Errors
    /// [`Error::OverBudget`] if a prompt with `max_new_tokens` alone exceeds the limit.
    fn blocks(&self, prompts: &[Vec<i64>], max_new_tokens: usize) -> Result<usize> {
        let slots = self.slots();
        let tokens = |prompt: &Vec<i64>| prompt.len() + max_new_tokens;
        if let Some(index) = prompts.iter().position(|prompt| tokens(prompt) > slots) {
            let slot_bytes = crate::engine::slot_bytes(self.decoder, self.config.cache_dtype);
            let bytes = tokens(&prompts[index]) as u64 * slot_bytes;
            let max_cache_bytes = self.config.max_cache_bytes;
            return Err(Error::OverBudget { index, bytes, max_cache_bytes });
        }
        Ok(self.blocks_of(&prompts.iter().map(tokens).collect::<Vec<usize>>()))
    }

    /// The same for so many tokens each, where one that exceeds the limit alone counts as that.
    pub(crate) fn blocks_of(&self, lengths: &[usize]) -> usize {
        let mut needed: Vec<usize> = lengths.iter().map(|&tokens| blocks_for(tokens)).collect();
        needed.sort_unstable_by(|left, right| right.cmp(left));
        let together: usize = needed.iter().take(self.config.max_batch).sum();
        together.clamp(1, blocks_for(self.slots()))
    }
}
