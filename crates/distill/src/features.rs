//! Feature-level distillation: the student's hidden states, through a learned linear map,
//! follow the teacher's (Romero et al. 2015, "`FitNets`"; Jiao et al. 2020, "`TinyBERT`",
//! section 3.1).
//!
//! Labels and even the teacher's distributions say what comes next; hidden states say how
//! the teacher found it, such as which item of the question a line is about. Unless a map
//! says otherwise, each block of the student is paired with the teacher's block at the same
//! relative depth.

use limbeck_core::seed::{self, CounterRng};
use limbeck_model::{Decoder, Taps};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

use crate::positions::Positions;
use crate::{Error, Result};

/// How far two hidden states are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenLoss {
    /// Mean squared difference of the states at a root mean square of 1, so that the size
    /// of a deep residual stream does not matter: twice [`HiddenLoss::Cosine`].
    #[default]
    NormalizedMse,
    /// 1 − the cosine of the angle between them; 1 is the value of unrelated states.
    Cosine,
    /// Mean squared difference as they are (`TinyBERT`, equation 8).
    Mse,
}

/// Which hidden states are compared, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureSettings {
    /// Pairs of a student's and a teacher's block, counted from 1, where 0 is the
    /// embedding; empty for all of the student's blocks by relative depth.
    pub layer_map: Vec<[usize; 2]>,
    /// Whether the embeddings are compared beside the map's pairs.
    pub embeddings: bool,
    /// How.
    pub loss: HiddenLoss,
}

/// Keeps the root of a row's mean square away from zero.
const EPSILON: f64 = 1e-6;

/// A pair of hidden states, and the map between them.
#[derive(Debug)]
struct Pair {
    /// Index of the student's hidden state; 0 is the embedding.
    student: usize,
    /// Index of the teacher's.
    teacher: usize,
    /// f32 `[teacher hidden_size, student hidden_size]`.
    projection: Tensor,
}

/// The pairs of a student and a teacher.
#[derive(Debug)]
pub struct FeatureMatching {
    pairs: Vec<Pair>,
    loss: HiddenLoss,
}

impl FeatureMatching {
    /// Pairs the outputs of the student's blocks with those of the teacher's: as the map
    /// says, or block `i` of `n` with the one at `i / n` of the teacher's depth.
    ///
    /// # Errors
    /// [`Error::LayerMap`] for a block that is not there; libtorch's.
    pub fn new(
        student: &Decoder,
        teacher: &Decoder,
        settings: &FeatureSettings,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let (narrow, wide) = (student.config(), teacher.config());
        let (blocks, depth) = (narrow.layers.len(), wide.layers.len());
        let shape = [wide.hidden_size, narrow.hidden_size];
        let mut map: Vec<[usize; 2]> = if settings.layer_map.is_empty() {
            (1..=blocks).map(|block| [block, (block * depth).div_ceil(blocks)]).collect()
        } else {
            settings.layer_map.clone()
        };
        if settings.embeddings && !map.contains(&[0, 0]) {
            map.insert(0, [0, 0]);
        }
        let outside = |[block, of]: &&[usize; 2]| *block > blocks || *of > depth;
        if let Some(&pair) = map.iter().find(outside) {
            let key = "layer_map";
            return Err(Error::LayerMap { key, pair, student: blocks, teacher: depth });
        }
        let pairs = map.into_iter().enumerate().map(|(index, [block, teacher])| {
            // Pairs by depth draw by block; those of a map by their place in it too.
            let place = if settings.layer_map.is_empty() { 0 } else { (index as u64) << 32 };
            let number = place + block as u64;
            let mut stream = CounterRng::new(seed::derive(seed, "projection", number));
            let values = stream.normals((shape[0] * shape[1]) as usize);
            let projection = Tensor::f_from_slice(&values)?
                .f_view(shape)?
                .f_mul_scalar((shape[1] as f64).sqrt().recip())?
                .f_to_kind(Kind::Float)?
                .f_to_device(device)?
                .f_set_requires_grad(true)?;
            Ok(Pair { student: block, teacher, projection })
        });
        let pairs = pairs.collect::<std::result::Result<_, TchError>>()?;
        Ok(Self { pairs, loss: settings.loss })
    }

