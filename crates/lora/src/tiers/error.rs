//! What can go wrong with adapters in tiers.

use limbeck_run::{Diagnose, Exit};

use super::Tier;

/// A request or an adapter that the tiers refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TierError {
    /// A stack, or a call, names an adapter that is not there.
    #[error("adapter {adapter} is not loaded; loaded: {}", list(loaded))]
    NotLoaded {
        /// The name.
        adapter: String,
        /// The names that are.
        loaded: Vec<String>,
    },
    /// Two adapters of one name.
    #[error("adapter {adapter} is loaded already, in the {tier} tier")]
    AlreadyLoaded {
        /// The name.
        adapter: String,
        /// Where it is.
        tier: Tier,
    },
    /// One adapter twice in a stack.
    #[error("a stack holds adapter {adapter} twice")]
    Repeated {
        /// The name.
        adapter: String,
    },
    /// A module that is no projection of the decoder's blocks.
    #[error("adapter {adapter} adapts {module}, which is no projection of this model's blocks")]
    UnknownModule {
        /// The adapter.
        adapter: String,
        /// The module.
        module: String,
    },
    /// A matrix that does not fit its projection.
    #[error(
        "adapter {adapter}: {matrix} of {module}: expected shape {expected:?}, found {found:?}"
    )]
    Shape {
        /// The adapter.
        adapter: String,
        /// The projection.
        module: String,
        /// `lora_A` or `lora_B`.
        matrix: &'static str,
        /// The shape that fits.
        expected: [i64; 2],
        /// Its shape.
        found: Vec<i64>,
    },
    /// An adapter too large for its tier.
    #[error("adapter {adapter}: {module} has rank {rank}, the {tier} tier takes at most {largest}")]
    RankAbove {
        /// The adapter.
        adapter: String,
        /// The projection.
        module: String,
        /// Its rank.
        rank: i64,
        /// The tier.
        tier: Tier,
        /// The tier's limit.
        largest: i64,
    },
    /// No room, and nothing that may make room.
    #[error(
        "the {tier} tier holds {capacity} adapters and the running batch uses all of them: {}",
        list(adapters)
    )]
    Full {
        /// The tier.
        tier: Tier,
        /// How many it may hold.
        capacity: usize,
        /// Those that it holds.
        adapters: Vec<String>,
    },
    /// The running batch uses the adapter.
    #[error("adapter {adapter} cannot be {operation} while a batch runs with it")]
    InUse {
        /// The adapter.
        adapter: String,
        /// What was asked for.
        operation: &'static str,
    },
    /// The adapter was frozen for good.
    #[error("adapter {adapter} was released and cannot be {operation} any more")]
    Released {
        /// The adapter.
        adapter: String,
        /// What was asked for.
        operation: &'static str,
    },
    /// One adapter trains at a time, and nothing else changes meanwhile.
    #[error("adapter {adapter} is in training")]
    InTraining {
        /// The adapter that is.
        adapter: String,
    },
    /// No adapter is in training.
    #[error("no adapter is in training")]
    NotInTraining,
    /// The adapter that is to be trained has no part in what the model computes.
    #[error("adapter {adapter} is to be trained but is not in the stack, or with a gate of 0")]
    TrainedAside {
        /// The adapter.
        adapter: String,
    },
    /// Training changed what was frozen.
    #[error("training {adapter} changed {tensor} of {owner}, which was frozen")]
    Changed {
        /// The adapter that was trained.
        adapter: String,
        /// Another adapter, or the base.
        owner: String,
        /// The first tensor that is not what it was.
        tensor: String,
    },
    /// A batch of another size than was routed.
    #[error("stacks were given for {routed} rows, the model runs on {found}")]
    Rows {
        /// Rows with a stack.
        routed: usize,
        /// Rows of the batch.
        found: i64,
    },
    /// A row that the batch does not have.
    #[error("row {row} of a batch of {rows} cannot be kept")]
    NoSuchRow {
        /// The row.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// The weight of a projection whose rows have different updates.
    #[error("the rows of this batch use different adapters: there is no one weight")]
    NoOneWeight,
    /// A request without a stack.
    #[error("request {request} has no stack: there are {stacks}")]
    NoStack {
        /// The request's index.
        request: usize,
        /// How many stacks there are.
        stacks: usize,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Diagnose for TierError {
    fn exit(&self) -> Exit {
        match self {
            Self::UnknownModule { .. } | Self::Shape { .. } | Self::RankAbove { .. } => {
                Exit::BadInput
            }
            Self::NotLoaded { .. } | Self::AlreadyLoaded { .. } | Self::Repeated { .. } => {
                Exit::Usage
            }
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownModule { .. } | Self::Shape { .. } => {
                "the adapter belongs to another base model"
            }
            Self::RankAbove { .. } => {
                "train it with a smaller rank, or load it as a domain adapter"
            }
            Self::Full { .. } => "raise the tier's capacity, or use fewer adapters in one batch",
            Self::InUse { .. } => "end the batch, or route other stacks, first",
            Self::Released { .. } => "load a changed adapter under another name",
            Self::InTraining { .. } => "finish that training first",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
