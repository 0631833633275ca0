//! The floating-point dtypes that parameters and activations may have.

use std::fmt;

use serde::{Deserialize, Serialize};
use tch::Kind;

/// A dtype as Hugging Face's config.json spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE single precision, 4 bytes.
    #[default]
    Float32,
    /// Single precision's exponent with 8 bits of significand, 2 bytes.
    BFloat16,
    /// IEEE half precision, 2 bytes.
    Float16,
}

impl DType {
    /// The libtorch kind.
    pub fn kind(self) -> Kind {
        match self {
            Self::Float32 => Kind::Float,
            Self::BFloat16 => Kind::BFloat16,
            Self::Float16 => Kind::Half,
        }
    }

    /// The dtype of a libtorch kind, if it is one of ours.
    pub fn from_kind(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Float => Some(Self::Float32),
            Kind::BFloat16 => Some(Self::BFloat16),
            Kind::Half => Some(Self::Float16),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Float32 => "float32",
            Self::BFloat16 => "bfloat16",
            Self::Float16 => "float16",
        })
    }
}

impl std::str::FromStr for DType {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        [Self::Float32, Self::BFloat16, Self::Float16]
            .into_iter()
            .find(|dtype| dtype.to_string() == text)
            .ok_or_else(|| crate::Error::Unknown {
                what: "dtype",
                found: text.to_owned(),
                expected: "float32, bfloat16 or float16",
            })
    }
}
