//! A narrower student by the importance of the teacher's parts (Minitron, arXiv 2407.14679,
//! section 2): the most important dimensions of the residual stream for all blocks together,
//! the most important neurons and heads of each block by itself, the order kept.
//!
//! Heads go with their key-value head. Where the student has as many query heads to a
//! key-value head as the teacher, whole groups stay or go; where it has fewer, the most
//! important heads of each group that stays.

use limbeck_model::{Decoder, DecoderConfig};
use tch::Device;

use super::cut::{BlockCut, Cut, Kept};
use super::importance::{self, Importance};
use super::{Initialisation, Student, StudentConfig, StudentError};
use crate::Result;

/// Families whose configuration transformers refuses otherwise.
const EVEN_SHARES: [&str; 2] = ["llama", "gemma3_text"];

/// The student's widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Widths {
    hidden: i64,
    neurons: i64,
    heads: i64,
    key_value_heads: i64,
}

impl StudentConfig {
    /// The teacher's blocks at a smaller width.
    ///
    /// # Errors
    /// [`StudentError`]; errors of the model.
    pub(super) fn width_sliced(
        &self,
        teacher: &mut Decoder,
        calibration: &[&[i64]],
        device: Device,
    ) -> Result<Student> {
        let config = teacher.config().clone();
        let depth = config.num_hidden_layers();
        let widths = self.widths(&config)?;
        let layers = self.choose_layers(depth, depth)?;
        let mut cut = Cut::of_layers(layers);
        let importance = if widths == Widths::of(&config) {
            None
        } else {
            let importance = importance::measure(teacher, &cut.layers, calibration)?;
            cut.hidden = top(&importance.hidden, widths.hidden);
            cut.blocks = blocks(&importance, widths, &config);
            Some(importance)
        };
        let decoder = cut.assemble(teacher, device)?;
        let mut record = Initialisation::new(self.init, &decoder).with_cut(&cut, teacher);
        if let Some(importance) = &importance {
            record = record.with_importance(&cut, importance);
        }
        Ok(Student { decoder, tokenizer: None, record })
    }

    /// The widths, those that are 0 from the teacher.
    fn widths(&self, config: &DecoderConfig) -> std::result::Result<Widths, StudentError> {
        let groups = config.num_key_value_groups();
        let given = |size: i64, otherwise: i64| if size == 0 { otherwise } else { size };
        // Of two numbers of heads, one says the other: whole groups where that is possible.
        let key_value_heads = match (self.num_key_value_heads, self.num_attention_heads) {
            (0, heads) if heads > 0 && heads % groups == 0 => heads / groups,
            (0, _) => config.num_key_value_heads,
            (shared, _) => shared,
        };
        let widths = Widths {
            hidden: given(self.hidden_size, config.hidden_size),
            neurons: given(self.intermediate_size, config.intermediate_size),
            heads: given(self.num_attention_heads, key_value_heads * groups),
            key_value_heads,
        };
        for (key, found, most) in [
            ("hidden_size", widths.hidden, config.hidden_size),
            ("intermediate_size", widths.neurons, config.intermediate_size),
            ("num_key_value_heads", widths.key_value_heads, config.num_key_value_heads),
            ("num_attention_heads", widths.heads, config.num_attention_heads),
        ] {
            if found > most {
                let expected = format!("at most the teacher's {most}");
                return Err(StudentError::Impossible { key, expected, found: found.to_string() });
            }
        }
        if widths.heads % widths.key_value_heads != 0 {
            return Err(StudentError::Impossible {
                key: "num_key_value_heads",
                expected: format!("a divisor of num_attention_heads ({})", widths.heads),
                found: widths.key_value_heads.to_string(),
            });
        }
        if widths.heads / widths.key_value_heads > groups {
            let most = widths.key_value_heads * groups;
            return Err(StudentError::Impossible {
                key: "num_attention_heads",
                expected: format!(
                    "at most {most}, the teacher's {groups} to each of {} key-value heads",
                    widths.key_value_heads
                ),
                found: widths.heads.to_string(),
            });
        }
        let even = EVEN_SHARES.contains(&config.model_type.as_str());
        if even && widths.hidden % widths.heads != 0 {
            return Err(StudentError::Impossible {
                key: "hidden_size",
                expected: format!(
                    "a multiple of num_attention_heads ({}), as transformers asks of {}",
                    widths.heads, config.model_type
                ),
                found: widths.hidden.to_string(),
            });
        }
        Ok(widths)
    }
}

impl Widths {
    fn of(config: &DecoderConfig) -> Self {
        Self {
            hidden: config.hidden_size,
            neurons: config.intermediate_size,
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
        }
    }
}

fn blocks(importance: &Importance, widths: Widths, config: &DecoderConfig) -> Vec<BlockCut> {
    let groups = config.num_key_value_groups() as usize;
    let kept_of_group = widths.heads / widths.key_value_heads;
    importance
        .heads
        .iter()
        .zip(&importance.neurons)
        .map(|(heads, neurons)| {
            let neurons = top(neurons, widths.neurons);
            if widths.heads == config.num_attention_heads
                && widths.key_value_heads == config.num_key_value_heads
            {
                return BlockCut { neurons, ..BlockCut::default() };
            }
            let chosen: Vec<Vec<i64>> =
                heads.chunks(groups).map(|group| highest(group, kept_of_group)).collect();
            let of_groups: Vec<f64> = chosen
                .iter()
                .zip(heads.chunks(groups))
                .map(|(chosen, group)| chosen.iter().map(|head| group[*head as usize]).sum())
                .collect();
            let key_value_heads = highest(&of_groups, widths.key_value_heads);
            let heads = key_value_heads
                .iter()
                .flat_map(|group| {
                    chosen[*group as usize].iter().map(move |head| group * groups as i64 + head)
                })
                .collect();
            BlockCut { heads: Some(heads), key_value_heads: Some(key_value_heads), neurons }
        })
        .collect()
}

/// The `count` highest, or `None` where that is all.
fn top(values: &[f64], count: i64) -> Kept {
    (count < values.len() as i64).then(|| highest(values, count))
}

/// Indices of the `count` highest values, ascending; of equal ones the first.
fn highest(values: &[f64], count: i64) -> Vec<i64> {
    let mut order: Vec<i64> = (0..values.len() as i64).collect();
    order.sort_by(|&left, &right| values[right as usize].total_cmp(&values[left as usize]));
    order.truncate(count.max(0) as usize);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_kept_in_their_order() {
        assert_eq!(highest(&[0.5, 2.0, 1.0, 2.0], 2), [1, 3]);
        assert_eq!(highest(&[1.0, 1.0, 1.0], 2), [0, 1]);
        assert_eq!(top(&[1.0, 2.0], 2), None);
    }
}
