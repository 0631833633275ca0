//! Which of the teacher's blocks a student gets.
//!
//! Blocks that are skipped leave a gap that the residual stream bridges: a student of every
//! second block starts far closer to its teacher than random weights do (`DistilBERT`, Sanh
//! et al. 2019, section 3; Minitron, arXiv 2407.14679, section 2.2).

use limbeck_model::Decoder;
use tch::Device;

use super::cut::Cut;
use super::{Init, Initialisation, Student, StudentConfig, StudentError};
use crate::Result;

impl StudentConfig {
    /// The teacher's blocks, at its width.
    ///
    /// # Errors
    /// [`StudentError::Impossible`] for a block that is not there or a size that is not the
    /// teacher's; errors of the model.
    pub(super) fn teacher_layers(&self, teacher: &Decoder, device: Device) -> Result<Student> {
        let config = teacher.config();
        self.check_sizes_are("the teacher's", config)?;
        let depth = config.num_hidden_layers();
        let cut = Cut::of_layers(self.choose_layers(depth, depth.div_ceil(2))?);
        let decoder = cut.assemble(teacher, device)?;
        let record = Initialisation::new(self.init, &decoder).with_cut(&cut, teacher);
        Ok(Student { decoder, tokenizer: None, record })
    }

    /// `layers`, or `num_hidden_layers` of `depth` blocks, or `default_count` of them.
    ///
    /// # Errors
    /// [`StudentError::Impossible`] where the teacher has not as many.
    pub(super) fn choose_layers(&self, depth: usize, default_count: usize) -> Result<Vec<usize>> {
        let impossible = |key, expected: String, found: String| {
            Err(StudentError::Impossible { key, expected, found }.into())
        };
        if let Some(outside) = self.layers.iter().find(|layer| **layer >= depth) {
            let expected = format!("blocks of the teacher, 0 to {}", depth - 1);
            return impossible("layers", expected, outside.to_string());
        }
        if !self.layers.is_empty() {
            return Ok(self.layers.clone());
        }
        let count = match usize::try_from(self.num_hidden_layers) {
            Ok(0) | Err(_) => default_count,
            Ok(count) => count,
        };
        if count > depth {
            let expected = format!("at most the teacher's {depth}");
            return impossible("num_hidden_layers", expected, count.to_string());
        }
        Ok(evenly_spread(count, depth))
    }

    /// That no size is given, or just the other model's.
    pub(super) fn check_sizes_are(
        &self,
        whose: &str,
        config: &limbeck_model::DecoderConfig,
    ) -> std::result::Result<(), StudentError> {
        let mut sizes = vec![
            ("hidden_size", self.hidden_size, config.hidden_size),
            ("num_attention_heads", self.num_attention_heads, config.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads, config.num_key_value_heads),
            ("intermediate_size", self.intermediate_size, config.intermediate_size),
        ];
        if self.init == Init::Folder {
            let depth = config.num_hidden_layers() as i64;
            sizes.push(("num_hidden_layers", self.num_hidden_layers, depth));
        }
        match sizes.into_iter().find(|(_, given, size)| ![0, *size].contains(given)) {
            None => Ok(()),
            Some((key, given, size)) => Err(StudentError::Impossible {
                key,
                expected: format!("{whose} {size} (init = \"{}\" keeps it)", self.init.name()),
                found: given.to_string(),
            }),
        }
    }
}

/// `count` of `depth` blocks: the first, the last, and those between at equal steps.
pub fn evenly_spread(count: usize, depth: usize) -> Vec<usize> {
    if count <= 1 {
        return (0..count).collect();
    }
    let gaps = count - 1;
    (0..count).map(|index| (index * (depth - 1) + gaps / 2) / gaps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_spread_from_the_first_to_the_last() {
        assert_eq!(evenly_spread(3, 6), [0, 3, 5]);
        assert_eq!(evenly_spread(6, 6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(evenly_spread(9, 18), [0, 2, 4, 6, 9, 11, 13, 15, 17]);
        assert_eq!(evenly_spread(1, 6), [0]);
        for depth in 2..40 {
            for count in 2..=depth {
                let chosen = evenly_spread(count, depth);
                assert_eq!((chosen[0], chosen[count - 1]), (0, depth - 1));
                assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]), "{count} of {depth}");
            }
        }
    }
}