    /// The maps, to be trained with the student.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let name = |pair: &Pair| format!("projections.{}.{}.weight", pair.student, pair.teacher);
        self.pairs.iter().map(|pair| (name(pair), pair.projection.shallow_clone())).collect()
    }

    /// The student's hidden states that are compared; 0 is the embedding.
    pub fn student_states(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.student).collect()
    }

    /// The teacher's hidden states that are compared; 0 is the embedding.
    pub fn teacher_states(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.teacher).collect()
    }

    /// How far the mapped hidden states are from the teacher's: the mean over pairs, summed
    /// over the real positions of this batch, prompt included, and divided by those of the
    /// whole step.
    ///
    /// # Errors
    /// A hidden state that was not tapped; libtorch's.
    pub fn loss(
        &self,
        student: &Taps,
        teacher: &Taps,
        positions: &Positions,
    ) -> limbeck_model::Result<Tensor> {
        let mut losses = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            let narrow = student.hidden_state(pair.student)?;
            let wide = teacher.hidden_state(pair.teacher)?;
            let mapped =
                narrow.f_to_kind(Kind::Float)?.f_linear::<Tensor>(&pair.projection, None)?;
            let target = wide.f_to_kind(Kind::Float)?.f_detach()?;
            let difference = match self.loss {
                HiddenLoss::Mse => mapped.f_sub(&target)?,
                HiddenLoss::NormalizedMse | HiddenLoss::Cosine => {
                    normalized(&mapped)?.f_sub(&normalized(&target)?)?
                }
            };
            let factor = if self.loss == HiddenLoss::Cosine { 0.5 } else { 1.0 };
            let square = difference.f_square()?.f_mean_dim(-1, false, Kind::Float)?; // [batch, seq]
            losses.push(positions.mean(&square)?.f_mul_scalar(factor)?);
        }
        Ok(Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?)
    }
}

/// Rows with a root mean square of 1.
fn normalized(rows: &Tensor) -> std::result::Result<Tensor, TchError> {
    let mean_square = rows.f_square()?.f_mean_dim(-1, true, Kind::Float)?;
    rows.f_mul(&mean_square.f_add_scalar(EPSILON)?.f_rsqrt()?)
}

#[cfg(test)]
mod tests {
    use limbeck_model::Decoder;
    use serde_json::json;

    use super::*;

