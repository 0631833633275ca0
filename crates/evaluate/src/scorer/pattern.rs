//! Python's regular expressions, as `re` reads them, on Rust's engine.
//!
//! What the two write alike but mean otherwise is rewritten: `$` (also before a last line
//! break), `\Z` (the very end), `\s` (also ASCII's separators), braces that repeat nothing
//! (`\boxed{`), and what a Rust class takes for set operations. `\w` is of Unicode in both, and
//! differs in a few marks.

use fancy_regex::{Captures, Regex};

use crate::{Error, Result};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

/// What `re.findall` gives for one match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'text> {
    /// Of a pattern with one group or none: the group, or all.
    One(&'text str),
    /// Of a pattern with several groups: each, empty where it took no part.
    Groups(Vec<&'text str>),
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`Error::Pattern`] for one that is none.
    pub fn new(source: &str) -> Result<Self> {
        let failed = |error| Error::Pattern { pattern: source.to_owned(), source: Box::new(error) };
        let regex = Regex::new(&translated(source)).map_err(failed)?;
        Ok(Self { source: source.to_owned(), regex })
    }

    /// The pattern that finds any of some texts, the first listed first.
    pub(super) fn any_of<'a>(
        before: &str,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let texts: Vec<_> = texts.into_iter().map(fancy_regex::escape).collect();
        let source = format!("{before}({})", texts.join("|"));
        let failed = |error| Error::Pattern { pattern: source.clone(), source: Box::new(error) };
        let regex = Regex::new(&source).map_err(failed)?;
        Ok(Self { source, regex })
    }

    /// As it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All matches from left to right, none over another: `re.findall`.
    ///
    /// # Errors
    /// [`Error::PatternRun`] where the matcher gives up.
    pub fn find_all<'text>(&self, text: &'text str) -> Result<Vec<Found<'text>>> {
        let mut found = Vec::new();
        self.each(text, |captures| {
            let group = |at: usize| captures.get(at).map_or("", |group| group.as_str());
            found.push(match captures.len() {
                1 => Found::One(group(0)),
                2 => Found::One(group(1)),
                length => Found::Groups((1..length).map(group).collect()),
            });
        })?;
        Ok(found)
    }

    /// The text without what matches: `re.sub(pattern, "", text)`.
    ///
    /// # Errors
    /// [`Error::PatternRun`] where the matcher gives up.
    pub fn delete(&self, text: &str) -> Result<String> {
        let mut kept = String::with_capacity(text.len());
        let mut from = 0;
        self.each(text, |captures| {
            if let Some(whole) = captures.get(0) {
                kept.push_str(&text[from..whole.start()]);
                from = whole.end();
            }
        })?;
        kept.push_str(&text[from..]);
        Ok(kept)
    }

    /// Python allows an empty match where another one ends, and the engine's own iterator does
    /// not.
    fn each<'text>(&self, text: &'text str, mut take: impl FnMut(&Captures<'text>)) -> Result<()> {
        let failed = |error| Error::PatternRun {
            pattern: self.source.clone(),
            length: text.len(),
            source: Box::new(error),
        };
        let mut from = 0;
        while let Some(captures) = self.regex.captures_from_pos(text, from).map_err(failed)? {
            let Some(whole) = captures.get(0) else { break };
            let (start, end) = (whole.start(), whole.end());
            take(&captures);
            if start < end {
                from = end;
                continue;
            }
            let Some(next) = text[end..].chars().next() else { break };
            from = end + next.len_utf8();
        }
        Ok(())
    }
}

/// White space as `str.strip` takes it: Unicode's, and the four separators of ASCII.
pub fn strip(text: &str) -> &str {
    text.trim_matches(|next: char| next.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&next))
}

/// The pattern in Rust's words.
fn translated(source: &str) -> String {
    let multiline = inline_flags(source).contains('m');
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source;
    // Within a class, and whether nothing of it has been read.
    let (mut class, mut fresh) = (false, false);
    while let Some(next) = rest.chars().next() {
        let behind = &rest[next.len_utf8()..];
        let was_fresh = std::mem::take(&mut fresh);
        rest = behind;
        match next {
            '\\' => {
                let escaped = behind.chars().next();
                rest = &behind[escaped.map_or(0, char::len_utf8)..];
                match escaped {
                    Some('Z') => out.push_str(r"\z"),
                    // Python's white space has the separators of ASCII too.
                    Some('s') if class => out.push_str(r"\s\x1c-\x1f"),
                    Some('s') => out.push_str(r"[\s\x1c-\x1f]"),
                    Some('S') if !class => out.push_str(r"[^\s\x1c-\x1f]"),
                    // Ends of words to Rust.
                    Some(mark @ ('<' | '>')) => out.push(mark),
                    Some(other) => out.extend(['\\', other]),
                    None => out.push('\\'),
                }
            }
            '[' if class => out.push_str(r"\["),
            '[' => {
                (class, fresh) = (true, true);
                out.push('[');
                if let Some(behind) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = behind;
                }
            }
            ']' if class && was_fresh => out.push_str(r"\]"),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => out.extend(['\\', next]),
            // `a--b` is a range from `a` to `-` and a `b` in Python, which nobody writes.
            '-' if class && rest.starts_with('-') => out.push_str(r"\-"),
            '$' if !class && !multiline => out.push_str(r"(?=\n?\z)"),
            '{' if !class => match repetition(rest) {
                Some(0) => out.push_str("{0"),
                Some(_) => out.push('{'),
                None => out.push_str(r"\{"),
            },
            '}' if !class && !ends_repetition(&out) => out.push_str(r"\}"),
            other => out.push(other),
        }
    }
    out
}

