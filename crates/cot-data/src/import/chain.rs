//! Chains and answers in the texts of models and people: marks of thought, boxed
//! answers, `####`.

use super::converted::Refusal;
use crate::rejects::Reason;

/// A reply taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// What stands between the marks of thought.
    pub(crate) chain: Option<String>,
    /// The rest.
    pub(crate) rest: String,
}

/// Opening and closing marks of thought.
const THOUGHT_MARKS: [(&str, &str); 3] = [
    ("<think>", "</think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<thinking>", "</thinking>"),
];

/// Marks around a solution, which are taken off.
const SOLUTION_MARKS: (&str, &str) = ("<|begin_of_solution|>", "<|end_of_solution|>");

/// Parts chain and answer. A reply may begin inside the thought, since some templates put
/// the opening mark into the prompt.
///
/// # Errors
/// A thought that is opened and not closed.
pub(crate) fn split_reply(text: &str) -> Result<Reply, Refusal> {
    for (open, close) in THOUGHT_MARKS {
        let (before, inside) = match text.split_once(open) {
            Some((before, inside)) => (before, inside),
            None if text.contains(close) => ("", text),
            None => continue,
        };
        let Some((chain, after)) = inside.split_once(close) else {
            let detail = format!("expected `{close}` after `{open}`, found the end of the reply");
            return Err(Refusal::new(Reason::IncompleteChain, detail));
        };
        let rest = format!("{before}{after}");
        return Ok(Reply { chain: Some(chain.to_owned()), rest: solution(&rest).to_owned() });
    }
    Ok(Reply { chain: None, rest: solution(text).to_owned() })
}

fn solution(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix(SOLUTION_MARKS.0).unwrap_or(text);
    text.strip_suffix(SOLUTION_MARKS.1).unwrap_or(text).trim()
}

/// A chain's lines that are not blank, as they are.
pub(crate) fn lines(chain: &str) -> Vec<String> {
    chain.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// The answer of a reply, and whether it is only a part of it: the last `\boxed{…}`, or
/// what follows `####` on the last line, or the whole.
pub(crate) fn answer_of(reply: &str) -> (String, bool) {
    let reply = reply.trim();
    let part = boxed(reply).or_else(|| {
        let last = reply.lines().next_back()?;
        last.trim_start().strip_prefix("####").map(str::trim)
    });
    match part.filter(|part| !part.is_empty()) {
        Some(part) => (part.to_owned(), true),
        None => (reply.to_owned(), false),
    }
}

/// The answer that a chain itself states, if it does so in a form that cannot be
/// mistaken: the last `\boxed{…}`, or `####` or 'answer is' on its last line.
pub(super) fn stated_answer(steps: &[String]) -> Option<String> {
    if let Some(inside) = steps.iter().rev().find_map(|step| boxed(step)) {
        return Some(inside.to_owned());
    }
    let last = steps.last()?.trim();
    let stated = match last.strip_prefix("####") {
        Some(stated) => stated,
        None => last.rsplit_once("answer is")?.1,
    };
    Some(stated.trim_matches([' ', ':', '$', '.', '*']).to_owned())
}

/// What the last `\boxed{…}` holds, its braces balanced.
fn boxed(text: &str) -> Option<&str> {
    const MARK: &str = r"\boxed{";
    let start = text.rfind(MARK)? + MARK.len();
    let (mut depth, mut escaped) = (1_usize, false);
    for (place, byte) in text[start..].bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(text[start..start + place].trim());
                }
            }
            _ => {}
        }
    }
    None
}

/// A text without GSM8K's calculator marks `<<…>>`.
pub(crate) fn strip_annotations(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once("<<") {
        plain.push_str(before);
        match inside.split_once(">>") {
            Some((mark, after)) if !mark.contains(['\n', '<']) => rest = after,
            // Two signs that open no mark.
            _ => {
                plain.push_str("<<");
                rest = inside;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_apart_at_their_marks() {
        for (text, chain, rest) in [
            ("<think>\na\n</think>\n\nb", Some("\na\n"), "b"),
            ("a\n</think>\nb", Some("a\n"), "b"),
            (
                "<|begin_of_thought|>\n\na\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nb\n\n\
                 <|end_of_solution|>",
                Some("\n\na\n\n"),
                "b",
            ),
            ("b", None, "b"),
        ] {
            let reply = Reply { chain: chain.map(str::to_owned), rest: rest.to_owned() };
            assert_eq!(split_reply(text).unwrap(), reply, "{text}");
        }
        assert_eq!(split_reply("<think>a").unwrap_err().reason, Reason::IncompleteChain);
    }

    #[test]
    fn boxes_are_balanced_and_the_last_one_counts() {
        for (text, inside) in [
            (r"so \boxed{4} or \boxed{\frac{1}{2}}.", Some(r"\frac{1}{2}")),
            (r"\boxed{\{1, 2\}}", Some(r"\{1, 2\}")),
            (r"\boxed{4", None),
            ("4", None),
        ] {
            assert_eq!(boxed(text), inside, "{text}");
        }
        assert_eq!(answer_of("x\n#### 7"), ("7".to_owned(), true));
        assert_eq!(answer_of(" x "), ("x".to_owned(), false));
    }

    #[test]
    fn a_stated_answer_is_found_only_where_it_is_plain() {
        let stated = |line: &str| stated_answer(&[line.to_owned()]);
        assert_eq!(stated("So the answer is $18.").as_deref(), Some("18"));
        assert_eq!(stated("#### 5").as_deref(), Some("5"));
        assert_eq!(stated("3 + 4 = 7"), None);
    }

    #[test]
    fn annotations_are_taken_out() {
        assert_eq!(strip_annotations("48/2 = <<48/2=24>>24 clips"), "48/2 = 24 clips");
        assert_eq!(strip_annotations("1 << 2 and <<3"), "1 << 2 and <<3");
    }
}
