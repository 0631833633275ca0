//! A server around the fake engine on a port of its own, for tests of behaviour.

pub(crate) mod http;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use limbeck_core::Tokenizer;
use limbeck_serve::adapters::{AdapterError, AdapterInfo, AdapterStore, LoadedAdapter};
use limbeck_serve::config::LimitsConfig;
use limbeck_serve::fake::{FakeBackend, FakeConfig, FakeControl};
use limbeck_serve::{ModelInfo, Result, ServeConfig, Server, Setup, Shutdown};
use serde_json::Value;

use self::http::{Open, Reply, try_open};

/// The fixture's vocabulary and context.
pub(crate) const VOCAB_SIZE: i64 = 640;
pub(crate) const MAX_MODEL_LEN: usize = 1024;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// A running server, stopped when it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) control: Arc<FakeControl>,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) shutdown: Shutdown,
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
}

/// What a test changes of a server.
pub(crate) struct Options {
    pub(crate) config: ServeConfig,
    pub(crate) fake: FakeConfig,
    pub(crate) adapters: Option<Box<dyn AdapterStore>>,
    pub(crate) reply: Option<&'static str>,
    pub(crate) chat_template: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        let limits = LimitsConfig { shutdown_grace_seconds: 10, ..LimitsConfig::default() };
        Self {
            config: ServeConfig { port: 0, limits, ..ServeConfig::default() },
            fake: FakeConfig { vocab_size: VOCAB_SIZE, ..FakeConfig::default() },
            adapters: None,
            reply: None,
            chat_template: None,
        }
    }
}

impl Running {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A server whose choices all say `reply`.
    pub(crate) fn saying(reply: &'static str) -> Self {
        Self::with(|options| options.reply = Some(reply))
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let folder = tempfile::tempdir().unwrap();
        let mut model = fixture("teacher");
        if let Some(template) = options.chat_template {
            Tokenizer::load(&model).unwrap().copy_files(folder.path()).unwrap();
            std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
            folder.path().clone_into(&mut model);
        }
        let tokenizer = Arc::new(Tokenizer::load(&model).unwrap());
        if let Some(reply) = options.reply {
            options.fake.reply = tokenizer.encode(reply).unwrap();
        }
        let control = Arc::new(FakeControl::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = Shutdown::default();
        let model = ModelInfo::new("fake", MAX_MODEL_LEN, VOCAB_SIZE, Arc::clone(&tokenizer));
        let setup = Setup { config: options.config, model, adapters: options.adapters };
        let backend = FakeBackend::factory(options.fake, Arc::clone(&control));
        let server = runtime.block_on(Server::start(setup, backend, shutdown.clone())).unwrap();
        let address = server.address();
        Self { address, control, tokenizer, shutdown, runtime, server: Some(server) }
    }

    fn head(&self, method: &str, path: &str, extra: &str, length: usize) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{extra}Content-Length: {length}\r\n\r\n",
            self.address
        )
    }

    /// Sends a request with any headers and body; `None` if there was no whole reply.
    pub(crate) fn send(&self, method: &str, path: &str, extra: &str, body: &[u8]) -> Option<Reply> {
        self.open(method, path, extra, body)?.finish()
    }

    /// The same, of which only the head is read.
    pub(crate) fn open(&self, method: &str, path: &str, extra: &str, body: &[u8]) -> Option<Open> {
        try_open(self.address, &self.head(method, path, extra, body.len()), body)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", b"").expect("a reply")
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        self.send("POST", path, JSON, body.as_bytes()).expect("a reply")
    }

    #[track_caller]
    pub(crate) fn post_open(&self, path: &str, body: &Value) -> Open {
        let body = body.to_string();
        self.open("POST", path, JSON, body.as_bytes()).expect("a reply")
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "bodies are written where they are sent")]
    pub(crate) fn completions(&self, body: Value) -> Reply {
        self.post("/v1/completions", &body)
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "bodies are written where they are sent")]
    pub(crate) fn chat(&self, body: Value) -> Reply {
        self.post("/v1/chat/completions", &body)
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.control.paused.store(paused, Ordering::SeqCst);
    }

    /// Waits until the fake says so; what it waits for is certain to come.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, reached: impl Fn(&FakeControl) -> bool) {
        let start = Instant::now();
        while !reached(&self.control) {
            assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:?}", self.control);
            std::thread::yield_now();
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.server.as_ref().unwrap().in_flight()
    }

    /// Asserts that the engine has nothing left and all room is free again.
    #[track_caller]
    pub(crate) fn assert_idle(&self) {
        self.wait_until("idle", |control| control.live.load(Ordering::SeqCst) == 0);
        let start = Instant::now();
        while self.in_flight() > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "{} permits lost", self.in_flight());
            std::thread::yield_now();
        }
    }

    /// Stops the server and tells how it ended.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.shutdown.begin();
        let server = self.server.take().expect("a server that was not stopped");
        self.runtime.block_on(server.wait())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.pause(false);
            let stopped = self.stop();
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
    }
}

/// The header that JSON goes with.
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

/// Adapters that are nothing but names.
#[derive(Debug, Default)]
pub(crate) struct FakeAdapters {
    known: Mutex<Vec<AdapterInfo>>,
}

impl FakeAdapters {
    pub(crate) fn holding(adapters: &[(&str, &str)]) -> Box<dyn AdapterStore> {
        let info = |(name, tier): &(&str, &str)| AdapterInfo {
            name: (*name).to_owned(),
            tier: (*tier).to_owned(),
            hash: "0".repeat(64),
        };
        Box::new(Self { known: Mutex::new(adapters.iter().map(info).collect()) })
    }
}

impl AdapterStore for FakeAdapters {
    fn list(&self) -> Vec<AdapterInfo> {
        self.known.lock().unwrap().clone()
    }

    fn load(
        &self,
        name: &str,
        tier: &str,
        folder: &Path,
    ) -> std::result::Result<LoadedAdapter, AdapterError> {
        if !folder.join("adapter_config.json").exists() {
            return Err(AdapterError("no adapter_config.json".to_owned()));
        }
        let (name, tier, hash) = (name.to_owned(), tier.to_owned(), "1".repeat(64));
        self.known.lock().unwrap().push(AdapterInfo { name, tier, hash: hash.clone() });
        Ok(LoadedAdapter { hash, evicted: None })
    }

    fn unload(&self, name: &str) -> std::result::Result<(), AdapterError> {
        self.known.lock().unwrap().retain(|adapter| adapter.name != name);
        Ok(())
    }

    fn key(&self, stack: &[(String, f64)]) -> std::result::Result<u64, AdapterError> {
        Ok(stack.len() as u64)
    }
}
