//! Which adapters a request uses, and how much of each.

use crate::{Error, Result};

use super::TierError;

/// The adapters of one request by name, each with its gate `g` in
/// `y = Wx + Σ g·s·B·A·x`. An empty stack is the base model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stack {
    entries: Vec<(String, f64)>,
}

impl Stack {
    /// The base model alone.
    pub fn base() -> Self {
        Self::default()
    }

    /// A stack of adapters and gates.
    ///
    /// # Errors
    /// A gate that is not finite; [`TierError::Repeated`].
    pub fn new(entries: impl IntoIterator<Item = (String, f64)>) -> Result<Self> {
        let mut stack = Self::base();
        for (adapter, gate) in entries {
            if !gate.is_finite() {
                let found = format!("{gate} for {adapter}");
                return Err(Error::Value { what: "gate", expected: "a finite number", found });
            }
            if stack.entries.iter().any(|(name, _)| *name == adapter) {
                return Err(TierError::Repeated { adapter }.into());
            }
            stack.entries.push((adapter, gate));
        }
        Ok(stack)
    }

    /// A stack of adapters that all count in full.
    ///
    /// # Errors
    /// [`TierError::Repeated`].
    pub fn of<'a>(adapters: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Self::new(adapters.into_iter().map(|adapter| (adapter.to_owned(), 1.0)))
    }

    /// Names and gates, as they were given.
    pub fn entries(&self) -> &[(String, f64)] {
        &self.entries
    }

    /// The names whose gates are not 0: the others change nothing.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|(_, gate)| *gate != 0.0).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_stacks_are_refused_and_named() {
        let entry = |name: &str, gate| (name.to_owned(), gate);
        let error = Stack::new([entry("a", 1.0), entry("b", f64::NAN)]).unwrap_err().to_string();
        assert!(error.contains("gate") && error.contains("NaN for b"), "{error}");
        let error = Stack::of(["a", "b", "a"]).unwrap_err();
        assert!(
            matches!(&error, Error::Tier(TierError::Repeated { adapter }) if adapter == "a"),
            "{error}"
        );
        let stack = Stack::new([entry("a", 0.0), entry("b", 0.5)]).unwrap();
        assert_eq!(stack.names().collect::<Vec<_>>(), ["b"]);
        assert_eq!(stack.entries().len(), 2);
    }
}
