//! The decoding loop.

use limbeck_core::elements::elements;
use limbeck_run::config::Validate;
use tch::{Device, Kind, Tensor};

use crate::batch::Batch;
use crate::engine::{Engine, FinishReason, Generation, plan};
use crate::router::Routed;
use crate::sampling::{self, SamplingParams};
use crate::{Error, Result};

/// A row of a batch and what it has produced.
#[derive(Debug)]
struct Row {
    request: usize,
    prompt_tokens: usize,
    tokens: Vec<i64>,
    finished: Option<FinishReason>,
}

/// The tokens chosen in one step: on the device for the next pass, and here.
struct Choice {
    device: Tensor,
    host: Vec<i64>,
}

impl Engine<'_> {
    /// Continues each prompt until a stop token or `max_new_tokens`.
    ///
    /// `progress` hears how many requests have finished since it was last called. A
    /// request's draws depend on its index, not on its batch.
    ///
    /// # Errors
    /// Impossible parameters, an empty or too long prompt, an unknown token id, logits
    /// that are not finite, a request beyond the cache's limit: all name the request.
    pub fn generate(
        &self,
        prompts: &[Vec<i64>],
        params: &SamplingParams,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Generation>> {
        params.validate()?;
        self.check(prompts, params.max_new_tokens)?;
        let _no_grad = tch::no_grad_guard();
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let slots = self.cache_slots(&lengths, params.max_new_tokens)?;
        let groups = plan(&lengths, params.max_new_tokens, self.config.max_batch, slots);
        let mut generations = vec![None; prompts.len()];
        for mut group in groups {
            let routed = Routed::begin(self.router, &mut group)?;
            let rows = group
                .into_iter()
                .map(|request| Row {
                    request,
                    prompt_tokens: lengths[request],
                    tokens: Vec::new(),
                    finished: None,
                })
                .collect();
            self.decode(prompts, rows, params, &routed, &mut |row: Row, finish_reason| {
                generations[row.request] = Some(Generation { tokens: row.tokens, finish_reason });
                progress(1);
            })?;
        }
        // Every request is in one group, and a group ends when all its rows have.
        Ok(generations.into_iter().flatten().collect())
    }

    fn decode(
        &self,
        prompts: &[Vec<i64>],
        mut rows: Vec<Row>,
        params: &SamplingParams,
        routed: &Routed<'_>,
        finish: &mut dyn FnMut(Row, FinishReason),
    ) -> Result<()> {
        let group: Vec<&[i64]> = rows.iter().map(|row| prompts[row.request].as_slice()).collect();
        let (mut batch, mut logits) =
            Batch::start(self.decoder, &group, params.max_new_tokens, self.config.cache_dtype)?;
        check_finite(&logits, &rows)?;
        loop {
            let mut chosen = choose(&logits, &rows, params)?;
            for (row, &token) in rows.iter_mut().zip(&chosen.host) {
                row.take(token, params);
            }
            let live: Vec<usize> =
                (0..rows.len()).filter(|&row| rows[row].finished.is_none()).collect();
            // Finished rows are dragged along for a while: removing them copies the cache.
            if live.is_empty() || (rows.len() - live.len()) * 3 >= rows.len() {
                let (kept, done): (Vec<Row>, Vec<Row>) =
                    rows.into_iter().partition(|row| row.finished.is_none());
                for row in done {
                    let reason = row.finished.unwrap_or(FinishReason::Length);
                    finish(row, reason);
                }
                rows = kept;
                if rows.is_empty() {
                    return Ok(());
                }
                batch.keep(&live)?;
                routed.keep(&live)?;
                chosen = chosen.keep(&live, self.decoder.device())?;
            }
            logits = batch.step(&chosen.device)?;
        }
    }
}

impl Row {
    fn take(&mut self, token: i64, params: &SamplingParams) {
        if self.finished.is_some() {
            return;
        }
        if params.stop_token_ids.contains(&token) {
            self.finished = Some(FinishReason::Stop);
            return;
        }
        self.tokens.push(token);
        if self.tokens.len() >= params.max_new_tokens {
            self.finished = Some(FinishReason::Length);
        }
    }

    fn not_finite(&self) -> Error {
        let position = self.prompt_tokens + self.tokens.len();
        Error::NotFinite { index: self.request, position }
    }
}

impl Choice {
    fn keep(&self, rows: &[usize], device: Device) -> Result<Self> {
        let host: Vec<i64> = rows.iter().map(|&row| self.host[row]).collect();
        Ok(Self { device: Tensor::f_from_slice(&host)?.f_to_device(device)?, host })
    }
}

/// Chooses a token for each row from logits `[rows, vocab]`; the one wait for the device
/// of a step.
fn choose(logits: &Tensor, rows: &[Row], params: &SamplingParams) -> Result<Choice> {
    if params.is_greedy() {
        if let Some(flat) = elements::<f32>(logits) {
            let vocab = flat.len() / rows.len().max(1);
            let host: Vec<i64> = flat.chunks(vocab.max(1)).map(highest).collect();
            return Ok(Choice { device: Tensor::f_from_slice(&host)?, host });
        }
        let device = logits.f_argmax(-1, false)?; // [rows]
        let host = Vec::<i64>::try_from(&device)?;
        return Ok(Choice { device, host });
    }
    let (_, vocab) = logits.size2()?;
    let flat = Vec::<f32>::try_from(&logits.f_to_kind(Kind::Float)?.f_reshape([-1])?)?;
    let mut host = Vec::with_capacity(rows.len());
    for (row, logits) in rows.iter().zip(flat.chunks_exact(vocab as usize)) {
        let position = row.prompt_tokens + row.tokens.len();
        let token = sampling::sample(logits, params, row.request, position);
        match token {
            Some(token) => host.push(token as i64),
            // Whatever a finished row is fed with is thrown away.
            None if row.finished.is_some() => host.push(0),
            None => return Err(row.not_finite()),
        }
    }
    let device = Tensor::f_from_slice(&host)?.f_to_device(logits.device())?;
    Ok(Choice { device, host })
}

/// The first place of the highest logit: libtorch's arg max, which looks at each number with
/// its place, takes ten times as long.
fn highest(logits: &[f32]) -> i64 {
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
    (start + within.unwrap_or(0)) as i64
}

/// Diverged weights show at the first logits; the arg max of NaN would be some token.
fn check_finite(logits: &Tensor, rows: &[Row]) -> Result<()> {
    let highest = logits.f_amax([-1_i64].as_slice(), false)?; // [rows]
    let finite = Vec::<bool>::try_from(&highest.f_isfinite()?)?;
    match finite.iter().position(|finite| !finite) {
        Some(row) => Err(rows[row].not_finite()),
        None => Ok(()),
    }
}
