//! The errors of this crate.

use std::path::PathBuf;

use limbeck_run::config::Invalid;
use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in evaluation and reporting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting has an impossible value.
    #[error("{}: expected {}, found {}", .0.field, .0.expected, .0.got)]
    Setting(Invalid),
    /// A task file says what cannot be done.
    #[error("task {}: expected {expected}, found {found}", path.display())]
    Task {
        /// The task file, or the data that it names.
        path: PathBuf,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A line of a file of replies that is none.
    #[error("{place}: expected id and text, or doc_id and resps, found {found}")]
    Replies {
        /// File and line.
        place: String,
        /// The line's fields.
        found: String,
    },
    /// Not one problem could be asked.
    #[error("none of the {count} problems could be answered; {id}: {reason}")]
    NothingAnswered {
        /// Problems.
        count: usize,
        /// The first of them.
        id: String,
        /// Why it could not.
        reason: String,
    },
    /// A task without a problem.
    #[error("task {}: none of its {rows} rows is a problem", path.display())]
    EmptyTask {
        /// The task file.
        path: PathBuf,
        /// Rows that were read.
        rows: usize,
        /// Why the first of them is none.
        first: Option<String>,
    },
    /// There is nothing to evaluate on.
    #[error("the task holds no record")]
    NoRecords,
    /// Two records share an id, by which models are paired.
    #[error("record {id} is in the task twice")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// A file of an evaluation folder is not as this crate writes it.
    #[error("{}{}: expected {expected}", path.display(), line_suffix(*line))]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1, of a file with a value on each line.
        line: Option<usize>,
        /// What belongs there.
        expected: &'static str,
        /// The parser's complaint.
        #[source]
        source: serde_json::Error,
    },
    /// The files of an evaluation folder contradict each other.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A folder whose curves were asked for is no training run's.
    #[error("{}{}: expected {expected}, found {found}", path.display(), line_suffix(*line))]
    Training {
        /// The metrics file.
        path: PathBuf,
        /// The line, from 1, if it is one.
        line: Option<usize>,
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A pattern of a task's filters or metrics that does not compile.
    #[error("pattern {pattern:?}")]
    Pattern {
        /// As the task gives it.
        pattern: String,
        /// The compiler's complaint.
        #[source]
        source: Box<fancy_regex::Error>,
    },
    /// A pattern that takes too long on a reply.
    #[error("pattern {pattern:?} on a reply of {length} bytes")]
    PatternRun {
        /// As the task gives it.
        pattern: String,
        /// The reply's length.
        length: usize,
        /// What the matcher says.
        #[source]
        source: Box<fancy_regex::Error>,
    },
    /// A report of nothing.
    #[error("no evaluation folder was given")]
    NoEvaluations,
    /// Two evaluations carry the same model's name.
    #[error("two evaluations are named {name:?}: {} and {}", first.display(), second.display())]
    DuplicateName {
        /// The name.
        name: String,
        /// One folder.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A comparison names a model that was not evaluated.
    #[error("comparisons: expected one of {}, found {name:?}", known.join(", "))]
    UnknownModel {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Evaluations of an ablation are not there.
    #[error(
        "{}: {} evaluation{} missing: {}",
        root.display(),
        missing.len(),
        if missing.len() == 1 { " is" } else { "s are" },
        missing.join(", ")
    )]
    AblationIncomplete {
        /// The ablation's folder.
        root: PathBuf,
        /// The evaluations by their place within it.
        missing: Vec<String>,
    },
    /// A variant or a seed was named twice.
    #[error("{name:?} is named twice")]
    AblationRepeated {
        /// The name.
        name: String,
    },
    /// A variant to hold others against that is not part of the ablation.
    #[error("expected one of the variants {}, found {name:?}", known.join(", "))]
    UnknownVariant {
        /// The name.
        name: String,
        /// The variants there are.
        known: Vec<String>,
    },
    /// Two evaluations of an ablation are not on the same problems.
    #[error("{}: problem {id} is missing, which {} has", path.display(), other.display())]
    AblationProblem {
        /// The evaluation without the problem.
        path: PathBuf,
        /// The problem.
        id: String,
        /// The evaluation with it.
        other: PathBuf,
    },
    /// A file that is no ablation.
    #[error("{}: expected an ablation", path.display())]
    AblationFile {
        /// The file.
        path: PathBuf,
        /// The parser's complaint.
        #[source]
        source: serde_json::Error,
    },
    /// Limits that evaluations do not keep.
    #[error(
        "{} of {total} gate{} not passed: {}",
        failures.len(),
        if *total == 1 { " is" } else { "s are" },
        failures.join("; ")
    )]
    Gates {
        /// Each with its figures.
        failures: Vec<String>,
        /// How many limits there are.
        total: usize,
        /// How to go on.
        hint: String,
    },
    /// A limit on what a model may lose, without anything to lose it from.
    #[error("{model}: {key} needs a reference, found {found}")]
    GateReference {
        /// The model.
        model: String,
        /// The limit's key.
        key: &'static str,
        /// What is there.
        found: String,
    },
    /// Two runs have no model of one name.
    #[error(
        "the runs share no model: {} has {}, {} has {}",
        first.display(), first_models.join(", "), second.display(), second_models.join(", ")
    )]
    NoCommonModel {
        /// One run.
        first: PathBuf,
        /// Its models.
        first_models: Vec<String>,
        /// The other.
        second: PathBuf,
        /// Its models.
        second_models: Vec<String>,
    },
    /// Two evaluations of a model share no problem.
    #[error("{model}: none of its {first} problems in one run is among the {second} of the other")]
    NoCommonProblem {
        /// The model.
        model: String,
        /// Problems in the first run.
        first: usize,
        /// Problems in the second.
        second: usize,
    },
    /// A folder that should be a run's holds no evaluation.
    #[error("{}: no evaluation.json in it, in a folder of it or in evaluate/*", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The database of a history cannot be used.
    #[error("{}: the history's database", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's complaint.
        #[source]
        source: rusqlite::Error,
    },
    /// The database is no history, or a later version's.
    #[error("{}: expected a history of version {expected}, found {found}", path.display())]
    DatabaseVersion {
        /// The file.
        path: PathBuf,
        /// The version of this program.
        expected: i64,
        /// What is there.
        found: String,
    },
    /// The page's template failed, which is a defect of this crate.
    #[error("the report page")]
    Page(#[from] minijinja::Error),
    /// From the data crate.
    #[error(transparent)]
    Data(#[from] limbeck_cot_data::Error),
    /// From the core crate.
    #[error(transparent)]
    Core(#[from] limbeck_core::Error),
    /// From the infer crate.
    #[error(transparent)]
    Infer(#[from] limbeck_infer::Error),
    /// From the model crate.
    #[error(transparent)]
    Model(#[from] limbeck_model::Error),
    /// From the run crate.
    #[error(transparent)]
    Run(#[from] limbeck_run::Error),
    /// libtorch refused an operation.
    #[error("libtorch operation failed during evaluation")]
    Torch(#[from] tch::TchError),
}

fn line_suffix(line: Option<usize>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

impl Error {
    /// A task that asks for what there is not.
    pub(crate) fn task(path: &std::path::Path, expected: impl Into<String>, found: String) -> Self {
        Self::Task { path: path.to_owned(), expected: expected.into(), found, hint: None }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Setting(invalid)
    }
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Setting(_)
            | Self::NoEvaluations
            | Self::DuplicateName { .. }
            | Self::AblationRepeated { .. }
            | Self::UnknownVariant { .. }
            | Self::GateReference { .. }
            | Self::UnknownModel { .. } => Exit::Usage,
            Self::Gates { .. } => Exit::Gate,
            Self::NoRecords
            | Self::Task { .. }
            | Self::EmptyTask { .. }
            | Self::Replies { .. }
            | Self::NothingAnswered { .. }
            | Self::DuplicateId { .. }
            | Self::Json { .. }
            | Self::Pattern { .. }
            | Self::PatternRun { .. }
            | Self::Training { .. }
            | Self::AblationIncomplete { .. }
            | Self::AblationProblem { .. }
            | Self::AblationFile { .. }
            | Self::NoCommonModel { .. }
            | Self::NoCommonProblem { .. }
            | Self::NoRun { .. }
            | Self::DatabaseVersion { .. }
            | Self::Folder { .. } => Exit::BadInput,
            Self::Page(_) | Self::Torch(_) | Self::Database { .. } => Exit::Failed,
            Self::Infer(source) => source.exit(),
            Self::Data(source) => match source.kind() {
                limbeck_cot_data::ErrorKind::Usage => Exit::Usage,
                limbeck_cot_data::ErrorKind::BadInput => Exit::BadInput,
                limbeck_cot_data::ErrorKind::Failed => Exit::Failed,
            },
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Run(source) => source.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Infer(source) => return source.hint(),
            Self::Data(source) => return source.hint(),
            Self::Core(source) => return source.hint(),
            Self::Run(source) => return source.hint(),
            Self::Gates { hint, .. } => hint,
            Self::GateReference { .. } => {
                "give --reference an evaluation on the same problems, or name one of --input \
                 under reference in the table"
            }
            Self::NoCommonModel { .. } => "models are paired by the --name they were evaluated by",
            Self::NoCommonProblem { .. } => {
                "evaluate both on the same --task; problems are paired by task and id"
            }
            Self::NoRun { .. } => "give a run's folder, such as runs/default, or evaluations",
            Self::Database { .. } => "another process may be writing; else give another --database",
            Self::DatabaseVersion { .. } => "give another --database, or a later limbeck",
            Self::Task { hint, .. } => return hint.clone(),
            Self::EmptyTask { first, .. } => return first.clone(),
            Self::DuplicateId { .. } => "rename or drop one; a file may have been given twice",
            Self::Json { .. } | Self::Folder { .. } => {
                "run `limbeck evaluate` again for that folder"
            }
            Self::Pattern { .. } => "patterns are Python's, as far as Rust's fancy-regex has them",
            Self::PatternRun { .. } => {
                "nested repetitions such as (a*)* cost exponential time; write the pattern without"
            }
            Self::Training { .. } => {
                "--training takes folders of limbeck sft, distill and lora train"
            }
            Self::AblationIncomplete { .. } => {
                "run cargo xtask ablation again, which skips what is there, or name fewer \
                 --variants or --seeds"
            }
            Self::AblationProblem { .. } => {
                "evaluate all students and the teacher on one --task, without evaluate.limit \
                 or with the same"
            }
            Self::AblationFile { .. } => "--ablation takes the ablation.json of limbeck ablation",
            Self::DuplicateName { .. } => "give each evaluation its own --name",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
