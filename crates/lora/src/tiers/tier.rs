//! The tiers, and how much each may hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What an adapter is for, and so how long it stays and who may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// What all requests build on: long-lived, never evicted, frozen once it is released.
    BaseTask,
    /// A field of knowledge: loaded when a request asks for it, the least recently used
    /// makes room.
    Domain,
    /// One user's preferences: small, and replaced while the model runs.
    User,
}

impl Tier {
    /// All tiers, lowest first.
    pub const ALL: [Self; 3] = [Self::BaseTask, Self::Domain, Self::User];

    /// Its name in files, folders and arguments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BaseTask => "base-task",
            Self::Domain => "domain",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text).ok_or_else(|| Error::Value {
            what: "tier",
            expected: "base-task, domain or user",
            found: text.to_owned(),
        })
    }
}

/// How much the tiers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierLimits {
    /// Domain adapters at a time, at least 1.
    pub domain_capacity: usize,
    /// User adapters at a time, at least 1.
    pub user_capacity: usize,
    /// The largest rank of a user adapter.
    pub user_rank: i64,
    /// Sets of adapters whose joined matrices are kept: each costs as much memory as its
    /// adapters. Least recently used first, others are joined anew when they come again.
    pub joined_sets: usize,
}

impl Default for TierLimits {
    fn default() -> Self {
        Self { domain_capacity: 8, user_capacity: 64, user_rank: 8, joined_sets: 4 }
    }
}

impl TierLimits {
    /// How many adapters the tier may hold, if that is limited.
    pub fn capacity(&self, tier: Tier) -> Option<usize> {
        match tier {
            Tier::BaseTask => None,
            Tier::Domain => Some(self.domain_capacity.max(1)),
            Tier::User => Some(self.user_capacity.max(1)),
        }
    }

    /// The largest rank that the tier takes, if that is limited.
    pub fn largest_rank(&self, tier: Tier) -> Option<i64> {
        (tier == Tier::User).then_some(self.user_rank)
    }
}
