//! The exit codes of every program here, in one place, and how an error names its own.

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// An operation failed although the input was good.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// A model, dataset, tokenizer or other input is bad.
    BadInput = 3,
    /// A device, libtorch or another part of the machine is missing.
    Missing = 4,
    /// A quality or speed gate was not passed.
    Gate = 5,
}

impl Exit {
    /// The number given to the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows the exit code it leads to and what a user can do about it.
pub trait Diagnose: std::error::Error {
    /// The exit code of a program that ends with this error.
    fn exit(&self) -> Exit;

    /// What to do about it, shown after the error as a line `hint: …`.
    fn hint(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_codes_are_those_documented() {
        let all =
            [Exit::Done, Exit::Failed, Exit::Usage, Exit::BadInput, Exit::Missing, Exit::Gate];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5]);
    }
}
