//! Many requests at a time, each made again where that may help.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::config::AugmentConfig;
use super::cost::{Account, estimated_tokens};
use super::endpoint::{Endpoint, Failure};
use super::journal::{Journal, Sample};
use super::limit::Limit;
use super::question::Request;
use crate::error::{Error, Result};

/// Longest wait before an attempt that the endpoint did not ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Requests given up one after another, from which the endpoint is taken for dead; but never
/// fewer than run at a time.
const MOST_GIVEN_UP: u64 = 8;

/// How far sampling has come.
#[derive(Clone, Copy, Debug)]
pub struct SampleProgress {
    /// Requests of this run that are over.
    pub num_done: u64,
    /// What they cost so far.
    pub account: Account,
}

/// What the threads share.
struct Shared<'run> {
    journal: &'run mut Journal,
    /// Keys of the requests that are under way.
    under_way: HashSet<String>,
    account: Account,
    /// Requests given up since the last reply.
    given_up: u64,
    error: Option<Error>,
}

struct Run<'run> {
    config: &'run AugmentConfig,
    endpoint: &'run Endpoint,
    requests: Limit,
    tokens: Limit,
    stop: AtomicBool,
    shared: Mutex<Shared<'run>>,
}

/// Asks for everything that the journal lacks, and appends each reply to it. Of the
/// requests, only those under way are held in memory.
pub(super) fn sample(
    config: &AugmentConfig,
    endpoint: &Endpoint,
    journal: &mut Journal,
    requests: impl Iterator<Item = Result<Request>> + Send,
    progress: impl Fn(SampleProgress) + Sync,
) -> Result<Account> {
    let shared = Shared {
        journal,
        under_way: HashSet::new(),
        account: Account::default(),
        given_up: 0,
        error: None,
    };
    let run = Run {
        config,
        endpoint,
        requests: Limit::per_minute(f64::from(config.requests_per_minute)),
        tokens: Limit::per_minute(config.tokens_per_minute as f64),
        stop: AtomicBool::new(false),
        shared: Mutex::new(shared),
    };
    let requests = Mutex::new(requests);
    thread::scope(|scope| {
        for _ in 0..config.concurrency {
            scope.spawn(|| {
                while let Some(request) = run.next(&requests) {
                    let account = run.close(&request.key, run.request(&request));
                    let num_done = account.num_samples + account.num_failed;
                    progress(SampleProgress { num_done, account });
                }
            });
        }
    });
    let shared = run.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    shared.error.map_or(Ok(shared.account), Err)
}

impl<'run> Run<'run> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn shared(&self) -> MutexGuard<'_, Shared<'run>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request that is neither answered nor under way, since a file may have a
    /// question twice; nothing where there is none, or the run was stopped.
    fn next(&self, requests: &Mutex<impl Iterator<Item = Result<Request>>>) -> Option<Request> {
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stopped() {
            let request = requests.next()?;
            let mut shared = self.shared();
            match request {
                Ok(request) => {
                    if !shared.journal.contains(&request.key)
                        && shared.under_way.insert(request.key.clone())
                    {
                        return Some(request);
                    }
                }
                Err(error) => {
                    self.stop.store(true, Ordering::Relaxed);
                    shared.error.get_or_insert(error);
                }
            }
        }
        None
    }

    /// Makes a request until it is answered, refused, or tried often enough; nothing where
    /// the run was stopped meanwhile.
    fn request(&self, request: &Request) -> std::result::Result<Option<Sample>, Failure> {
        let expected =
            estimated_tokens(&request.prompt) + f64::from(self.config.max_tokens.min(1024));
        let mut attempts = 0;
        loop {
            let stop = || self.stopped();
            if !self.requests.wait(1.0, stop) || !self.tokens.wait(expected, stop) {
                return Ok(None);
            }
            attempts += 1;
            let (detail, retry_after) = match self.endpoint.ask(self.config, request) {
                Ok(sample) => {
                    let used = (sample.prompt_tokens + sample.completion_tokens) as f64;
                    self.tokens.settle(used - expected);
                    return Ok(Some(Sample { attempts, ..sample }));
                }
                Err(Failure::Transient { detail, retry_after }) => (detail, retry_after),
                Err(failure) => return Err(failure),
            };
            self.tokens.settle(-expected);
            if attempts >= self.config.max_attempts {
                let detail = format!("{detail} (attempt {attempts} of as many)");
                return Err(Failure::Refused { detail });
            }
            self.nap(retry_after.unwrap_or_else(|| self.wait_after(attempts, request)));
        }
    }

    /// Twice as long after each attempt, and a part of that more or less, so that requests
    /// that failed together do not come back together.
    fn wait_after(&self, attempts: u32, request: &Request) -> Duration {
        let seconds = self.config.retry_seconds * f64::from(1_u32 << (attempts - 1).min(16));
        let spread = (request.seed.wrapping_mul(u64::from(attempts)) % 1000) as f64 / 1000.0;
        Duration::from_secs_f64(seconds * (0.75 + spread / 2.0)).min(LONGEST_WAIT)
    }

    /// Sleeps, in naps so that a stop is heeded.
    fn nap(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(200)));
        }
    }

    /// Takes down what a request came to.
    fn close(&self, key: &str, outcome: std::result::Result<Option<Sample>, Failure>) -> Account {
        let mut guard = self.shared();
        let shared = &mut *guard;
        shared.under_way.remove(key);
        let dead = match outcome {
            Ok(None) => None,
            Ok(Some(sample)) => {
                shared.given_up = 0;
                match shared.journal.append(&sample) {
                    Ok(()) => {
                        shared.account.add(self.config, &sample);
                        None
                    }
                    Err(error) => Some(error),
                }
            }
            Err(Failure::Fatal { detail }) => Some(self.error(detail)),
            Err(Failure::Refused { detail } | Failure::Transient { detail, .. }) => {
                shared.account.num_failed += 1;
                shared.given_up += 1;
                let most = MOST_GIVEN_UP.max(self.config.concurrency as u64);
                (shared.given_up >= most).then(|| self.error(detail))
            }
        };
        if let Some(error) = dead {
            self.stop.store(true, Ordering::Relaxed);
            shared.error.get_or_insert(error);
        }
        shared.account
    }

    fn error(&self, detail: String) -> Error {
        Error::Endpoint { url: self.config.url.clone(), detail }
    }
}
