//! Relation distillation: how like each other the positions of a text are, by their
//! queries, keys or values (Wang et al. 2020, "`MiniLM`", section 3.2: values of the last
//! block; Wang et al. 2021, "`MiniLMv2`", section 3: any of the three over relation heads).
//!
//! A relation is `softmax(X Xᵀ / √d)` per head, over the positions that a decoder lets each
//! position see. The vectors of all heads are laid end to end and cut into as many relation
//! heads as asked for, so that student and teacher may differ in number and width of heads,
//! and in how many of them share a key. Queries and keys are taken before rotation: what is
//! compared is content, and rotations of unlike widths turn at unlike rates.

use limbeck_model::{Decoder, Projections, Taps};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::attention::paired_blocks;
use crate::positions::Positions;
use crate::{Error, Result};

/// Which vectors are related to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
}

/// The `[distill.relations]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelationSettings {
    /// Factor of the divergence between relations; 0 leaves them alone. Default 0.
    pub weight: f64,
    /// Which vectors: `query`, `key` and `value`. Default `["value"]`, which beside
    /// attention is `MiniLM`; all three alone are `MiniLMv2`.
    pub kinds: Vec<Relation>,
    /// Relation heads; must divide the width of all heads together, on both sides. 0 for as
    /// many as the student has key-value heads. Default 0.
    pub heads: i64,
    /// Pairs `[student, teacher]` of blocks, counted from 1. Default: the last two.
    pub layer_map: Vec<[usize; 2]>,
}

impl Default for RelationSettings {
    fn default() -> Self {
        Self { weight: 0.0, kinds: vec![Relation::Value], heads: 0, layer_map: Vec::new() }
    }
}

impl Validate for RelationSettings {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.weight >= 0.0 && self.weight.is_finite()) {
            return Err(Invalid::new("weight", "a number from 0 up", self.weight));
        }
        if self.kinds.is_empty() {
            return Err(Invalid::new("kinds", "query, key or value, or several", "none"));
        }
        if self.heads < 0 {
            return Err(Invalid::new("heads", "0, or how many", self.heads));
        }
        Ok(())
    }
}

/// The pairs of blocks whose relations are compared.
#[derive(Debug)]
pub struct RelationMatching {
    /// Indices of blocks from 0, student's first.
    pairs: Vec<(usize, usize)>,
    kinds: Vec<Relation>,
    heads: i64,
}

impl RelationMatching {
    /// Relations of a student and a teacher.
    ///
    /// # Errors
    /// [`Error::LayerMap`] for a block that is not there, [`Error::RelationHeads`] for heads
    /// that do not divide a width.
    pub fn new(student: &Decoder, teacher: &Decoder, settings: &RelationSettings) -> Result<Self> {
        let last = [[student.num_layers(), teacher.num_layers()]];
        let map = if settings.layer_map.is_empty() { &last[..] } else { &settings.layer_map };
        let pairs = paired_blocks("relations.layer_map", student, teacher, map)?;
        let heads = match settings.heads {
            0 => student.config().num_key_value_heads,
            heads => heads,
        };
        for (model, config) in [("student", student.config()), ("teacher", teacher.config())] {
            for kind in &settings.kinds {
                let count = match kind {
                    Relation::Query => config.num_attention_heads,
                    Relation::Key | Relation::Value => config.num_key_value_heads,
                };
                let width = count * config.head_dim;
                if width % heads != 0 {
                    return Err(Error::RelationHeads { heads, model, kind: *kind, width });
                }
            }
        }
        Ok(Self { pairs, kinds: settings.kinds.clone(), heads })
    }

    /// The student's blocks whose projections are compared.
    pub fn student_blocks(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.0).collect()
    }

    /// The teacher's blocks whose projections are compared.
    pub fn teacher_blocks(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.1).collect()
    }

    /// `KL(teacher ‖ student)` in nats: the mean over pairs, kinds and relation heads, summed
    /// over the real positions of this batch and divided by those of the whole step.
    ///
    /// # Errors
    /// A block that was not tapped; libtorch's.
    pub fn loss(
        &self,
        student: &Taps,
        teacher: &Taps,
        positions: &Positions,
    ) -> limbeck_model::Result<Tensor> {
        let mut losses = Vec::with_capacity(self.pairs.len() * self.kinds.len());
        for &(narrow, wide) in &self.pairs {
            let (narrow, wide) = (student.projections_of(narrow)?, teacher.projections_of(wide)?);
            for &kind in &self.kinds {
                let target = self.relation(chosen(wide, kind))?.f_detach()?;
                let ratio = target.f_sub(&self.relation(chosen(narrow, kind))?)?;
                // Where no relation is allowed both logarithms are the same large number.
                let divergence = target.f_exp()?.f_mul(&ratio)?;
                let divergence = divergence.f_sum_dim_intlist(-1, false, Kind::Float)?;
                losses.push(positions.mean(&divergence.f_mean_dim(1, false, Kind::Float)?)?);
            }
        }
        Ok(Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?)
    }

    /// Log-probabilities of the relations, `[batch, heads, seq, head_dim]` → f32
    /// `[batch, relation heads, seq, seq]`.
    fn relation(&self, vectors: &Tensor) -> std::result::Result<Tensor, TchError> {
        let (batch, heads, seq, head_dim) = vectors.size4()?;
        let width = heads * head_dim / self.heads;
        let vectors = vectors
            .f_to_kind(Kind::Float)?
            .f_transpose(1, 2)?
            .f_reshape([batch, seq, self.heads, width])?
            .f_transpose(1, 2)?; // [batch, relation heads, seq, width]
        let scores = vectors
            .f_matmul(&vectors.f_transpose(2, 3)?)?
            .f_mul_scalar((width as f64).sqrt().recip())?;
        let later = Tensor::f_ones([seq, seq], (Kind::Bool, vectors.device()))?.f_triu(1)?;
        scores.f_masked_fill(&later, MASKED)?.f_log_softmax(-1, Kind::Float)
    }
}

