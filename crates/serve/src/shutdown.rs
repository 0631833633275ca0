//! Stopping in good order: no new requests, then a time of grace for those that run, then an
//! error for those that are left.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How far the stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Running,
    /// No new requests.
    Draining,
    /// What still runs is cut off.
    Cutting,
}

/// The server's stop, which anybody may ask for and wait on.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Running) }
    }
}

impl Shutdown {
    /// Asks the server to stop: no new requests, those that run go on for their grace.
    pub fn begin(&self) {
        self.advance(Phase::Draining);
    }

    /// Cuts off what still runs.
    pub(crate) fn cut(&self) {
        self.advance(Phase::Cutting);
    }

    fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let further = *current < phase;
            if further {
                *current = phase;
            }
            further
        });
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Resolves when the stop begins.
    pub(crate) async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves when what runs is to be cut off.
    pub(crate) async fn cut_off(&self) {
        self.reached(Phase::Cutting).await;
    }

    async fn reached(&self, phase: Phase) {
        let mut watched = self.phase.subscribe();
        // The sender lives in `self`.
        let _ = watched.wait_for(|current| *current >= phase).await;
    }

    /// Waits for `done` for the time of grace, then cuts off and waits on.
    pub(crate) async fn grace(&self, grace: Duration, done: impl Future<Output = ()>) {
        tokio::pin!(done);
        if timeout(grace, &mut done).await.is_err() {
            tracing::warn!("the time of grace is over, requests are cut off");
            self.cut();
            // Handlers answer at once when they are cut off; a client that does not read its
            // answer is not waited for.
            let _ = timeout(Duration::from_secs(5), done).await;
        }
    }
}
