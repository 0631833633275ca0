//! Names of replies: unlike any other, so that nobody guesses one of another's.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A new id, such as `cmpl-2f…`.
pub(super) fn new_id(kind: &str) -> String {
    static KEYS: LazyLock<(RandomState, RandomState)> =
        LazyLock::new(|| (RandomState::new(), RandomState::new()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{kind}-{:016x}{:016x}", KEYS.0.hash_one(count), KEYS.1.hash_one(count))
}
