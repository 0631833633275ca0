//! The errors of starting and running the server. What a client hears is in
//! [`crate::openai::error`].

use std::net::SocketAddr;
use std::path::PathBuf;

use limbeck_run::config::Invalid;
use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with the server as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting has an impossible value.
    #[error("{}: expected {}, found {}", .0.field, .0.expected, .0.got)]
    Setting(Invalid),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A thread or the runtime could not be started.
    #[error("cannot start {what}")]
    Start {
        /// What was to be started.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A folder of adapters that is not there.
    #[error("adapter_roots: cannot read {}", path.display())]
    AdapterRoot {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file that keeps feedback cannot be used.
    #[error("feedback in {}", path.display())]
    Feedback {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// The file that keeps feedback was written by a later version.
    #[error("feedback in {} has version {found} of its tables, this program knows {known}", path.display())]
    FeedbackVersion {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: i64,
        /// What is known here.
        known: i64,
    },
    /// The engine could not be made.
    #[error(transparent)]
    Engine(#[from] limbeck_infer::Error),
    /// The engine ended while it was needed.
    #[error("the engine has stopped: {reason}")]
    EngineStopped {
        /// What is known of it.
        reason: String,
    },
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Setting(invalid)
    }
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Setting(_) | Self::Listen { .. } | Self::AdapterRoot { .. } => Exit::Usage,
            Self::FeedbackVersion { .. } => Exit::BadInput,
            Self::Engine(source) => source.exit(),
            Self::Start { .. } | Self::Feedback { .. } | Self::EngineStopped { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Engine(source) => return source.hint(),
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                "another server has this port: stop it, or choose another with --port"
            }
            Self::AdapterRoot { .. } => {
                "name folders that exist; adapters are loaded from below them"
            }
            Self::FeedbackVersion { .. } => "use the newer program, or name another file",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
