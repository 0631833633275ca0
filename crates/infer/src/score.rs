//! Log-probabilities of given tokens.

use limbeck_model::Input;
use tch::{Device, Kind, Tensor};

use crate::engine::{Engine, plan};
use crate::router::Routed;
use crate::{Error, Result};

/// Most tokens of one forward pass, padding included. Larger passes are no faster and hold
/// more activations.
const FORWARD_TOKENS: usize = 8192;

/// Most fp32 logits held at a time (64 MiB), whatever the vocabulary.
const HELD_LOGITS: i64 = 1 << 24;

/// How a model rates a sequence.
#[derive(Debug)]
pub struct Score {
    /// Natural log-probability of each token given those before it; `None` for the first,
    /// which has none before.
    pub logprobs: Vec<Option<f32>>,
    /// Logits after each token, fp32 `[tokens, vocab]` on the CPU, if asked for.
    pub logits: Option<Tensor>,
}

impl Engine<'_> {
    /// Natural log-probability of each token given those before it, `None` for the first.
    ///
    /// # Errors
    /// An empty or too long sequence or an unknown token id, named by its index.
    pub fn score(&self, sequences: &[Vec<i64>]) -> Result<Vec<Vec<Option<f32>>>> {
        let scores = self.score_with(sequences, false, &mut |_| {})?;
        Ok(scores.into_iter().map(|score| score.logprobs).collect())
    }

    /// As [`Self::score`], with the logits themselves if `want_logits`; `progress` hears
    /// how many sequences were scored since it was last called.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn score_with(
        &self,
        sequences: &[Vec<i64>],
        want_logits: bool,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Score>> {
        self.check(sequences, 0)?;
        let _no_grad = tch::no_grad_guard();
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let mut scores: Vec<Option<Score>> = sequences.iter().map(|_| None).collect();
        let mut routed = Routed::new(self.router);
        for mut group in plan(&lengths, FORWARD_TOKENS) {
            group.sort_by_key(|&index| routed.order(Some(index as u64)));
            routed.route(|| group.iter().map(|&index| Some(index as u64)).collect())?;
            for (&index, score) in
                group.iter().zip(self.score_group(sequences, &group, want_logits)?)
            {
                scores[index] = Some(score);
            }
            progress(group.len());
        }
        // The plan holds every sequence once.
        Ok(scores.into_iter().flatten().collect())
    }

    fn score_group(
        &self,
        sequences: &[Vec<i64>],
        group: &[usize],
        want_logits: bool,
    ) -> Result<Vec<Score>> {
        let device = self.decoder.device();
        let longest = group.iter().map(|&index| sequences[index].len()).max().unwrap_or(0);
        let mut padded = Vec::with_capacity(group.len() * longest);
        let mut slots = Vec::new();
        let mut targets = Vec::new();
        for &index in group {
            let sequence = &sequences[index];
            let start = padded.len();
            padded.extend_from_slice(sequence);
            padded.resize(start + longest, 0);
            slots.extend((start..start + sequence.len()).map(|slot| slot as i64));
            targets.extend_from_slice(&sequence[1..]);
            // After the last token nothing is rated; the slot is there for its logits.
            targets.push(0);
        }
        let tokens = Tensor::f_from_slice(&padded)?
            .f_view([group.len() as i64, longest as i64])? // [batch, longest]
            .f_to_device(device)?;
        let hidden = self.decoder.forward(&Input::causal(&tokens), None, None)?;
        let slots = Tensor::f_from_slice(&slots)?.f_to_device(device)?;
        let hidden = hidden.f_flatten(0, 1)?.f_index_select(0, &slots)?; // [tokens, hidden]
        let targets = Tensor::f_from_slice(&targets)?.f_to_device(device)?;
        let (logprobs, logits) = self.rate(&hidden, &targets, want_logits)?;

        let mut start = 0;
        let mut scores = Vec::with_capacity(group.len());
        for &index in group {
            let length = sequences[index].len();
            let rated = &logprobs[start..start + length - 1];
            if let Some(position) = rated.iter().position(|logprob| logprob.is_nan()) {
                return Err(Error::NotFinite { index, position: position + 1 });
            }
            let logits = match &logits {
                Some(logits) => Some(logits.f_narrow(0, start as i64, length as i64)?),
                None => None,
            };
            let logprobs = std::iter::once(None).chain(rated.iter().copied().map(Some)).collect();
            scores.push(Score { logprobs, logits });
            start += length;
        }
        Ok(scores)
    }

    /// Log-probability of `targets` i64 `[tokens]` after `hidden` `[tokens, hidden]`, a
    /// chunk of rows at a time; with the logits if asked for.
    fn rate(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        want_logits: bool,
    ) -> Result<(Vec<f32>, Option<Tensor>)> {
        let rows = targets.size1()?;
        let chunk = (HELD_LOGITS / self.decoder.config().vocab_size).max(1);
        let mut logprobs = Vec::with_capacity(rows as usize);
        let mut kept = Vec::new();
        let mut start = 0;
        while start < rows {
            let length = chunk.min(rows - start);
            let logits =
                self.decoder.logits(&hidden.f_narrow(0, start, length)?)?.f_to_kind(Kind::Float)?;
            let targets = targets.f_narrow(0, start, length)?.f_unsqueeze(1)?;
            let chosen = logits.f_gather(1, &targets, false)?.f_squeeze_dim(1)?;
            let normaliser = logits.f_logsumexp([1_i64].as_slice(), false)?;
            logprobs.extend(Vec::<f32>::try_from(&chosen.f_sub(&normaliser)?)?);
            if want_logits {
                kept.push(logits.f_to_device(Device::Cpu)?);
            }
            start += length;
        }
        let logits = if want_logits { Some(Tensor::f_cat(&kept, 0)?) } else { None };
        Ok((logprobs, logits))
    }
}
