//! Attention-level distillation: the student's heads look where the teacher's look
//! (Wang et al. 2020, "`MiniLM`", section 3.1, equation 6; Jiao et al. 2020, "`TinyBERT`",
//! section 3.1).
//!
//! What a small model learns last is where in the text to look; the teacher's attention
//! says it directly. Which of the teacher's heads a student's head follows is chosen
//! ([`crate::key_heads`]), or else, where the teacher's heads are a multiple of the
//! student's, the mean of its share of them, in order; otherwise the mean of the student's
//! heads follows the mean of the teacher's.

use limbeck_model::{Decoder, Taps};
use tch::{Kind, TchError, Tensor};

use crate::key_heads::KeyHeads;
use crate::positions::Positions;
use crate::{Error, Result};

/// Keeps logarithms of probabilities finite.
const EPSILON: f64 = 1e-6;

/// The pairs of blocks of a student and a teacher, and the heads that are compared.
#[derive(Debug)]
pub struct AttentionMatching {
    /// Indices of blocks from 0, student's first.
    pairs: Vec<(usize, usize)>,
    /// Groups of heads that are compared where none were chosen.
    groups: i64,
    /// The teacher's heads by its block, one for each of the student's first heads.
    key_heads: Option<KeyHeads>,
}

impl AttentionMatching {
    /// Pairs blocks as the map says, counted from 1; an empty map pairs the first blocks,
    /// the last ones, and those between in proportion.
    ///
    /// # Errors
    /// [`Error::LayerMap`] for a block that is not there.
    pub fn new(student: &Decoder, teacher: &Decoder, map: &[[usize; 2]]) -> Result<Self> {
        let (narrow, wide) = (student.config(), teacher.config());
        let shared = wide.num_attention_heads % narrow.num_attention_heads == 0;
        Ok(Self {
            pairs: paired_blocks("attention_map", student, teacher, map)?,
            groups: if shared { narrow.num_attention_heads } else { 1 },
            key_heads: None,
        })
    }

    /// Follows these heads of the teacher instead of means.
    #[must_use]
    pub fn with_key_heads(mut self, key_heads: KeyHeads) -> Self {
        self.key_heads = Some(key_heads);
        self
    }

    /// The chosen heads, if heads were chosen.
    pub fn key_heads(&self) -> Option<&KeyHeads> {
        self.key_heads.as_ref()
    }

    /// The student's blocks whose attention is compared.
    pub fn student_blocks(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.0).collect()
    }

    /// The teacher's blocks whose attention is compared.
    pub fn teacher_blocks(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.1).collect()
    }

    /// `KL(teacher ‖ student)` in nats: the mean over pairs and heads, summed over the real
    /// queries of this batch, prompt included, and divided by those of the whole step.
    ///
    /// # Errors
    /// A block that was not tapped; libtorch's.
    pub fn loss(
        &self,
        student: &Taps,
        teacher: &Taps,
        positions: &Positions,
    ) -> limbeck_model::Result<Tensor> {
        let mut losses = Vec::with_capacity(self.pairs.len());
        for &(narrow, wide) in &self.pairs {
            let (attention, target) = (student.attention_of(narrow)?, teacher.attention_of(wide)?);
            let chosen = self.key_heads.as_ref().and_then(|heads| heads.of_block(wide));
            let (attention, target) = match chosen {
                Some(heads) => {
                    let index = Tensor::f_from_slice(heads)?.f_to_device(target.device())?;
                    let first = attention.f_narrow(1, 0, heads.len() as i64)?;
                    (first.f_to_kind(Kind::Float)?, target.f_index_select(1, &index)?)
                }
                None => (self.grouped(attention)?, self.grouped(target)?),
            };
            let target = target.f_to_kind(Kind::Float)?.f_detach()?;
            let ratio = target
                .f_add_scalar(EPSILON)?
                .f_log()?
                .f_sub(&attention.f_add_scalar(EPSILON)?.f_log()?)?;
            // [batch, heads, queries]
            let divergence = target.f_mul(&ratio)?.f_sum_dim_intlist(-1, false, Kind::Float)?;
            losses.push(positions.mean(&divergence.f_mean_dim(1, false, Kind::Float)?)?);
        }
        Ok(Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?)
    }

    /// `[batch, heads, queries, keys]` → `[batch, groups, queries, keys]`, f32.
    fn grouped(&self, attention: &Tensor) -> std::result::Result<Tensor, TchError> {
        let (batch, heads, queries, keys) = attention.size4()?;
        attention
            .f_to_kind(Kind::Float)?
            .f_view([batch, self.groups, heads / self.groups, queries, keys])?
            .f_mean_dim(2, false, Kind::Float)
    }
}

