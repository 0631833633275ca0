//! Divergences between the teacher's and the student's next-token distributions, one
//! value a row. p is the teacher's distribution, q the student's, both at temperature T:
//! `p = softmax(z_T / T)`, `q = softmax(z_S / T)`.

use limbeck_run::config::Invalid;
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor, no_grad};

type Result<T> = std::result::Result<T, TchError>;

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
    /// β KL(p‖m) + (1 − β) KL(q‖m) with m = βp + (1 − β)q, Agarwal et al. 2024 (GKD),
    /// section 2.1. As β goes to 0 or 1 it goes to 0; the two KL are no limits of it.
    Jsd,
    /// KL(p‖αp + (1 − α)q), Ko et al. 2024 (`DistiLLM`), section 3.1: forward KL whose
    /// gradient stays bounded where the student gives next to nothing.
    SkewKl,
    /// KL(q‖(1 − α)p + αq), from the same place: reverse KL, likewise bounded.
    SkewReverseKl,
    /// ½ Σ|p − q|, Wen et al. 2023 (`f-DISTILL`), section 3: no row counts for more than 1.
    TotalVariation,
    /// `DistiLLM-2`'s pair (Ko et al. 2025, section 3): skew KL on the data's text, which
    /// pulls the student up to what the teacher says, and skew reverse KL on the student's
    /// own, which pushes it off what the teacher would not say. Needs `on_policy`.
    Contrastive,
    /// Σ|sort(p) − sort(q)|, both from the most likely token down, Boizard et al. 2024
    /// (ULD), section 3.2: how sure the teacher is, whatever it is sure of.
    SortedL1,
}

/// What becomes of the tokens beside the teacher's `top_k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// They count as one more token, on both sides.
    #[default]
    Bucket,
    /// They are left out, and neither side sums to 1: what is then called a KL can be
    /// negative, and is lowest where the student gives the kept tokens too much.
    Truncated,
    /// They are left out, and both sides are made to sum to 1 over the others: the student
    /// is not told how much the kept tokens have together.
    Renormalised,
}

/// A divergence with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DivergenceSettings {
    /// Which.
    pub divergence: Divergence,
    /// T of both distributions.
    pub temperature: f64,
    /// β of [`Divergence::Jsd`].
    pub jsd_beta: f64,
    /// α of the skewed KL.
    pub skew: f64,
    /// How many of the teacher's likeliest tokens take part; 0 for all.
    pub top_k: i64,
    /// What becomes of the others.
    pub tail: Tail,
    /// Whether the student's part of a skewed mixture is a constant for the gradient, as in
    /// `DistiLLM-2`.
    pub constant_mixture: bool,
}

impl Default for DivergenceSettings {
    fn default() -> Self {
        Self {
            divergence: Divergence::ForwardKl,
            temperature: 1.0,
            jsd_beta: 0.5,
            skew: 0.1,
            top_k: 0,
            tail: Tail::Bucket,
            constant_mixture: false,
        }
    }
}

/// A teacher's likeliest tokens at each row, with what all others have together.
#[derive(Debug)]
pub struct TopTokens {
    /// Token ids, i64 `[rows, top_k]`.
    pub ids: Tensor,
    /// Their log-probabilities at the divergence's temperature, f32 `[rows, top_k]`.
    pub log_probs: Tensor,
    /// The logarithm of what the other tokens have together, f32 `[rows]`.
    pub log_tail: Tensor,
}

impl TopTokens {
    /// Some of the rows.
    ///
    /// # Errors
    /// libtorch's, if they are not there.
    pub fn narrow(&self, start: i64, length: i64) -> Result<Self> {
        Ok(Self {
            ids: self.ids.f_narrow(0, start, length)?,
            log_probs: self.log_probs.f_narrow(0, start, length)?,
            log_tail: self.log_tail.f_narrow(0, start, length)?,
        })
    }
}