/// Digits before the comma or the brace, if a repetition follows: `3}`, `3,}`, `,3}`, `3,4}`.
fn repetition(rest: &str) -> Option<usize> {
    let inside = rest.split_once('}')?.0;
    let (least, most) = inside.split_once(',').unwrap_or((inside, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let holds = digits(least) && digits(most) && !inside.is_empty() && inside != ",";
    holds.then_some(least.len())
}

/// Whether a brace would end a repetition that is open.
fn ends_repetition(out: &str) -> bool {
    out.rsplit_once('{').is_some_and(|(before, inside)| {
        !before.ends_with('\\')
            && !inside.is_empty()
            && inside.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
    })
}

/// The letters of `(?ims)` at the head, where Python wants them.
fn inline_flags(source: &str) -> &str {
    source
        .strip_prefix("(?")
        .and_then(|rest| rest.split_once(')'))
        .map(|(flags, _)| flags)
        .filter(|flags| flags.bytes().all(|byte| byte.is_ascii_lowercase()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> Vec<String> {
        let found = Pattern::new(pattern).unwrap().find_all(text).unwrap().into_iter();
        found
            .map(|found| match found {
                Found::One(one) => one.to_owned(),
                Found::Groups(groups) => groups.join("|"),
            })
            .collect()
    }

    /// Expected values from Python 3.11's `re.findall`.
    #[test]
    fn matches_are_pythons() {
        for (pattern, text, expected) in [
            ("a|b", "xaxb", &["a", "b"][..]),
            ("(a)|(b)", "xaxb", &["a|", "|b"]),
            ("(a)?b", "bab", &["", "a"]),
            ("a*", "aab", &["aa", "", ""]),
            (r"\.$", "5.\n", &["."]),
            (r"\.$", "5.\n\n", &[]),
            (r"(?m)\.$", "5.\n6.\n", &[".", "."]),
            (r"5\Z", "5\n", &[]),
            (r"\\boxed{(.*)}", r"\boxed{7}", &["7"]),
            (r"\\boxed\{([^}]*)\}", r"\boxed{7}", &["7"]),
            ("x{2}", "xxx", &["xx"]),
            ("x{,2}y", "xxxy", &["xxy"]),
            ("x{a}", "x{a}", &["x{a}"]),
            ("[[]", "[", &["["]),
            ("[]a]", "]a", &["]", "a"]),
            ("[^]]", "]a", &["a"]),
            ("[a&&b]", "&", &["&"]),
            (r"[$]", "$", &["$"]),
            (r"\<b\>", "<b>", &["<b>"]),
            ("(?<=the answer is )(.*)(?=.)", "so the answer is (B).", &["(B)"]),
            (r"\s+[^\s]", " \u{1c}a", &[" \u{1c}a"]),
            (r"\S", "\u{1f}a", &["a"]),
            ("(?i)(?P<a>yes)", "YES", &["YES"]),
            (r"(a)\1", "aa", &["a"]),
            ("(?s).*#### ", "a\n#### 1 #### 2", &["a\n#### 1 #### "]),
        ] {
            assert_eq!(found(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn matches_are_deleted() {
        let pattern = Pattern::new("(?s).*#### ").unwrap();
        assert_eq!(pattern.delete("a #### b\n#### 7").unwrap(), "7");
        assert_eq!(Pattern::new("é|$").unwrap().delete("éaé").unwrap(), "a");
    }

    #[test]
    fn what_does_not_compile_is_named() {
        let error = Pattern::new("(a").unwrap_err();
        assert!(matches!(&error, Error::Pattern { pattern, .. } if pattern == "(a"), "{error:?}");
    }

    #[test]
    fn a_runaway_pattern_is_an_error() {
        let pattern = Pattern::new(r"(a+)+\1b").unwrap();
        let text = "a".repeat(64);
        let outcome = pattern.find_all(&text);
        assert!(matches!(outcome, Err(Error::PatternRun { .. })), "{outcome:?}");
    }

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(strip("\u{1c} \u{85}\u{a0}5\n\u{2003}\u{1f}"), "5");
        assert_eq!(strip("\u{200b}5"), "\u{200b}5");
    }
}
