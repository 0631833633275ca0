//! What the server needs of an engine, so that tests can put another in its place.

use limbeck_infer::{Output, Request, RequestId, Result, Session, Stats};

/// A live engine: lives on one thread, is stepped, and never waits for a client.
pub trait Backend {
    /// Takes a request.
    ///
    /// # Errors
    /// A request that can never be computed.
    fn submit(&mut self, request: Request) -> Result<RequestId>;

    /// Drops a request; no more is heard of it. `false` if it had already ended.
    fn cancel(&mut self, request: RequestId) -> bool;

    /// Drops one choice of a request that has had a token; no more is heard of it. `false` if it
    /// had already ended, or not begun.
    fn cancel_choice(&mut self, request: RequestId, choice: usize) -> bool;

    /// Computes one step.
    ///
    /// # Errors
    /// What concerns all requests; what concerns one is an [`Output::Failed`].
    fn step(&mut self) -> Result<Vec<Output>>;

    /// Whether there is nothing to compute.
    fn is_idle(&self) -> bool;

    /// How things stand.
    fn stats(&self) -> Stats;
}

impl Backend for Session<'_> {
    fn submit(&mut self, request: Request) -> Result<RequestId> {
        Session::submit(self, request)
    }

    fn cancel(&mut self, request: RequestId) -> bool {
        Session::cancel(self, request)
    }

    fn cancel_choice(&mut self, request: RequestId, choice: usize) -> bool {
        Session::cancel_choice(self, request, choice)
    }

    fn step(&mut self) -> Result<Vec<Output>> {
        Session::step(self)
    }

    fn is_idle(&self) -> bool {
        Session::is_idle(self)
    }

    fn stats(&self) -> Stats {
        Session::stats(self)
    }
}

/// Makes the engine on the engine's own thread and hands it to `run`, so that an engine may
/// borrow from a model that lives on that thread's stack.
pub trait BackendFactory: Send + 'static {
    /// Makes the engine, calls `run` with it once, and returns when `run` has.
    ///
    /// # Errors
    /// What keeps the engine from being made; `run` has not been called then.
    fn with_backend(self: Box<Self>, run: &mut dyn FnMut(&mut dyn Backend)) -> Result<()>;
}

impl<F> BackendFactory for F
where
    F: FnOnce(&mut dyn FnMut(&mut dyn Backend)) -> Result<()> + Send + 'static,
{
    fn with_backend(self: Box<Self>, run: &mut dyn FnMut(&mut dyn Backend)) -> Result<()> {
        (*self)(run)
    }
}