impl DivergenceSettings {
    /// Whether every value is possible.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Invalid::new("temperature", "a number above 0", self.temperature));
        }
        let share = match self.divergence {
            Divergence::Jsd => Some(("jsd_beta", self.jsd_beta)),
            Divergence::SkewKl | Divergence::SkewReverseKl | Divergence::Contrastive => {
                Some(("skew", self.skew))
            }
            _ => None,
        };
        if let Some((field, share)) = share
            && !(share > 0.0 && share < 1.0)
        {
            return Err(Invalid::new(field, "a number above 0 and below 1", share));
        }
        if self.top_k < 0 {
            return Err(Invalid::new("top_k", "0 for all tokens, or how many", self.top_k));
        }
        let is_kl = matches!(self.divergence, Divergence::ForwardKl);
        if self.top_k > 0 && self.tail == Tail::Truncated && !is_kl {
            let expected = "bucket or renormalised: only forward_kl is defined over a part of \
                            the probability";
            return Err(Invalid::new("tail", expected, "truncated"));
        }
        Ok(())
    }

    /// The divergence of each row, in nats (total variation and sorted L1: as
    /// probabilities), without the factor T².
    ///
    /// # Shapes
    /// `student_logits` and `teacher_logits` f32 `[rows, vocab]`, of unlike vocabularies for
    /// [`Divergence::SortedL1`] only; f32 `[rows]`. Gradients flow to the student only if the teacher's logits carry none.
    ///
    /// # Errors
    /// libtorch's, if the shapes differ.
    pub fn per_row(&self, student_logits: &Tensor, teacher_logits: &Tensor) -> Result<Tensor> {
        let (teacher, student) = self.log_probabilities(teacher_logits, student_logits)?;
        self.between(&teacher, &student)
    }

    /// As [`Self::per_row`], from a teacher of whom only the likeliest tokens are known;
    /// `top_k` counts no more.
    ///
    /// # Shapes
    /// `student_logits` f32 `[rows, vocab]`; f32 `[rows]`.
    ///
    /// # Errors
    /// libtorch's, if the shapes differ.
    pub fn per_row_of_top(&self, student_logits: &Tensor, teacher: &TopTokens) -> Result<Tensor> {
        let kind = student_logits.f_kind()?;
        let student = student_logits.f_div_scalar(self.temperature)?;
        let gathered = |logs: &Tensor| logs.f_gather(-1, &teacher.ids, false);
        let known = teacher.log_probs.f_to_kind(kind)?;
        if self.tail == Tail::Renormalised {
            let student = gathered(&student)?.f_log_softmax(-1, kind)?;
            return self.between(&known.f_log_softmax(-1, kind)?, &student);
        }
        let student = gathered(&student.f_log_softmax(-1, kind)?)?;
        if self.tail == Tail::Truncated {
            return self.between(&known, &student);
        }
        let tail = teacher.log_tail.f_to_kind(kind)?.f_unsqueeze(-1)?;
        self.between(&Tensor::f_cat(&[&known, &tail], -1)?, &with_tail(&student)?)
    }

    /// The divergence of each row from log-probabilities, `[rows, tokens]`.
    fn between(&self, teacher: &Tensor, student: &Tensor) -> Result<Tensor> {
        let mixed_in =
            || if self.constant_mixture { student.f_detach() } else { Ok(student.shallow_clone()) };
        match self.divergence {
            Divergence::ForwardKl => kl(teacher, student),
            Divergence::ReverseKl => kl(student, teacher),
            Divergence::Jsd => {
                let mixture = mixed(teacher, student, self.jsd_beta)?;
                let forward = kl(teacher, &mixture)?.f_mul_scalar(self.jsd_beta)?;
                let reverse = kl(student, &mixture)?.f_mul_scalar(1.0 - self.jsd_beta)?;
                forward.f_add(&reverse)
            }
            Divergence::SkewKl | Divergence::Contrastive => {
                kl(teacher, &mixed(teacher, student, self.skew)?)
            }
            Divergence::SkewReverseKl => {
                kl(student, &mixed(teacher, &mixed_in()?, 1.0 - self.skew)?)
            }
            Divergence::TotalVariation => {
                sum(&teacher.f_exp()?.f_sub(&student.f_exp()?)?.f_abs()?)?.f_mul_scalar(0.5)
            }
            Divergence::SortedL1 => {
                let width = |logs: &Tensor| logs.size().last().copied().unwrap_or_default();
                let widest = width(teacher).max(width(student));
                let sorted = |logs: &Tensor| -> Result<Tensor> {
                    let (sorted, _) = logs.f_exp()?.f_sort(-1, true)?;
                    sorted.f_constant_pad_nd([0, widest - width(logs)])
                };
                sum(&sorted(teacher)?.f_sub(&sorted(student)?)?.f_abs()?)
            }
        }
    }

    /// Log-probabilities of the tokens that take part, teacher's first, `[rows, tokens]`.
    fn log_probabilities(&self, teacher: &Tensor, student: &Tensor) -> Result<(Tensor, Tensor)> {
        // Float32 in training, float64 where the formulas are tested.
        let kind = student.f_kind()?;
        let log_softmax = |logits: &Tensor| logits.f_log_softmax(-1, kind);
        let scaled = |logits: &Tensor| logits.f_div_scalar(self.temperature);
        let (teacher, student) = (scaled(teacher)?, scaled(student)?);
        let vocab = student.size().last().copied().unwrap_or_default();
        if self.top_k == 0 || self.top_k >= vocab {
            return Ok((log_softmax(&teacher)?, log_softmax(&student)?));
        }
        let (_, kept) = no_grad(|| teacher.f_topk(self.top_k, -1, true, true))?; // [rows, top_k]
        let gathered = |logs: &Tensor| logs.f_gather(-1, &kept, false);
        if self.tail == Tail::Renormalised {
            let of = |logits: &Tensor| log_softmax(&gathered(logits)?);
            return Ok((of(&teacher)?, of(&student)?));
        }
        let of = |logits: &Tensor| -> Result<Tensor> {
            let logs = gathered(&log_softmax(logits)?)?;
            if self.tail == Tail::Truncated { Ok(logs) } else { with_tail(&logs) }
        };
        Ok((of(&teacher)?, of(&student)?))
    }
}

