//! Divergences between the teacher's and the student's next-token distributions, one
//! value a row. p is the teacher's distribution, q the student's, both at temperature T:
//! `p = softmax(z_T / T)`, `q = softmax(z_S / T)`.

use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

/// Which divergence is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// KL(p‖q), Hinton et al. 2015, section 2: the student covers what the teacher may
    /// say.
    #[default]
    ForwardKl,
    /// KL(q‖p), Gu et al. 2024 (`MiniLLM`), section 2.1: the student says only what the
    /// teacher would.
    ReverseKl,
}

impl Divergence {
    /// The divergence of each row, in nats, without the factor T².
    ///
    /// # Shapes
    /// `student_logits` and `teacher_logits` f32 `[rows, vocab]`; f32 `[rows]`. Gradients
    /// flow to the student only if the teacher's logits carry none.
    ///
    /// # Errors
    /// libtorch's, if the shapes differ.
    pub fn per_row(
        self,
        student_logits: &Tensor,
        teacher_logits: &Tensor,
        temperature: f64,
    ) -> Result<Tensor, TchError> {
        // Float32 in training, float64 where the formulas are tested.
        let kind = student_logits.f_kind()?;
        let scaled = |logits: &Tensor| -> Result<Tensor, TchError> {
            logits.f_div_scalar(temperature)?.f_log_softmax(-1, kind)
        };
        let student = scaled(student_logits)?;
        let teacher = scaled(teacher_logits)?;
        let (from, to) = match self {
            Self::ForwardKl => (teacher, student),
            Self::ReverseKl => (student, teacher),
        };
        let difference = from.f_sub(&to)?;
        from.f_exp()?.f_mul(&difference)?.f_sum_dim_intlist([-1_i64].as_slice(), false, None)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// zs = sin(.7i + .3v²), zt = 2cos(.5i − .9v) for i = 0..2, v = 0..4.
    fn logits() -> (Tensor, Tensor) {
        let (mut student, mut teacher) = (Vec::new(), Vec::new());
        for i in 0..3 {
            for v in 0..5 {
                let (i, v) = (f64::from(i), f64::from(v));
                student.push((0.7 * i + 0.3 * v * v).sin());
                teacher.push(2.0 * (0.5 * i - 0.9 * v).cos());
            }
        }
        (Tensor::from_slice(&student).view([3, 5]), Tensor::from_slice(&teacher).view([3, 5]))
    }

    /// Mean over the first and the last row, as the labels [1, −100, 3] select.
    fn mean(divergence: Divergence, temperature: f64) -> f64 {
        let (student, teacher) = logits();
        let rows = divergence.per_row(&student, &teacher, temperature).unwrap();
        f64::midpoint(rows.double_value(&[0]), rows.double_value(&[2]))
    }

    #[test]
    fn golden_values() {
        let cases = [
            (Divergence::ForwardKl, 1.0, 0.500_203_175_2),
            (Divergence::ForwardKl, 2.0, 0.178_762_150_1),
            (Divergence::ReverseKl, 1.0, 0.679_292_330_7),
            (Divergence::ReverseKl, 2.0, 0.196_264_338_7),
        ];
        for (divergence, temperature, expected) in cases {
            let found = mean(divergence, temperature);
            assert!((found - expected).abs() < 1e-9, "{divergence:?} at {temperature}: {found}");
        }
    }

    #[test]
    fn a_distribution_diverges_from_itself_by_nothing() {
        let (student, _) = logits();
        for divergence in [Divergence::ForwardKl, Divergence::ReverseKl] {
            let rows = divergence.per_row(&student, &student, 2.0).unwrap();
            assert!(rows.abs().max().double_value(&[]) < 1e-12);
        }
    }

    #[test]
    fn gradients_equal_finite_differences_at_temperature_two() {
        let (student, teacher) = logits();
        for divergence in [Divergence::ForwardKl, Divergence::ReverseKl] {
            let leaf = student.copy().set_requires_grad(true);
            divergence.per_row(&leaf, &teacher, 2.0).unwrap().sum(Kind::Double).backward();
            let gradient = leaf.grad();
            let step = 1e-5;
            for index in 0..15 {
                let moved = |by: f64| {
                    let mut values: Vec<f64> = Vec::try_from(student.view(-1)).unwrap();
                    values[index as usize] += by;
                    let moved = Tensor::from_slice(&values).view([3, 5]);
                    divergence
                        .per_row(&moved, &teacher, 2.0)
                        .unwrap()
                        .sum(Kind::Double)
                        .double_value(&[])
                };
                let expected = (moved(step) - moved(-step)) / (2.0 * step);
                let found = gradient.view(-1).double_value(&[index]);
                assert!(
                    (found - expected).abs() < 1e-8,
                    "{divergence:?} {index}: {found} {expected}"
                );
            }
        }
    }
}
