//! How a distillation is set up: the pipeline's `[distill]` table.

use limbeck_cot_data::AugmentConfig;
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::{TrainConfig, UpdateSchedule};
use serde::{Deserialize, Serialize};

use crate::divergence::{Divergence, DivergenceSettings, Tail};
use crate::features::{FeatureSettings, HiddenLoss};
use crate::key_heads::HeadChoice;
use crate::on_policy::OnPolicySettings;
use crate::relations::RelationSettings;
use crate::sequence::SequenceSettings;
use crate::student::Init;
pub use crate::student::StudentConfig;

/// Whose conventions the loss follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// Ours: the divergence times T², so that its gradient keeps its size when T changes.
    #[default]
    None,
    /// TRL's (`GKDTrainer` of 1.16): no T², and `jsd` with a β of 0 or 1 is forward or
    /// reverse KL.
    Trl,
}

/// How the teacher teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherKind {
    /// In memory beside the student.
    #[default]
    Live,
    /// Through its likeliest tokens on disk: those of `limbeck capture`, or else captured
    /// before the training begins, after which the teacher leaves memory.
    Captured,
    /// Through its own replies to the training questions.
    Sequence,
    /// Through the replies of an OpenAI-compatible endpoint.
    Http,
}

/// What is done about a student with other tokens than the teacher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlignmentKind {
    /// It is refused.
    #[default]
    None,
    /// The two are compared where tokens of both begin at the same byte.
    ByteOffsets,
}

/// The `[distill.capture]` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureSettings {
    /// How many of the likeliest tokens are kept at each position; what the others have
    /// together is kept too. Default 50.
    pub top_k: usize,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self { top_k: 50 }
    }
}

/// The `[distill.lora]` table: an adapter on the student, in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillLora {
    /// Rank of the adapter, on all projections of the blocks; 0 for no adapter. Default 0.
    pub rank: i64,
    /// Numerator of its scale. Default 32.
    pub alpha: f64,
    /// Probability with which an input of the adapter is dropped. Default 0.
    pub dropout: f64,
    /// 0: the adapter alone is distilled into, and merged at the end. 2 or more: every so
    /// many steps the adapter is trained on questions with the answer alone, and the student
    /// under it on chains in the others; the adapter then stays apart. Default 0.
    pub adapt_interval: u64,
    /// The adapter's learning rate as a multiple of `train.learning_rate`, where the two take
    /// turns. Default 1.
    pub learning_rate_ratio: f64,
}

impl Default for DistillLora {
    fn default() -> Self {
        Self { rank: 0, alpha: 32.0, dropout: 0.0, adapt_interval: 0, learning_rate_ratio: 1.0 }
    }
}

impl Validate for DistillLora {
    fn validate(&self) -> Result<(), Invalid> {
        if self.rank < 0 {
            return Err(Invalid::new("rank", "0 for no adapter, or a rank", self.rank));
        }
        for (field, value) in
            [("alpha", self.alpha), ("learning_rate_ratio", self.learning_rate_ratio)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Invalid::new(field, "a number above 0", value));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Invalid::new("dropout", "a number from 0 to below 1", self.dropout));
        }
        match self.adapt_interval {
            0 => Ok(()),
            _ if self.rank == 0 => {
                Err(Invalid::new("rank", "above 0 with adapt_interval", self.rank))
            }
            interval => UpdateSchedule::new(interval).map(|_| ()),
        }
    }
}

