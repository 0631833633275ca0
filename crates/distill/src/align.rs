//! Distillation across tokenizers: where a token of the student's and one of the teacher's
//! begin at the same byte, both models say what comes next after the same text, and their
//! distributions can be compared by how sure they are (Boizard et al. 2024, "ULD", section
//! 3.2, which pairs tokens by number instead and so compares unlike places after the first
//! word that is cut differently).

use std::collections::HashMap;

use limbeck_core::{Message, Tokenizer};
use limbeck_train::example::{Completion, texts};
use limbeck_train::{Batch, Example, TokenWeights};

use crate::{Error, Result};

/// The teacher's tokens of each record and where the student's meet them.
#[derive(Debug, Default)]
pub struct Alignment {
    records: HashMap<String, AlignedRecord>,
}

/// A record in the teacher's tokens.
#[derive(Debug)]
struct AlignedRecord {
    tokens: Vec<i64>,
    /// Input positions after which both models have read the same text of the reply, the
    /// student's first, in order.
    meetings: Vec<(usize, usize)>,
}

/// A batch in the teacher's tokens.
#[derive(Debug)]
pub(crate) struct AlignedBatch {
    /// Its rows are those of `numbers`, in order.
    pub(crate) batch: Batch,
    /// Rows of the student's batch (places in its `rows`) that have a counterpart.
    pub(crate) numbers: Vec<i64>,
}

impl Alignment {
    /// Aligns a conversation that the student will be trained on.
    ///
    /// # Errors
    /// [`Error::NoMeeting`] where the two texts never agree; templates that lose the reply.
    pub fn add(
        &mut self,
        id: &str,
        prompt: &[Message],
        completion: Completion<'_>,
        student: &Tokenizer,
        teacher: &Tokenizer,
    ) -> Result<()> {
        let narrow = Places::of(student, id, prompt, completion)?;
        let wide = Places::of(teacher, id, prompt, completion)?;
        let agreeing = narrow.text.bytes().zip(wide.text.bytes());
        let agreeing = agreeing.take_while(|(one, other)| one == other).count();
        let teachers: HashMap<usize, usize> = wide.starts.iter().copied().collect();
        let meetings: Vec<(usize, usize)> = narrow
            .starts
            .iter()
            .filter(|(byte, _)| *byte <= agreeing)
            .filter_map(|(byte, position)| Some((*position, *teachers.get(byte)?)))
            .collect();
        if meetings.is_empty() {
            return Err(Error::NoMeeting { id: id.to_owned() });
        }
        self.records.insert(id.to_owned(), AlignedRecord { tokens: wide.tokens, meetings });
        Ok(())
    }

    /// Takes over what another has of other records.
    pub fn extend(&mut self, other: Self) {
        self.records.extend(other.records);
    }

    /// Positions at which both say what comes next, over all records.
    pub fn num_meetings(&self) -> usize {
        self.records.values().map(|record| record.meetings.len()).sum()
    }

    /// The batch in the teacher's tokens, with a row for each of its rows that has a
    /// counterpart.
    pub(crate) fn of_batch(
        &self,
        batch: &Batch,
        pad_token_id: i64,
    ) -> limbeck_train::Result<AlignedBatch> {
        let mut examples = Vec::with_capacity(batch.examples.len());
        for span in &batch.examples {
            let record = self.records.get(&span.id);
            let tokens =
                record.map_or_else(|| vec![pad_token_id; 2], |record| record.tokens.clone());
            let weights = vec![0.0; tokens.len()];
            examples.push(Example { id: span.id.clone(), tokens, weights, ..Example::default() });
        }
        let mut numbers = Vec::new();
        for (number, row) in Vec::<i64>::try_from(&batch.rows)?.into_iter().enumerate() {
            let (index, position) = batch.place(row)?;
            let meeting = self.records.get(&batch.examples[index].id).and_then(|record| {
                let at = record.meetings.binary_search_by_key(&position, |pair| pair.0).ok()?;
                record.meetings.get(at)
            });
            if let Some((_, theirs)) = meeting {
                // Positions rise within a record, so that the batch keeps this order.
                examples[index].weights[theirs + 1] = 1.0;
                numbers.push(number as i64);
            }
        }
        let examples: Vec<&Example> = examples.iter().collect();
        let batch = Batch::new(&examples, pad_token_id, batch.tokens.device())?;
        Ok(AlignedBatch { batch, numbers })
    }
}

/// A conversation in one tokenizer's tokens.
struct Places {
    tokens: Vec<i64>,
    /// The reply from its chain on, or from its answer where it has none.
    text: String,
    /// Bytes of `text` at which a token begins, and the input position that predicts it.
    starts: Vec<(usize, usize)>,
}

impl Places {
    fn of(
        tokenizer: &Tokenizer,
        id: &str,
        prompt: &[Message],
        completion: Completion<'_>,
    ) -> Result<Self> {
        let example = Example::render(
            tokenizer,
            id,
            prompt,
            completion,
            usize::MAX,
            &TokenWeights::default(),
        )?;
        let whole = texts(tokenizer, id, prompt, completion)?;
        let (kept, answer) = match completion {
            Completion::Chain { reasoning, answer } => (reasoning, answer),
            Completion::Corrected { before, wrong, after, answer } => (
                [before, wrong, after].into_iter().find(|part| !part.is_empty()).unwrap_or(""),
                answer,
            ),
            Completion::AnswerOnly { answer } => ("", answer),
        };
        let kept = if kept.is_empty() { answer } else { kept };
        let from = whole.completion.find(kept).unwrap_or(0);
        let (_, starts) = tokenizer.encode_with_starts(&whole.completion)?;
        let prefix = tokenizer.encode(&whole.prefix)?.len();
        let starts = starts
            .into_iter()
            .enumerate()
            .filter(|(index, start)| *start >= from && prefix + index < example.tokens.len())
            .filter_map(|(index, start)| Some((start - from, (prefix + index).checked_sub(1)?)))
            .collect();
        Ok(Self { tokens: example.tokens, text: whole.completion[from..].to_owned(), starts })
    }
}
