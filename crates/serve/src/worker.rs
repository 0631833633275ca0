//! The engine's thread: takes requests from a bounded queue, steps the engine, and hands each
//! client its tokens without ever waiting for one.
//!
//! A client that leaves drops its [`EventStream`]; the thread sees that between two steps
//! and cancels. Room in the queue is a permit that a request holds until the engine is done
//! with it, so that neither the queue nor the engine ever holds more than was configured.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use limbeck_infer::FinishReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::backend::{Backend, BackendFactory};
use crate::metrics::{Metrics, Outcome, Timing};
use crate::openai::error::ApiError;
use crate::{Error, Result};
use limbeck_infer::{Output, Request, RequestId, TokenLogprobs};

/// After this many failed steps in a row the engine is given up.
const MAX_FAILED_STEPS: usize = 3;

/// What a client hears of its request.
#[derive(Debug)]
pub enum Event {
    /// The engine has taken it.
    Accepted,
    /// The prompt's log-probabilities.
    Prompt(Vec<Option<TokenLogprobs>>),
    /// One more token.
    Token {
        /// Of which choice, from 0.
        choice: usize,
        /// Its id.
        token: i64,
        /// If asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// A choice has ended.
    Finished {
        /// Which, from 0.
        choice: usize,
        /// Why.
        reason: FinishReason,
        /// The stop token, where one was the reason.
        stop_token: Option<i64>,
        /// Prompt tokens that were taken from the prefix cache.
        cached_tokens: usize,
    },
    /// Nothing more comes.
    Failed(ApiError),
}

/// Whether the engine can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It is being made.
    Starting,
    /// It runs.
    Ready,
    /// It has ended as it was told to.
    Ended,
    /// It has ended by a fault.
    Failed(String),
}

/// The server's end of the engine.
#[derive(Debug)]
pub struct EngineHandle {
    /// Taken away to stop the thread.
    jobs: Mutex<Option<SyncSender<Job>>>,
    permits: Arc<Semaphore>,
    health: watch::Receiver<Health>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

/// A request on its way to the engine.
#[derive(Debug)]
struct Job {
    request: Request,
    events: mpsc::Sender<Event>,
    permit: OwnedSemaphorePermit,
    said: Arc<Said>,
    arrived: Instant,
}

/// Events of one request. Dropping it cancels the request.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<Event>,
    said: Arc<Said>,
}

/// What the reader of a request's events says of it.
#[derive(Debug)]
struct Said {
    /// An [`Outcome`].
    outcome: AtomicU8,
    /// Choices that need not go on, since the engine's thread last looked.
    enough: Mutex<Vec<usize>>,
}

impl EventStream {
    /// The next event; `None` once the engine has stopped.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Says that the request is done although the engine would go on, as where a stop string
    /// was found, so that it does not count as abandoned.
    pub fn done(&self, outcome: Outcome) {
        self.said.outcome.store(outcome as u8, Ordering::Relaxed);
    }

    /// Says that a choice need not go on, as where its stop string was found before the others'.
    pub fn enough(&self, choice: usize) {
        lock(&self.said.enough).push(choice);
    }
}

