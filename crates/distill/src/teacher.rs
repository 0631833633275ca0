//! Where the teacher's distributions come from.

use std::fmt::Debug;
use std::ops::Range;

use limbeck_model::{Decoder, Taps};
use limbeck_train::objective::forward_tapped;
use limbeck_train::{Batch, head};
use tch::{Kind, Tensor, no_grad};

use crate::align::Alignment;
use crate::capture::{CapturedRows, CapturedTeacher, Wanted};
use crate::divergence::{DivergenceSettings, TopTokens};

/// A teacher.
#[derive(Debug)]
pub enum Teacher<'a> {
    /// In memory, with the student's token ids; packed weights will do.
    Live(&'a Decoder),
    /// On disk, as its likeliest tokens at each position of each record.
    Captured(&'a dyn TopTokenSource),
    /// In memory, with token ids of its own.
    Aligned(&'a Decoder, Alignment),
}

/// Knows a teacher's likeliest tokens.
pub trait TopTokenSource: Debug {
    /// Those at each row of the batch that carries a loss, in the rows' order, on the
    /// batch's device.
    ///
    /// # Errors
    /// A record that is not known, or was captured with other tokens.
    fn top_tokens(&self, batch: &Batch) -> limbeck_train::Result<TopTokens>;

    /// The temperature of its distributions.
    fn temperature(&self) -> f64;
}

impl TopTokenSource for CapturedTeacher {
    fn top_tokens(&self, batch: &Batch) -> limbeck_train::Result<TopTokens> {
        let mut positions: Vec<Vec<usize>> = vec![Vec::new(); batch.examples.len()];
        for row in Vec::<i64>::try_from(&batch.rows)? {
            let (index, position) = batch.place(row)?;
            positions[index].push(position);
        }
        // Rows come example by example, as positions are asked for.
        let wanted: Vec<Wanted<'_>> = batch
            .examples
            .iter()
            .zip(&positions)
            .map(|(span, positions)| Wanted { id: &span.id, tokens: &span.tokens, positions })
            .collect();
        let rows = self.rows(&wanted, batch.tokens.device());
        let CapturedRows { ids, log_probs, log_tail } =
            rows.map_err(limbeck_train::Error::objective)?;
        Ok(TopTokens { ids, log_probs, log_tail })
    }

    fn temperature(&self) -> f64 {
        self.header().temperature
    }
}

/// What a teacher says of the rows of a batch that carry a loss.
#[derive(Debug)]
pub(crate) enum TeacherRows<'a> {
    /// Final hidden states of all rows, `[rows, hidden_size]`; logits come chunk by chunk.
    Hidden { decoder: &'a Decoder, rows: Tensor },
    /// The likeliest tokens of all rows.
    Top(TopTokens),
    /// Final hidden states of those rows that a token of the teacher's begins at as well,
    /// and the rows' numbers, in order.
    Aligned { decoder: &'a Decoder, rows: Tensor, numbers: Vec<i64> },
}

impl<'a> Teacher<'a> {
    /// The decoder whose hidden states and attention the student's can be compared with,
    /// position by position.
    pub(crate) fn tapped(&self) -> Option<&'a Decoder> {
        match self {
            Self::Live(decoder) => Some(decoder),
            Self::Captured(_) | Self::Aligned(..) => None,
        }
    }

    /// The decoder that is in memory.
    pub(crate) fn decoder(&self) -> Option<&'a Decoder> {
        match self {
            Self::Live(decoder) | Self::Aligned(decoder, _) => Some(decoder),
            Self::Captured(_) => None,
        }
    }

    /// The teacher's part of a step, without gradients.
    pub(crate) fn rows(
        &self,
        batch: &Batch,
        taps: &mut Taps,
        pad_token_id: i64,
    ) -> limbeck_train::Result<TeacherRows<'a>> {
        no_grad(|| match self {
            Self::Live(decoder) => {
                let hidden = forward_tapped(decoder, batch, Some(taps))?;
                Ok(TeacherRows::Hidden { decoder, rows: head::select_rows(&hidden, batch)? })
            }
            Self::Captured(source) => Ok(TeacherRows::Top(source.top_tokens(batch)?)),
            Self::Aligned(decoder, alignment) => {
                let aligned = alignment.of_batch(batch, pad_token_id)?;
                let hidden = forward_tapped(decoder, &aligned.batch, None)?;
                let rows = head::select_rows(&hidden, &aligned.batch)?;
                Ok(TeacherRows::Aligned { decoder, rows, numbers: aligned.numbers })
            }
        })
    }
}

impl TeacherRows<'_> {
    /// The divergence of a chunk of rows, f32 `[rows]`; 0 where the teacher says nothing.
    pub(crate) fn divergence(
        &self,
        settings: &DivergenceSettings,
        student_logits: &Tensor,
        chunk: &Range<i64>,
    ) -> limbeck_train::Result<Tensor> {
        let length = chunk.end - chunk.start;
        match self {
            Self::Hidden { decoder, rows } => {
                let teacher_logits = logits(decoder, rows, chunk.start, length)?;
                Ok(settings.per_row(
                    &common(student_logits, &teacher_logits)?,
                    &common(&teacher_logits, student_logits)?,
                )?)
            }
            Self::Top(top) => {
                Ok(settings.per_row_of_top(student_logits, &top.narrow(chunk.start, length)?)?)
            }
            Self::Aligned { decoder, rows, numbers } => {
                let from = numbers.partition_point(|&number| number < chunk.start);
                let to = numbers.partition_point(|&number| number < chunk.end);
                let device = student_logits.device();
                let zeros = Tensor::f_zeros([length], (Kind::Float, device))?;
                if from == to {
                    return Ok(zeros);
                }
                let places: Vec<i64> =
                    numbers[from..to].iter().map(|number| number - chunk.start).collect();
                let places = Tensor::f_from_slice(&places)?.f_to_device(device)?;
                let teacher_logits = logits(decoder, rows, from as i64, (to - from) as i64)?;
                let student_logits = student_logits.f_index_select(0, &places)?;
                let values = settings.per_row(&student_logits, &teacher_logits)?;
                Ok(zeros.f_index_add(0, &places, &values)?)
            }
        }
    }
}

fn logits(
    decoder: &Decoder,
    rows: &Tensor,
    start: i64,
    length: i64,
) -> limbeck_train::Result<Tensor> {
    no_grad(|| Ok(decoder.logits(&rows.f_narrow(0, start, length)?)?.f_to_kind(Kind::Float)?))
}

/// The columns that the other has too: heads are padded to round numbers of rows, and the
/// rows past the tokenizer's ids mean nothing.
fn common(logits: &Tensor, other: &Tensor) -> limbeck_train::Result<Tensor> {
    let width = |logits: &Tensor| logits.size().last().copied().unwrap_or_default();
    Ok(logits.f_narrow(-1, 0, width(logits).min(width(other)))?)
}