/// The `[distill]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillConfig {
    /// How the teacher teaches: `live`, `captured`, `sequence` or `http`. Default `live`.
    pub teacher: TeacherKind,
    /// What a captured teacher keeps.
    pub capture: CaptureSettings,
    /// The teacher's replies, for `sequence`.
    pub sequence: SequenceSettings,
    /// The endpoint, for `http`: the keys of `limbeck data augment`.
    pub http: AugmentConfig,
    /// What is done about a student with other tokens than the teacher's: `none`, or
    /// `byte_offsets`, which takes `divergence = "sorted_l1"` and a student from a folder.
    /// Default `none`.
    pub alignment: AlignmentKind,
    /// `forward_kl`, `reverse_kl`, `jsd`, `skew_kl`, `skew_reverse_kl`, `contrastive`,
    /// `total_variation` or `sorted_l1`. Default `forward_kl`.
    pub divergence: Divergence,
    /// β of `jsd`, the teacher's share of the mixture, between 0 and 1, which `compat = "trl"`
    /// admits too. Default 0.5.
    pub jsd_beta: f64,
    /// β of `contrastive`, between 0 and 2: the weight of the student's own text, against
    /// 2 − β of the data's. Default 1.
    pub contrastive_beta: f64,
    /// α of `skew_kl`, `skew_reverse_kl` and `contrastive`, between 0 and 1: how much of a distribution is
    /// mixed into the one that it is compared with. Default 0.1.
    pub skew: f64,
    /// How many of the teacher's likeliest tokens take part in the divergence; 0 for all.
    /// Default 0.
    pub top_k: i64,
    /// What becomes of the others: `bucket`, `truncated` or `renormalised`. Default `bucket`.
    pub tail: Tail,
    /// Whose conventions the loss follows: `none` or `trl`. Default `none`.
    pub compat: Compat,
    /// T of both distributions; 2.0 to 5.0 is usual where the teacher is unsure, 1.0
    /// where its answers are exact. Default 2.0.
    pub temperature: f64,
    /// Share of the divergence in the loss, 0 to 1; the rest is cross-entropy with the
    /// data. Default 0.9.
    pub kd_weight: f64,
    /// Factor of the difference between hidden states; 0 leaves them alone. Default 1.0.
    pub hidden_weight: f64,
    /// How hidden states are compared: `normalized_mse`, `cosine` or `mse`. Default
    /// `normalized_mse`.
    pub hidden_loss: HiddenLoss,
    /// Pairs `[student, teacher]` of blocks whose outputs are compared, counted from 1, where
    /// 0 is the embedding. Default: each of the student's blocks with the teacher's at the
    /// same relative depth.
    pub layer_map: Vec<[usize; 2]>,
    /// Whether the embeddings are compared too. Default false.
    pub match_embeddings: bool,
    /// Factor of the divergence between attention maps; 0 leaves them alone. Default 1.0.
    pub attention_weight: f64,
    /// Which heads of the teacher's are followed: `mean` of equal shares of them, or one for
    /// each of the student's, chosen by `gradient` or `entropy` on calibration chains.
    /// Default `mean`.
    pub attention_heads: HeadChoice,
    /// Records that heads are chosen on. Default 32.
    pub calibration_records: usize,
    /// Pairs `[student, teacher]` of blocks whose attention is compared, counted from 1.
    /// Default: the first, the last, and those between in proportion.
    pub attention_map: Vec<[usize; 2]>,
    /// Relations between positions (`MiniLM`'s values, `MiniLMv2`).
    pub relations: RelationSettings,
    /// The student's own replies.
    pub on_policy: OnPolicySettings,
    /// An adapter on the student, in the same run.
    pub lora: DistillLora,
    /// Share of the steps, from the start, in which the teacher takes part; the rest is
    /// cross-entropy alone, at several times the speed. Default 1.0.
    pub teacher_share: f64,
    /// The student.
    pub student: StudentConfig,
    /// The training.
    pub train: TrainConfig,
}

impl Default for DistillConfig {
    fn default() -> Self {
        Self {
            teacher: TeacherKind::Live,
            capture: CaptureSettings::default(),
            sequence: SequenceSettings::default(),
            http: AugmentConfig::default(),
            alignment: AlignmentKind::None,
            divergence: Divergence::ForwardKl,
            jsd_beta: 0.5,
            contrastive_beta: 1.0,
            skew: 0.1,
            top_k: 0,
            tail: Tail::Bucket,
            compat: Compat::None,
            temperature: 2.0,
            kd_weight: 0.9,
            hidden_weight: 1.0,
            hidden_loss: HiddenLoss::NormalizedMse,
            layer_map: Vec::new(),
            match_embeddings: false,
            attention_weight: 1.0,
            attention_heads: HeadChoice::Mean,
            calibration_records: 32,
            attention_map: Vec::new(),
            relations: RelationSettings::default(),
            on_policy: OnPolicySettings::default(),
            lora: DistillLora::default(),
            teacher_share: 1.0,
            student: StudentConfig::default(),
            train: TrainConfig::default(),
        }
    }
}