fn sum(values: &Tensor) -> Result<Tensor> {
    values.f_sum_dim_intlist([-1_i64].as_slice(), false, None::<Kind>)
}

/// Σ p (log p − log q), given the logarithms.
fn kl(from: &Tensor, to: &Tensor) -> Result<Tensor> {
    sum(&from.f_exp()?.f_mul(&from.f_sub(to)?)?)
}

/// log(share · p + (1 − share) · q), given the logarithms.
fn mixed(teacher: &Tensor, student: &Tensor, share: f64) -> Result<Tensor> {
    let teacher = teacher.f_add_scalar(share.ln())?;
    teacher.f_logaddexp(&student.f_add_scalar((1.0 - share).ln())?)
}

/// The logarithms with one more at the end, of what is missing to 1.
fn with_tail(logs: &Tensor) -> Result<Tensor> {
    // Rounding may take the sum past 1; the tail then has next to nothing.
    let total = logs.f_logsumexp([-1_i64].as_slice(), true)?.f_clamp_max(-1e-7)?;
    let tail = total.f_expm1()?.f_neg()?.f_log()?;
    Tensor::f_cat(&[logs, &tail], -1)
}

#[cfg(test)]
mod tests {
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
    fn mean(settings: &DivergenceSettings) -> f64 {
        let (student, teacher) = logits();
        let rows = settings.per_row(&student, &teacher).unwrap();
        f64::midpoint(rows.double_value(&[0]), rows.double_value(&[2]))
    }

    const ALL: [Divergence; 8] = [
        Divergence::ForwardKl,
        Divergence::ReverseKl,
        Divergence::Jsd,
        Divergence::SkewKl,
        Divergence::SkewReverseKl,
        Divergence::Contrastive,
        Divergence::TotalVariation,
        Divergence::SortedL1,
    ];

    fn of(divergence: Divergence, temperature: f64) -> DivergenceSettings {
        DivergenceSettings { divergence, temperature, ..DivergenceSettings::default() }
    }

