//! JSON Lines: one piece a line, blank lines passed over.

use std::io::{BufRead, Read};

use crate::input::source::{self, Text};
use crate::input::{At, Fault, Piece, Placed};
use crate::rejects::{Reason, excerpt_of_bytes};

/// The lines of a text.
pub(super) struct Lines {
    text: Text,
    number: u64,
    max_bytes: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn new(text: Text, max_bytes: usize) -> Self {
        Self { text, number: 0, max_bytes, ended: false }
    }

    /// The next line that is not blank.
    pub(super) fn next_piece(&mut self) -> Option<Placed> {
        while !self.ended {
            let mut line = Vec::new();
            self.number += 1;
            let limit = self.max_bytes as u64 + 1;
            let read = self.text.by_ref().take(limit).read_until(b'\n', &mut line);
            if let Err(error) = read {
                self.ended = true;
                return Some(self.fault(source::fault(&error, excerpt_of_bytes(&line))));
            }
            if line.is_empty() {
                self.ended = true;
                return None;
            }
            if line.last() != Some(&b'\n') {
                if line.len() > self.max_bytes {
                    return Some(self.too_long(&line));
                }
                self.ended = true;
            }
            if !line.trim_ascii().is_empty() {
                let piece = if self.ended && is_cut_off(&line) {
                    Piece::Fault(Fault {
                        reason: Reason::CutOff,
                        detail: "expected a whole JSON object, found the end of the file in the \
                                 middle of one"
                            .to_owned(),
                        excerpt: excerpt_of_bytes(&line),
                    })
                } else {
                    Piece::Text(line)
                };
                return Some(Placed { at: At::Line(self.number), piece });
            }
        }
        None
    }

    fn fault(&self, fault: Fault) -> Placed {
        Placed { at: At::Line(self.number), piece: Piece::Fault(fault) }
    }

    /// Reads the rest of a line that is too long without keeping it.
    fn too_long(&mut self, start: &[u8]) -> Placed {
        let mut length = start.len();
        loop {
            let mut part = Vec::new();
            match self.text.by_ref().take(1 << 16).read_until(b'\n', &mut part) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) => {
                    self.ended = true;
                    return self.fault(source::fault(&error, excerpt_of_bytes(start)));
                }
            }
            if part.last() == Some(&b'\n') {
                break;
            }
        }
        self.fault(Fault {
            reason: Reason::TooLong,
            detail: format!(
                "expected a line of at most {} bytes, found one of {length}",
                self.max_bytes
            ),
            excerpt: excerpt_of_bytes(start),
        })
    }
}

/// Whether the last line of a file, without its line end, stops inside a JSON value.
fn is_cut_off(line: &[u8]) -> bool {
    // A cut can split a character; JSON before it decides.
    let whole = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => return true,
        Err(_) => return false,
    };
    serde_json::from_str::<serde::de::IgnoredAny>(whole)
        .is_err_and(|error| error.classify() == serde_json::error::Category::Eof)
}
