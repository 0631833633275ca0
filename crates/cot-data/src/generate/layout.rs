//! How the problems of the domain families are laid out: an opening, labelled items, and
//! a labelled question; a line of the chain for each item, and one for the question.

use num_rational::Ratio;

use super::words::labelled;
use crate::language::Language;
use crate::problem::Rendered;

/// A problem told in one language, before it is laid out.
pub(super) struct Told {
    pub(super) opening: String,
    /// Each item, and the work on it.
    pub(super) items: Vec<(String, String)>,
    /// What is asked for, without the question mark.
    pub(super) asked: String,
    /// The work that ends in the answer.
    pub(super) conclusion: String,
    pub(super) answer: String,
}

impl Told {
    /// Question and chain: each line of the chain restates its item word for word.
    pub(super) fn laid_out(self, language: Language) -> Rendered {
        let Self { opening, items, asked, conclusion, answer } = self;
        let (mark, colon) = match language {
            Language::En => ("?", ": "),
            Language::Zh => ("？", "："),
        };
        let (items, works): (Vec<String>, Vec<String>) = items.into_iter().unzip();
        let items = labelled(items);
        let mut steps: Vec<String> =
            items.iter().zip(works).map(|(item, work)| format!("{item}{colon}{work}")).collect();
        steps.push(format!("#Q {asked}{colon}{conclusion}"));
        let question = format!("{opening}\n{}\n#Q {asked}{mark}", items.join("\n"));
        Rendered { question, steps, answer }
    }
}

/// The parts of a line's work, with the language's comma between them.
pub(super) fn parts(language: Language, parts: &[String]) -> String {
    parts.join(match language {
        Language::En => ", ",
        Language::Zh => "，",
    })
}

/// One of two texts: English, Chinese.
pub(super) fn word(language: Language, texts: [&'static str; 2]) -> &'static str {
    texts[usize::from(language == Language::Zh)]
}

/// Whether something holds, in a word.
pub(super) fn yes_no(language: Language, holds: bool) -> &'static str {
    match (language, holds) {
        (Language::En, true) => "yes",
        (Language::En, false) => "no",
        (Language::Zh, true) => "是",
        (Language::Zh, false) => "否",
    }
}

/// A number with a finite decimal expansion, as short as it is exact: `37.8165`, `60`.
pub(super) fn decimal(value: Ratio<i128>) -> String {
    let ten = Ratio::from_integer(10);
    let (mut scaled, mut places) = (value, 0);
    // A denominator that is no product of twos and fives would never end.
    while !scaled.is_integer() && places < 12 {
        scaled *= ten;
        places += 1;
    }
    let digits = format!("{:0width$}", scaled.to_integer().abs(), width = places + 1);
    let (whole, decimals) = digits.split_at(digits.len() - places);
    let sign = if *value.numer() < 0 { "-" } else { "" };
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (top, bottom, text) in
            [(60, 1, "60"), (378_165, 10_000, "37.8165"), (-1, 20, "-0.05"), (5, 2, "2.5")]
        {
            assert_eq!(decimal(Ratio::new(top, bottom)), text);
        }
    }
}
