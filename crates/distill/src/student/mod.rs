//! Making a student: from scratch, from blocks of the teacher, from its most important
//! widths, or from a folder.
//!
//! `scratch` draws random weights; [`layers`] chooses blocks; `importance` measures on
//! training records which dimensions, neurons and heads the teacher uses, and `width`
//! keeps those; [`cut`] copies what was chosen into a new decoder; `folder` loads one.
//! [`record`] is what is written down about it.

pub mod cut;
pub mod error;
mod folder;
mod importance;
pub mod layers;
pub mod record;
mod scratch;
mod width;

use std::path::PathBuf;

use limbeck_core::Tokenizer;
use limbeck_model::{Decoder, DecoderConfig};
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::Example;
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::Result;
pub use error::StudentError;
pub use record::Initialisation;

/// Where a student's weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Random weights of the given shape, with look-back heads.
    #[default]
    Random,
    /// Some of the teacher's blocks, at its width.
    TeacherLayers,
    /// Some of the teacher's blocks, at a smaller width.
    WidthSliced,
    /// A model folder.
    Folder,
}

impl Init {
    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::TeacherLayers => "teacher_layers",
            Self::WidthSliced => "width_sliced",
            Self::Folder => "folder",
        }
    }
}

/// The student's table. Sizes of 0 are the teacher's, or the folder's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StudentKeys")]
pub struct StudentConfig {
    /// Where the weights come from: `random`, `teacher_layers`, `width_sliced` or `folder`.
    /// Default `random`.
    pub init: Init,
    /// Width of the residual stream. Default 128 for `random`, else 0.
    pub hidden_size: i64,
    /// Blocks. Default 3 for `random`, else 0: as many as `layers` names; without those half
    /// of the teacher's for `teacher_layers`, all of them for `width_sliced`.
    pub num_hidden_layers: i64,
    /// Query heads. Default 4 for `random`, else 0.
    pub num_attention_heads: i64,
    /// Key and value heads; must divide the query heads. Default 2 for `random`, else 0.
    pub num_key_value_heads: i64,
    /// Width of the gated MLP. Default 192 for `random`, else 0.
    pub intermediate_size: i64,
    /// The teacher's blocks that the student gets, from 0, ascending; for `teacher_layers`
    /// and `width_sliced`. Default: `num_hidden_layers` of them, evenly spread from the first
    /// to the last.
    pub layers: Vec<usize>,
    /// Training records that `width_sliced` measures importance on. Default 64.
    pub calibration_records: usize,
    /// The folder that `folder` starts from; its vocabulary must be the teacher's. No default.
    pub path: PathBuf,
    /// The longest sequence, in tokens; for `random`. Default 1024.
    pub max_position_embeddings: i64,
    /// Base of the rotary position embedding; for `random`. Default 10000.
    pub rope_theta: f64,
    /// Whether the head shares the embedding's weight; for `random`. Default true.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the initial weights, for `random`. About one over the root of
    /// `hidden_size` is right for small models; large ones usually take 0.02. Default 0.09.
    pub initializer_range: f64,
    /// For the first query heads of the first layer, one after another: how many tokens
    /// the head looks back at the start of training; for `random`. Without any, small models
    /// spend most of their training on finding the token before. Default 1 and 2.
    pub look_back_heads: Vec<i64>,
}

/// The table as it is written: the defaults of sizes depend on `init`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StudentKeys {
    init: Init,
    hidden_size: Option<i64>,
    num_hidden_layers: Option<i64>,
    num_attention_heads: Option<i64>,
    num_key_value_heads: Option<i64>,
    intermediate_size: Option<i64>,
    layers: Option<Vec<usize>>,
    calibration_records: Option<usize>,
    path: Option<PathBuf>,
    max_position_embeddings: Option<i64>,
    rope_theta: Option<f64>,
    tie_word_embeddings: Option<bool>,
    initializer_range: Option<f64>,
    look_back_heads: Option<Vec<i64>>,
}

