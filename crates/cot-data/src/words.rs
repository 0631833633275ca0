//! The vocabulary of the generators: few and short words, so that a small tokenizer
//! gives most of them one token.

/// Names of people.
pub(crate) const NAMES: [&str; 16] = [
    "Ann", "Bob", "Eve", "Dan", "Kim", "Leo", "Mia", "Tom", "Sam", "Zoe", "Ben", "Amy", "Max",
    "Ida", "Raj", "Ned",
];

/// Things to count, in the plural.
pub(crate) const ITEMS: [&str; 8] =
    ["apples", "coins", "books", "cards", "pens", "eggs", "nuts", "keys"];
