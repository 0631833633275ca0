//! The server around an engine without a model, to try the page and clients with:
//! `cargo run --release -p limbeck-serve --example fake_server -- MODEL_FOLDER [PORT]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use limbeck_core::Tokenizer;
use limbeck_serve::fake::{FakeBackend, FakeConfig, FakeControl};
use limbeck_serve::{ModelInfo, ServeConfig, Setup, run};

const REPLY: &str = "<think>\nStart with 12.\nAdd 30: 12 + 30 = 42.\nTake 7 away: 42 - 7 = 35.\n\
                     Double it: 35 * 2 = 70.\n</think>\n\nThe answer is 70.";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder with a tokenizer")?);
    let port = arguments.next().map_or(Ok(8000), |port| port.parse())?;
    let tokenizer = Arc::new(Tokenizer::load(&folder)?);
    let vocab_size = tokenizer.vocab_size();
    let fake = FakeConfig {
        vocab_size,
        step_time: Duration::from_millis(25),
        reply: tokenizer.encode(REPLY)?,
        ..FakeConfig::default()
    };
    let feedback = std::env::temp_dir().join("fake-feedback.sqlite");
    let config = ServeConfig { port, feedback: Some(feedback), ..ServeConfig::default() };
    let model = ModelInfo::new("fake", 1024, vocab_size, tokenizer);
    let setup = Setup { config, model, adapters: None };
    let backend = FakeBackend::factory(fake, Arc::new(FakeControl::default()));
    run(setup, backend, |address| eprintln!("http://{address}"))?;
    Ok(())
}
