//! What was chosen for a student, as `student-init.json` says it.

use std::fmt;
use std::path::{Path, PathBuf};

use limbeck_model::{Decoder, DecoderConfig};
use serde::{Deserialize, Serialize};

use super::Init;
use super::cut::{Cut, Kept};
use super::importance::Importance;

/// Where [`Initialisation::write`] writes to, in the student's folder.
pub const FILE: &str = "student-init.json";

/// How a student was made. Indices count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Initialisation {
    /// Where the weights come from.
    pub init: Init,
    /// The folder, for `folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The student's sizes.
    pub student: Sizes,
    /// What was taken from the teacher; `None` where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_teacher: Option<FromTeacher>,
}

/// The sizes of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Neurons of a block.
    pub intermediate_size: i64,
    /// Query heads.
    pub num_attention_heads: i64,
    /// Key and value heads.
    pub num_key_value_heads: i64,
    /// Width of a head.
    pub head_dim: i64,
}

/// The parts of the teacher that a student got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FromTeacher {
    /// The teacher's sizes.
    pub teacher: Sizes,
    /// The teacher's block behind each of the student's.
    pub layers: Vec<usize>,
    /// Dimensions of the residual stream; `None` for all.
    pub hidden: Kept,
    /// Heads and neurons of each block.
    pub blocks: Vec<KeptOfBlock>,
    /// The factor on the weights of norms over the residual stream.
    pub norm_factor: f64,
    /// The factor on the embeddings.
    pub embedding_factor: f64,
    /// What importance was measured on; `None` where no width was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<ImportanceSummary>,
}

/// The parts of a block that a student got; `None` for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOfBlock {
    /// The teacher's block.
    pub layer: usize,
    /// Query heads.
    pub heads: Kept,
    /// Key and value heads.
    pub key_value_heads: Kept,
    /// Neurons.
    pub neurons: Kept,
}

/// How much of the importance was kept: sums over what is kept divided by sums over all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportanceSummary {
    /// Records measured on.
    pub records: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Of the dimensions of the residual stream.
    pub hidden_share: f64,
    /// Of the heads, by block.
    pub heads_share: Vec<f64>,
    /// Of the neurons, by block.
    pub neurons_share: Vec<f64>,
}

impl Initialisation {
    pub(super) fn new(init: Init, student: &Decoder) -> Self {
        Self { init, path: None, student: Sizes::of(student.config()), from_teacher: None }
    }

    #[must_use]
    pub(super) fn with_cut(self, cut: &Cut, teacher: &Decoder) -> Self {
        let blocks = cut.layers.iter().zip(&cut.blocks).map(|(&layer, block)| KeptOfBlock {
            layer,
            heads: block.heads.clone(),
            key_value_heads: block.key_value_heads.clone(),
            neurons: block.neurons.clone(),
        });
        let config = teacher.config();
        let from_teacher = FromTeacher {
            teacher: Sizes::of(config),
            layers: cut.layers.clone(),
            hidden: cut.hidden.clone(),
            blocks: blocks.collect(),
            norm_factor: cut.norm_factor(config),
            embedding_factor: cut.embedding_factor(config),
            importance: None,
        };
        Self { from_teacher: Some(from_teacher), ..self }
    }

    #[must_use]
    pub(super) fn with_importance(mut self, cut: &Cut, importance: &Importance) -> Self {
        let shares = |values: &[Vec<f64>], kept: &dyn Fn(usize) -> Kept| {
            values.iter().enumerate().map(|(block, values)| share(values, &kept(block))).collect()
        };
        if let Some(from_teacher) = &mut self.from_teacher {
            from_teacher.importance = Some(ImportanceSummary {
                records: importance.records,
                tokens: importance.tokens,
                hidden_share: share(&importance.hidden, &cut.hidden),
                heads_share: shares(&importance.heads, &|block| cut.blocks[block].heads.clone()),
                neurons_share: shares(&importance.neurons, &|block| {
                    cut.blocks[block].neurons.clone()
                }),
            });
        }
        self
    }

    /// Writes [`FILE`] into a folder.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> limbeck_run::Result<()> {
        let text = serde_json::json!(self).to_string();
        limbeck_run::write_file(&folder.join(FILE), format!("{text}\n").as_bytes())
    }
}

/// Shows what was chosen in a line.
impl fmt::Display for Initialisation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(from) = &self.from_teacher else {
            return match &self.path {
                Some(path) => write!(formatter, "student from {}", path.display()),
                None => formatter.write_str("student with random weights"),
            };
        };
        let (student, teacher) = (&self.student, &from.teacher);
        write!(
            formatter,
            "student from {} of {} blocks of the teacher: {:?}",
            student.num_hidden_layers, teacher.num_hidden_layers, from.layers
        )?;
        let Some(importance) = &from.importance else { return Ok(()) };
        let mean = |shares: &[f64]| 100.0 * shares.iter().sum::<f64>() / shares.len().max(1) as f64;
        write!(
            formatter,
            "; {} of {} dimensions with {:.1}% of their importance, {} of {} neurons with \
             {:.1}%, {} of {} heads with {:.1}%, by {} records of {} tokens; norms times {:.4}, \
             embeddings times {:.4}",
            student.hidden_size,
            teacher.hidden_size,
            100.0 * importance.hidden_share,
            student.intermediate_size,
            teacher.intermediate_size,
            mean(&importance.neurons_share),
            student.num_attention_heads,
            teacher.num_attention_heads,
            mean(&importance.heads_share),
            importance.records,
            importance.tokens,
            from.norm_factor,
            from.embedding_factor,
        )
    }
}

impl Sizes {
    fn of(config: &DecoderConfig) -> Self {
        Self {
            num_hidden_layers: config.num_hidden_layers(),
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        }
    }
}

fn share(values: &[f64], kept: &Kept) -> f64 {
    let whole: f64 = values.iter().sum();
    let Some(kept) = kept else { return 1.0 };
    if whole == 0.0 {
        return 0.0;
    }
    kept.iter().filter_map(|index| values.get(*index as usize)).sum::<f64>() / whole
}