    fn decoder(hidden_size: i64, num_hidden_layers: i64) -> Decoder {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 32, "hidden_size": hidden_size,
            "intermediate_size": 16, "num_hidden_layers": num_hidden_layers,
            "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
        });
        Decoder::init(&config, 1, Device::Cpu, Kind::Float).unwrap()
    }

    fn even() -> FeatureSettings {
        FeatureSettings::default()
    }

    #[test]
    fn a_map_pairs_blocks_and_embeddings() {
        let (student, teacher) = (decoder(8, 3), decoder(16, 6));
        let new = |layer_map: &[[usize; 2]], embeddings| {
            let settings = FeatureSettings { layer_map: layer_map.to_vec(), embeddings, ..even() };
            FeatureMatching::new(&student, &teacher, &settings, 0, Device::Cpu)
        };
        let matching = new(&[[1, 6], [3, 6]], true).unwrap();
        assert_eq!(matching.student_states(), [0, 1, 3]);
        assert_eq!(matching.teacher_states(), [0, 6, 6]);
        let names: Vec<String> = matching.parameters().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[1], "projections.1.6.weight");
        let error = new(&[[1, 7]], false).unwrap_err().to_string();
        assert!(error.contains("[1, 7]") && error.contains('6'), "{error}");
        assert_eq!(new(&[], true).unwrap().student_states(), [0, 1, 2, 3]);
    }

    #[test]
    fn each_loss_measures_what_it_says() {
        let (student, teacher) = (decoder(8, 1), decoder(8, 1));
        let narrow = Tensor::randn([2, 5, 8], (Kind::Float, Device::Cpu));
        let wide = Tensor::randn([2, 5, 8], (Kind::Float, Device::Cpu)) * 2.0;
        let value = |loss| {
            let settings = FeatureSettings { loss, ..even() };
            let matching =
                FeatureMatching::new(&student, &teacher, &settings, 0, Device::Cpu).unwrap();
            let _guard = tch::no_grad_guard();
            let (_, mut projection) = matching.parameters().remove(0);
            projection.copy_(&Tensor::eye(8, (Kind::Float, Device::Cpu)));
            let (mut of_student, mut of_teacher) = (Taps::default(), Taps::default());
            of_student.hidden.insert(1, narrow.shallow_clone());
            of_teacher.hidden.insert(1, wide.shallow_clone());
            let positions = Positions::all(2, 5);
            matching.loss(&of_student, &of_teacher, &positions).unwrap().double_value(&[])
        };
        let angle = Tensor::cosine_similarity(&narrow, &wide, -1, 1e-8);
        let cosine = 1.0 - angle.mean(Kind::Float).double_value(&[]);
        assert!((value(HiddenLoss::Cosine) - cosine).abs() < 1e-4);
        assert!((value(HiddenLoss::NormalizedMse) - 2.0 * cosine).abs() < 1e-4);
        let plain = (&narrow - &wide).square().mean(Kind::Float).double_value(&[]);
        assert!((value(HiddenLoss::Mse) - plain).abs() < 1e-4 * plain);
    }

    #[test]
    fn blocks_are_paired_by_relative_depth() {
        let matching =
            FeatureMatching::new(&decoder(8, 3), &decoder(16, 6), &even(), 0, Device::Cpu).unwrap();
        assert_eq!(matching.student_states(), [1, 2, 3]);
        assert_eq!(matching.teacher_states(), [2, 4, 6]);
        let (_, projection) = &matching.parameters()[0];
        assert_eq!(projection.size(), [16, 8]);
        // Equal depth pairs every block with its own counterpart; a deeper student shares.
        let matching =
            FeatureMatching::new(&decoder(8, 3), &decoder(16, 2), &even(), 0, Device::Cpu).unwrap();
        assert_eq!(matching.teacher_states(), [1, 2, 2]);
    }

    #[test]
    fn a_scaled_copy_of_the_teacher_has_no_loss() {
        let (student, teacher) = (decoder(8, 1), decoder(8, 1));
        let matching = FeatureMatching::new(&student, &teacher, &even(), 0, Device::Cpu).unwrap();
        let _guard = tch::no_grad_guard();
        let (_, mut projection) = matching.parameters().remove(0);
        projection.copy_(&(Tensor::eye(8, (Kind::Float, Device::Cpu)) * 3.0));
        let hidden = Tensor::randn([2, 5, 8], (Kind::Float, Device::Cpu));
        let positions = Positions::all(2, 5);
        let (mut narrow, mut wide) = (Taps::default(), Taps::default());
        narrow.hidden.insert(1, hidden.shallow_clone());
        wide.hidden.insert(1, &hidden * 0.5);
        assert!(matching.loss(&narrow, &wide, &positions).unwrap().double_value(&[]) < 1e-5);
        wide.hidden.insert(1, -&hidden);
        let opposite = matching.loss(&narrow, &wide, &positions).unwrap().double_value(&[]);
        assert!((opposite - 4.0).abs() < 1e-3, "{opposite}");
        let error = matching.loss(&narrow, &Taps::default(), &positions).unwrap_err().to_string();
        assert!(error.contains("hidden state 1"), "{error}");
    }
}
