//! The formats of chain-of-thought data that can be imported.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::converted::{Converted, Refusal};
use super::{
    ImportOptions, alpaca, finqa, gsm8k, limo, messages, openr1, openthoughts, prm800k, pubmedqa,
    records, s1k, sharegpt,
};
use crate::error::Error;
use crate::input::At;

/// A format of chain-of-thought data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Our own records.
    Records,
    /// GSM8K: `{question, answer}` with `####`.
    Gsm8k,
    /// OpenR1-Math: several generations a problem, each with flags.
    OpenR1,
    /// `{messages: [{role, content}]}`, as in Mixture-of-Thoughts.
    Messages,
    /// `OpenThoughts`: conversations with `<|begin_of_thought|>`.
    OpenThoughts,
    /// s1K and s1K-1.1.
    S1k,
    /// LIMO: `{question, solution, answer}`.
    Limo,
    /// `ShareGPT`: `{conversations: [{from, value}]}`.
    ShareGpt,
    /// Alpaca: `{instruction, input, output}`.
    Alpaca,
    /// `PubMedQA`'s labelled questions.
    PubMedQa,
    /// PRM800K: steps rated by people.
    Prm800k,
    /// `FinQA`: questions on reports, with programs.
    FinQa,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 12] = [
        Self::Records,
        Self::Gsm8k,
        Self::OpenR1,
        Self::Messages,
        Self::OpenThoughts,
        Self::S1k,
        Self::Limo,
        Self::ShareGpt,
        Self::Alpaca,
        Self::PubMedQa,
        Self::Prm800k,
        Self::FinQa,
    ];

    /// The format's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Gsm8k => "gsm8k",
            Self::OpenR1 => "openr1",
            Self::Messages => "messages",
            Self::OpenThoughts => "openthoughts",
            Self::S1k => "s1k",
            Self::Limo => "limo",
            Self::ShareGpt => "sharegpt",
            Self::Alpaca => "alpaca",
            Self::PubMedQa => "pubmedqa",
            Self::Prm800k => "prm800k",
            Self::FinQa => "finqa",
        }
    }

    /// Whether its objects have chains; those of `PubMedQA` are questions with answers.
    pub fn has_chains(self) -> bool {
        self != Self::PubMedQa
    }

    /// The records of one object.
    pub(super) fn convert(
        self,
        object: Map<String, Value>,
        at: &At,
        options: &ImportOptions,
    ) -> Result<Converted, Refusal> {
        match self {
            Self::Records => records::convert(object, at),
            Self::Gsm8k => gsm8k::convert(object, options),
            Self::OpenR1 => openr1::convert(object, options),
            Self::Messages => messages::convert(object),
            Self::OpenThoughts => openthoughts::convert(object),
            Self::S1k => s1k::convert(object, options),
            Self::Limo => limo::convert(object),
            Self::ShareGpt => sharegpt::convert(object),
            Self::Alpaca => alpaca::convert(object),
            Self::PubMedQa => pubmedqa::convert(object, at),
            Self::Prm800k => prm800k::convert(object),
            Self::FinQa => finqa::convert(object),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|format| format.name()).collect();
            Error::UnknownFormat { expected: names.join(", "), got: name.to_owned() }
        })
    }
}