/// Room for a number of requests.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl EngineHandle {
    /// Starts the thread, which makes the engine.
    ///
    /// # Errors
    /// [`Error::Start`] if the system gives no thread.
    pub fn start(
        factory: Box<dyn BackendFactory>,
        max_requests: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let (sender, receiver) = sync_channel(max_requests);
        let (health, watched) = watch::channel(Health::Starting);
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let mut worker = Some(Worker {
                jobs: receiver,
                live: HashMap::new(),
                metrics,
                failed_steps: 0,
                open: true,
            });
            let made = factory.with_backend(&mut |backend| {
                let Some(mut worker) = worker.take() else { return };
                health.send_replace(Health::Ready);
                let ended = catch_unwind(AssertUnwindSafe(|| worker.run(backend)));
                let fault = ended.unwrap_or_else(|_| Some("it panicked".to_owned()));
                if let Some(fault) = &fault {
                    tracing::error!(%fault, "the engine has stopped");
                }
                // Before the worker goes, and with it the clients' channels: whoever hears of
                // the end there must see it here too.
                health.send_replace(fault.map_or(Health::Ended, Health::Failed));
            });
            if let Err(error) = &made {
                health.send_replace(Health::Failed(error.to_string()));
            }
            made.map_err(Error::from)
        });
        let thread =
            thread.map_err(|source| Error::Start { what: "the engine's thread", source })?;
        Ok(Self {
            jobs: Mutex::new(Some(sender)),
            permits: Arc::new(Semaphore::new(max_requests)),
            health: watched,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits until the engine has been made.
    ///
    /// # Errors
    /// Why it could not be.
    pub async fn ready(&self) -> Result<()> {
        let mut health = self.health.clone();
        let settled = health.wait_for(|health| *health != Health::Starting).await;
        let stopped = match settled.as_deref() {
            Ok(Health::Ready) => return Ok(()),
            Ok(Health::Failed(reason)) => reason.clone(),
            _ => "its thread died".to_owned(),
        };
        Err(self.join().err().unwrap_or(Error::EngineStopped { reason: stopped }))
    }

    /// Whether the engine can be asked.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Resolves when the engine has stopped.
    pub async fn stopped(&self) {
        let mut health = self.health.clone();
        // An error is a thread that died, which is as stopped as can be.
        let _ = health.wait_for(|health| matches!(health, Health::Ended | Health::Failed(_))).await;
    }

    /// Room for `requests` more, if there is.
    pub fn room(&self, requests: usize) -> Option<Room> {
        let count = u32::try_from(requests).ok()?;
        Arc::clone(&self.permits).try_acquire_many_owned(count).ok().map(Room)
    }

    /// Requests that run or wait, of how many there may be.
    pub fn in_flight(&self, max_requests: usize) -> usize {
        max_requests.saturating_sub(self.permits.available_permits())
    }

    /// Hands a request to the engine; takes one place of `room`.
    ///
    /// # Errors
    /// 503 if the engine has stopped; 429 without room left.
    pub fn submit(
        &self,
        request: Request,
        room: &mut Room,
    ) -> std::result::Result<EventStream, ApiError> {
        let permit = room.0.split(1).ok_or_else(busy)?;
        // All that can ever be sent, so that sending never waits and never fails for a slow
        // reader: accepted, prompt, failed, and each choice's tokens and end.
        let most = 3 + request.params.n * (request.params.max_new_tokens + 1);
        let (events, receiver) = mpsc::channel(most.min(Semaphore::MAX_PERMITS));
        let outcome = AtomicU8::new(Outcome::Abort as u8);
        let said = Arc::new(Said { outcome, enough: Mutex::new(Vec::new()) });
        let stream = EventStream { events: receiver, said: Arc::clone(&said) };
        let job = Job { request, events, permit, said, arrived: Instant::now() };
        let jobs = lock(&self.jobs);
        let sender =
            jobs.as_ref().ok_or_else(|| ApiError::unavailable("the server is stopping"))?;
        match sender.try_send(job) {
            Ok(()) => Ok(stream),
            Err(TrySendError::Full(_)) => Err(busy()),
            Err(TrySendError::Disconnected(_)) => {
                Err(ApiError::unavailable("the engine has stopped"))
            }
        }
    }

    /// Takes no more requests; the thread ends when those it has are done or abandoned.
    pub fn close(&self) {
        lock(&self.jobs).take();
    }

    /// Waits for the thread, which must have been closed.
    ///
    /// # Errors
    /// Why the engine could not be made or did not end well.
    pub fn join(&self) -> Result<()> {
        self.close();
        let thread = lock(&self.thread).take();
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::EngineStopped { reason: "its thread panicked".to_owned() }),
        }
    }
}

/// 429: as many requests run and wait as may.
pub(crate) fn busy() -> ApiError {
    ApiError::too_many("the server has as many requests as it takes, try again soon", 1)
}

/// The thread's own state.
struct Worker {
    jobs: Receiver<Job>,
    live: HashMap<RequestId, Live>,
    metrics: Arc<Metrics>,
    failed_steps: usize,
    /// Whether more jobs may come.
    open: bool,
}

/// A request that the engine has.
struct Live {
    events: mpsc::Sender<Event>,
    said: Arc<Said>,
    /// Held until the engine is done with the request.
    _permit: OwnedSemaphorePermit,
    arrived: Instant,
    taken: Instant,
    first_token: Option<Instant>,
    /// By choice: when its last token came, and whether it has ended.
    choices: Vec<(Option<Instant>, bool)>,
    prompt_tokens: usize,
    generated_tokens: usize,
    reason: FinishReason,
}

