//! How many threads a command computes with.

use std::path::Path;

use crate::cli::{Cli, Command};

/// The largest model, in bytes of its weights' files, that a server computes with one thread:
/// about what a core's own cache holds.
const ONE_THREAD_BYTES: u64 = 4 << 20;

/// `--threads`, or all cores. One for a server of a tiny model: its layers are done before a
/// second thread has begun, which then waits for the next one where the server's connections
/// would be read. With two threads on two cores a student of 450 thousand parameters gave 374
/// tokens/s to one client, with one 2,055 (`scripts/peers/serve.md`).
pub(crate) fn chosen(arguments: &Cli) -> i32 {
    let all = || std::thread::available_parallelism().map_or(1, |count| count.get() as i32);
    let of_command = || match &arguments.command {
        Command::Serve(serve) if weight_bytes(&serve.model.model) <= ONE_THREAD_BYTES => 1,
        _ => all(),
    };
    arguments.threads.unwrap_or_else(of_command)
}

/// Bytes of the files of a model's weights; more than any cache where there are none to see.
fn weight_bytes(folder: &Path) -> u64 {
    let Ok(entries) = folder.read_dir() else { return u64::MAX };
    let files = entries.flatten().filter(|entry| {
        entry.path().extension().is_some_and(|extension| extension == "safetensors")
    });
    let bytes = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    if bytes > 0 { bytes } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn tiny_models_are_served_by_one_thread_unless_asked_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().to_str().unwrap();
        let threads = |arguments: &[&str]| {
            chosen(&Cli::parse_from([&["limbeck"], arguments, &["--model", model]].concat()))
        };
        let all = std::thread::available_parallelism().unwrap().get() as i32;
        assert_eq!(threads(&["serve"]), all);
        let weights = folder.path().join("model.safetensors");
        std::fs::write(folder.path().join("tokenizer.json"), vec![0; 5 << 20]).unwrap();
        std::fs::write(&weights, vec![0; 1 << 20]).unwrap();
        assert_eq!(threads(&["serve"]), 1);
        assert_eq!(threads(&["--threads", "3", "serve"]), 3);
        assert_eq!(threads(&["bench"]), all);
        std::fs::write(&weights, vec![0; 5 << 20]).unwrap();
        assert_eq!(threads(&["serve"]), all);
    }
}