impl From<StudentKeys> for StudentConfig {
    fn from(keys: StudentKeys) -> Self {
        let default = Self { init: keys.init, ..Self::default() };
        let size = |given: Option<i64>, random: i64| {
            given.unwrap_or(if keys.init == Init::Random { random } else { 0 })
        };
        Self {
            hidden_size: size(keys.hidden_size, default.hidden_size),
            num_hidden_layers: size(keys.num_hidden_layers, default.num_hidden_layers),
            num_attention_heads: size(keys.num_attention_heads, default.num_attention_heads),
            num_key_value_heads: size(keys.num_key_value_heads, default.num_key_value_heads),
            intermediate_size: size(keys.intermediate_size, default.intermediate_size),
            layers: keys.layers.unwrap_or(default.layers),
            calibration_records: keys.calibration_records.unwrap_or(default.calibration_records),
            path: keys.path.unwrap_or(default.path),
            max_position_embeddings: keys
                .max_position_embeddings
                .unwrap_or(default.max_position_embeddings),
            rope_theta: keys.rope_theta.unwrap_or(default.rope_theta),
            tie_word_embeddings: keys.tie_word_embeddings.unwrap_or(default.tie_word_embeddings),
            initializer_range: keys.initializer_range.unwrap_or(default.initializer_range),
            look_back_heads: keys.look_back_heads.unwrap_or(default.look_back_heads),
            init: keys.init,
        }
    }
}

impl Default for StudentConfig {
    fn default() -> Self {
        Self {
            init: Init::Random,
            hidden_size: 128,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            intermediate_size: 192,
            layers: Vec::new(),
            calibration_records: 64,
            path: PathBuf::new(),
            max_position_embeddings: 1024,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            initializer_range: 0.09,
            look_back_heads: vec![1, 2],
        }
    }
}

impl Validate for StudentConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("intermediate_size", self.intermediate_size),
        ];
        if self.init == Init::Random {
            return self.validate_random(&sizes);
        }
        if let Some((field, value)) = sizes.into_iter().find(|(_, value)| *value < 0) {
            return Err(Invalid::new(field, "0 (the other model's) or more", value));
        }
        if self.init == Init::Folder {
            if self.path.as_os_str().is_empty() {
                return Err(Invalid::new("path", "a model folder (init = \"folder\")", "nothing"));
            }
        } else if let Some([first, next, ..]) =
            self.layers.windows(2).find(|pair| pair[0] >= pair[1])
        {
            let got = format!("{first} before {next}");
            return Err(Invalid::new("layers", "ascending blocks, each once", got));
        }
        let blocks = self.layers.len() as i64;
        if !self.layers.is_empty() && ![0, blocks].contains(&self.num_hidden_layers) {
            let expected = format!("{blocks}, as many as `layers` names, or 0");
            return Err(Invalid::new("num_hidden_layers", expected, self.num_hidden_layers));
        }
        if self.calibration_records == 0 {
            return Err(Invalid::new("calibration_records", "at least 1", 0));
        }
        Ok(())
    }
}

impl StudentConfig {
    fn validate_random(&self, sizes: &[(&str, i64)]) -> std::result::Result<(), Invalid> {
        let length = ("max_position_embeddings", self.max_position_embeddings);
        if let Some((field, value)) = sizes.iter().chain([&length]).find(|(_, value)| *value < 1) {
            return Err(Invalid::new(field, "at least 1", value));
        }
        if self.hidden_size % (2 * self.num_attention_heads) != 0 {
            let expected = "a multiple of twice num_attention_heads (heads of even width)";
            return Err(Invalid::new("hidden_size", expected, self.hidden_size));
        }
        if self.num_attention_heads % self.num_key_value_heads != 0 {
            let expected = "a divisor of num_attention_heads";
            return Err(Invalid::new("num_key_value_heads", expected, self.num_key_value_heads));
        }
        if !(self.initializer_range > 0.0 && self.initializer_range.is_finite()) {
            return Err(Invalid::new(
                "initializer_range",
                "a number above 0",
                self.initializer_range,
            ));
        }
        if self.look_back_heads.len() as i64 > self.num_attention_heads {
            let expected = "at most num_attention_heads";
            let got = format!("{} of them", self.look_back_heads.len());
            return Err(Invalid::new("look_back_heads", expected, got));
        }
        let offsets = 1..self.max_position_embeddings;
        if let Some(offset) = self.look_back_heads.iter().find(|offset| !offsets.contains(*offset))
        {
            let expected = "from 1 to below max_position_embeddings";
            return Err(Invalid::new("look_back_heads", expected, offset));
        }
        if !self.layers.is_empty() {
            let expected = "none (init = \"random\" takes no blocks of the teacher)";
            return Err(Invalid::new("layers", expected, format!("{:?}", self.layers)));
        }
        Ok(())
    }

