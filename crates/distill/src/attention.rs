//! Attention-level distillation: the student's heads look where the teacher's look (Jiao
//! et al. 2020, "`TinyBERT`", section 3.1, with a divergence in place of squared error).
//!
//! What a small model learns last is where in the text to look; the teacher's attention
//! says it directly. Where the teacher's heads are a multiple of the student's, each
//! student head follows the mean of its share of them, in order; otherwise the mean of the
//! student's heads follows the mean of the teacher's.

use limbeck_model::{Decoder, Taps};
use tch::{Kind, TchError, Tensor};

/// Keeps logarithms of probabilities finite.
const EPSILON: f64 = 1e-6;

/// The pairs of blocks of a student and a teacher.
#[derive(Debug)]
pub struct AttentionMatching {
    /// Indices of blocks, student's first.
    pairs: Vec<(usize, usize)>,
    /// Groups of heads that are compared.
    groups: i64,
}

impl AttentionMatching {
    /// Pairs the first blocks, the last ones, and those between in proportion.
    pub fn new(student: &Decoder, teacher: &Decoder) -> Self {
        let (narrow, wide) = (student.config(), teacher.config());
        let (blocks, depth) = (narrow.layers.len(), wide.layers.len());
        let shared = wide.num_attention_heads % narrow.num_attention_heads == 0;
        Self {
            pairs: (0..blocks)
                .map(|block| match blocks {
                    1 => (block, depth - 1),
                    _ => (block, block * (depth - 1) / (blocks - 1)),
                })
                .collect(),
            groups: if shared { narrow.num_attention_heads } else { 1 },
        }
    }

    /// The student's blocks whose attention is compared.
    pub fn student_blocks(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.0).collect()
    }

    /// The teacher's blocks whose attention is compared.
    pub fn teacher_blocks(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.1).collect()
    }

    /// `KL(teacher ‖ student)` in nats, the mean over pairs, groups of heads and queries,
    /// prompt included.
    ///
    /// # Errors
    /// A block that was not tapped; libtorch's.
    pub fn loss(&self, student: &Taps, teacher: &Taps) -> limbeck_model::Result<Tensor> {
        let mut losses = Vec::with_capacity(self.pairs.len());
        for (narrow, wide) in &self.pairs {
            let (narrow, wide) = (student.attention_of(*narrow)?, teacher.attention_of(*wide)?);
            let target = self.grouped(wide)?.f_detach()?;
            let ratio = target
                .f_add_scalar(EPSILON)?
                .f_log()?
                .f_sub(&self.grouped(narrow)?.f_add_scalar(EPSILON)?.f_log()?)?;
            let divergence = target.f_mul(&ratio)?.f_sum_dim_intlist(-1, false, Kind::Float)?;
            losses.push(divergence.f_mean(Kind::Float)?);
        }
        Ok(Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?)
    }

    /// `[batch, heads, queries, keys]` → `[batch, groups, queries, keys]`, f32.
    fn grouped(&self, attention: &Tensor) -> Result<Tensor, TchError> {
        let (batch, heads, queries, keys) = attention.size4()?;
        attention
            .f_to_kind(Kind::Float)?
            .f_view([batch, self.groups, heads / self.groups, queries, keys])?
            .f_mean_dim(2, false, Kind::Float)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Device;

    use super::*;

    fn decoder(heads: i64, blocks: i64) -> Decoder {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 32, "hidden_size": 4 * heads,
            "intermediate_size": 16, "num_hidden_layers": blocks,
            "num_attention_heads": heads, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
        });
        Decoder::init(&config, 1, Device::Cpu, Kind::Float).unwrap()
    }

    #[test]
    fn first_and_last_blocks_are_paired() {
        let matching = AttentionMatching::new(&decoder(2, 3), &decoder(2, 6));
        assert_eq!(matching.teacher_blocks(), [0, 2, 5]);
    }

    fn taps(block: usize, attention: &Tensor) -> Taps {
        let mut taps = Taps::default();
        taps.attention.insert(block, attention.shallow_clone());
        taps
    }

    #[test]
    fn each_head_follows_its_share_of_the_teachers() {
        let matching = AttentionMatching::new(&decoder(2, 1), &decoder(4, 2));
        assert_eq!((matching.student_blocks(), matching.teacher_blocks()), (vec![0], vec![1]));
        // [batch 1, heads, queries 1, keys 2]
        let of = |first: &[f64]| {
            let rows: Vec<f64> = first.iter().flat_map(|p| [*p, 1.0 - p]).collect();
            Tensor::from_slice(&rows).view([1, first.len() as i64, 1, 2])
        };
        let teacher = taps(1, &of(&[0.9, 0.7, 0.1, 0.3]));
        let loss = |student: &[f64]| {
            matching.loss(&taps(0, &of(student)), &teacher).unwrap().double_value(&[])
        };
        assert!(loss(&[0.8, 0.2]).abs() < 1e-5, "the means of the two halves");
        let expected = 0.8 * (0.8_f64 / 0.5).ln() + 0.2 * (0.2_f64 / 0.5).ln();
        assert!((loss(&[0.5, 0.5]) - expected).abs() < 1e-4);
        assert!(loss(&[0.2, 0.8]) > expected, "the heads are not exchangeable");
    }

    #[test]
    fn head_counts_that_do_not_divide_are_compared_by_their_means() {
        let matching = AttentionMatching::new(&decoder(3, 1), &decoder(4, 1));
        let even = |heads: i64| Tensor::full([1, heads, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        let loss = matching.loss(&taps(0, &even(3)), &taps(0, &even(4))).unwrap();
        assert!(loss.double_value(&[]).abs() < 1e-6);
    }
}
