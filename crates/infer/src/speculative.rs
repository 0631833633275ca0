//! Speculative decoding: a small model proposes tokens, the large one reads all of them in one
//! pass and keeps those that it would have chosen itself (after Leviathan et al. 2023,
//! arXiv:2211.17192).
//!
//! A token is drawn with a number that belongs to its request and position, whoever draws it.
//! The large model draws at every proposed position as it would without proposals, and what it
//! drew is the reply: sampled replies are the same ones as without a draft, not only of the
//! same distribution, but for the rounding of sums. The draft draws with the same numbers, which
//! makes it propose what the large model is about to draw.

use limbeck_model::{Decoder, PagedCache, PagedPass, PagedSpan};
use limbeck_run::config::{Invalid, Validate};
use tch::{Kind, Tensor};

use crate::blocks::blocks_for;
use crate::engine::{Engine, FinishReason, Generation, check_request, slot_bytes};
use crate::sampler::{Place, Sampler};
use crate::sampling::SamplingParams;
use crate::{Error, Result};

/// An engine's model with a draft.
#[derive(Debug)]
pub struct Speculative<'m> {
    engine: &'m Engine<'m>,
    draft: &'m Decoder,
    /// Tokens that the draft proposes at a time.
    proposals: usize,
}

/// How well the draft guessed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpeculativeStats {
    /// Tokens that the draft proposed.
    pub proposed: u64,
    /// Those of them that became part of replies.
    pub accepted: u64,
    /// Passes of the large model, those that read prompts included.
    pub passes: u64,
}

/// Hears wanted logits: of which row, the how many-th of it, fp32 `[vocab]`.
type EachLogits<'a> = &'a mut dyn FnMut(usize, usize, &[f32]) -> Result<()>;

/// A request that is being decoded.
struct Row {
    request: usize,
    /// Prompt and reply.
    tokens: Vec<i64>,
    prompt: usize,
    blocks: Vec<u32>,
    sampler: Sampler,
    /// Tokens that the large model's cache, and the draft's, hold.
    held: usize,
    drafted: usize,
    finished: Option<FinishReason>,
}

/// Tokens of one row that a pass reads.
struct Work<'a> {
    tokens: &'a [i64],
    /// Tokens of the sequence before these.
    before: usize,
    blocks: &'a [u32],
    /// How many of the last tokens' logits are wanted.
    wanted: usize,
}

impl<'m> Speculative<'m> {
    /// An engine's model with a draft that has the same tokens.
    ///
    /// # Errors
    /// [`Error::Setting`]: no proposals, another vocabulary, an engine with a router, or one
    /// that is to be deterministic.
    pub fn new(engine: &'m Engine<'m>, draft: &'m Decoder, proposals: usize) -> Result<Self> {
        let [own, drafts] = [engine.decoder, draft].map(|decoder| decoder.config().vocab_size);
        if own != drafts {
            let expected = format!("a vocabulary of {own} tokens");
            return Err(Invalid::new("draft", expected, drafts).into());
        }
        if proposals == 0 {
            return Err(Invalid::new("draft_tokens", "at least 1", proposals).into());
        }
        if engine.router.is_some() {
            return Err(Invalid::new("draft", "none where requests choose adapters", "one").into());
        }
        if engine.config.deterministic {
            return Err(Invalid::new("draft", "none where results are deterministic", "one").into());
        }
        Ok(Self { engine, draft, proposals })
    }

    /// As [`Engine::generate`], with what the draft's guesses were worth.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub fn generate(
        &self,
        prompts: &[Vec<i64>],
        params: &SamplingParams,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(Vec<Generation>, SpeculativeStats)> {
        params.validate()?;
        if params.n != 1 {
            return Err(Invalid::new("n", "1, where results are lists", params.n).into());
        }
        for (index, prompt) in prompts.iter().enumerate() {
            for decoder in [self.engine.decoder, self.draft] {
                check_request(decoder, index, prompt, params.max_new_tokens)?;
            }
        }
        let _no_grad = tch::no_grad_guard();
        let mut stats = SpeculativeStats::default();
        let mut generations = vec![None; prompts.len()];
        let indices: Vec<usize> = (0..prompts.len()).collect();
        for group in self.groups(prompts, &indices, params.max_new_tokens)? {
            for row in self.decode(prompts, group, params, &mut stats)? {
                let reason = row.finished.unwrap_or(FinishReason::Length);
                let tokens = row.tokens[row.prompt..].to_vec();
                generations[row.request] = Some(Generation { tokens, finish_reason: reason });
                progress(1);
            }
        }
        // Every request is in one group.
        Ok((generations.into_iter().flatten().collect(), stats))
    }