    /// The first four from TRL 1.16 and torch, in float64; the others by hand from their
    /// papers' formulas.
    #[test]
    fn golden_values() {
        let jsd = |jsd_beta, temperature| DivergenceSettings {
            jsd_beta,
            ..of(Divergence::Jsd, temperature)
        };
        let top_two = |tail, temperature| DivergenceSettings {
            top_k: 2,
            tail,
            ..of(Divergence::ForwardKl, temperature)
        };
        for (settings, expected) in [
            (of(Divergence::ForwardKl, 1.0), 0.500_203_175_2),
            (of(Divergence::ForwardKl, 2.0), 0.178_762_150_1),
            (of(Divergence::ReverseKl, 1.0), 0.679_292_330_7),
            (of(Divergence::ReverseKl, 2.0), 0.196_264_338_7),
            (jsd(0.1, 1.0), 0.044_502_738_6),
            (jsd(0.1, 2.0), 0.016_043_261_0),
            (jsd(0.5, 1.0), 0.127_634_124_4),
            (jsd(0.5, 2.0), 0.045_215_862_3),
            (jsd(0.9, 1.0), 0.054_949_558_6),
            (jsd(0.9, 2.0), 0.017_248_495_5),
            (of(Divergence::SkewKl, 1.0), 0.397_795_254_1),
            (of(Divergence::SkewKl, 2.0), 0.144_181_859_7),
            (of(Divergence::SkewReverseKl, 1.0), 0.454_039_962_1),
            (of(Divergence::SkewReverseKl, 2.0), 0.151_906_342_9),
            (of(Divergence::TotalVariation, 1.0), 0.398_775_614_0),
            (of(Divergence::TotalVariation, 2.0), 0.248_190_637_9),
            (of(Divergence::SortedL1, 1.0), 0.477_560_303_1),
            (of(Divergence::SortedL1, 2.0), 0.332_156_833_5),
            (top_two(Tail::Truncated, 1.0), 0.643_494_724_7),
            (top_two(Tail::Truncated, 2.0), 0.330_532_691_7),
            (top_two(Tail::Bucket, 1.0), 0.477_911_223_6),
            (top_two(Tail::Bucket, 2.0), 0.160_561_652_1),
            (top_two(Tail::Renormalised, 1.0), 0.066_357_582_3),
            (top_two(Tail::Renormalised, 2.0), 0.017_283_304_2),
        ] {
            settings.validate().unwrap();
            let found = mean(&settings);
            assert!((found - expected).abs() < 1e-9, "{settings:?}: {found}");
        }
    }

    #[test]
    fn a_distribution_diverges_from_itself_by_nothing() {
        let (student, _) = logits();
        for divergence in ALL {
            for (top_k, tail) in
                [(0, Tail::Bucket), (3, Tail::Bucket), (3, Tail::Renormalised), (9, Tail::Bucket)]
            {
                let settings = DivergenceSettings { top_k, tail, ..of(divergence, 2.0) };
                let rows = settings.per_row(&student, &student).unwrap();
                assert!(rows.abs().max().double_value(&[]) < 1e-12, "{settings:?}");
            }
        }
    }

    /// What is cut off a distribution that is sure of itself must not become NaN.
    #[test]
    fn a_sure_teacher_leaves_a_finite_tail() {
        let teacher = Tensor::from_slice(&[80_f32, 0.0, 0.0, 0.0]).view([1, 4]);
        let student = Tensor::zeros([1, 4], (Kind::Float, tch::Device::Cpu));
        for divergence in ALL {
            let settings = DivergenceSettings { top_k: 2, ..of(divergence, 1.0) };
            let leaf = student.copy().set_requires_grad(true);
            let rows = settings.per_row(&leaf, &teacher).unwrap();
            rows.sum(Kind::Float).backward();
            assert!(rows.double_value(&[0]).is_finite(), "{divergence:?}");
            let sizes = leaf.grad().abs().sum(Kind::Double).double_value(&[]);
            assert!(sizes.is_finite(), "{divergence:?}: {sizes}");
        }
    }

    #[test]
    fn gradients_equal_finite_differences_at_temperature_two() {
        let (student, teacher) = logits();
        let tails = [(0, Tail::Bucket), (3, Tail::Bucket), (3, Tail::Renormalised)];
        let mut cases: Vec<DivergenceSettings> = ALL
            .into_iter()
            .flat_map(|divergence| {
                tails.map(|(top_k, tail)| DivergenceSettings { top_k, tail, ..of(divergence, 2.0) })
            })
            .collect();
        let truncated = DivergenceSettings { top_k: 3, tail: Tail::Truncated, ..cases[0] };
        cases.push(truncated);
        for settings in cases {
            let leaf = student.copy().set_requires_grad(true);
            settings.per_row(&leaf, &teacher).unwrap().sum(Kind::Double).backward();
            let gradient = leaf.grad();
            let step = 1e-5;
            for index in 0..15 {
                let moved = |by: f64| {
                    let mut values: Vec<f64> = Vec::try_from(student.view(-1)).unwrap();
                    values[index as usize] += by;
                    let moved = Tensor::from_slice(&values).view([3, 5]);
                    let rows = settings.per_row(&moved, &teacher).unwrap();
                    rows.sum(Kind::Double).double_value(&[])
                };
                let expected = (moved(step) - moved(-step)) / (2.0 * step);
                let found = gradient.view(-1).double_value(&[index]);
                assert!(
                    (found - expected).abs() < 1e-8,
                    "{settings:?} {index}: {found} {expected}"
                );
            }
        }
    }