impl DistillConfig {
    /// The divergence with its parameters.
    pub fn divergence_settings(&self) -> DivergenceSettings {
        let Self { divergence, temperature, jsd_beta, skew, top_k, tail, .. } = *self;
        let ours = DivergenceSettings {
            divergence,
            temperature,
            jsd_beta,
            skew,
            top_k,
            tail,
            constant_mixture: false,
        };
        if self.compat != Compat::Trl || divergence != Divergence::Jsd {
            return ours;
        }
        let divergence = match jsd_beta {
            0.0 => Divergence::ForwardKl,
            1.0 => Divergence::ReverseKl,
            _ => return ours,
        };
        let jsd_beta = DivergenceSettings::default().jsd_beta;
        DivergenceSettings { divergence, jsd_beta, ..ours }
    }

    /// Which hidden states are compared, and how.
    pub fn feature_settings(&self) -> FeatureSettings {
        FeatureSettings {
            layer_map: self.layer_map.clone(),
            embeddings: self.match_embeddings,
            loss: self.hidden_loss,
        }
    }

    /// The factor of the divergence that makes up for the temperature.
    pub fn temperature_scale(&self) -> f64 {
        match self.compat {
            Compat::None => self.temperature * self.temperature,
            Compat::Trl => 1.0,
        }
    }
}

impl Validate for DistillConfig {
    fn validate(&self) -> Result<(), Invalid> {
        self.divergence_settings().validate()?;
        for (field, share) in [("kd_weight", self.kd_weight), ("teacher_share", self.teacher_share)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(Invalid::new(field, "a number from 0 to 1", share));
            }
        }
        for (field, weight) in
            [("hidden_weight", self.hidden_weight), ("attention_weight", self.attention_weight)]
        {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Invalid::new(field, "a number from 0 up", weight));
            }
        }
        if !(0.0..=2.0).contains(&self.contrastive_beta) {
            let found = self.contrastive_beta;
            return Err(Invalid::new("contrastive_beta", "a number from 0 to 2", found));
        }
        if self.divergence == Divergence::Contrastive && self.on_policy.share == 0.0 {
            let expected = "a share above 0: contrastive compares the student's own text too";
            return Err(Invalid::new("on_policy.share", expected, 0));
        }
        if self.calibration_records == 0 && self.attention_heads != HeadChoice::Mean {
            return Err(Invalid::new("calibration_records", "at least 1", 0));
        }
        if self.capture.top_k == 0 {
            return Err(Invalid::new("capture.top_k", "at least 1", 0));
        }
        if self.teacher == TeacherKind::Http {
            self.http.validate().map_err(|error| {
                let field = error.field.strip_prefix("augment.").unwrap_or(&error.field);
                Invalid::new(field, error.expected, error.got).within("http")
            })?;
        }
        if self.alignment == AlignmentKind::ByteOffsets {
            if self.student.init != Init::Folder {
                let expected = "folder: a student with tokens of its own";
                return Err(Invalid::new("student.init", expected, self.student.init.name()));
            }
            if self.divergence != Divergence::SortedL1 {
                let expected = "sorted_l1, which compares no token with another by its id";
                return Err(Invalid::new("divergence", expected, "another"));
            }
        }
        self.lora.validate().map_err(|invalid| invalid.within("lora"))?;
        self.sequence.validate().map_err(|invalid| invalid.within("sequence"))?;
        self.relations.validate().map_err(|invalid| invalid.within("relations"))?;
        self.on_policy.validate().map_err(|invalid| invalid.within("on_policy"))?;
        self.student.validate().map_err(|invalid| invalid.within("student"))?;
        self.train.validate().map_err(|invalid| invalid.within("train"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trl_has_no_factor_and_its_own_ends_of_the_jsd() {
        let ours =
            DistillConfig { divergence: Divergence::Jsd, jsd_beta: 0.0, ..Default::default() };
        assert_eq!(ours.validate().unwrap_err().field, "jsd_beta");
        assert!((ours.temperature_scale() - 4.0).abs() < 1e-12);
        for (jsd_beta, divergence) in
            [(0.0, Divergence::ForwardKl), (1.0, Divergence::ReverseKl), (0.3, Divergence::Jsd)]
        {
            let theirs = DistillConfig { compat: Compat::Trl, jsd_beta, ..ours.clone() };
            theirs.validate().unwrap();
            assert_eq!(theirs.divergence_settings().divergence, divergence);
            assert!((theirs.temperature_scale() - 1.0).abs() < 1e-12);
        }
    }
}
