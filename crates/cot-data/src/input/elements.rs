//! The entries of one JSON array or of one JSON object of objects, told apart by their
//! brackets and quotes alone, so that a file of any size is never held in memory.

use std::io::{self, BufRead};

use crate::input::source::{self, Text};
use crate::input::{At, Fault, Piece, Placed};
use crate::rejects::{Reason, excerpt_of_bytes};

/// Where reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Before,
    Inside,
    After,
    Ended,
}

/// The entries of a text.
pub(super) struct Elements {
    text: Text,
    open: u8,
    close: u8,
    state: State,
    index: u64,
    max_bytes: usize,
}

/// One entry as it was read.
#[derive(Default)]
struct Raw {
    bytes: Vec<u8>,
    length: usize,
}

impl Elements {
    /// The elements of an array.
    pub(super) fn of_array(text: Text, max_bytes: usize) -> Self {
        Self::new(text, *b"[]", max_bytes)
    }

    /// The entries of an object, as `"key": value`.
    pub(super) fn of_object(text: Text, max_bytes: usize) -> Self {
        Self::new(text, *b"{}", max_bytes)
    }

    fn new(text: Text, [open, close]: [u8; 2], max_bytes: usize) -> Self {
        Self { text, open, close, state: State::Before, index: 0, max_bytes }
    }

    /// The next entry.
    pub(super) fn next_piece(&mut self) -> Option<Placed> {
        if self.state == State::Before {
            match self.next_ink() {
                Ok(Some(byte)) if byte == self.open => {
                    self.text.consume(1);
                    self.state = State::Inside;
                }
                Ok(found) => {
                    self.state = State::Ended;
                    let reason = found.map_or(Reason::CutOff, |_| Reason::NotJson);
                    let opening = char::from(self.open);
                    let detail = format!("expected `{opening}` at the start, found no such thing");
                    return Some(fault(At::File, reason, detail, &[]));
                }
                Err(error) => return Some(self.broken(&error, &[])),
            }
        }
        if self.state == State::Inside {
            let mut raw = Raw::default();
            let end = self.read_entry(&mut raw);
            let blank = raw.length == raw.bytes.len() && raw.bytes.trim_ascii().is_empty();
            self.index += 1;
            match end {
                Err(error) => return Some(self.broken(&error, &raw.bytes)),
                Ok(None) => {
                    self.state = State::Ended;
                    let closing = char::from(self.close);
                    let detail = format!(
                        "expected `{closing}` after the last entry, found the end of the file"
                    );
                    return Some(fault(self.at(), Reason::CutOff, detail, &raw.bytes));
                }
                Ok(Some(end)) => {
                    if end == self.close {
                        self.state = State::After;
                    }
                    if !blank {
                        return Some(self.entry(raw));
                    }
                    if end != self.close {
                        let detail = "expected an entry between two commas, found nothing";
                        let at = self.at();
                        return Some(fault(at, Reason::NotJson, detail.to_owned(), &[]));
                    }
                }
            }
        }
        if self.state == State::After {
            self.state = State::Ended;
            let rest = match self.next_ink() {
                Ok(None) => return None,
                Ok(Some(_)) => self.text.fill_buf().unwrap_or_default(),
                Err(error) => return Some(self.broken(&error, &[])),
            };
            let closing = char::from(self.close);
            let detail = format!("expected nothing after the last `{closing}`, found more text");
            return Some(fault(At::File, Reason::NotJson, detail, rest));
        }
        None
    }

    fn at(&self) -> At {
        At::Entry { index: self.index, key: None }
    }

    fn entry(&self, raw: Raw) -> Placed {
        if raw.length > raw.bytes.len() {
            let detail = format!(
                "expected an entry of at most {} bytes, found one of {}",
                self.max_bytes, raw.length
            );
            return fault(self.at(), Reason::TooLong, detail, &raw.bytes);
        }
        let at = At::Entry {
            index: self.index,
            // The parser puts the key in.
            key: (self.open == b'{').then(String::new),
        };
        Placed { at, piece: Piece::Text(raw.bytes) }
    }

    fn broken(&mut self, error: &io::Error, start: &[u8]) -> Placed {
        self.state = State::Ended;
        Placed { at: self.at(), piece: Piece::Fault(source::fault(error, excerpt_of_bytes(start))) }
    }

    /// The next byte that is no white space, not taken yet.
    fn next_ink(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.text.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let found = buffer.get(blank).copied();
            self.text.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Reads up to the comma or bracket that ends an entry, and tells which it was.
    fn read_entry(&mut self, raw: &mut Raw) -> io::Result<Option<u8>> {
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        loop {
            let buffer = self.text.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let mut end = None;
            for (place, &byte) in buffer.iter().enumerate() {
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                    continue;
                }
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b',' if depth == 0 => end = Some(place),
                    _ if byte == self.close && depth == 0 => end = Some(place),
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if end.is_some() {
                    break;
                }
            }
            let taken = end.unwrap_or(buffer.len());
            let room = self.max_bytes.saturating_sub(raw.bytes.len()).min(taken);
            raw.bytes.extend_from_slice(&buffer[..room]);
            raw.length += taken;
            let last = end.map(|place| buffer[place]);
            self.text.consume(taken + usize::from(end.is_some()));
            if last.is_some() {
                return Ok(last);
            }
        }
    }
}

fn fault(at: At, reason: Reason, detail: String, start: &[u8]) -> Placed {
    let excerpt = excerpt_of_bytes(start.trim_ascii_start());
    Placed { at, piece: Piece::Fault(Fault { reason, detail, excerpt }) }
}
