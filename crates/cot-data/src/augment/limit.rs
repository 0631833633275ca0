//! A limit on how much goes out in a minute.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A bucket that fills by a steady rate up to a minute's worth. What is taken out may be put
/// right afterwards, when it is known how much it was: it then goes below empty, and the next
/// one waits for longer.
pub(super) struct Limit {
    /// A minute's worth; nothing for no limit.
    per_minute: Option<f64>,
    state: Mutex<State>,
}

struct State {
    level: f64,
    at: Instant,
}

impl Limit {
    /// A bucket that is full; `per_minute` 0 is no limit.
    pub(super) fn per_minute(per_minute: f64) -> Self {
        let state = Mutex::new(State { level: per_minute, at: Instant::now() });
        Self { per_minute: (per_minute > 0.0).then_some(per_minute), state }
    }

    /// Takes an amount out; how long to wait where there is less than that. More than a
    /// minute's worth goes out of a full bucket.
    fn take(&self, amount: f64, now: Instant) -> Result<(), Duration> {
        let Some(per_minute) = self.per_minute else { return Ok(()) };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.level = (state.level + passed * per_minute / 60.0).min(per_minute);
        state.at = state.at.max(now);
        let missing = amount.min(per_minute) - state.level;
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing * 60.0 / per_minute));
        }
        state.level -= amount;
        Ok(())
    }

    /// Waits until an amount may go out, in naps so that `stop` is heeded; whether it may.
    pub(super) fn wait(&self, amount: f64, stop: impl Fn() -> bool) -> bool {
        while !stop() {
            match self.take(amount, Instant::now()) {
                Ok(()) => return true,
                Err(wait) => thread::sleep(wait.min(Duration::from_millis(200))),
            }
        }
        false
    }

    /// Takes out what was more than expected, or puts back what was less.
    pub(super) fn settle(&self, more: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.level -= more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_lets_a_minutes_worth_through() {
        let limit = Limit::per_minute(60.0);
        let start = Instant::now();
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        for _ in 0..60 {
            assert_eq!(limit.take(1.0, after(0.0)), Ok(()));
        }
        let wait = limit.take(1.0, after(0.0)).unwrap_err().as_secs_f64();
        assert!((0.9..=1.0).contains(&wait), "{wait}");
        assert_eq!(limit.take(1.0, after(1.1)), Ok(()));
        // A reply was longer than thought: the next one pays.
        limit.settle(10.0);
        let wait = limit.take(1.0, after(1.1)).unwrap_err().as_secs_f64();
        assert!((10.0..=11.0).contains(&wait), "{wait}");
        assert_eq!(limit.take(1.0, after(13.0)), Ok(()));
        // One that is larger than the bucket goes out of a full one.
        assert!(limit.take(500.0, after(14.0)).is_err());
        assert_eq!(limit.take(500.0, after(100.0)), Ok(()));
        assert!(limit.take(1.0, after(101.0)).is_err());
    }

    #[test]
    fn no_limit_never_waits() {
        let limit = Limit::per_minute(0.0);
        assert!((0..1000).all(|_| limit.take(1e9, Instant::now()).is_ok()));
    }
}