impl Worker {
    /// Runs until no more jobs can come and all are done; a text if the engine failed.
    fn run(&mut self, backend: &mut dyn Backend) -> Option<String> {
        loop {
            if self.live.is_empty() && backend.is_idle() {
                self.metrics.step(backend.stats());
                match self.jobs.recv() {
                    Ok(job) => self.take(backend, job),
                    Err(_) => return None,
                }
            }
            self.take_waiting(backend);
            self.drop_abandoned(backend);
            if backend.is_idle() {
                // Whoever is left would wait for ever.
                self.fail_all(backend, "the engine lost this request");
                if !self.open {
                    self.metrics.step(backend.stats());
                    return None;
                }
                continue;
            }
            match backend.step() {
                Ok(outputs) => {
                    self.failed_steps = 0;
                    for output in outputs {
                        self.deliver(output);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a step of the engine failed");
                    self.fail_all(backend, "the engine failed");
                    self.failed_steps += 1;
                    if self.failed_steps >= MAX_FAILED_STEPS {
                        return Some(error.to_string());
                    }
                }
            }
            self.metrics.step(backend.stats());
        }
    }

    fn take_waiting(&mut self, backend: &mut dyn Backend) {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.take(backend, job),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.open = false;
                    return;
                }
            }
        }
    }

    fn take(&mut self, backend: &mut dyn Backend, job: Job) {
        let Job { request, events, permit, said, arrived } = job;
        if events.is_closed() {
            return;
        }
        let (choices, prompt_tokens) = (request.params.n, request.prompt.len());
        let id = match backend.submit(request) {
            Ok(id) => id,
            Err(error) => {
                tracing::debug!(%error, "the engine refused a request");
                // A receiver that is gone needs no answer.
                let _ = events.try_send(Event::Failed(ApiError::from(&error)));
                return;
            }
        };
        let _ = events.try_send(Event::Accepted);
        let live = Live {
            events,
            said,
            _permit: permit,
            arrived,
            taken: Instant::now(),
            first_token: None,
            choices: vec![(None, false); choices],
            prompt_tokens,
            generated_tokens: 0,
            reason: FinishReason::Stop,
        };
        self.live.insert(id, live);
    }

    fn drop_abandoned(&mut self, backend: &mut dyn Backend) {
        let metrics = &self.metrics;
        self.live.retain(|id, live| {
            if !live.events.is_closed() {
                for choice in std::mem::take(&mut *lock(&live.said.enough)) {
                    if let Some((_, ended)) = live.choices.get_mut(choice)
                        && backend.cancel_choice(*id, choice)
                    {
                        *ended = true;
                    }
                }
                if live.choices.iter().any(|(_, ended)| !ended) {
                    return true;
                }
            }
            backend.cancel(*id);
            let said = live.said.outcome.load(Ordering::Relaxed);
            let known = [Outcome::Stop, Outcome::Length];
            let outcome = known.into_iter().find(|known| *known as u8 == said);
            live.end(metrics, outcome.unwrap_or(Outcome::Abort));
            false
        });
    }

    fn deliver(&mut self, output: Output) {
        match output {
            Output::Prompt { request, logprobs } => {
                if let Some(live) = self.live.get(&request) {
                    let _ = live.events.try_send(Event::Prompt(logprobs));
                }
            }
            Output::Token { request, choice, token, logprobs } => {
                if let Some(live) = self.live.get_mut(&request) {
                    live.count_token(choice, &self.metrics);
                    let _ = live.events.try_send(Event::Token { choice, token, logprobs });
                }
            }
            Output::Finished { request, choice, reason, stop_token, cached_tokens } => {
                let Some(live) = self.live.get_mut(&request) else { return };
                if let Some((_, ended)) = live.choices.get_mut(choice) {
                    *ended = true;
                }
                live.reason = reason;
                let _ = live.events.try_send(Event::Finished {
                    choice,
                    reason,
                    stop_token,
                    cached_tokens,
                });
                if live.choices.iter().all(|(_, ended)| *ended) {
                    self.remove(request, None);
                }
            }
            Output::Failed { request, error } => {
                tracing::warn!(%error, "the engine failed on a request");
                if let Some(live) = self.live.get(&request) {
                    let _ = live.events.try_send(Event::Failed(ApiError::from(&error)));
                }
                self.remove(request, Some(Outcome::Error));
            }
        }
    }

    fn remove(&mut self, request: RequestId, outcome: Option<Outcome>) {
        if let Some(live) = self.live.remove(&request) {
            let natural = match live.reason {
                FinishReason::Stop => Outcome::Stop,
                FinishReason::Length => Outcome::Length,
            };
            live.end(&self.metrics, outcome.unwrap_or(natural));
        }
    }

    fn fail_all(&mut self, backend: &mut dyn Backend, message: &str) {
        for (id, live) in self.live.drain() {
            backend.cancel(id);
            let _ = live.events.try_send(Event::Failed(ApiError::internal(message)));
            live.end(&self.metrics, Outcome::Error);
        }
    }
}

impl Live {
    fn count_token(&mut self, choice: usize, metrics: &Metrics) {
        let now = Instant::now();
        self.generated_tokens += 1;
        if self.first_token.is_none() {
            self.first_token = Some(now);
            metrics.first_token(now - self.arrived);
        }
        if let Some((last, _)) = self.choices.get_mut(choice) {
            if let Some(last) = *last {
                metrics.next_token(now - last);
            }
            *last = Some(now);
        }
    }

    fn end(&self, metrics: &Metrics, outcome: Outcome) {
        let now = Instant::now();
        metrics.ended(
            outcome,
            &Timing {
                queue: self.taken - self.arrived,
                prefill: self.first_token.map(|first| first - self.taken),
                decode: self.first_token.map(|first| now - first),
                total: now - self.arrived,
                prompt_tokens: self.prompt_tokens,
                generated_tokens: self.generated_tokens,
            },
        );
    }
}

/// What these mutexes guard is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
