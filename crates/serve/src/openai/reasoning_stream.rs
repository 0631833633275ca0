//! A reply split into its chain of thought and its answer while it grows.
//!
//! As `limbeck_infer::split_reasoning` does with a whole reply, save for what a stream cannot
//! take back: text before a `<think>` is the answer's and stays, and a `</think>` that nothing
//! opened is left out. Whole replies go through here as well, so that both ways agree.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// More of the chain and of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts {
    pub(super) reasoning: String,
    pub(super) answer: String,
}

/// Where in the reply the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first mark.
    Before,
    Reasoning,
    Answer,
}

/// The split of a growing reply.
#[derive(Debug)]
pub(super) struct ReasoningStream {
    place: Place,
    /// Text that may be part of a mark, or white space that may stand at a part's end.
    held: String,
    /// Whether white space at the part's beginning is still to be left out.
    leading: bool,
    has_reasoning: bool,
    /// Whether any of the answer came before a chain.
    answered: bool,
}

impl ReasoningStream {
    /// `prompt_opened` says that the prompt ended inside a think block.
    pub(super) fn new(prompt_opened: bool) -> Self {
        Self {
            place: if prompt_opened { Place::Reasoning } else { Place::Before },
            held: String::new(),
            leading: prompt_opened,
            has_reasoning: prompt_opened,
            answered: false,
        }
    }

    /// Whether the next text belongs to the chain.
    pub(super) fn is_reasoning(&self) -> bool {
        self.place == Place::Reasoning
    }

    /// Whether there was a chain, be it empty.
    pub(super) fn has_reasoning(&self) -> bool {
        self.has_reasoning
    }

    /// More text.
    pub(super) fn push(&mut self, text: &str) -> Parts {
        self.held.push_str(text);
        let mut parts = Parts::default();
        while self.advance(&mut parts) {}
        parts
    }

    /// What was held back, as no more comes.
    pub(super) fn finish(&mut self) -> Parts {
        let mut parts = Parts::default();
        let held = std::mem::take(&mut self.held);
        let (place, text) = (self.place, self.begin(&held));
        match place {
            Place::Reasoning => parts.reasoning.push_str(text.trim_end()),
            Place::Before | Place::Answer => parts.answer.push_str(text),
        }
        parts
    }

    /// Takes what is certain out of the held text; `true` if a mark was passed.
    fn advance(&mut self, parts: &mut Parts) -> bool {
        match self.place {
            Place::Before => {
                let (open, close) = (self.held.find(OPEN), self.held.find(CLOSE));
                if let Some(at) = open.filter(|open| close.is_none_or(|close| *open < close)) {
                    let before = self.cut(at, OPEN);
                    // White space alone belongs to no part.
                    if self.answered || !before.trim().is_empty() {
                        parts.answer.push_str(&before);
                    }
                    (self.place, self.leading, self.has_reasoning) = (Place::Reasoning, true, true);
                    return true;
                }
                if let Some(at) = close {
                    let before = self.cut(at, CLOSE);
                    parts.answer.push_str(&before);
                    (self.place, self.leading) = (Place::Answer, true);
                    return true;
                }
                let ready = self.held.len() - begun_mark(&self.held, &[OPEN, CLOSE]);
                if self.answered || !self.held[..ready].trim().is_empty() {
                    self.answered = true;
                    parts.answer.extend(self.held.drain(..ready));
                }
                false
            }
            Place::Reasoning => {
                if self.leading {
                    let trimmed = self.held.trim_start();
                    if let Some(rest) = trimmed.strip_prefix(OPEN) {
                        // The prompt opened the block and the reply did so again.
                        self.held = rest.to_owned();
                        return true;
                    }
                    if OPEN.starts_with(trimmed) {
                        return false;
                    }
                }
                if let Some(at) = self.held.find(CLOSE) {
                    let chain = self.cut(at, CLOSE);
                    parts.reasoning.push_str(self.begin(&chain).trim_end());
                    (self.place, self.leading) = (Place::Answer, true);
                    return true;
                }
                let ready = self.held[..self.held.len() - begun_mark(&self.held, &[CLOSE])]
                    .trim_end()
                    .len();
                let chain: String = self.held.drain(..ready).collect();
                parts.reasoning.push_str(self.begin(&chain));
                false
            }
            Place::Answer => {
                let text = std::mem::take(&mut self.held);
                parts.answer.push_str(self.begin(&text));
                false
            }
        }
    }

    /// The held text up to `at`, which is no longer held; the mark there is dropped.
    fn cut(&mut self, at: usize, mark: &str) -> String {
        let rest = self.held.split_off(at + mark.len());
        let mut before = std::mem::replace(&mut self.held, rest);
        before.truncate(at);
        before
    }

    /// Leaves out white space at a part's beginning.
    fn begin<'a>(&mut self, text: &'a str) -> &'a str {
        if !self.leading {
            return text;
        }
        let text = text.trim_start();
        if !text.is_empty() {
            self.leading = false;
        }
        text
    }
}

/// Bytes at the end that may begin one of the marks.
fn begun_mark(text: &str, marks: &[&str]) -> usize {
    let of = |mark: &&str| (1..mark.len()).rev().find(|&length| text.ends_with(&mark[..length]));
    marks.iter().filter_map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes the text in pieces of every size and asserts that all ways agree.
    #[track_caller]
    fn check(text: &str, opened: bool, reasoning: &str, answer: &str) {
        let characters: Vec<char> = text.chars().collect();
        for size in 1..=characters.len().max(1) {
            let mut stream = ReasoningStream::new(opened);
            let mut all = Parts::default();
            let mut add = |parts: Parts| {
                assert!(!parts.reasoning.contains('<') || reasoning.contains('<'), "{parts:?}");
                all.reasoning += &parts.reasoning;
                all.answer += &parts.answer;
            };
            for piece in characters.chunks(size) {
                add(stream.push(&piece.iter().collect::<String>()));
            }
            add(stream.finish());
            let expected = Parts { reasoning: reasoning.to_owned(), answer: answer.to_owned() };
            assert_eq!(all, expected, "{text:?} in pieces of {size}");
        }
    }

    #[test]
    fn a_chain_and_an_answer() {
        check("<think>\na\nb\n</think>\n\n42", false, "a\nb", "42");
        check("\n<think>a</think>42\n", false, "a", "42\n");
        check("<think>\n\n</think>\n\n42", false, "", "42");
        check("<think>a", false, "a", "");
    }

    #[test]
    fn a_block_that_the_prompt_opened() {
        check("a\n</think>\n\n42", true, "a", "42");
        check("<think>\na\n</think>\n42", true, "a", "42");
        check("a b", true, "a b", "");
        check("", true, "", "");
    }

    #[test]
    fn no_chain() {
        check("42", false, "", "42");
        check(" 42 ", false, "", " 42 ");
        check("a < b", false, "", "a < b");
        check("a <thin", false, "", "a <thin");
        check("  ", false, "", "  ");
    }

    #[test]
    fn marks_elsewhere() {
        check("Well. <think>a</think>b <think>", false, "a", "Well. b <think>");
        check("a</think> b", false, "", "ab");
        check("<think>a</thi", false, "a</thi", "");
        check("<think>1 < 2</think>yes", false, "1 < 2", "yes");
    }

    #[test]
    fn it_tells_where_it_is() {
        let mut stream = ReasoningStream::new(false);
        assert!(!stream.is_reasoning() && !stream.has_reasoning());
        stream.push("<think>");
        assert!(stream.is_reasoning() && stream.has_reasoning());
        stream.push("a</think>");
        assert!(!stream.is_reasoning() && stream.has_reasoning());
    }
}
