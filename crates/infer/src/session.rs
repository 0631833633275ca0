//! Requests that come and go while the model runs: continuous batching over a pool of blocks.
//!
//! A [`Session`] holds what lives between two steps. It is driven from outside: whoever has
//! requests submits them, calls [`Session::step`] until it is idle, and reads what each step
//! brings.

use std::collections::{BTreeMap, HashMap};

use limbeck_model::paged::BLOCK_SIZE;
use limbeck_model::{Decoder, PagedCache};
use limbeck_run::config::{Invalid, Validate};
use tch::Device;

use crate::blocks::BlockHash;
use crate::engine::{Engine, EngineConfig, check_request};
use crate::replies::{Choice, Live};
use crate::request::{Output, PromptLogprobs, Request, RequestId, Stats};
use crate::router::Routed;
use crate::sampler::Sampler;
use crate::scheduler::{Limits, Scheduler};
use crate::sequence::Sequence;
use crate::{Error, Result};

/// Requests under way, and the keys and values of the tokens that they have.
///
/// Runs without gradients. What a request gets does not depend on what else is under way, save
/// for floating-point rounding, and with [`EngineConfig::deterministic`] not even for that.
#[derive(Debug)]
pub struct Session<'m> {
    pub(crate) decoder: &'m Decoder,
    pub(crate) config: EngineConfig,
    pub(crate) cache: PagedCache,
    pub(crate) scheduler: Scheduler,
    pub(crate) routed: Routed<'m>,
    pub(crate) requests: BTreeMap<u64, Live>,
    /// By key, as of `version` of the router.
    identities: HashMap<u64, String>,
    version: u64,
    /// Number of the next request.
    next: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) generated_tokens: u64,
    steps: u64,
    last_step_tokens: usize,
}

impl<'m> Engine<'m> {
    /// A session without requests, with a pool of [`EngineConfig::max_cache_bytes`].
    ///
    /// # Errors
    /// When the device has no room for the pool; [`Error::Setting`] if the configuration asks
    /// for what the decoder's device cannot do.
    pub fn session(&self) -> Result<Session<'m>> {
        Session::new(self, self.slots().div_ceil(BLOCK_SIZE))
    }

    /// A session whose pool is no larger than requests of these lengths can fill, prompt and
    /// reply together: for a set that is known beforehand.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn session_for(&self, lengths: &[usize]) -> Result<Session<'m>> {
        Session::new(self, self.blocks_of(lengths))
    }
}

impl<'m> Session<'m> {
    pub(crate) fn new(engine: &Engine<'m>, num_blocks: usize) -> Result<Self> {
        let (decoder, config) = (engine.decoder, engine.config.clone());
        if config.deterministic && decoder.device() != Device::Cpu {
            let found = format!("{:?}", decoder.device());
            return Err(Invalid::new("deterministic", "a model on the CPU", found).into());
        }
        // One more block takes what rows without a token write.
        let blocks = num_blocks + usize::from(config.deterministic);
        let cache = PagedCache::new(decoder, blocks, config.cache_dtype)?;
        let limits = Limits {
            max_running: config.max_batch,
            max_step_tokens: config.max_step_tokens,
            prefix_cache: config.prefix_cache,
        };
        Ok(Self {
            decoder,
            cache,
            scheduler: Scheduler::new(num_blocks, limits),
            routed: Routed::new(engine.router),
            config,
            requests: BTreeMap::new(),
            identities: HashMap::new(),
            version: engine.router.map_or(0, crate::RowRouter::version),
            next: 0,
            prompt_tokens: 0,
            generated_tokens: 0,
            steps: 0,
            last_step_tokens: 0,
        })
    }

    /// Takes a request in; the next steps will work on it. Draws depend on the seed of its
    /// parameters and the number of the choice alone.
    ///
    /// # Errors
    /// Impossible parameters, an empty or too long prompt, an unknown token id, adapters that
    /// the router does not know, more replies than may run, a request that could never fit
    /// into the pool.
    pub fn submit(&mut self, request: Request) -> Result<RequestId> {
        self.submit_stream(request, 0)
    }

