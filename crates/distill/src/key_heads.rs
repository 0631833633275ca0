//! Which of the teacher's heads are worth following.
//!
//! Heads of the teacher's matched blocks are scored on calibration chains, and the best of
//! each block become the targets of the student's heads, one each. Two scores: by gradient
//! (Michel et al. 2019, section 4.1: |∂L/∂ξ| for a factor ξ on a head's output, which for
//! `softmax · V` is |Σ P ∘ ∂L/∂P|), what the teacher's own loss needs; and by entropy, how
//! sharply a head looks at few places.

use std::collections::BTreeMap;
use std::fmt;

use limbeck_model::{Decoder, Taps};
use limbeck_train::objective::{forward_tapped, weighted_cross_entropy};
use limbeck_train::{Batch, head};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use crate::Result;

/// Which heads of the teacher the student's follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadChoice {
    /// The means of equal shares of them.
    #[default]
    Mean,
    /// Those that the teacher's loss depends on most.
    Gradient,
    /// Those that look at the fewest places.
    Entropy,
}

/// The scores of a block's heads and those that were chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockHeads {
    /// The teacher's block, from 0.
    pub block: usize,
    /// The score of each head; the higher the better.
    pub scores: Vec<f64>,
    /// The chosen heads, from 0, in order.
    pub heads: Vec<i64>,
}

/// The heads that are followed, as `attention-heads.json` holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyHeads {
    /// How they were scored.
    pub by: HeadChoice,
    /// By block of the teacher.
    pub blocks: Vec<BlockHeads>,
}

impl KeyHeads {
    /// Scores the heads of these blocks on the batches, and chooses the `count` best of each
    /// (all, if there are fewer). A score is relative to its block: they sum to 1 by
    /// gradient, and by entropy are 1 minus the mean entropy over that of an even look.
    ///
    /// # Errors
    /// Those of the model; libtorch's.
    pub fn choose(
        teacher: &Decoder,
        blocks: &[usize],
        by: HeadChoice,
        count: i64,
        batches: &[Batch],
    ) -> Result<Self> {
        let mut sums: BTreeMap<usize, Tensor> = BTreeMap::new();
        for batch in batches {
            let scored = match by {
                HeadChoice::Gradient => gradients(teacher, blocks, batch)?,
                HeadChoice::Mean | HeadChoice::Entropy => entropies(teacher, blocks, batch)?,
            };
            for (block, score) in scored {
                let sum = match sums.remove(&block) {
                    Some(sum) => sum.f_add(&score)?,
                    None => score,
                };
                sums.insert(block, sum);
            }
        }
        let mut chosen = Vec::with_capacity(sums.len());
        for (block, sum) in sums {
            let scores = Vec::<f64>::try_from(&sum.f_to_kind(Kind::Double)?)?;
            chosen.push(BlockHeads {
                block,
                heads: best(&scores, count),
                scores: even(by, scores),
            });
        }
        Ok(Self { by, blocks: chosen })
    }

    /// The chosen heads of a block of the teacher.
    pub fn of_block(&self, block: usize) -> Option<&[i64]> {
        self.blocks.iter().find(|heads| heads.block == block).map(|heads| heads.heads.as_slice())
    }

    /// Heads without scores.
    #[cfg(test)]
    pub(crate) fn chosen<const N: usize>(blocks: [(usize, Vec<i64>); N]) -> Self {
        let blocks = blocks.map(|(block, heads)| BlockHeads { block, scores: Vec::new(), heads });
        Self { by: HeadChoice::Entropy, blocks: blocks.to_vec() }
    }
}

impl fmt::Display for KeyHeads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, BlockHeads { block, scores, heads }) in self.blocks.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}block {block}:")?;
            for &head in heads {
                let score = scores.get(head as usize).copied().unwrap_or_default();
                write!(formatter, " {head} ({score:.2})")?;
            }
        }
        Ok(())
    }
}

/// The indices of the `count` highest scores, in order; of equals the first.
fn best(scores: &[f64], count: i64) -> Vec<i64> {
    let mut order: Vec<i64> = (0..scores.len() as i64).collect();
    order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    order.truncate(count.max(1) as usize);
    order.sort_unstable();
    order
}

/// Scores as they are shown.
fn even(by: HeadChoice, mut scores: Vec<f64>) -> Vec<f64> {
    if by == HeadChoice::Gradient {
        let sum: f64 = scores.iter().sum();
        for score in &mut scores {
            *score /= sum.max(f64::MIN_POSITIVE);
        }
    }
    scores
}

/// |Σ P ∘ ∂L/∂P| of each head, summed over the batch's examples, `[heads]` by block.
fn gradients(teacher: &Decoder, blocks: &[usize], batch: &Batch) -> Result<Vec<(usize, Tensor)>> {
    let mut taps = Taps::new(Vec::new(), blocks.to_vec());
    // The graph needs something that takes gradients to begin at.
    teacher.set_requires_grad(true)?;
    let loss = forward_tapped(teacher, batch, Some(&mut taps)).and_then(|hidden| {
        let logits = teacher.logits(&head::select_rows(&hidden, batch)?)?.f_to_kind(Kind::Float)?;
        weighted_cross_entropy(&logits, &batch.targets, &batch.weights, batch.weight_sum)
    });
    teacher.set_requires_grad(false)?;
    let loss = loss?;
    let attention: Vec<&Tensor> = taps.attention.values().collect();
    let gradients = Tensor::f_run_backward(&[loss], &attention, false, false)?;
    let scored = taps.attention.iter().zip(gradients).map(|((&block, attention), gradient)| {
        // [batch, heads, queries, keys] → [batch, heads]
        let share = attention.f_mul(&gradient)?.f_sum_dim_intlist(
            [2_i64, 3].as_slice(),
            false,
            Kind::Float,
        )?;
        Ok((block, share.f_abs()?.f_sum_dim_intlist(0, false, Kind::Float)?.f_detach()?))
    });
    scored.collect()
}