    /// The same shape from scratch, for what is trained without the teacher: sizes that are
    /// the teacher's are written out, but for the width of a head, which is `hidden_size` over
    /// `num_attention_heads`. A folder is no part of the teacher and stays.
    #[must_use]
    pub fn from_scratch(&self, teacher: &DecoderConfig) -> Self {
        if matches!(self.init, Init::Random | Init::Folder) {
            return self.clone();
        }
        let of = |size: i64, teachers: i64| if size == 0 { teachers } else { size };
        let depth = teacher.num_hidden_layers() as i64;
        let blocks = match (self.num_hidden_layers, self.layers.len() as i64) {
            (0, 0) if self.init == Init::TeacherLayers => (depth / 2).max(1),
            (0, 0) => depth,
            (0, named) => named,
            (blocks, _) => blocks,
        };
        Self {
            init: Init::Random,
            hidden_size: of(self.hidden_size, teacher.hidden_size),
            num_hidden_layers: blocks,
            num_attention_heads: of(self.num_attention_heads, teacher.num_attention_heads),
            num_key_value_heads: of(self.num_key_value_heads, teacher.num_key_value_heads),
            intermediate_size: of(self.intermediate_size, teacher.intermediate_size),
            layers: Vec::new(),
            ..self.clone()
        }
    }

    /// The token ids that importance is measured on: `calibration_records` of the examples,
    /// evenly spread over them; none where the initialisation needs none.
    pub fn calibration<'a>(&self, examples: &'a [Example]) -> Vec<&'a [i64]> {
        if self.init != Init::WidthSliced {
            return Vec::new();
        }
        let count = self.calibration_records.min(examples.len());
        (0..count).map(|index| examples[index * examples.len() / count].tokens.as_slice()).collect()
    }

    /// Makes the student.
    ///
    /// # Errors
    /// [`StudentError`] for what does not fit the teacher or the folder; a tokenizer with
    /// more ids than the embedding has rows; errors of the model.
    pub fn build(&self, origin: Origin<'_>) -> Result<Student> {
        let Origin { tokenizer, teacher, vocab_size, aligned, calibration, seed, device } = origin;
        let missing = || StudentError::NoTeacher { init: self.init.name() };
        let student = match self.init {
            Init::Random => {
                let vocab_size = teacher.map(|teacher| teacher.config().vocab_size).or(vocab_size);
                let decoder = self.random(tokenizer, vocab_size, seed, device)?;
                let record = Initialisation::new(self.init, &decoder);
                Student { decoder, tokenizer: None, record }
            }
            Init::TeacherLayers => self.teacher_layers(teacher.ok_or_else(missing)?, device)?,
            Init::WidthSliced => {
                self.width_sliced(teacher.ok_or_else(missing)?, calibration, device)?
            }
            Init::Folder => self.folder((!aligned).then_some(tokenizer), device)?,
        };
        tracing::info!("{}", student.record);
        Ok(student)
    }
}

/// What a student may be made from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The tokenizer of the training examples: the teacher's.
    pub tokenizer: &'a Tokenizer,
    /// The teacher, or another model whose weights may be taken. Comes out as it went in.
    pub teacher: Option<&'a mut Decoder>,
    /// Rows of the teacher's head, where the teacher itself is not at hand.
    pub vocab_size: Option<i64>,
    /// Whether a folder's tokens may differ from the teacher's.
    pub aligned: bool,
    /// Token ids to measure importance on: [`StudentConfig::calibration`].
    pub calibration: &'a [&'a [i64]],
    /// Seeds random weights.
    pub seed: u64,
    /// Where the student goes.
    pub device: Device,
}