    /// Slots that a request may fill: those of proposals beyond its last token, too.
    fn slots(&self, prompt: &[i64], max_new_tokens: usize) -> usize {
        prompt.len() + max_new_tokens + self.proposals
    }

    /// Requests that are decoded together: as many as both caches have room for.
    fn groups<'a>(
        &self,
        prompts: &[Vec<i64>],
        mut rest: &'a [usize],
        max_new_tokens: usize,
    ) -> Result<Vec<&'a [usize]>> {
        let config = &self.engine.config;
        let slot = slot_bytes(self.engine.decoder, config.cache_dtype)
            + slot_bytes(self.draft, config.cache_dtype);
        let mut groups = Vec::new();
        while !rest.is_empty() {
            let (mut count, mut bytes) = (0, 0);
            for &index in rest.iter().take(config.max_batch) {
                bytes += self.slots(&prompts[index], max_new_tokens) as u64 * slot;
                if bytes > config.max_cache_bytes {
                    break;
                }
                count += 1;
            }
            if count == 0 {
                let (index, max_cache_bytes) = (rest[0], config.max_cache_bytes);
                return Err(Error::OverBudget { index, bytes, max_cache_bytes });
            }
            let (group, others) = rest.split_at(count);
            groups.push(group);
            rest = others;
        }
        Ok(groups)
    }

    fn decode(
        &self,
        prompts: &[Vec<i64>],
        group: &[usize],
        params: &SamplingParams,
        stats: &mut SpeculativeStats,
    ) -> Result<Vec<Row>> {
        let mut next_block = 0;
        let mut rows: Vec<Row> = group
            .iter()
            .map(|&request| {
                let prompt = &prompts[request];
                let count = blocks_for(self.slots(prompt, params.max_new_tokens)) as u32;
                let blocks = (next_block..next_block + count).collect();
                next_block += count;
                Row {
                    request,
                    tokens: prompt.clone(),
                    prompt: prompt.len(),
                    blocks,
                    sampler: Sampler::new(params, prompt, None, request as u64),
                    held: 0,
                    drafted: 0,
                    finished: None,
                }
            })
            .collect();
        let cache_dtype = self.engine.config.cache_dtype;
        let cache = |decoder| PagedCache::new(decoder, next_block as usize, cache_dtype);
        let (mut held, mut drafted) = (cache(self.engine.decoder)?, cache(self.draft)?);
        loop {
            let mut live: Vec<&mut Row> =
                rows.iter_mut().filter(|row| row.finished.is_none()).collect();
            if live.is_empty() {
                return Ok(rows);
            }
            let proposals = self.propose(&mut live, &mut drafted, params)?;
            self.verify(&mut live, &proposals, &mut held, params, stats)?;
        }
    }

    /// The draft's guesses at how each row goes on.
    fn propose(
        &self,
        live: &mut [&mut Row],
        cache: &mut PagedCache,
        params: &SamplingParams,
    ) -> Result<Vec<Vec<i64>>> {
        let mut proposals = vec![Vec::with_capacity(self.proposals); live.len()];
        for round in 0..self.proposals {
            let work: Vec<Work<'_>> = live
                .iter()
                .zip(&proposals)
                .map(|(row, proposed)| match proposed.last() {
                    None => Work {
                        tokens: &row.tokens[row.drafted..],
                        before: row.drafted,
                        blocks: &row.blocks,
                        wanted: 1,
                    },
                    Some(last) => Work {
                        tokens: std::slice::from_ref(last),
                        before: row.tokens.len() + round - 1,
                        blocks: &row.blocks,
                        wanted: 1,
                    },
                })
                .collect();
            let mut tokens = Vec::with_capacity(live.len());
            self.read(self.draft, cache, &work, &mut |place, _, logits| {
                let row = &live[place];
                let place = row.place(round);
                tokens.push(row.sampler.guess(logits, params, place.position));
                Ok(())
            })?;
            for (proposed, token) in proposals.iter_mut().zip(tokens) {
                proposed.push(token);
            }
        }
        for row in live.iter_mut() {
            row.drafted = row.tokens.len() + self.proposals - 1;
        }
        Ok(proposals)
    }

    /// Reads the guesses and keeps what the large model chooses, up to the first that was not
    /// guessed.
    fn verify(
        &self,
        live: &mut [&mut Row],
        proposals: &[Vec<i64>],
        cache: &mut PagedCache,
        params: &SamplingParams,
        stats: &mut SpeculativeStats,
    ) -> Result<()> {
        let tokens: Vec<Vec<i64>> = live
            .iter()
            .zip(proposals)
            .map(|(row, proposed)| [&row.tokens[row.held..], proposed].concat())
            .collect();
        let befores: Vec<usize> = live.iter().map(|row| row.held).collect();
        let blocks: Vec<Vec<u32>> = live.iter().map(|row| row.blocks.clone()).collect();
        let work: Vec<Work<'_>> = tokens
            .iter()
            .zip(&befores)
            .zip(&blocks)
            .map(|((tokens, &before), blocks)| Work {
                tokens,
                before,
                blocks,
                wanted: self.proposals + 1,
            })
            .collect();
        // Whether all guesses of a row so far were right.
        let mut right = vec![true; live.len()];
        self.read(self.engine.decoder, cache, &work, &mut |place, guess, logits| {
            let row = &mut *live[place];
            if !right[place] || row.finished.is_some() {
                return Ok(());
            }
            let token = row.sampler.choose(logits, params, row.place(0))?;
            row.take(token, params)?;
            let guessed = proposals[place].get(guess) == Some(&token);
            right[place] = guessed;
            stats.accepted += u64::from(guessed);
            Ok(())
        })?;
        stats.passes += 1;
        stats.proposed += (live.len() * self.proposals) as u64;
        for row in live.iter_mut() {
            // The last token has been chosen and not read.
            row.held = row.tokens.len() - 1;
            row.drafted = row.drafted.min(row.held);
        }
        Ok(())
    }

    /// Runs a model over the rows' tokens, in passes of at most `max_step_tokens`, and shows
    /// `each` the wanted logits: of which row, the how many-th of it, fp32 `[vocab]`.
    fn read(
        &self,
        decoder: &Decoder,
        cache: &mut PagedCache,
        work: &[Work<'_>],
        each: EachLogits<'_>,
    ) -> Result<()> {
        let most = self.engine.config.max_step_tokens;
        let mut pass = Pass::default();
        for (place, work) in work.iter().enumerate() {
            let mut done = 0;
            while done < work.tokens.len() {
                let length = (work.tokens.len() - done).min(most - pass.tokens.len());
                pass.add(place, work, done..done + length);
                done += length;
                if pass.tokens.len() == most {
                    std::mem::take(&mut pass).run(decoder, cache, each)?;
                }
            }
        }
        pass.run(decoder, cache, each)
    }
}

