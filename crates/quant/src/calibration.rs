//! Calibration: token sequences run through the decoder block by block, and what each
//! projection reads shown on the way.
//!
//! A block is walked stage by stage ([`Stage`]): the projections of a stage read the same
//! input, and may be replaced before the next stage is entered. What a stage computed is
//! kept, so that a block is computed once, with each projection as the walk left it.

use limbeck_model::{BlockParts, Decoder, Input};
use tch::{Device, Tensor};

use crate::config::{Method, QuantizeConfig};
use crate::error::{Error, Result};

/// Bytes of inputs of `o_proj` or `down_proj` that are kept until these are replaced; more
/// are computed again.
pub(crate) const KEPT_BYTES: u64 = 512 << 20;

/// Projections of a block that read the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Queries, keys and values.
    Attention,
    /// The output of attention.
    Output,
    /// Gate and its partner.
    Gate,
    /// The output of the feed-forward layer.
    Down,
}

impl Stage {
    /// In the order of computation.
    pub(crate) const ALL: [Self; 4] = [Self::Attention, Self::Output, Self::Gate, Self::Down];

    /// The projections, as they are named in a block.
    pub(crate) fn projections(self) -> &'static [&'static str] {
        match self {
            Self::Attention => &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            Self::Output => &["self_attn.o_proj"],
            Self::Gate => &["mlp.gate_proj", "mlp.up_proj"],
            Self::Down => &["mlp.down_proj"],
        }
    }

    /// The projections' full names.
    pub(crate) fn names(self, block: usize) -> impl Iterator<Item = String> {
        self.projections().iter().map(move |name| format!("model.layers.{block}.{name}"))
    }
}

/// The calibration sequences in batches, with the hidden states that enter the next
/// block.
#[derive(Debug)]
pub(crate) struct Calibration {
    batches: Vec<Batch>,
    num_tokens: usize,
}

#[derive(Debug)]
struct Batch {
    /// i64 `[batch, seq]`, padded on the right.
    tokens: Tensor,
    /// Length of each sequence.
    lengths: Vec<i64>,
    /// The residual stream `[batch, seq, hidden]`, before the block or after its attention.
    hidden: Tensor,
    /// Places of the tokens in `[batch · seq]`; `None` without padding.
    valid: Option<Tensor>,
    /// What the projection reads that ends this half of the block.
    kept: Option<Tensor>,
}

/// One sequence on its way into a block.
#[derive(Debug)]
pub(crate) struct Sample {
    /// i64 `[1, seq]`
    pub(crate) tokens: Tensor,
    /// `[1, seq, hidden]`
    pub(crate) hidden: Tensor,
}

/// Takes inputs, `[tokens, in]`.
pub(crate) type Visitor<'a> = &'a mut dyn FnMut(&Tensor) -> Result<()>;

/// The sequences that the limits of `config` admit, the shortest first.
///
/// # Errors
/// [`Error::NoCalibration`], [`Error::TooFewTokens`].
pub(crate) fn admitted<'a>(
    sequences: &'a [Vec<i64>],
    config: &QuantizeConfig,
) -> Result<Vec<&'a [i64]>> {
    let mut admitted = Vec::new();
    let mut num_tokens = 0;
    for sequence in sequences.iter().filter(|sequence| !sequence.is_empty()) {
        let room = config.calibration_tokens_max - num_tokens;
        if admitted.len() == config.calibration_records || room == 0 {
            break;
        }
        let sequence = &sequence[..sequence.len().min(room)];
        num_tokens += sequence.len();
        admitted.push(sequence);
    }
    if admitted.is_empty() {
        let reason = format!("all of the {} sequences are empty", sequences.len());
        return Err(Error::NoCalibration { reason });
    }
    if config.method != Method::Rtn && num_tokens < config.calibration_tokens_min {
        return Err(Error::TooFewTokens {
            found: num_tokens,
            sequences: admitted.len(),
            expected: config.calibration_tokens_min,
        });
    }
    // Neighbours of similar length need little padding.
    admitted.sort_by_key(|sequence| sequence.len());
    Ok(admitted)
}

impl Calibration {
    /// Embeds sequences, which are in order of their lengths.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub(crate) fn new(decoder: &Decoder, sequences: &[&[i64]], batch_size: usize) -> Result<Self> {
        let num_tokens = sequences.iter().map(|sequence| sequence.len()).sum();
        let batches = sequences
            .chunks(batch_size)
            .map(|sequences| Batch::new(decoder, sequences))
            .collect::<Result<_>>()?;
        Ok(Self { batches, num_tokens })
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Computes what the projections of a stage read and shows it, batch by batch. The stages
    /// of a block are entered in order, each once; [`Self::leave`] ends the block.
    ///
    /// # Errors
    /// Failures of the forward pass and of `visit`.
    pub(crate) fn enter(
        &mut self,
        decoder: &Decoder,
        block: usize,
        stage: Stage,
        visit: Visitor<'_>,
    ) -> Result<()> {
        let parts = decoder.block_parts(block)?;
        let mut kept_bytes = 0;
        for batch in &mut self.batches {
            match stage {
                Stage::Attention => visit(&batch.rows(&parts.attention_input(&batch.hidden)?)?)?,
                Stage::Output => {
                    let mixed = batch.mixed(parts)?;
                    visit(&batch.rows(&mixed)?)?;
                    batch.keep(mixed, &mut kept_bytes);
                }
                Stage::Gate => {
                    let mixed = batch.kept.take().map_or_else(|| batch.mixed(parts), Ok)?;
                    batch.hidden = parts.add_attention(&batch.hidden, &mixed)?;
                    visit(&batch.rows(&parts.mlp_input(&batch.hidden)?)?)?;
                }
                Stage::Down => {
                    let inner = batch.inner(parts)?;
                    visit(&batch.rows(&inner)?)?;
                    batch.keep(inner, &mut kept_bytes);
                }
            }
        }
        Ok(())
    }