/// A student before training.
#[derive(Debug)]
pub struct Student {
    /// The model, in float32.
    pub decoder: Decoder,
    /// The tokenizer of the folder that it came from, if it came from one. Its ids are the
    /// teacher's; whoever aligns two vocabularies takes it from here and leaves out
    /// the check in `folder`.
    pub tokenizer: Option<Tokenizer>,
    /// How it was made.
    pub record: Initialisation,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn impossible_shapes_name_their_key() {
        StudentConfig::default().validate().unwrap();
        let default = StudentConfig::default;
        let cases = [
            ("hidden_size", StudentConfig { hidden_size: 130, ..default() }),
            ("num_key_value_heads", StudentConfig { num_key_value_heads: 3, ..default() }),
            ("num_hidden_layers", StudentConfig { num_hidden_layers: 0, ..default() }),
            ("look_back_heads", StudentConfig { look_back_heads: vec![1; 5], ..default() }),
            ("look_back_heads", StudentConfig { look_back_heads: vec![0], ..default() }),
            ("initializer_range", StudentConfig { initializer_range: f64::NAN, ..default() }),
            ("layers", StudentConfig { layers: vec![0], ..default() }),
        ];
        for (field, config) in cases {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn without_a_teacher_the_same_shape_is_drawn() {
        let teacher = json!({
            "model_type": "qwen2", "vocab_size": 32, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 6,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
        });
        let teacher = DecoderConfig::from_hf(&teacher).unwrap();
        let scratch = |config: Value| {
            serde_json::from_value::<StudentConfig>(config).unwrap().from_scratch(&teacher)
        };
        let half = scratch(json!({ "init": "teacher_layers" }));
        assert_eq!((half.init, half.num_hidden_layers, half.hidden_size), (Init::Random, 3, 16));
        let narrow = json!({ "init": "width_sliced", "layers": [0, 5], "hidden_size": 8 });
        let narrow = scratch(narrow);
        assert_eq!((narrow.num_hidden_layers, narrow.hidden_size), (2, 8));
        assert_eq!((narrow.intermediate_size, narrow.num_attention_heads), (24, 4));
        narrow.validate().unwrap();
        let random = json!({ "hidden_size": 32 });
        assert_eq!(scratch(random.clone()), serde_json::from_value(random).unwrap());
    }

    #[test]
    fn impossible_starts_name_their_key() {
        let parse = |text: &str| serde_json::from_str::<StudentConfig>(text).unwrap();
        let cases = [
            ("layers", r#"{"init": "teacher_layers", "layers": [0, 2, 2]}"#),
            ("layers", r#"{"init": "width_sliced", "layers": [3, 1]}"#),
            (
                "num_hidden_layers",
                r#"{"init": "teacher_layers", "layers": [0, 2], "num_hidden_layers": 3}"#,
            ),
            ("hidden_size", r#"{"init": "width_sliced", "hidden_size": -1}"#),
            ("calibration_records", r#"{"init": "width_sliced", "calibration_records": 0}"#),
            ("path", r#"{"init": "folder"}"#),
        ];
        for (field, text) in cases {
            assert_eq!(parse(text).validate().unwrap_err().field, field, "{text}");
        }
        assert!(serde_json::from_str::<StudentConfig>(r#"{"layer": [0]}"#).is_err());
    }

    #[test]
    fn sizes_default_to_a_small_model_or_to_the_teacher() {
        let parse = |text: &str| serde_json::from_str::<StudentConfig>(text).unwrap();
        assert_eq!(parse("{}"), StudentConfig::default());
        let sliced = parse(r#"{"init": "width_sliced", "hidden_size": 64}"#);
        assert_eq!((sliced.hidden_size, sliced.num_hidden_layers), (64, 0));
        assert_eq!((sliced.num_attention_heads, sliced.num_key_value_heads), (0, 0));
        let again = serde_json::to_string(&sliced).unwrap();
        assert_eq!(parse(&again), sliced);
    }
}
