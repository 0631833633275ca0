//! A reply split into its chain of thought and its answer.
//!
//! Reasoning models write `<think>`, the chain, `</think>`, the answer. Some templates
//! (DeepSeek-R1's, for one) already open the block at the end of the prompt; the reply
//! then begins inside it and holds no `<think>`.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// The parts of a reply, without the white space around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The chain of thought; `None` if the reply has none.
    pub reasoning: Option<&'a str>,
    /// What follows the chain, or the whole reply without one.
    pub answer: &'a str,
    /// Whether the chain was closed. An open one has no answer yet.
    pub closed: bool,
}

/// Splits a reply at the first `</think>`.
///
/// `prompt_opened` says that the prompt ended inside a think block; see
/// [`opens_reasoning`]. What stands before a `<think>` of the reply's own is dropped.
pub fn split_reasoning(text: &str, prompt_opened: bool) -> Reply<'_> {
    let after_open = |text: &str| text.find(OPEN).map(|at| at + OPEN.len());
    if let Some(at) = text.find(CLOSE) {
        let chain = &text[..at];
        let chain = &chain[after_open(chain).unwrap_or(0)..];
        return Reply {
            reasoning: Some(chain.trim()),
            answer: text[at + CLOSE.len()..].trim(),
            closed: true,
        };
    }
    match after_open(text) {
        Some(start) => Reply { reasoning: Some(text[start..].trim()), answer: "", closed: false },
        None if prompt_opened => Reply { reasoning: Some(text.trim()), answer: "", closed: false },
        None => Reply { reasoning: None, answer: text.trim(), closed: false },
    }
}

/// Whether a prompt ends inside a think block, so that the reply continues a chain.
pub fn opens_reasoning(prompt: &str) -> bool {
    match (prompt.rfind(OPEN), prompt.rfind(CLOSE)) {
        (Some(open), Some(close)) => open > close,
        (open, _) => open.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, opened: bool, reasoning: Option<&str>, answer: &str, closed: bool) {
        assert_eq!(split_reasoning(text, opened), Reply { reasoning, answer, closed });
    }

    #[test]
    fn a_whole_reply() {
        check("<think>\na\nb\n</think>\n\n42", false, Some("a\nb"), "42", true);
        check("\n<think>a</think>42\n", false, Some("a"), "42", true);
        check("<think>\n\n</think>\n\n42", false, Some(""), "42", true);
    }

    #[test]
    fn a_reply_that_the_prompt_began() {
        check("a\n</think>\n\n42", true, Some("a"), "42", true);
        check("a\n</think>\n\n42", false, Some("a"), "42", true);
        check("a b", true, Some("a b"), "", false);
        check("<think>\na\n</think>\n42", true, Some("a"), "42", true);
    }

    #[test]
    fn a_reply_that_was_cut() {
        check("<think>\na\nb", false, Some("a\nb"), "", false);
        check("<think>", false, Some(""), "", false);
        check("<think>a</thi", false, Some("a</thi"), "", false);
        check("<think>a</think>", false, Some("a"), "", true);
    }

    #[test]
    fn a_reply_without_a_chain() {
        check("42", false, None, "42", false);
        check("", false, None, "", false);
    }

    #[test]
    fn later_marks_belong_to_the_answer() {
        check("<think>a</think>b</think>c", false, Some("a"), "b</think>c", true);
        check("Well. <think>a</think>b <think>", false, Some("a"), "b <think>", true);
    }

    #[test]
    fn prompts_that_open_a_block() {
        assert!(opens_reasoning("<|im_start|>assistant\n<think>\n"));
        assert!(!opens_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
        assert!(opens_reasoning("<think>a</think>b<think>"));
        assert!(!opens_reasoning("no marks"));
    }
}
