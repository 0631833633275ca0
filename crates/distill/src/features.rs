//! Feature-level distillation: the student's hidden states, through a learned linear map,
//! follow the teacher's (Romero et al. 2015, "`FitNets`"; Jiao et al. 2020, "`TinyBERT`",
//! section 3.1).
//!
//! Labels and even the teacher's distributions say what comes next; hidden states say how
//! the teacher found it, such as which item of the question a line is about. Each block of
//! the student is paired with the teacher's block at the same relative depth.

use limbeck_core::seed::{self, CounterRng};
use limbeck_model::{Decoder, Taps};
use tch::{Device, Kind, TchError, Tensor};

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
}

impl FeatureMatching {
    /// Pairs the output of each block of the student; block `i` of `n` with the teacher's
    /// block at `(i + 1) / n` of its depth.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(
        student: &Decoder,
        teacher: &Decoder,
        seed: u64,
        device: Device,
    ) -> Result<Self, TchError> {
        let (narrow, wide) = (student.config(), teacher.config());
        let (blocks, depth) = (narrow.layers.len(), wide.layers.len());
        let shape = [wide.hidden_size, narrow.hidden_size];
        let pairs = (1..=blocks).map(|block| {
            let mut stream = CounterRng::new(seed::derive(seed, "projection", block as u64));
            let values = stream.normals((shape[0] * shape[1]) as usize);
            let projection = Tensor::f_from_slice(&values)?
                .f_view(shape)?
                .f_mul_scalar((shape[1] as f64).sqrt().recip())?
                .f_to_kind(Kind::Float)?
                .f_to_device(device)?
                .f_set_requires_grad(true)?;
            Ok(Pair { student: block, teacher: (block * depth).div_ceil(blocks), projection })
        });
        Ok(Self { pairs: pairs.collect::<Result<_, TchError>>()? })
    }

    /// The maps, to be trained with the student.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let name = |pair: &Pair| format!("projections.{}.weight", pair.student);
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

    /// The mean, over pairs and all positions, prompt included, of the mean squared
    /// difference between the mapped hidden state and the teacher's. Both are brought to
    /// a root mean square of 1 first, so that the size of a deep residual stream does not
    /// matter; 2 is the value of unrelated states.
    ///
    /// # Errors
    /// A hidden state that was not tapped; libtorch's.
    pub fn loss(&self, student: &Taps, teacher: &Taps) -> limbeck_model::Result<Tensor> {
        let mut losses = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            let narrow = student.hidden_state(pair.student)?;
            let wide = teacher.hidden_state(pair.teacher)?;
            let mapped =
                narrow.f_to_kind(Kind::Float)?.f_linear::<Tensor>(&pair.projection, None)?;
            let target = normalized(&wide.f_to_kind(Kind::Float)?)?.f_detach()?;
            let difference = normalized(&mapped)?.f_sub(&target)?;
            losses.push(difference.f_square()?.f_mean(Kind::Float)?);
        }
        Ok(Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?)
    }
}

/// Rows with a root mean square of 1.
fn normalized(rows: &Tensor) -> Result<Tensor, TchError> {
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

    #[test]
    fn blocks_are_paired_by_relative_depth() {
        let matching =
            FeatureMatching::new(&decoder(8, 3), &decoder(16, 6), 0, Device::Cpu).unwrap();
        assert_eq!(matching.student_states(), [1, 2, 3]);
        assert_eq!(matching.teacher_states(), [2, 4, 6]);
        let (_, projection) = &matching.parameters()[0];
        assert_eq!(projection.size(), [16, 8]);
        // Equal depth pairs every block with its own counterpart; a deeper student shares.
        let matching =
            FeatureMatching::new(&decoder(8, 3), &decoder(16, 2), 0, Device::Cpu).unwrap();
        assert_eq!(matching.teacher_states(), [1, 2, 2]);
    }

    #[test]
    fn a_scaled_copy_of_the_teacher_has_no_loss() {
        let (student, teacher) = (decoder(8, 1), decoder(8, 1));
        let matching = FeatureMatching::new(&student, &teacher, 0, Device::Cpu).unwrap();
        let _guard = tch::no_grad_guard();
        let (_, mut projection) = matching.parameters().remove(0);
        projection.copy_(&(Tensor::eye(8, (Kind::Float, Device::Cpu)) * 3.0));
        let hidden = Tensor::randn([2, 5, 8], (Kind::Float, Device::Cpu));
        let (mut narrow, mut wide) = (Taps::default(), Taps::default());
        narrow.hidden.insert(1, hidden.shallow_clone());
        wide.hidden.insert(1, &hidden * 0.5);
        assert!(matching.loss(&narrow, &wide).unwrap().double_value(&[]) < 1e-5);
        wide.hidden.insert(1, -&hidden);
        let opposite = matching.loss(&narrow, &wide).unwrap().double_value(&[]);
        assert!((opposite - 4.0).abs() < 1e-3, "{opposite}");
        let error = matching.loss(&narrow, &Taps::default()).unwrap_err().to_string();
        assert!(error.contains("hidden state 1"), "{error}");
    }
}
