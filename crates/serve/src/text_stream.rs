//! Tokens to text as they come, and strings that end it. Stands in for
//! `limbeck_infer::text::TextStream` until that is there.

use limbeck_core::{Result, Tokenizer};

/// What a token added to the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Text that is certain: no half characters, no beginning of a stop string.
    pub text: String,
    /// Which stop string ended the text, if one did.
    pub stopped: Option<usize>,
}

/// The text of a growing sequence of tokens.
#[derive(Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    stop: &'t [String],
    skip_special: bool,
    /// The last tokens: those whose text is out, for what they do to the next, then others.
    window: Vec<i64>,
    /// How many of the window's tokens have given their text.
    read: usize,
    /// Text that may begin a stop string.
    held: String,
    stopped: Option<usize>,
}

impl<'t> TextStream<'t> {
    /// Nothing yet; ends at the first of `stop` to occur.
    pub fn new(tokenizer: &'t Tokenizer, stop: &'t [String], skip_special: bool) -> Self {
        let (window, held) = (Vec::new(), String::new());
        Self { tokenizer, stop, skip_special, window, read: 0, held, stopped: None }
    }

    /// One more token.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn push(&mut self, token: i64) -> Result<Delta> {
        if self.stopped.is_some() {
            return Ok(Delta { text: String::new(), stopped: self.stopped });
        }
        self.window.push(token);
        let all = self.tokenizer.decode(&self.window, self.skip_special)?;
        // A replacement character at the end may be the first bytes of a real one.
        if all.ends_with('\u{FFFD}') {
            return Ok(Delta::default());
        }
        let out = self.tokenizer.decode(&self.window[..self.read], self.skip_special)?;
        let new = all.get(out.len()..).unwrap_or_default().to_owned();
        self.window.drain(..self.read);
        self.read = self.window.len();
        Ok(self.release(&new, false))
    }

    /// What was held back, as no more comes.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<Delta> {
        if self.stopped.is_some() {
            return Ok(Delta { text: String::new(), stopped: self.stopped });
        }
        let all = self.tokenizer.decode(&self.window, self.skip_special)?;
        let out = self.tokenizer.decode(&self.window[..self.read], self.skip_special)?;
        self.read = self.window.len();
        let new = all.get(out.len()..).unwrap_or_default().to_owned();
        Ok(self.release(&new, true))
    }

    fn release(&mut self, new: &str, last: bool) -> Delta {
        self.held.push_str(new);
        let found = self
            .stop
            .iter()
            .enumerate()
            .filter_map(|(index, stop)| self.held.find(stop.as_str()).map(|at| (at, index)))
            .min();
        if let Some((at, index)) = found {
            self.stopped = Some(index);
            self.held.truncate(at);
            return Delta { text: std::mem::take(&mut self.held), stopped: self.stopped };
        }
        let kept = if last { 0 } else { self.beginning_of_stop() };
        let text = self.held.drain(..self.held.len() - kept).collect();
        Delta { text, stopped: None }
    }

    /// Bytes at the end of the held text that may begin a stop string.
    fn beginning_of_stop(&self) -> usize {
        let held = self.held.as_bytes();
        let of = |stop: &String| {
            let most = held.len().min(stop.len().saturating_sub(1));
            (1..=most)
                .rev()
                .find(|&length| stop.as_bytes().starts_with(&held[held.len() - length..]))
        };
        self.stop.iter().filter_map(of).max().unwrap_or(0)
    }
}
