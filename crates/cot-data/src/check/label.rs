//! Labelled lines: the items of a question, `#A item`, and the lines of a chain about
//! them, `#A item: work`, or in short `#A: work`.

use std::borrow::Cow;

/// A line and its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Labelled<'text> {
    /// One capital letter.
    pub(super) label: char,
    /// What stands behind the label.
    pub(super) text: &'text str,
}

/// Takes a line apart; nothing where it has no label.
pub(super) fn labelled(line: &str) -> Option<Labelled<'_>> {
    let (label, text) = line.strip_prefix('#')?.split_once(' ')?;
    let mut characters = label.chars();
    let label = characters.next().filter(char::is_ascii_uppercase)?;
    characters.next().is_none().then(|| Labelled { label, text: text.trim() })
}

/// The items of a question; nothing where two have the same label.
pub(super) fn items(question: &str) -> Option<Vec<Labelled<'_>>> {
    let items: Vec<Labelled<'_>> = question.lines().filter_map(labelled).collect();
    let again = |index: usize| items[..index].iter().any(|other| other.label == items[index].label);
    (!(0..items.len()).any(again)).then_some(items)
}

/// The items of a question by label, as a chain restates them: without a question mark.
pub(crate) fn items_by_label(question: &str) -> Vec<(char, &str)> {
    let items = items(question).unwrap_or_default();
    items.into_iter().map(|item| (item.label, item.text.trim_end_matches(['?', '？']))).collect()
}

/// A line in full, where it names an item by its label alone: `#A: work` is `#A item: work`.
pub(super) fn in_full<'text>(items: &[(char, &str)], line: &'text str) -> Cow<'text, str> {
    let full = || {
        let mut told = line.strip_prefix('#')?.chars();
        let label = told.next()?;
        let work = told.as_str();
        let (_, item) = items.iter().find(|(known, _)| *known == label)?;
        (work.starts_with(": ") || work.starts_with('：')).then(|| format!("#{label} {item}{work}"))
    };
    full().map_or(Cow::Borrowed(line), Cow::Owned)
}

/// Whether a line names an item by its label alone.
pub(super) fn is_short(line: &str) -> bool {
    line.starts_with('#') && line.chars().nth(2).is_some_and(|next| matches!(next, ':' | '：'))
}

/// A line of a chain about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemLine<'text> {
    label: char,
    /// The item as the line restates it.
    item: &'text str,
    /// What stands behind it.
    pub(super) work: &'text str,
}

impl<'text> ItemLine<'text> {
    /// Takes a line apart; nothing where it is not of this form.
    pub(super) fn of(line: &'text str) -> Option<Self> {
        let Labelled { label, text } = labelled(line)?;
        let (item, work) = text.split_once(": ").or_else(|| text.split_once('：'))?;
        Some(Self { label, item: item.trim(), work: work.trim() })
    }

    /// The line's label.
    pub(super) fn label(&self) -> char {
        self.label
    }

    /// Whether label and words are those of the item.
    pub(super) fn is_about(&self, label: char, item: &str) -> bool {
        self.label == label && self.item == item
    }
}

/// The lines of a question that are no items.
pub(super) fn other_lines(question: &str) -> impl DoubleEndedIterator<Item = &str> {
    question.lines().filter(|line| labelled(line).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_alone_stands_for_its_item() {
        let question = "Start with 81.\n#A multiply by 5\n#Q What is it?";
        let items = items_by_label(question);
        assert_eq!(items, [('A', "multiply by 5"), ('Q', "What is it")]);
        for (line, full) in [
            ("#A: 81*5=405", "#A multiply by 5: 81*5=405"),
            ("#Q: 405", "#Q What is it: 405"),
            ("#A multiply by 5: 81*5=405", "#A multiply by 5: 81*5=405"),
            ("#B: 1", "#B: 1"),
            ("#A:1", "#A:1"),
            ("81", "81"),
        ] {
            assert_eq!(in_full(&items, line), full);
            assert_eq!(is_short(line), line != full || line.starts_with("#B") || line == "#A:1");
        }
        assert_eq!(in_full(&items_by_label("#A 小安有5个？"), "#A：5"), "#A 小安有5个：5");
    }

    #[test]
    fn items_are_the_lines_with_a_label() {
        let question = "Start with 81.\n#A multiply by 5\n#B subtract 86\nWhat is it?";
        let found: Vec<(char, &str)> =
            items(question).unwrap().iter().map(|item| (item.label, item.text)).collect();
        assert_eq!(found, [('A', "multiply by 5"), ('B', "subtract 86")]);
        assert_eq!(other_lines(question).collect::<Vec<_>>(), ["Start with 81.", "What is it?"]);
        assert_eq!(items("#A add 1\n#A add 2"), None);
        let line = ItemLine::of("#A multiply by 5: 81*5=405").unwrap();
        assert_eq!(line.work, "81*5=405");
        assert!(line.is_about('A', "multiply by 5"));
        assert!(!line.is_about('B', "multiply by 5") && !line.is_about('A', "multiply by 6"));
        assert_eq!(ItemLine::of("#A multiply by 5"), None);
        for line in
            ["#a add 1", "#AB add 1", "# add 1", "A add 1", "A: add 1", "#Aadd 1", "#1 add 1"]
        {
            assert_eq!(labelled(line), None, "{line}");
        }
    }
}
