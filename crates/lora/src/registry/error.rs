//! What can go wrong with a registry.

use std::path::{Path, PathBuf};

use limbeck_run::{Diagnose, Exit};

use super::ContentHash;

/// An error of the registry. None of them leaves anything changed, but for content that
/// was stored and that no name refers to yet; garbage collection removes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A folder that was to be read as a registry is none.
    #[error("{} is no adapter registry: it has no registry.json", path.display())]
    NotARegistry {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that was to become a registry holds something else.
    #[error("{} cannot become an adapter registry: it holds {found}", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// The name of what is there.
        found: String,
    },
    /// A file was written by another version of the program.
    #[error("{}: expected format {expected}, found {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that is understood.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// A name or address that is none.
    #[error("{text:?}: expected {expected}")]
    Address {
        /// The text as given.
        text: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A name under which nothing was published.
    #[error("{} has no {name}: it has {}", registry.display(), list(available))]
    MissingRef {
        /// The registry.
        registry: PathBuf,
        /// The name.
        name: String,
        /// The names that exist.
        available: Vec<String>,
    },
    /// An alias that does not stand for anything at present.
    #[error("{name} has no {alias}: {other}")]
    NoAlias {
        /// The name.
        name: String,
        /// `champion` or `candidate`.
        alias: &'static str,
        /// What the other alias stands for.
        other: String,
    },
    /// A generation that a name never had, or whose record is gone.
    #[error("{name} has no generation {generation}: its record holds {oldest} to {newest}")]
    NoGeneration {
        /// The name.
        name: String,
        /// The generation asked for.
        generation: u64,
        /// The oldest on record.
        oldest: u64,
        /// The present one.
        newest: u64,
    },
    /// A hash that fits no version of a name, or several.
    #[error("{found} versions of {name} have a hash that begins with {digits}: expected one")]
    NoHash {
        /// The name.
        name: String,
        /// The digits given.
        digits: String,
        /// How many fit.
        found: usize,
    },
    /// A version whose files are gone.
    #[error("{name}: {hash} is not in the store ({})", path.display())]
    MissingEntry {
        /// The name that refers to it.
        name: String,
        /// The version.
        hash: ContentHash,
        /// Where it should be.
        path: PathBuf,
    },
    /// A file of the store is not as it was published.
    #[error("{} is damaged: expected {expected}, found {found}", path.display())]
    DamagedEntry {
        /// The file or folder.
        path: PathBuf,
        /// What was published.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A name's file contradicts itself.
    #[error("{} is damaged: expected {expected}, found {found}", path.display())]
    DamagedRef {
        /// The file.
        path: PathBuf,
        /// What holds of every such file.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A file that should be JSON of a certain shape is not.
    #[error("{}: expected {expected}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// The parser's complaint, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// Another writer was faster.
    #[error("{name} is at generation {found}, expected {expected}: {last}")]
    Conflict {
        /// The name.
        name: String,
        /// The generation that the caller knew.
        expected: u64,
        /// The present one; 0 where nothing was published yet.
        found: u64,
        /// What was done last.
        last: String,
    },
    /// There is no champion to go back to.
    #[error(
        "{name} cannot go back by {steps}: it had {available} champions before the present one"
    )]
    NoPrevious {
        /// The name.
        name: String,
        /// The steps asked for.
        steps: usize,
        /// The steps that are possible.
        available: usize,
    },
    /// The adapter belongs to another base.
    #[error(
        "{adapter} was trained on the base with weights {expected}, {} has {found}", model.display()
    )]
    OtherBase {
        /// The adapter.
        adapter: String,
        /// Hash of its base's weights and configuration.
        expected: String,
        /// The model's folder.
        model: PathBuf,
        /// Hash of the model's weights and configuration.
        found: String,
    },
    /// The adapter was trained with another vocabulary.
    #[error(
        "{adapter} was trained with the tokenizer {expected}, {} has {found}", model.display()
    )]
    OtherVocabulary {
        /// The adapter.
        adapter: String,
        /// Hash of its base's `tokenizer.json`.
        expected: String,
        /// The model's folder.
        model: PathBuf,
        /// Hash of the model's `tokenizer.json`.
        found: String,
    },
    /// An adapter's own manifest names another base than the one given.
    #[error(
        "{} says that it was trained on the model {expected}, {} is {found}",
        adapter.display(), model.display()
    )]
    TrainedElsewhere {
        /// The adapter's folder.
        adapter: PathBuf,
        /// Hash of the model's folder that its training stage recorded.
        expected: String,
        /// The model's folder as given.
        model: PathBuf,
        /// Its hash.
        found: String,
    },
    /// A model's folder without weights.
    #[error(
        "{} holds no model: expected config.json and model.safetensors or all shards of an index",
        path.display()
    )]
    NoModel {
        /// The folder.
        path: PathBuf,
    },
    /// The adapter's tensors are no safetensors file.
    #[error("{}: expected a safetensors file", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor's name that PEFT would load into nothing.
    #[error("{}: tensor {tensor}: expected a name that begins with {prefix}", path.display())]
    TensorName {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What names begin with.
        prefix: &'static str,
    },
    /// A matrix without its counterpart, or of a rank that the configuration does not have.
    #[error("{}: tensor {tensor}: expected {expected}, found {found}", path.display())]
    TensorRank {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An adapter without tensors.
    #[error("{} holds no tensor", path.display())]
    NoTensors {
        /// The file.
        path: PathBuf,
    },
    /// An evaluation's score that is no number.
    #[error("score {name}: expected a finite number, found {value}")]
    Score {
        /// Its name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// The file system gives no locks.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl RegistryError {
    /// Shortens what a registry holds for a message.
    pub(super) fn missing_ref(registry: &Path, name: String, available: Vec<String>) -> Self {
        Self::MissingRef { registry: registry.to_owned(), name, available }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl Diagnose for RegistryError {
    fn exit(&self) -> Exit {
        match self {
            Self::Occupied { .. }
            | Self::Address { .. }
            | Self::NoAlias { .. }
            | Self::NoPrevious { .. } => Exit::Usage,
            Self::Conflict { .. } | Self::Lock { .. } => Exit::Failed,
            _ => Exit::BadInput,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotARegistry { .. } | Self::MissingRef { .. } => {
                "`limbeck adapters publish` makes a registry and its names"
            }
            Self::Occupied { .. } => "give an empty folder, or one that is not there yet",
            Self::Address { .. } => {
                "addresses look like domain/medical, domain/medical@candidate, \
                 domain/medical@7 or domain/medical@sha256:4f0c91d2"
            }
            Self::NoAlias { alias: "champion", .. } => {
                "`limbeck adapters promote` makes the candidate the champion; until then add \
                 @candidate to the name"
            }
            Self::NoAlias { .. } | Self::NoGeneration { .. } | Self::NoHash { .. } => {
                "`limbeck adapters show` lists the versions of a name"
            }
            Self::MissingEntry { .. } => {
                "garbage collection removed it, or somebody did; publish it again"
            }
            Self::DamagedEntry { .. } => {
                "publishing the same adapter again repairs it; `limbeck adapters verify` names \
                 all damage"
            }
            Self::DamagedRef { .. } => {
                "put the file back from a backup, or delete it and publish again: the store's \
                 content is untouched"
            }
            Self::Conflict { .. } => {
                "look at what was done with `limbeck adapters show`, and try again with the \
                 present generation"
            }
            Self::OtherBase { .. } => {
                "use the base that the adapter was trained on, or a model that `limbeck \
                 quantize` or `limbeck lora merge` made from it"
            }
            Self::TrainedElsewhere { .. } => {
                "name the model's folder that it was trained on, as it was then"
            }
            Self::OtherVocabulary { .. } => {
                "the ids of its tokens would mean other text: use the tokenizer of its base"
            }
            Self::Tensors { .. }
            | Self::TensorName { .. }
            | Self::TensorRank { .. }
            | Self::NoTensors { .. } => {
                "PEFT's save_pretrained and `limbeck lora train` write such files"
            }
            Self::Lock { .. } => "put the registry on a file system that has file locks",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