    /// As [`Self::submit`]; the first choice draws as `stream`, the next as the next: so draws
    /// stay the same where only some of a set of requests are submitted.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_stream(&mut self, request: Request, stream: u64) -> Result<RequestId> {
        let Request { prompt, params, adapters, salt, priority, prompt_logprobs, constraint } =
            request;
        let id = self.next;
        let index = id as usize;
        params.validate()?;
        check_request(self.decoder, index, &prompt, params.max_new_tokens)?;
        let vocab_size = self.decoder.config().vocab_size;
        let known = |token: &&i64| !(0..vocab_size).contains(*token);
        if let Some(&token) = params.logit_bias.keys().find(known) {
            return Err(Error::TokenOutOfRange { index, token, vocab_size });
        }
        if params.n > self.config.max_batch {
            return Err(Invalid::new("n", "at most max_batch", params.n).into());
        }
        self.check_fits(index, prompt.len() + params.max_new_tokens)?;
        let identity = match adapters {
            Some(key) => Some(self.identity(key)?),
            None => None,
        };
        let mut choices = BTreeMap::new();
        for choice in 0..params.n {
            let constraint = match &constraint {
                Some(factory) => Some(factory.start()?),
                None => None,
            };
            let sampler =
                Sampler::new(&params, &prompt, constraint, stream.wrapping_add(choice as u64));
            choices.insert(choice, Choice { sampler, generated: 0 });
        }
        let live = Live {
            prompt_tokens: prompt.len(),
            prompt_logprobs: prompt_logprobs.map(PromptLogprobs::new),
            choices,
            params,
        };
        let root = BlockHash::root(identity.as_deref(), salt.as_deref());
        let mut sequence = Sequence::new(id, priority, prompt, root);
        sequence.replies = live.params.n;
        sequence.adapters = adapters;
        sequence.looks_up = prompt_logprobs.is_none();
        self.next += 1;
        self.scheduler.add(sequence);
        self.requests.insert(id, live);
        Ok(RequestId(id))
    }

    /// Ends a request and everything it holds; its other outputs stay away. False if it has
    /// ended already.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let known = self.requests.remove(&request.0).is_some();
        if known {
            self.scheduler.remove(request.0, None);
            self.end_if_idle();
        }
        known
    }

    /// Ends one choice of a request, which has had a token, and what it holds; its other outputs
    /// stay away. False if it has ended already or has not begun.
    pub fn cancel_choice(&mut self, request: RequestId, choice: usize) -> bool {
        let Some(live) = self.requests.get_mut(&request.0) else { return false };
        // Before their first token all choices are one sequence.
        if live.choices.get(&choice).is_none_or(|choice| choice.generated == 0) {
            return false;
        }
        live.choices.remove(&choice);
        if live.choices.is_empty() {
            self.requests.remove(&request.0);
        }
        self.scheduler.remove(request.0, Some(choice));
        self.end_if_idle();
        true
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// How the session stands.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.generated_tokens,
            steps: self.steps,
            last_step_tokens: self.last_step_tokens,
            ..Stats::default()
        };
        self.scheduler.add_stats(&mut stats);
        stats
    }

    /// Computes up to [`EngineConfig::max_step_tokens`] tokens and says what that brought:
    /// nothing, where a prompt takes more than a step, or where there is nothing to do.
    ///
    /// # Errors
    /// Those of the device and of the router, which concern all requests: the session is of no
    /// use then. What concerns one request is an [`Output::Failed`].
    pub fn step(&mut self) -> Result<Vec<Output>> {
        let _no_grad = tch::no_grad_guard();
        let mut outputs = Vec::new();
        self.check_adapters(&mut outputs);
        for copy in self.scheduler.plan() {
            self.cache.copy_block(copy.from, copy.to, copy.filled)?;
        }
        let order = self.order();
        if order.is_empty() {
            self.end_if_idle();
            return Ok(outputs);
        }
        let running = self.scheduler.running();
        self.last_step_tokens = order.iter().map(|&place| running[place].planned).sum();
        self.steps += 1;
        let wanted = self.wanted(&order);
        let rows: Vec<i64> = wanted.iter().map(|wanted| wanted.row).collect();
        let hidden = self.forward(&order, &rows)?;
        self.scheduler.commit();
        self.read(&hidden, &wanted, &mut outputs)?;
        self.end_if_idle();
        Ok(outputs)
    }

    /// Places of the running sequences that this step computes, in the order of the pass.
    fn order(&self) -> Vec<usize> {
        let running = self.scheduler.running();
        let mut order: Vec<usize> =
            (0..running.len()).filter(|&place| running[place].planned > 0).collect();
        if self.routed.router().is_some() {
            let key = |&place: &usize| {
                let adapters = running[place].adapters;
                (self.routed.order(adapters), adapters)
            };
            order.sort_by_key(key);
        }
        order
    }

    fn check_fits(&self, index: usize, tokens: usize) -> Result<()> {
        let engine_bytes = crate::engine::slot_bytes(self.decoder, self.config.cache_dtype);
        let bytes = tokens as u64 * engine_bytes;
        let blocks = crate::blocks::blocks_for(tokens);
        let max_cache_bytes = self.config.max_cache_bytes;
        if bytes > max_cache_bytes || blocks > self.scheduler.num_blocks() {
            return Err(Error::OverBudget { index, bytes, max_cache_bytes });
        }
        Ok(())
    }

    /// What a key of adapters stands for.
    fn identity(&mut self, key: u64) -> Result<String> {
        let Some(router) = self.routed.router() else {
            return Err(Invalid::new("adapters", "an engine with a router", key).into());
        };
        let identity = router.identity(key)?;
        if self.identities.get(&key).is_some_and(|known| *known != identity) {
            self.scheduler.hide(key);
        }
        self.identities.insert(key, identity.clone());
        Ok(identity)
    }

    /// Ends requests whose adapters are gone, and sees to it that what is computed with others
    /// than before is not taken for the same.
    fn check_adapters(&mut self, outputs: &mut Vec<Output>) {
        let version = self.routed.router().map_or(0, crate::RowRouter::version);
        if std::mem::replace(&mut self.version, version) == version {
            return;
        }
        let mut requests: Vec<(u64, u64)> = self.scheduler.adapters().collect();
        requests.sort_unstable();
        requests.dedup();
        let keys: std::collections::BTreeSet<u64> = requests.iter().map(|entry| entry.1).collect();
        self.identities.retain(|key, _| keys.contains(key));
        for (request, key) in requests {
            if let Err(error) = self.identity(key) {
                self.fail(request, error, outputs);
            }
        }
    }

    fn end_if_idle(&mut self) {
        if self.is_idle() {
            self.routed.end();
        }
    }
}

#[cfg(test)]
mod tests;
