//! The card's YAML head, as the Hugging Face Hub reads it.

use std::fmt::Write as _;

use super::Card;
use super::counts::Property;

/// Licences that the Hub knows by a name of its own, which is the SPDX one in lower case.
const KNOWN_LICENSES: [&str; 24] = [
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-2.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nd-4.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "odc-by",
    "pddl",
    "gpl-3.0",
    "lgpl-3.0",
    "agpl-3.0",
    "mpl-2.0",
    "unlicense",
];

/// Words that YAML does not read as text.
const RESERVED: [&str; 9] = ["", "yes", "no", "on", "off", "true", "false", "null", "~"];

/// The head with its marks.
pub(super) fn render(card: &Card) -> String {
    // Writing to a string cannot fail: the results below say nothing.
    let mut text = String::from("---\n");
    let mut list = |name: &str, values: &[String]| {
        if !values.is_empty() {
            let _ = writeln!(text, "{name}:");
            for value in values {
                let _ = writeln!(text, "- {}", scalar(value));
            }
        }
    };
    list("license", &licenses(card));
    list("language", &card.languages);
    list("task_categories", &["text-generation".to_owned()]);
    list("tags", &card.tags);
    list("size_categories", &[size_category(card.counts.num_records()).to_owned()]);
    let _ = writeln!(text, "pretty_name: {}", scalar(&card.pretty_name));
    if !card.files.is_empty() {
        text.push_str("configs:\n- config_name: default\n  data_files:\n");
        for (split, path) in &card.files {
            let _ = writeln!(text, "  - split: {}\n    path: {}", scalar(split), scalar(path));
        }
    }
    text.push_str("---\n");
    text
}

/// The Hub's names of the licences; a choice between licences is listed whole.
fn licenses(card: &Card) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for expression in card.counts.values(Property::License) {
        let words =
            expression.split(|letter: char| letter.is_whitespace() || "()".contains(letter));
        let mut found = false;
        for word in words.filter(|word| !matches!(*word, "" | "OR" | "AND" | "WITH")) {
            found = true;
            let lower = word.to_lowercase();
            let name = match lower.as_str() {
                "noassertion" | "none" => "unknown",
                lower if KNOWN_LICENSES.contains(&lower) => lower,
                lower => KNOWN_LICENSES
                    .into_iter()
                    .find(|known| lower.strip_prefix(known).is_some_and(is_gnu_ending))
                    .unwrap_or("other"),
            };
            push_new(&mut names, name);
        }
        if !found {
            push_new(&mut names, "unknown");
        }
    }
    names
}

/// SPDX tells GNU licences of this version only from those of later ones too.
fn is_gnu_ending(ending: &str) -> bool {
    matches!(ending, "-only" | "-or-later" | "-1.0")
}

fn push_new(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// The Hub's name for a number of records.
pub(super) fn size_category(num_records: u64) -> &'static str {
    match num_records {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        100_000_000..1_000_000_000 => "100M<n<1B",
        _ => "n>1B",
    }
}

/// A text as YAML reads it back: in quotes unless it is plain beyond doubt.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./ ".contains(letter))
        && !text.ends_with(' ')
        && !RESERVED.contains(&text.to_lowercase().as_str());
    // Quotes of JSON are quotes of YAML.
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_misread_is_quoted() {
        for (text, yaml) in [
            ("train.jsonl", "train.jsonl"),
            ("no", "\"no\""),
            ("1K<n<10K", "\"1K<n<10K\""),
            ("a: b", "\"a: b\""),
            ("3", "\"3\""),
            ("say \"hi\"\n", "\"say \\\"hi\\\"\\n\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), yaml);
        }
    }

    #[test]
    fn sizes_have_the_names_of_the_hub() {
        for (count, name) in [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (7_473, "1K<n<10K")]
        {
            assert_eq!(size_category(count), name);
        }
    }
}
