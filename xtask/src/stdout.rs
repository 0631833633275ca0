//! Results on stdout. A reader that has seen enough, such as `head`, is no error.

use std::fmt::Display;
use std::io::Write as _;

/// A line.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Text that has its own line ends.
pub(crate) fn text(text: impl Display) {
    let _ = write!(std::io::stdout(), "{text}");
}
