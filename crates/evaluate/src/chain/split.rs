//! A chain of thought taken apart into its steps, each with its place in the text.
//!
//! A step is a line. Where headings (`Step 3:`, `**Step 3**`, `## Step 3`) part the text, a step
//! is what stands below one, its lines together; a text without line breaks is parted at the
//! points of a list (`1. … 2. …`) or else at the ends of its sentences.

use std::ops::Range;

/// Words before a full stop that does not end a sentence.
const ABBREVIATIONS: [&str; 16] = [
    "mr", "mrs", "ms", "dr", "st", "vs", "etc", "e.g", "i.e", "no", "approx", "cf", "fig", "eq",
    "prof", "resp",
];

/// The places of the steps of a chain, in bytes, in order, without the white space around them.
pub fn split(reasoning: &str) -> Vec<Range<usize>> {
    let lines = lines(reasoning);
    let headings: Vec<usize> =
        (0..lines.len()).filter(|&at| is_heading(&reasoning[lines[at].clone()])).collect();
    if headings.len() > 1 && lines.len() > headings.len() {
        return below_headings(&lines, &headings);
    }
    match lines.as_slice() {
        [line] if !is_labelled(&reasoning[line.clone()]) => within(reasoning, line),
        _ => lines,
    }
}

/// The places of the lines that are not blank.
pub(super) fn lines(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in text.split('\n') {
        lines.extend(trimmed(text, start..start + line.len()));
        start += line.len() + 1;
    }
    lines
}

/// A place without the white space around it; nothing where there is nothing else.
fn trimmed(text: &str, place: Range<usize>) -> Option<Range<usize>> {
    let inside = &text[place.clone()];
    let start = place.start + (inside.len() - inside.trim_start().len());
    let end = start + inside.trim().len();
    (start < end).then_some(start..end)
}

/// Whether a line names an item of our generated questions: `#A …`.
fn is_labelled(line: &str) -> bool {
    line.strip_prefix('#')
        .is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_uppercase()))
}

/// Whether a line begins with `Step` and a number, in whatever marks.
fn is_heading(line: &str) -> bool {
    let line = line.trim_start_matches(['#', '*', ' ', '-']);
    let Some(head) = line.get(..4) else { return false };
    head.eq_ignore_ascii_case("step")
        && line[4..].trim_start().starts_with(|next: char| next.is_ascii_digit())
}

/// Joins lines to the heading above them. What stands above the first heading is a step too.
fn below_headings(lines: &[Range<usize>], headings: &[usize]) -> Vec<Range<usize>> {
    let mut starts = headings.to_vec();
    if starts[0] != 0 {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    starts.iter().zip(ends).map(|(&start, end)| lines[start].start..lines[end - 1].end).collect()
}

/// Parts one line.
fn within(text: &str, line: &Range<usize>) -> Vec<Range<usize>> {
    let inside = &text[line.clone()];
    let mut cuts = points(inside);
    if cuts.len() < 2 {
        cuts = sentence_starts(inside);
    }
    let starts = std::iter::once(0).chain(cuts.iter().copied().filter(|&cut| cut > 0));
    let ends = cuts.iter().copied().filter(|&cut| cut > 0).chain([inside.len()]);
    starts
        .zip(ends)
        .filter_map(|(start, end)| trimmed(text, line.start + start..line.start + end))
        .collect()
}

/// Where the points of a numbered list begin: `1.`, `2.` and so on, each once and in order.
fn points(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut from = 0;
    loop {
        let number = (starts.len() + 1).to_string();
        let next = text[from..].match_indices(&number).map(|(at, _)| from + at).find(|&at| {
            let rest = &text[at + number.len()..];
            let apart = text[..at].chars().next_back().is_none_or(char::is_whitespace);
            let marked = rest.starts_with(". ") || rest.starts_with(") ");
            apart
                && marked
                && !rest[2..].trim_start().starts_with(|next: char| next.is_ascii_digit())
        });
        let Some(at) = next else { return starts };
        starts.push(at);
        from = at + number.len();
    }
}

/// Where the sentences after the first begin.
fn sentence_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let Some(&(next, following)) = characters.peek() else { break };
        let ends = match character {
            '。' | '！' | '？' => true,
            '!' | '?' => following.is_whitespace(),
            '.' => following.is_whitespace() && !is_abbreviation(&text[..at]),
            _ => false,
        };
        if ends {
            starts.push(next);
        }
    }
    starts
}

/// Whether the last word of a text is shortened, an initial, or the number of a list's point.
fn is_abbreviation(text: &str) -> bool {
    let word = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let bare = word.trim_start_matches(['(', '"', '*']).to_lowercase();
    let is_initial = bare.len() == 1 && word.ends_with(|last: char| last.is_ascii_uppercase());
    let is_point = word.len() == text.trim_start().len()
        && !bare.is_empty()
        && bare.bytes().all(|byte| byte.is_ascii_digit());
    is_initial || is_point || ABBREVIATIONS.contains(&bare.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<&str> = split(text).into_iter().map(|place| &text[place]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_are_steps_and_blank_ones_are_not() {
        check("  2+3=5\n\n \n5+1=6 \n", &["2+3=5", "5+1=6"]);
        check("\r\na. b.\r\nc\r\n", &["a. b.", "c"]);
        check("", &[]);
        check(" \n\t\n", &[]);
    }

    #[test]
    fn headings_hold_their_lines_together() {
        check(
            "Let us see.\n**Step 1:** Add.\n2+3=5\n\n**Step 2:** Double.\n5*2=10",
            &["Let us see.", "**Step 1:** Add.\n2+3=5", "**Step 2:** Double.\n5*2=10"],
        );
        check("Step 1: 2+3=5\nStep 2: 5*2=10", &["Step 1: 2+3=5", "Step 2: 5*2=10"]);
        check("Stepping on\nStep 1 is all\nend", &["Stepping on", "Step 1 is all", "end"]);
    }

    #[test]
    fn a_single_line_is_parted_at_its_sentences() {
        check(
            "Dr. Wu pays $3.50 for it. J. Li pays 2.5 times that! Is it 8.75? Yes.",
            &["Dr. Wu pays $3.50 for it.", "J. Li pays 2.5 times that!", "Is it 8.75?", "Yes."],
        );
        check("小安有5个。又买3个，共8个。", &["小安有5个。", "又买3个，共8个。"]);
        check("1. Only one point here. And more.", &["1. Only one point here.", "And more."]);
    }

    #[test]
    fn a_list_in_a_line_is_parted_at_its_points() {
        check(
            "First: 1. Add 2. 5 to 3. 2. Double it. Then stop. 3) Done.",
            &["First:", "1. Add 2. 5 to 3.", "2. Double it. Then stop.", "3) Done."],
        );
    }

    #[test]
    fn an_item_of_ours_is_one_step() {
        check("#A -3x=9: x=9/(-3). x=-3", &["#A -3x=9: x=9/(-3). x=-3"]);
    }

    #[test]
    fn places_hold_all_that_is_not_white_space() {
        for text in ["a b. c d。e\n f", "Step 1\nx\nStep 2\ny", "1. ä 2. ö 3. ü", "?! .. !? ."]
        {
            let kept: String = split(text).into_iter().map(|place| &text[place]).collect();
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(bare(&kept), bare(text), "{text:?}");
        }
    }
}