    /// What the shorter lacks counts as impossible: |.7 − .6| + |.3 − .3| + |0 − .1|.
    #[test]
    fn sorted_distributions_may_be_of_unlike_length() {
        let logs = |values: &[f64]| Tensor::from_slice(values).log().unsqueeze(0);
        let rows = of(Divergence::SortedL1, 1.0)
            .per_row(&logs(&[0.3, 0.7]), &logs(&[0.1, 0.6, 0.3]))
            .unwrap();
        assert!((rows.double_value(&[0]) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn the_likeliest_tokens_alone_give_what_the_whole_gives_with_as_many() {
        let (student, teacher) = logits();
        for divergence in ALL {
            for tail in [Tail::Bucket, Tail::Renormalised] {
                let settings = DivergenceSettings { top_k: 3, tail, ..of(divergence, 2.0) };
                let (log_probs, ids) =
                    (&teacher / 2.0).log_softmax(-1, Kind::Double).topk(3, -1, true, true);
                let all = log_probs.logsumexp([-1_i64].as_slice(), false);
                let top = TopTokens { ids, log_tail: (-all.expm1()).log(), log_probs };
                let expected = settings.per_row(&student, &teacher).unwrap();
                let found = settings.per_row_of_top(&student, &top).unwrap();
                let worst = (&found - &expected).abs().max().double_value(&[]);
                assert!(worst < 1e-9, "{settings:?}: {worst}");
            }
        }
    }

    /// Python: `p = softmax(zt); q = softmax(zs); m = .9 p + .1 q.detach(); (q * (q.log() -
    /// m.log())).sum()`, differentiated by hand: ∂/∂z = q (log q − log m + 1 − Σ …).
    #[test]
    fn a_constant_mixture_takes_no_gradient() {
        let (student, teacher) = logits();
        let settings =
            DivergenceSettings { constant_mixture: true, ..of(Divergence::SkewReverseKl, 1.0) };
        let leaf = student.copy().set_requires_grad(true);
        settings.per_row(&leaf, &teacher).unwrap().sum(Kind::Double).backward();
        let (p, q) = (teacher.softmax(-1, Kind::Double), student.softmax(-1, Kind::Double));
        let ratio = q.log() - (&p * 0.9 + &q * 0.1).log();
        let mean = (&q * &ratio).sum_dim_intlist([-1_i64].as_slice(), true, Kind::Double);
        let expected = &q * (&ratio - mean);
        assert!((leaf.grad() - expected).abs().max().double_value(&[]) < 1e-12);
        let free = of(Divergence::SkewReverseKl, 1.0).per_row(&student, &teacher).unwrap();
        let constant = settings.per_row(&student, &teacher).unwrap();
        assert!((free - constant).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn impossible_settings_are_named() {
        let base = DivergenceSettings::default();
        for (settings, field) in [
            (DivergenceSettings { temperature: 0.0, ..base }, "temperature"),
            (DivergenceSettings { jsd_beta: 1.0, ..of(Divergence::Jsd, 1.0) }, "jsd_beta"),
            (DivergenceSettings { skew: 0.0, ..of(Divergence::SkewKl, 1.0) }, "skew"),
            (DivergenceSettings { top_k: -1, ..base }, "top_k"),
            (
                DivergenceSettings {
                    top_k: 5,
                    tail: Tail::Truncated,
                    divergence: Divergence::Jsd,
                    ..base
                },
                "tail",
            ),
        ] {
            let error = settings.validate().unwrap_err();
            assert_eq!(error.field, field);
        }
    }
}