impl Row {
    /// Where the token stands that is `ahead` of the next.
    fn place(&self, ahead: usize) -> Place {
        let position = self.tokens.len() + ahead;
        Place { request: self.request, position, generated: position - self.prompt }
    }

    fn take(&mut self, token: i64, params: &SamplingParams) -> Result<()> {
        if params.stop_token_ids.contains(&token) {
            self.finished = Some(FinishReason::Stop);
            return Ok(());
        }
        self.tokens.push(token);
        self.sampler.accept(token, params)?;
        if self.tokens.len() - self.prompt >= params.max_new_tokens {
            self.finished = Some(FinishReason::Length);
        }
        Ok(())
    }
}

/// One forward pass.
#[derive(Default)]
struct Pass<'a> {
    tokens: Vec<i64>,
    spans: Vec<PagedSpan<'a>>,
    /// Rows of the pass whose logits are wanted.
    rows: Vec<i64>,
    /// Whose each is, and the how many-th of it.
    owners: Vec<(usize, usize)>,
}

impl<'a> Pass<'a> {
    fn add(&mut self, place: usize, work: &Work<'a>, range: std::ops::Range<usize>) {
        let first_wanted = work.tokens.len() - work.wanted;
        for index in range.clone().filter(|&index| index >= first_wanted) {
            self.rows.push((self.tokens.len() + index - range.start) as i64);
            self.owners.push((place, index - first_wanted));
        }
        self.spans.push(PagedSpan {
            query_start: self.tokens.len(),
            query_len: range.len(),
            kv_len: work.before + range.end,
            blocks: work.blocks,
        });
        self.tokens.extend_from_slice(&work.tokens[range]);
    }

    fn run(self, decoder: &Decoder, cache: &mut PagedCache, each: EachLogits<'_>) -> Result<()> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let pass = PagedPass { tokens: &self.tokens, spans: &self.spans, apart: false };
        let hidden = decoder.forward_paged(&pass, cache)?;
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = Tensor::f_from_slice(&self.rows)?.f_to_device(decoder.device())?;
        let logits = decoder.logits(&hidden.f_index_select(0, &rows)?)?.f_to_kind(Kind::Float)?;
        let (_, vocab) = logits.size2()?;
        let flat = Vec::<f32>::try_from(&logits.f_reshape([-1])?)?;
        for (&(place, guess), logits) in self.owners.iter().zip(flat.chunks_exact(vocab as usize)) {
            each(place, guess, logits)?;
        }
        Ok(())
    }
}
