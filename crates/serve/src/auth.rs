//! Who may ask, and how often: keys, and a token bucket for each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

use crate::config::AccessConfig;
use crate::openai::error::{ApiError, ApiResult};

/// Clients whose buckets are kept; full ones are forgotten first.
const MAX_BUCKETS: usize = 16_384;

/// Lets clients in, or not.
#[derive(Debug)]
pub(crate) struct Access {
    /// Of the keys: digests have one length, whatever a key's is.
    digests: Vec<[u8; 32]>,
    rate: Option<Rate>,
}

/// Who asks, as logs and feedback name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Client(pub(crate) String);

impl Access {
    pub(crate) fn new(config: &AccessConfig) -> Self {
        let digests = config.api_keys.iter().map(|key| digest(key.0.as_bytes())).collect();
        Self { digests, rate: Rate::new(config) }
    }

    /// Who asks.
    ///
    /// # Errors
    /// 401 without one of the keys.
    pub(crate) fn identify(&self, headers: &HeaderMap, peer: IpAddr) -> ApiResult<Client> {
        if self.digests.is_empty() {
            return Ok(Client(peer.to_string()));
        }
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_first_chunk::<7>())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, key)| digest(key.trim_ascii()));
        let known = given.and_then(|given| self.known(&given));
        known.map(|index| Client(format!("key-{index}"))).ok_or_else(ApiError::unauthorized)
    }

    /// The place of a key. Every key is compared with to its end, so that the time tells
    /// nothing.
    fn known(&self, given: &[u8; 32]) -> Option<usize> {
        let mut found = None;
        for (index, digest) in self.digests.iter().enumerate() {
            let difference = digest.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(difference) == 0 {
                found = Some(index);
            }
        }
        found
    }

    /// Counts a request against its client's rate.
    ///
    /// # Errors
    /// 429 with the seconds until the next is let in.
    pub(crate) fn count(&self, client: &Client, now: Instant) -> ApiResult<()> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.take(client, now).map_err(|seconds| {
            ApiError::too_many("this client sends more requests than it may", seconds)
        })
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Token buckets, which fill at a rate.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<Client, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rate {
    fn new(config: &AccessConfig) -> Option<Self> {
        let per_minute = config.requests_per_minute;
        let burst = if config.burst == 0 { per_minute } else { config.burst };
        (per_minute > 0).then(|| Self {
            per_second: f64::from(per_minute) / 60.0,
            burst: f64::from(burst),
            buckets: Mutex::default(),
        })
    }

    /// Takes a token, or tells the whole seconds until there is one.
    fn take(&self, client: &Client, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |bucket: &Bucket| {
            let seconds = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + seconds * self.per_second).min(self.burst)
        };
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(client) {
            // A full bucket is what a new client gets.
            buckets.retain(|_, bucket| filled(bucket) < self.burst);
            if buckets.len() >= MAX_BUCKETS {
                return Err(1);
            }
        }
        let new = Bucket { tokens: self.burst, at: now };
        let bucket = buckets.entry(client.clone()).or_insert(new);
        let tokens = filled(bucket);
        let enough = tokens >= 1.0;
        *bucket = Bucket { tokens: if enough { tokens - 1.0 } else { tokens }, at: now };
        if enough { Ok(()) } else { Err(((1.0 - tokens) / self.per_second).ceil().max(1.0) as u64) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ApiKey;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn one_of_the_keys_is_needed() {
        let api_keys = vec![ApiKey("first".into()), ApiKey("second".into())];
        let access = Access::new(&AccessConfig { api_keys, ..AccessConfig::default() });
        let identify = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            access.identify(&headers, PEER)
        };
        assert_eq!(identify("Bearer second").unwrap(), Client("key-1".into()));
        assert_eq!(identify("bearer first").unwrap(), Client("key-0".into()));
        for wrong in ["Bearer secon", "Bearer second2", "Basic first", "first", "Bearer", ""] {
            assert_eq!(identify(wrong).unwrap_err().status(), 401, "{wrong}");
        }
        assert_eq!(access.identify(&HeaderMap::new(), PEER).unwrap_err().status(), 401);
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let config = AccessConfig { requests_per_minute: 30, burst: 2, ..AccessConfig::default() };
        let rate = Rate::new(&config).unwrap();
        let (a, b) = (Client("a".into()), Client("b".into()));
        let start = Instant::now();
        assert_eq!(rate.take(&a, start), Ok(()));
        assert_eq!(rate.take(&a, start), Ok(()));
        assert_eq!(rate.take(&a, start), Err(2));
        assert_eq!(rate.take(&b, start), Ok(()));
        assert_eq!(rate.take(&a, start + Duration::from_secs(1)), Err(1));
        assert_eq!(rate.take(&a, start + Duration::from_secs(2)), Ok(()));
        assert_eq!(rate.take(&a, start + Duration::from_secs(600)), Ok(()));
        assert_eq!(rate.take(&a, start + Duration::from_secs(600)), Ok(()));
        assert!(rate.take(&a, start + Duration::from_secs(600)).is_err(), "no more than the burst");
    }

    #[test]
    fn clients_are_forgotten_when_their_buckets_are_full() {
        let config = AccessConfig { requests_per_minute: 60, ..AccessConfig::default() };
        let rate = Rate::new(&config).unwrap();
        let start = Instant::now();
        for index in 0..MAX_BUCKETS {
            rate.take(&Client(index.to_string()), start).unwrap();
        }
        assert_eq!(rate.take(&Client("new".into()), start), Err(1));
        assert_eq!(rate.take(&Client("new".into()), start + Duration::from_secs(2)), Ok(()));
        assert_eq!(rate.buckets.lock().unwrap().len(), 1);
    }
}