    /// Ends a block whose stages have been entered: the hidden states are its outputs.
    ///
    /// # Errors
    /// Failures of the forward pass.
    pub(crate) fn leave(&mut self, decoder: &Decoder, block: usize) -> Result<()> {
        let parts = decoder.block_parts(block)?;
        for batch in &mut self.batches {
            let inner = batch.kept.take().map_or_else(|| batch.inner(parts), Ok)?;
            batch.hidden = parts.add_mlp(&batch.hidden, &inner)?;
        }
        Ok(())
    }

    /// Runs a whole block: the hidden states are its outputs.
    ///
    /// # Errors
    /// Failures of the forward pass.
    pub(crate) fn pass(&mut self, decoder: &Decoder, block: usize) -> Result<()> {
        for stage in Stage::ALL {
            self.enter(decoder, block, stage, &mut |_| Ok(()))?;
        }
        self.leave(decoder, block)
    }

    /// Shows what all projections of a block read, and leaves the hidden states as they are.
    ///
    /// # Errors
    /// Failures of the forward pass and of `visit`.
    pub(crate) fn observe(
        &self,
        decoder: &Decoder,
        block: usize,
        visit: &mut dyn FnMut(Stage, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let parts = decoder.block_parts(block)?;
        for batch in &self.batches {
            let mut show = |stage, input: &Tensor| visit(stage, &batch.rows(input)?);
            let normed = parts.attention_input(&batch.hidden)?;
            show(Stage::Attention, &normed)?;
            let mixed = parts.attention_mixed(&normed, &Input::causal(&batch.tokens))?;
            show(Stage::Output, &mixed)?;
            let normed = parts.mlp_input(&parts.add_attention(&batch.hidden, &mixed)?)?;
            show(Stage::Gate, &normed)?;
            show(Stage::Down, &parts.mlp_inner(&normed)?)?;
        }
        Ok(())
    }

    /// Shows the outputs of the final norm, which the head reads.
    ///
    /// # Errors
    /// Failures of `visit`.
    pub(crate) fn outputs(&self, decoder: &Decoder, visit: Visitor<'_>) -> Result<()> {
        for batch in &self.batches {
            visit(&batch.rows(&decoder.final_norm(&batch.hidden)?)?)?;
        }
        Ok(())
    }

    /// Some sequences of all lengths, of about `tokens` tokens together, without padding.
    ///
    /// # Errors
    /// libtorch's.
    pub(crate) fn samples(&self, tokens: i64) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut room = tokens;
        let longest = self.batches.iter().map(|batch| batch.lengths.len()).max().unwrap_or(0);
        for row in 0..longest {
            for batch in &self.batches {
                let Some(&length) = batch.lengths.get(row) else { continue };
                if room <= 0 {
                    return Ok(samples);
                }
                let length = length.min(room);
                let cut = |tensor: &Tensor| -> Result<Tensor> {
                    Ok(tensor.f_narrow(0, row as i64, 1)?.f_narrow(1, 0, length)?)
                };
                samples.push(Sample { tokens: cut(&batch.tokens)?, hidden: cut(&batch.hidden)? });
                room -= length;
            }
        }
        Ok(samples)
    }
}

impl Batch {
    fn new(decoder: &Decoder, sequences: &[&[i64]]) -> Result<Self> {
        let rows = sequences.len();
        let seq = sequences.iter().map(|sequence| sequence.len()).max().unwrap_or(0);
        // What pads a row is never looked at, so any token of the vocabulary will do.
        let mut tokens = vec![0_i64; rows * seq];
        let mut valid = Vec::new();
        for (row, sequence) in sequences.iter().enumerate() {
            let start = row * seq;
            tokens[start..start + sequence.len()].copy_from_slice(sequence);
            valid.extend((start..start + sequence.len()).map(|place| place as i64));
        }
        let on_device = |values: &[i64], device: Device| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_to_device(device)?)
        };
        let device = decoder.device();
        let valid =
            if valid.len() < tokens.len() { Some(on_device(&valid, device)?) } else { None };
        let tokens = on_device(&tokens, device)?.f_view([rows as i64, seq as i64])?;
        let hidden = decoder.embed(&Input::causal(&tokens))?;
        let lengths = sequences.iter().map(|sequence| sequence.len() as i64).collect();
        Ok(Self { tokens, lengths, hidden, valid, kept: None })
    }

    /// `[batch, seq, width]` → `[tokens, width]`
    fn rows(&self, input: &Tensor) -> Result<Tensor> {
        let width = input.size().last().copied().unwrap_or(0);
        let rows = input.f_reshape([-1, width])?; // [batch · seq, width]
        match &self.valid {
            Some(valid) => Ok(rows.f_index_select(0, valid)?),
            None => Ok(rows),
        }
    }

    fn mixed(&self, parts: BlockParts<'_>) -> Result<Tensor> {
        let normed = parts.attention_input(&self.hidden)?;
        Ok(parts.attention_mixed(&normed, &Input::causal(&self.tokens))?)
    }

    fn inner(&self, parts: BlockParts<'_>) -> Result<Tensor> {
        Ok(parts.mlp_inner(&parts.mlp_input(&self.hidden)?)?)
    }

    fn keep(&mut self, input: Tensor, kept_bytes: &mut u64) {
        *kept_bytes += (input.numel() * input.kind().elt_size_in_bytes()) as u64;
        self.kept = (*kept_bytes <= KEPT_BYTES).then_some(input);
    }
}
