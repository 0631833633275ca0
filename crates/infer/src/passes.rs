//! The forward passes of a step, and what is read of their logits.
//!
//! Usually a step is one pass over all its tokens. A deterministic one is made of passes of
//! always the same shape: [`ROWS`] rows, each of which attends alone, to as many keys as there
//! are tokens before it. What a row computes then depends on nothing but its own sequence: not
//! on what other rows hold, nor on how a prompt is cut into steps.

use limbeck_core::elements::elements;
use limbeck_model::{PagedPass, PagedSpan};
use tch::{Device, Kind, Tensor};

use crate::replies::Wanted;
use crate::request::Output;
use crate::sequence::Sequence;
use crate::session::Session;
use crate::{Error, Result};

/// Most fp32 logits held at a time (64 MiB), whatever the vocabulary.
const HELD_LOGITS: i64 = 1 << 24;

/// Rows of a deterministic pass. With fewer than 4, libtorch takes other kernels for some.
const ROWS: usize = 16;

impl Session<'_> {
    /// Computes what is planned for the running sequences at these places.
    ///
    /// Returns the final-norm hidden states of `rows`, counted over the planned tokens in this
    /// order, `[rows, hidden]`.
    pub(crate) fn forward(&mut self, order: &[usize], rows: &[i64]) -> Result<Tensor> {
        if self.config.deterministic {
            return self.forward_in_rows(order, rows);
        }
        let running = self.scheduler.running();
        let sequences = || order.iter().map(|&place| &running[place]);
        let mut tokens = Vec::new();
        let mut spans = Vec::with_capacity(order.len());
        for sequence in sequences() {
            let end = sequence.computed + sequence.planned;
            spans.push(PagedSpan {
                query_start: tokens.len(),
                query_len: sequence.planned,
                kv_len: end,
                blocks: &sequence.blocks,
            });
            tokens.extend_from_slice(&sequence.tokens[sequence.computed..end]);
        }
        self.routed.route(|| {
            let keys = |sequence: &Sequence| vec![sequence.adapters; sequence.planned];
            sequences().flat_map(keys).collect()
        })?;
        let pass = PagedPass { tokens: &tokens, spans: &spans, apart: false };
        let hidden = self.decoder.forward_paged(&pass, &mut self.cache)?;
        if rows.len() == tokens.len() {
            return Ok(hidden);
        }
        let rows = Tensor::f_from_slice(rows)?.f_to_device(self.decoder.device())?;
        Ok(hidden.f_index_select(0, &rows)?)
    }

    /// As [`Self::forward`], in passes of [`ROWS`] rows of the same adapters.
    fn forward_in_rows(&mut self, order: &[usize], rows: &[i64]) -> Result<Tensor> {
        let running = self.scheduler.running();
        // Token by token: sequence and position.
        let all: Vec<(&Sequence, usize)> = order
            .iter()
            .map(|&place| &running[place])
            .flat_map(|sequence| {
                let positions = sequence.computed..sequence.computed + sequence.planned;
                positions.map(move |position| (sequence, position))
            })
            .collect();
        let nowhere = [(self.cache.num_blocks() - 1) as u32];
        let mut states = Vec::new();
        for group in all.chunk_by(|left, right| left.0.adapters == right.0.adapters) {
            for part in group.chunks(ROWS) {
                let mut tokens = vec![0; ROWS];
                let mut spans = Vec::with_capacity(ROWS);
                for (row, token) in tokens.iter_mut().enumerate() {
                    let (kv_len, blocks) = match part.get(row) {
                        Some((sequence, position)) => {
                            *token = sequence.tokens[*position];
                            (position + 1, sequence.blocks.as_slice())
                        }
                        None => (1, nowhere.as_slice()),
                    };
                    spans.push(PagedSpan { query_start: row, query_len: 1, kv_len, blocks });
                }
                let adapters = part.first().and_then(|(sequence, _)| sequence.adapters);
                self.routed.route(|| vec![adapters; ROWS])?;
                let pass = PagedPass { tokens: &tokens, spans: &spans, apart: true };
                let hidden = self.decoder.forward_paged(&pass, &mut self.cache)?;
                states.push(hidden.f_narrow(0, 0, part.len() as i64)?);
            }
        }
        let rows = Tensor::f_from_slice(rows)?;
        Ok(Tensor::f_cat(&states, 0)?.f_index_select(0, &rows)?)
    }

    /// Reads the logits of hidden states `[wanted, hidden]`.
    pub(crate) fn read(
        &mut self,
        hidden: &Tensor,
        wanted: &[Wanted],
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let vocab_size = self.decoder.config().vocab_size;
        let most = if self.config.deterministic {
            ROWS
        } else {
            (HELD_LOGITS / vocab_size.max(1)).max(1) as usize
        };
        for (index, part) in wanted.chunks(most).enumerate() {
            let mut hidden = hidden.f_narrow(0, (index * most) as i64, part.len() as i64)?;
            if self.config.deterministic {
                let missing = (ROWS - part.len()) as i64;
                hidden = hidden.f_constant_pad_nd([0, 0, 0, missing])?;
            }
            let logits = self.decoder.logits(&hidden)?; // [wanted, vocab]
            self.read_part(&logits, part, outputs)?;
        }
        Ok(())
    }

    fn read_part(
        &mut self,
        logits: &Tensor,
        wanted: &[Wanted],
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        if elements::<f32>(logits).is_none()
            && wanted.iter().all(|wanted| self.wants_likeliest(wanted))
        {
            // Two numbers a row come from the device instead of a vocabulary.
            let (highest, places) = logits.f_max_dim(-1, false)?;
            let highest = Vec::<f32>::try_from(&highest.f_to_kind(Kind::Float)?)?;
            let places = Vec::<i64>::try_from(&places)?;
            for (wanted, found) in wanted.iter().zip(places.into_iter().zip(highest)) {
                self.read_likeliest(wanted, found, outputs);
            }
            return Ok(());
        }
        let logits = logits.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let (_, vocab) = logits.size2()?;
        let Some(flat) = elements::<f32>(&logits) else {
            return Err(Error::Torch(tch::TchError::Kind("logits cannot be read".to_owned())));
        };
        for (wanted, logits) in wanted.iter().zip(flat.chunks_exact(vocab as usize)) {
            self.read_logits(wanted, logits, outputs);
        }
        Ok(())
    }
}