/// Low enough to leave no probability, and finite, so that 0 · (a − a) stays 0.
const MASKED: f64 = -1e30;

fn chosen(projections: &Projections, kind: Relation) -> &Tensor {
    match kind {
        Relation::Query => &projections.query,
        Relation::Key => &projections.key,
        Relation::Value => &projections.value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Device;

    use super::*;

    fn decoder(heads: i64, key_value_heads: i64, head_dim: i64) -> Decoder {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 32, "hidden_size": head_dim * heads,
            "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": heads, "num_key_value_heads": key_value_heads,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 64,
            "tie_word_embeddings": true,
        });
        Decoder::init(&config, 1, Device::Cpu, Kind::Float).unwrap()
    }

    fn taps(value: &Tensor) -> Taps {
        let mut taps = Taps::default();
        let [query, key, value] = [(); 3].map(|()| value.shallow_clone());
        taps.projections.insert(1, Projections { query, key, value });
        taps
    }

    #[test]
    fn the_last_blocks_are_related_unless_a_map_says_otherwise() {
        let (student, teacher) = (decoder(2, 1, 4), decoder(4, 2, 4));
        let matching = RelationMatching::new(&student, &teacher, &RelationSettings::default());
        let matching = matching.unwrap();
        assert_eq!((matching.student_blocks(), matching.teacher_blocks()), (vec![1], vec![1]));
        assert_eq!(matching.heads, 1);
        let wrong = RelationSettings { layer_map: vec![[1, 3]], ..RelationSettings::default() };
        let error = RelationMatching::new(&student, &teacher, &wrong).unwrap_err();
        assert!(error.to_string().contains("relations.layer_map"), "{error}");
        let wrong = RelationSettings { heads: 3, ..RelationSettings::default() };
        let error = RelationMatching::new(&student, &teacher, &wrong).unwrap_err();
        assert!(error.to_string().contains("3 relation heads"), "{error}");
    }

    /// Python: `log_softmax` of `v v' / sqrt(d)` under a causal mask, by hand for two
    /// positions: the first sees itself alone, the second the scores (v1·v0, v1·v1) / √2.
    #[test]
    fn the_relation_of_two_positions_is_what_the_formula_says() {
        let model = decoder(1, 1, 2);
        let matching = RelationMatching::new(&model, &model, &RelationSettings::default()).unwrap();
        let of = |values: [f32; 4]| taps(&Tensor::from_slice(&values).view([1, 1, 2, 2]));
        let (student, teacher) = (of([1.0, 0.0, 0.0, 1.0]), of([2.0, 0.0, 1.0, 0.0]));
        let loss = matching.loss(&student, &teacher, &Positions::all(1, 2)).unwrap();
        let softmax = |a: f64, b: f64| {
            let (a, b) = ((a / 2_f64.sqrt()).exp(), (b / 2_f64.sqrt()).exp());
            (a / (a + b), b / (a + b))
        };
        let (p, q) = (softmax(2.0, 1.0), softmax(0.0, 1.0));
        let expected = f64::midpoint(p.0 * (p.0 / q.0).ln(), p.1 * (p.1 / q.1).ln());
        assert!((loss.double_value(&[]) - expected).abs() < 1e-6, "{expected}");
    }

    #[test]
    fn unlike_heads_are_cut_into_as_many_relations() {
        let (student, teacher) = (decoder(2, 2, 4), decoder(4, 4, 2));
        let all = vec![Relation::Query, Relation::Key, Relation::Value];
        let settings = RelationSettings { kinds: all, heads: 2, ..RelationSettings::default() };
        let matching = RelationMatching::new(&student, &teacher, &settings).unwrap();
        let flat = Tensor::randn([1, 5, 8], (Kind::Float, Device::Cpu));
        let split = |heads: i64| taps(&flat.view([1, 5, heads, 8 / heads]).transpose(1, 2));
        let positions = Positions::all(1, 5);
        let same = matching.loss(&split(2), &split(4), &positions).unwrap();
        assert!(same.double_value(&[]).abs() < 1e-6, "the same vectors, whatever their heads");
        let other = taps(&Tensor::randn([1, 2, 5, 4], (Kind::Float, Device::Cpu)));
        assert!(matching.loss(&other, &split(4), &positions).unwrap().double_value(&[]) > 1e-3);
    }
}
