//! Rust source with comments and literals blanked, so that a word in a comment or a
//! string is not taken for code.

/// The source with every comment, string and character literal replaced by spaces; line
/// breaks stay, so that line numbers do.
pub(super) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, code.chars().next_back());
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (literal, after) = rest.split_at(length);
            code.extend(literal.chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    code
}

/// How many bytes at the start of `rest` are a comment or literal; 0 for code.
fn skipped(rest: &str, previous: Option<char>) -> usize {
    let in_word = previous.is_some_and(|char| char.is_alphanumeric() || char == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if !in_word {
        let prefix = ["br", "cr", "r"].into_iter().find(|prefix| {
            let hashes = rest.strip_prefix(prefix).map(|rest| rest.trim_start_matches('#'));
            hashes.is_some_and(|rest| rest.starts_with('"'))
        });
        if let Some(prefix) = prefix {
            return raw_string(rest, prefix.len());
        }
    }
    match rest.as_bytes() {
        [b'"', ..] => string(rest),
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut index) = (0, 0);
    while let Some(here) = rest.get(index..) {
        if here.is_empty() {
            break;
        }
        if here.starts_with("/*") {
            depth += 1;
            index += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn raw_string(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].bytes().take_while(|&byte| byte == b'#').count();
    let start = prefix + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    rest[start..].find(&end).map_or(rest.len(), |index| start + index + end.len())
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (index, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, but not a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // The escaped character itself may be a quote.
            chars.next();
            chars.find(|(_, char)| *char == '\'').map_or(0, |(index, _)| index + 1)
        }
        Some(_) => match chars.next() {
            Some((index, '\'')) => index + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_not() {
        let source = concat!(
            "let a = \"un\\\"safe\"; // unsafe\n",
            "/* unsafe /* unsafe */ unsafe\n*/ let b = r#\"unsafe \" unsafe\"#;\n",
            "let c: &'static str = 'x'; let d = '\\''; unsafe { for_each(bar\"unsafe\") }",
        );
        let code = code_only(source);
        assert_eq!(code.matches("unsafe").count(), 1, "{code}");
        assert_eq!(code.lines().count(), source.lines().count());
        assert_eq!(
            code.lines().nth(3),
            Some("let c: &'static str =    ; let d =     ; unsafe { for_each(bar        ) }")
        );
    }
}
