//! Listening, and everything's beginning and end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use limbeck_run::config::Validate as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::adapters::{AdapterStore, Adapters};
use crate::app::{App, Peer, router};
use crate::auth::Access;
use crate::backend::BackendFactory;
use crate::config::ServeConfig;
use crate::feedback::FeedbackStore;
use crate::metrics::Metrics;
use crate::model_info::ModelInfo;
use crate::openai::form::Forms;
use crate::page::Page;
use crate::recent::RecentReplies;
use crate::shutdown::Shutdown;
use crate::worker::{EngineHandle, Health};
use crate::{Error, Result};

/// Threads for the network's side. The engine has its own, and needs the cores more.
const NETWORK_THREADS: usize = 2;
/// Threads for tokenising and for waiting on disks.
const BLOCKING_THREADS: usize = 4;

/// What a server is made of.
#[derive(Debug)]
pub struct Setup {
    /// How it is set up.
    pub config: ServeConfig,
    /// What is served.
    pub model: ModelInfo,
    /// Adapters beside it.
    pub adapters: Option<Box<dyn AdapterStore>>,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    accepting: JoinHandle<()>,
}

/// Serves until SIGINT or SIGTERM, or until the engine ends; a second signal cuts off what
/// still runs.
///
/// `started` hears the address once requests are taken.
///
/// # Errors
/// An impossible setting, a port that is taken, an engine that cannot be made or that fails.
pub fn run(
    setup: Setup,
    backend: Box<dyn BackendFactory>,
    started: impl FnOnce(SocketAddr),
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(|source| Error::Start { what: "the network's threads", source })?;
    runtime.block_on(async {
        let shutdown = Shutdown::default();
        stop_on_signals(shutdown.clone())?;
        let server = Server::start(setup, backend, shutdown.clone()).await?;
        started(server.address());
        let app = Arc::clone(&server.app);
        tokio::select! {
            () = shutdown.begun() => {}
            () = app.engine.stopped() => shutdown.begin(),
        }
        server.wait().await
    })
}

/// The first signal begins the stop, the second cuts off what still runs.
fn stop_on_signals(shutdown: Shutdown) -> Result<()> {
    let failed = |source| Error::Start { what: "listening for signals", source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        };
        next().await;
        tracing::info!("stopping: requests that run may end");
        shutdown.begin();
        next().await;
        shutdown.cut();
    });
    Ok(())
}

impl Server {
    /// Makes the engine and listens.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn start(
        setup: Setup,
        backend: Box<dyn BackendFactory>,
        shutdown: Shutdown,
    ) -> Result<Self> {
        let Setup { config, mut model, adapters } = setup;
        config.validate()?;
        if let Some(name) = &config.served_model_name {
            model.name.clone_from(name);
        }
        if let Some(length) = config.max_model_len {
            model.max_model_len = model.max_model_len.min(length);
        }
        let adapters = Adapters::new(&model.name, adapters, &config.adapter_roots)?;
        let feedback = config.feedback.as_deref().map(FeedbackStore::open).transpose()?;
        let metrics = Arc::new(Metrics::new(&model.name));
        // Before the model is loaded: a port that is taken should not take a minute to tell.
        let address = config.address();
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let engine =
            EngineHandle::start(backend, config.limits.max_requests, Arc::clone(&metrics))?;
        engine.ready().await?;
        if config.is_open_to_strangers() {
            tracing::warn!(%address, "anybody who reaches this address may use the model: set access.api_keys");
        }
        let app = Arc::new(App {
            access: Access::new(&config.access, config.host.is_loopback()),
            recent: RecentReplies::new(config.limits.remembered_replies),
            page: Page::new(config.page),
            forms: Forms::default(),
            config,
            model,
            engine,
            adapters,
            feedback,
            metrics,
            shutdown,
        });
        tracing::info!(%address, model = %app.model.name, "listening");
        let accepting = tokio::spawn(accept(listener, Arc::clone(&app)));
        Ok(Self { address, app, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Prompts that run or wait.
    pub fn in_flight(&self) -> usize {
        self.app.engine.in_flight(self.app.config.limits.max_requests)
    }

    /// Waits until the server has stopped, which something else must have asked for.
    ///
    /// # Errors
    /// [`Error::EngineStopped`] if the engine failed.
    pub async fn wait(self) -> Result<()> {
        let accepted = self.accepting.await;
        if let Err(error) = accepted {
            tracing::error!(%error, "the accept loop panicked");
            self.app.shutdown.begin();
            self.app.shutdown.cut();
        }
        let engine = Arc::clone(&self.app);
        let joined = tokio::task::spawn_blocking(move || engine.engine.join()).await;
        joined.map_err(|_| Error::EngineStopped { reason: "its thread panicked".to_owned() })??;
        match self.app.engine.health() {
            Health::Failed(reason) => Err(Error::EngineStopped { reason }),
            _ => Ok(()),
        }
    }
}

/// Accepts connections until the stop begins, then waits for them.
async fn accept(listener: TcpListener, app: Arc<App>) {
    let limits = &app.config.limits;
    let router = router(&app);
    let room = Arc::new(Semaphore::new(limits.max_connections));
    let open = GracefulShutdown::new();
    loop {
        // Without room, connections wait in the system's queue.
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = app.shutdown.begun() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: others must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Tokens are small and each should leave at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
            continue;
        }
        let inner = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            inner.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout())
            .serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(permit);
        });
    }
    drop(listener);
    app.shutdown.grace(limits.shutdown_grace(), open.shutdown()).await;
    // What streams still run have lost their clients.
    app.shutdown.cut();
    app.engine.close();
}
