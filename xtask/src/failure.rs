//! Errors with an exit code and a hint, and how `main` shows them.

use std::fmt;
use std::process::{ExitCode, ExitStatus};

use limbeck_run::{Diagnose, Exit};

/// An error that knows its exit code; put anywhere in an [`anyhow::Error`]'s chain.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: exit.code() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure of a child process, whose exit code becomes ours.
    pub(crate) fn of_child(what: &str, status: ExitStatus) -> Self {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Self {
            message: match code {
                Some(code) => format!("{what} failed with exit code {code}"),
                None => format!("{what} was stopped: {status}"),
            },
            hint: None,
            code: code.unwrap_or(Exit::Failed.code()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit code and the hint of an error.
pub(crate) fn diagnose(error: &anyhow::Error) -> (u8, Option<String>) {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (failure.code, failure.hint.clone());
        }
        if let Some(error) = cause.downcast_ref::<limbeck_run::Error>() {
            return (error.exit().code(), error.hint());
        }
    }
    (Exit::Failed.code(), None)
}

/// Prints `error: …` with its causes and a line `hint: …`, and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let (code, hint) = diagnose(error);
    eprintln!("error: {error:#}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn code_and_hint_are_found_below_context() {
        let error = Err::<(), _>(Failure::new(Exit::Missing, "no GPU").hint("buy one"));
        let error = error.context("cuda-test").unwrap_err();
        assert_eq!(diagnose(&error), (4, Some("buy one".to_owned())));
        let error =
            anyhow::Error::from(limbeck_run::config::load_table(Some("no".as_ref())).unwrap_err());
        assert_eq!(diagnose(&error).0, 2);
        assert_eq!(diagnose(&anyhow::anyhow!("anything else")), (1, None));
    }

    #[cfg(unix)]
    #[test]
    fn a_child_passes_its_code_on() {
        use std::os::unix::process::ExitStatusExt as _;
        let exited = Failure::of_child("stage data", ExitStatus::from_raw(3 << 8));
        assert_eq!(
            (exited.code, exited.to_string().as_str()),
            (3, "stage data failed with exit code 3")
        );
        let killed = Failure::of_child("stage data", ExitStatus::from_raw(9));
        assert_eq!(killed.code, 1);
        assert!(killed.to_string().contains("signal: 9"), "{killed}");
    }
}