/// Pairs of blocks from 0 for a map of blocks from 1: as it says, or if it is empty the
/// first blocks, the last ones, and those between in proportion.
///
/// # Errors
/// [`Error::LayerMap`], naming `key`, for a block that is not there.
pub(crate) fn paired_blocks(
    key: &'static str,
    student: &Decoder,
    teacher: &Decoder,
    map: &[[usize; 2]],
) -> Result<Vec<(usize, usize)>> {
    let (blocks, depth) = (student.num_layers(), teacher.num_layers());
    if map.is_empty() {
        let by_depth = |block| match blocks {
            1 => (block, depth - 1),
            _ => (block, block * (depth - 1) / (blocks - 1)),
        };
        return Ok((0..blocks).map(by_depth).collect());
    }
    map.iter()
        .map(|&pair| {
            if (1..=blocks).contains(&pair[0]) && (1..=depth).contains(&pair[1]) {
                return Ok((pair[0] - 1, pair[1] - 1));
            }
            Err(Error::LayerMap { key, pair, student: blocks, teacher: depth })
        })
        .collect()
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
        let matching = AttentionMatching::new(&decoder(2, 3), &decoder(2, 6), &[]).unwrap();
        assert_eq!(matching.teacher_blocks(), [0, 2, 5]);
    }

    #[test]
    fn a_map_counts_from_one_and_is_checked() {
        let (student, teacher) = (decoder(2, 3), decoder(2, 6));
        let matching = AttentionMatching::new(&student, &teacher, &[[3, 5]]).unwrap();
        assert_eq!((matching.student_blocks(), matching.teacher_blocks()), (vec![2], vec![4]));
        for wrong in [[0, 1], [1, 0], [4, 1], [1, 7]] {
            let error = AttentionMatching::new(&student, &teacher, &[wrong]).unwrap_err();
            assert!(error.to_string().contains("attention_map"), "{error}");
        }
    }

    #[test]
    fn a_chosen_head_is_followed_alone() {
        let key_heads = KeyHeads::chosen([(0, vec![2, 0])]);
        let matching = AttentionMatching::new(&decoder(2, 1), &decoder(3, 1), &[])
            .unwrap()
            .with_key_heads(key_heads);
        let of = |first: &[f64]| {
            let rows: Vec<f64> = first.iter().flat_map(|p| [*p, 1.0 - p]).collect();
            Tensor::from_slice(&rows).view([1, first.len() as i64, 1, 2])
        };
        let teacher = taps(0, &of(&[0.9, 0.5, 0.2]));
        let loss = |student: &[f64]| {
            let student = taps(0, &of(student));
            matching.loss(&student, &teacher, &Positions::all(1, 1)).unwrap().double_value(&[])
        };
        assert!(loss(&[0.2, 0.9]).abs() < 1e-6);
        assert!(loss(&[0.9, 0.2]) > 0.5);
    }

    fn taps(block: usize, attention: &Tensor) -> Taps {
        let mut taps = Taps::default();
        taps.attention.insert(block, attention.shallow_clone());
        taps
    }

    #[test]
    fn each_head_follows_its_share_of_the_teachers() {
        let matching = AttentionMatching::new(&decoder(2, 1), &decoder(4, 2), &[]).unwrap();
        assert_eq!((matching.student_blocks(), matching.teacher_blocks()), (vec![0], vec![1]));
        // [batch 1, heads, queries 1, keys 2]
        let of = |first: &[f64]| {
            let rows: Vec<f64> = first.iter().flat_map(|p| [*p, 1.0 - p]).collect();
            Tensor::from_slice(&rows).view([1, first.len() as i64, 1, 2])
        };
        let teacher = taps(1, &of(&[0.9, 0.7, 0.1, 0.3]));
        let loss = |student: &[f64]| {
            let student = taps(0, &of(student));
            matching.loss(&student, &teacher, &Positions::all(1, 1)).unwrap().double_value(&[])
        };
        assert!(loss(&[0.8, 0.2]).abs() < 1e-5, "the means of the two halves");
        let expected = 0.8 * (0.8_f64 / 0.5).ln() + 0.2 * (0.2_f64 / 0.5).ln();
        assert!((loss(&[0.5, 0.5]) - expected).abs() < 1e-4);
        assert!(loss(&[0.2, 0.8]) > expected, "the heads are not exchangeable");
    }

    #[test]
    fn head_counts_that_do_not_divide_are_compared_by_their_means() {
        let matching = AttentionMatching::new(&decoder(3, 1), &decoder(4, 1), &[]).unwrap();
        let even = |heads: i64| Tensor::full([1, heads, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        let (student, teacher) = (taps(0, &even(3)), taps(0, &even(4)));
        let loss = matching.loss(&student, &teacher, &Positions::all(1, 2)).unwrap();
        assert!(loss.double_value(&[]).abs() < 1e-6);
    }
}