/// 1 − the mean entropy of each head over that of an even look, `[heads]` by block.
fn entropies(teacher: &Decoder, blocks: &[usize], batch: &Batch) -> Result<Vec<(usize, Tensor)>> {
    no_grad(|| {
        let mut taps = Taps::new(Vec::new(), blocks.to_vec());
        let _ = forward_tapped(teacher, batch, Some(&mut taps))?;
        let mask = batch.real_positions()?; // [batch, seq]
        let (_, seq) = mask.size2()?;
        // The first position has one place to look at, and says nothing.
        let places = Tensor::f_arange_start(1, seq + 1, (Kind::Float, mask.device()))?;
        let most = places.f_log()?.f_clamp_min(1e-6)?; // [seq]
        let mask = mask.f_mul(&places.f_gt(1)?.f_to_kind(Kind::Float)?)?;
        let count = mask.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
        let scored = taps.attention.iter().map(|(&block, attention)| {
            let probabilities = attention.f_to_kind(Kind::Float)?;
            let logs = probabilities.f_clamp_min(1e-9)?.f_log()?;
            let entropy =
                probabilities.f_mul(&logs)?.f_sum_dim_intlist(-1, false, Kind::Float)?.f_neg()?;
            // [batch, heads, queries] → [heads]
            let share = entropy.f_div(&most)?.f_mul(&mask.f_unsqueeze(1)?)?;
            let mean = share
                .f_sum_dim_intlist([0_i64, 2].as_slice(), false, Kind::Float)?
                .f_div(&count)?;
            Ok((block, mean.f_neg()?.f_add_scalar(1.0)?))
        });
        scored.collect()
    })
}

#[cfg(test)]
mod tests {
    use limbeck_train::Example;
    use serde_json::json;
    use tch::Device;

    use super::*;

    fn teacher() -> Decoder {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 32, "hidden_size": 16,
            "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
            "initializer_range": 0.4,
        });
        Decoder::init(&config, 3, Device::Cpu, Kind::Float).unwrap()
    }

    fn batch() -> Batch {
        let example = |start: i64| Example {
            id: start.to_string(),
            tokens: (start..start + 9).collect(),
            weights: [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0].to_vec(),
            ..Example::default()
        };
        Batch::new(&[&example(1), &example(20)], 0, Device::Cpu).unwrap()
    }

    /// Scales what a head adds to the residual stream: the columns of `o_proj` that it owns.
    fn scale_head(model: &Decoder, block: usize, head: i64, factor: f64) {
        let name = format!("model.layers.{block}.self_attn.o_proj.weight");
        let (_, weight) =
            model.named_parameters().into_iter().find(|(key, _)| *key == name).unwrap();
        let _guard = tch::no_grad_guard();
        let _ = weight.narrow(1, head * 4, 4).g_mul_scalar_(factor);
    }

    #[test]
    fn a_gradient_score_is_the_slope_of_the_loss_along_a_head() {
        let loss = |model: &Decoder, batch: &Batch| {
            let hidden = limbeck_train::objective::forward(model, batch).unwrap();
            let logits = model.logits(&head::select_rows(&hidden, batch).unwrap()).unwrap();
            weighted_cross_entropy(&logits, &batch.targets, &batch.weights, batch.weight_sum)
                .unwrap()
                .double_value(&[])
        };
        let example = Example {
            id: String::new(),
            tokens: (1..12).collect(),
            weights: vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            ..Example::default()
        };
        let batch = Batch::new(&[&example], 0, Device::Cpu).unwrap();
        let scores = gradients(&teacher(), &[1], &batch).unwrap().remove(0).1;
        for head in 0..4 {
            let step = 1e-2;
            let slope = [1.0 + step, 1.0 - step].map(|factor| {
                let model = teacher();
                scale_head(&model, 1, head, factor);
                loss(&model, &batch)
            });
            let slope = ((slope[0] - slope[1]) / (2.0 * step)).abs();
            let score = scores.double_value(&[head]);
            assert!((score - slope).abs() < 0.02 * slope + 2e-4, "{head}: {score} {slope}");
        }
        assert!(teacher().named_parameters().iter().all(|(_, tensor)| !tensor.requires_grad()));
    }

    #[test]
    fn a_head_that_adds_nothing_is_not_chosen() {
        let model = teacher();
        scale_head(&model, 1, 2, 0.0);
        let chosen = KeyHeads::choose(&model, &[0, 1], HeadChoice::Gradient, 3, &[batch()]);
        let chosen = chosen.unwrap();
        assert_eq!(chosen.of_block(1).unwrap(), [0, 1, 3]);
        assert_eq!(chosen.of_block(0).unwrap().len(), 3);
        assert!((chosen.blocks[0].scores.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert!(chosen.to_string().starts_with("block 0: "), "{chosen}");
    }

    #[test]
    fn a_head_that_looks_everywhere_comes_last_by_entropy() {
        let model = teacher();
        let name = "model.layers.0.self_attn.q_proj";
        let _guard = tch::no_grad_guard();
        for (key, tensor) in model.named_parameters() {
            if key.starts_with(name) {
                // No query, no preference: head 1 owns rows 4 to 7.
                let _ = tensor.narrow(0, 4, 4).zero_();
            }
        }
        let chosen = KeyHeads::choose(&model, &[0], HeadChoice::Entropy, 3, &[batch()]).unwrap();
        assert_eq!(chosen.of_block(0).unwrap(), [0, 2, 3]);
        assert!(chosen.blocks[0].scores[1].abs() < 1e-4, "{chosen:?}");
    }
}
