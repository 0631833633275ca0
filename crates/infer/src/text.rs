//! The text of a reply while it grows: whole characters, and nothing of a stop string.

use std::borrow::Borrow;

use limbeck_core::Tokenizer;

use crate::Result;

/// Stands in decoded text for bytes that are no character, or not yet one.
const REPLACEMENT: char = '\u{FFFD}';

/// Text that has become certain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// What to append; often empty.
    pub text: String,
    /// The place in the list of the stop string that has been met. Nothing follows.
    pub stopped: Option<usize>,
}

/// Turns tokens into text as they come.
///
/// The texts in a row are what [`Tokenizer::decode`] makes of all tokens, up to where the stop
/// string begins whose end comes first. A character is given out when it is whole, and what
/// could be the beginning of a stop string when it turns out not to be. Only the last few
/// tokens are decoded each time.
#[derive(Debug)]
pub struct TextStream<T> {
    tokenizer: T,
    stop: Vec<String>,
    skip_special: bool,
    /// Tokens that have been given out, so that the next ones are decoded as what follows
    /// something, and those that have not.
    window: Vec<i64>,
    /// How many of the window have been given out.
    context: usize,
    /// Bytes of the window's text that are certain.
    certain: usize,
    /// Certain text that may begin a stop string.
    held: String,
    stopped: Option<usize>,
}

impl<T: Borrow<Tokenizer>> TextStream<T> {
    /// A stream without tokens. Special tokens are left out of the text if `skip_special`;
    /// empty stop strings are never met.
    pub fn new(tokenizer: T, stop: &[String], skip_special: bool) -> Self {
        Self {
            tokenizer,
            stop: stop.to_vec(),
            skip_special,
            window: Vec::new(),
            context: 0,
            certain: 0,
            held: String::new(),
            stopped: None,
        }
    }

    /// The reply goes on with a token.
    ///
    /// # Errors
    /// The tokenizer's. After a stop string all tokens are ignored.
    pub fn push(&mut self, token: i64) -> Result<Delta> {
        let tokenizer = self.tokenizer.borrow();
        if self.stopped.is_some() || !tokenizer.is_decoded(token, self.skip_special) {
            return Ok(Delta { text: String::new(), stopped: self.stopped });
        }
        self.window.push(token);
        // Tokens that stand for single bytes beside each other are text only together.
        if tokenizer.is_byte(token) {
            return Ok(Delta::default());
        }
        let text = tokenizer.decode(&self.window, self.skip_special)?;
        // Bytes that are no character yet make one replacement at the end.
        let certain = text.strip_suffix(REPLACEMENT).unwrap_or(&text).len();
        let new = text.get(self.certain..certain).unwrap_or_default();
        self.held.push_str(new);
        self.certain = self.certain.max(certain);
        let given = !new.is_empty();
        if certain == text.len() && given {
            // The text ends with this token, and what follows does not change it.
            self.window.drain(..self.context);
            self.context = self.window.len();
            self.certain = tokenizer.decode(&self.window, self.skip_special)?.len();
        }
        Ok(self.release())
    }

    /// The reply has ended: what was held back, as it is.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn finish(&mut self) -> Result<Delta> {
        if self.stopped.is_some() {
            return Ok(Delta { text: String::new(), stopped: self.stopped });
        }
        let text = self.tokenizer.borrow().decode(&self.window, self.skip_special)?;
        self.held.push_str(text.get(self.certain..).unwrap_or_default());
        self.window.clear();
        (self.context, self.certain) = (0, 0);
        let mut delta = self.release();
        delta.text.push_str(&std::mem::take(&mut self.held));
        Ok(delta)
    }

    /// The held text up to a stop string, or up to what may become one.
    fn release(&mut self) -> Delta {
        let met = self
            .stop
            .iter()
            .enumerate()
            .filter(|(_, stop)| !stop.is_empty())
            .filter_map(|(place, stop)| {
                let start = self.held.find(stop.as_str())?;
                Some((start + stop.len(), start, place))
            })
            .min();
        if let Some((_, start, place)) = met {
            self.held.truncate(start);
            self.stopped = Some(place);
            return Delta { text: std::mem::take(&mut self.held), stopped: self.stopped };
        }
        let begun = self.stop.iter().map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - begun);
        Delta { text: std::mem::replace(&mut self.held, rest), stopped: None }
    }
}

/// Bytes at the end of a text that are the beginning of a stop string.
fn begun(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().skip(1).map(|(end, _)| end);
    starts.filter(|&end| text.ends_with(&stop[..end])).max().unwrap_or(0)
}
