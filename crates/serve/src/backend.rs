//! What the server needs of an engine, so that tests can put another in its place.

use limbeck_infer::Result;

use crate::engine_api::{Output, Request, RequestId, Stats};

/// A live engine: lives on one thread, is stepped, and never waits for a client.
pub trait Backend {
    /// Takes a request.
    ///
    /// # Errors
    /// A request that can never be computed.
    fn submit(&mut self, request: Request) -> Result<RequestId>;

    /// Drops a request; no more is heard of it. `false` if it had already ended.
    fn cancel(&mut self, request: RequestId) -> bool;

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
