//! Requests that the model treats differently: whoever adapts the model hears which
//! requests the rows of the next forward passes are.

use std::fmt::Debug;

use limbeck_run::Diagnose;

use crate::{Error, Result};

/// Prepares the model for the rows of a batch, such as adapters that requests choose.
///
/// The engine knows nothing of what a router does; it only tells it who is in the batch.
/// Calls come in the order `begin`, any number of `keep`, `end`.
pub trait RowRouter: Debug {
    /// A batch begins: row by row these requests, by their index.
    ///
    /// The router may put them into another order: rows that are alike are cheaper beside
    /// each other.
    ///
    /// # Errors
    /// Best made with [`Error::router`].
    fn begin(&self, requests: &mut [usize]) -> Result<()>;

    /// Only these rows of the batch go on, in this order.
    ///
    /// # Errors
    /// Best made with [`Error::router`].
    fn keep(&self, rows: &[usize]) -> Result<()>;

    /// The batch is over, or failed.
    fn end(&self);
}

impl Error {
    /// Wraps another crate's error about the request at `index`, if it is about one.
    pub fn router(index: Option<usize>, source: impl Diagnose + Send + Sync + 'static) -> Self {
        let (exit, hint) = (source.exit(), source.hint());
        Self::Router { index, exit, hint, source: Box::new(source) }
    }
}

/// A batch that has begun, ended wherever it is left.
#[derive(Debug)]
pub(crate) struct Routed<'m>(Option<&'m dyn RowRouter>);

impl<'m> Routed<'m> {
    pub(crate) fn begin(router: Option<&'m dyn RowRouter>, requests: &mut [usize]) -> Result<Self> {
        // Made before the call: a beginning that fails half way is ended, too.
        let routed = Self(router);
        if let Some(router) = router {
            router.begin(requests)?;
        }
        Ok(routed)
    }

    pub(crate) fn keep(&self, rows: &[usize]) -> Result<()> {
        self.0.map_or(Ok(()), |router| router.keep(rows))
    }
}

impl Drop for Routed<'_> {
    fn drop(&mut self) {
        if let Some(router) = self.0 {
            router.end();
        }
    }
}
