//! LaTeX as plain text, as far as answers use it.

/// Commands that only set their argument in another type.
const TYPE: [&str; 7] = ["text", "textbf", "textit", "mathrm", "mathbf", "mbox", "boxed"];

/// A longer text is no answer, and is left as it is.
const MOST_BYTES: usize = 2_000;

/// How deep groups may nest.
const MAX_DEPTH: usize = 16;

/// The text without marks of type and space; `\frac{a}{b}` becomes `(a)/(b)`, or `a/b`
/// where both are plain. What it does not know, such as `\sqrt`, it leaves as it stands.
pub(super) fn plain(text: &str) -> String {
    if text.len() > MOST_BYTES || !text.contains(['\\', '$', '{']) {
        return text.trim().to_owned();
    }
    let mut out = String::with_capacity(text.len());
    write(text, &mut out, 0);
    out.trim().to_owned()
}

fn write(text: &str, out: &mut String, depth: usize) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("{,}") {
            out.push(',');
            rest = behind;
        } else if first == '\\' {
            rest = command(&rest[1..], out, depth);
        } else {
            // A dollar sign before a digit is money, else a mark of mathematics.
            let money = first == '$' && rest[1..].starts_with(|next: char| next.is_ascii_digit());
            if first != '$'
                || (money
                    && out.trim_end_matches(['-', ' ']).is_empty()
                    && !text.trim_end().ends_with('$'))
            {
                out.push(first);
            }
            rest = &rest[first.len_utf8()..];
        }
    }
}

/// Writes a command, whose text follows its backslash; gives what is left.
fn command<'text>(text: &'text str, out: &mut String, depth: usize) -> &'text str {
    let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, rest) = text.split_at(length);
    match name {
        "" => {
            let mark = text.chars().next();
            match mark {
                Some(mark @ ('%' | '$' | '{' | '}')) => out.push(mark),
                Some(' ' | ';') => out.push(' '),
                // A new line, as between the rows of a matrix.
                Some('\\') => out.push(';'),
                // `\!`, `\,`, `\(`, `\[` and their ends.
                _ => {}
            }
            &text[mark.map_or(0, char::len_utf8)..]
        }
        "left" | "right" | "displaystyle" | "quad" => rest,
        "circ" | "degree" => {
            if out.ends_with('^') {
                out.pop();
            }
            out.push_str(" degrees");
            rest
        }
        name if sign(name).is_some() => {
            out.extend(sign(name));
            rest
        }
        name if TYPE.contains(&name) && depth < MAX_DEPTH => match argument(rest) {
            Some((inside, rest)) => {
                write(inside, out, depth + 1);
                rest
            }
            None => rest,
        },
        "frac" | "dfrac" | "tfrac" if depth < MAX_DEPTH => {
            let parts = argument(rest).and_then(|(top, rest)| Some((top, argument(rest)?)));
            let Some((top, (bottom, rest))) = parts else {
                out.push_str("\\frac");
                return rest;
            };
            // The fraction of a mixed number.
            if out.ends_with(|last: char| last.is_ascii_digit()) {
                out.push(' ');
            }
            for (part, sign) in [(top, "/"), (bottom, "")] {
                let group =
                    part.chars().count() > 1 && !part.bytes().all(|byte| byte.is_ascii_digit());
                out.push_str(if group { "(" } else { "" });
                write(part, out, depth + 1);
                out.push_str(if group { ")" } else { "" });
                out.push_str(sign);
            }
            rest
        }
        name => {
            out.push('\\');
            out.push_str(name);
            rest
        }
    }
}

/// What one character says as well.
fn sign(name: &str) -> Option<char> {
    Some(match name {
        "infty" => '∞',
        "pi" => 'π',
        "cdot" | "times" => '*',
        "div" => '/',
        "pm" => '±',
        "le" | "leq" | "leqslant" => '≤',
        "ge" | "geq" | "geqslant" => '≥',
        "lt" => '<',
        "gt" => '>',
        "cup" => '∪',
        "in" => '∈',
        _ => return None,
    })
}

/// The group or the single character at the start of a text, and what follows it.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let first = text.chars().next()?;
    if first != '{' {
        return Some(text.split_at(first.len_utf8()));
    }
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[1..at], &text[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn marks_of_type_go_and_fractions_become_plain() {
        for (text, expected) in [
            (r"\frac{1}{2}", "1/2"),
            (r"-\dfrac12", "-1/2"),
            (r"2\frac{1}{2}", "2 1/2"),
            (r"\frac{x+1}{2}", "(x+1)/2"),
            (r"$\left(1, 2\right)$", "(1, 2)"),
            (r"\$1{,}200", "$1,200"),
            ("$5", "$5"),
            ("$5$", "5"),
            (r"50\%", "50%"),
            (r"5\text{ cm}", "5 cm"),
            (r"\(30^\circ\)", "30 degrees"),
            (r"\sqrt{2}", r"\sqrt{2}"),
            (r"\frac{1", r"\frac{1"),
            (r"\", ""),
            (r"-\infty < x \le 2\pi", "-∞ < x ≤ 2π"),
            (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2;3&4\end{pmatrix}"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
        let deep = r"\text{".repeat(10_000);
        let _ = plain(&deep);
    }
}
