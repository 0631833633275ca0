//! Requests that the model treats differently: whoever adapts the model hears whose tokens
//! the rows of the next forward pass are.

use std::fmt::Debug;

use limbeck_run::Diagnose;

use crate::{Error, Result};

/// Prepares the model for the rows of a forward pass, such as adapters that requests choose.
///
/// The engine knows nothing of what a router does; it knows keys, which requests bring, and
/// tells the router the key of each row before each pass.
pub trait RowRouter: Debug {
    /// What a key stands for now: keys of one identity make the same keys and values of the
    /// same tokens, and one may read what another has left.
    ///
    /// # Errors
    /// A key that stands for nothing; best made with [`Error::router`].
    fn identity(&self, key: u64) -> Result<String>;

    /// A number that changes when a key's identity may have.
    fn version(&self) -> u64 {
        0
    }

    /// Keys of the same number are cheaper beside each other.
    fn affinity(&self, key: u64) -> u64 {
        key
    }

    /// The next pass has these rows, each of a key or of the model as it is. Rows are tokens
    /// where replies are generated, and sequences where they are scored.
    ///
    /// # Errors
    /// Best made with [`Error::router`].
    fn route(&self, rows: &[Option<u64>]) -> Result<()>;

    /// No pass follows for now.
    fn end(&self);
}

impl Error {
    /// Wraps another crate's error about the request at `index`, if it is about one.
    pub fn router(index: Option<usize>, source: impl Diagnose + Send + Sync + 'static) -> Self {
        let (exit, hint) = (source.exit(), source.hint());
        Self::Router { index, exit, hint, source: Box::new(source) }
    }
}

/// A router that hears of the end, wherever its passes are left.
#[derive(Debug)]
pub(crate) struct Routed<'m> {
    router: Option<&'m dyn RowRouter>,
    begun: bool,
}

impl<'m> Routed<'m> {
    pub(crate) fn new(router: Option<&'m dyn RowRouter>) -> Self {
        Self { router, begun: false }
    }

    pub(crate) fn router(&self) -> Option<&'m dyn RowRouter> {
        self.router
    }

    /// Rows of a key, and of none, in an order that is cheap.
    pub(crate) fn order(&self, key: Option<u64>) -> Option<u64> {
        self.router.zip(key).map(|(router, key)| router.affinity(key))
    }

    pub(crate) fn route(&mut self, rows: impl FnOnce() -> Vec<Option<u64>>) -> Result<()> {
        // Set before the call: a beginning that fails half way is ended, too.
        self.begun = true;
        self.router.map_or(Ok(()), |router| router.route(&rows()))
    }

    pub(crate) fn end(&mut self) {
        if let Some(router) = self.router
            && std::mem::replace(&mut self.begun, false)
        {
            router.end();
        }
    }
}

impl Drop for Routed<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
