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
    /// The names by which the server may be called; `None` for any.
    hosts: Option<Vec<String>>,
}

/// Who asks, as logs and feedback name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Client(pub(crate) String);

impl Access {
    /// `local` says that the server listens on this machine's own address alone.
    pub(crate) fn new(config: &AccessConfig, local: bool) -> Self {
        let digests: Vec<_> = config.api_keys.iter().map(|key| digest(key.0.as_bytes())).collect();
        let hosts = (local && digests.is_empty()).then(|| config.allowed_hosts.clone());
        Self { digests, rate: Rate::new(config), hosts }
    }

    /// Checks the name by which the server is called, where only browsers' good manners keep
    /// other sites from it.
    ///
    /// # Errors
    /// 403 for a name that is not known.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> ApiResult<()> {
        let (Some(hosts), Some(host)) = (&self.hosts, headers.get(header::HOST)) else {
            return Ok(());
        };
        let host = host.to_str().unwrap_or_default();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next(),
            None => host.split(':').next(),
        };
        let name = name.unwrap_or_default();
        let local = name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if local || hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "this server is not known by this name: add it to access.allowed_hosts, or set keys",
        ))
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
        let access = Access::new(&AccessConfig { api_keys, ..AccessConfig::default() }, true);
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
    fn without_keys_a_local_server_has_local_names() {
        let allowed_hosts = vec!["box.example".to_owned()];
        let config = AccessConfig { allowed_hosts, ..AccessConfig::default() };
        let called = |access: &Access, name: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, name.parse().unwrap());
            access.check_host(&headers).is_ok()
        };
        let local = Access::new(&config, true);
        for name in [
            "localhost:8000",
            "LOCALHOST",
            "127.0.0.1:80",
            "127.1.2.3",
            "[::1]:8000",
            "box.example:1",
        ] {
            assert!(called(&local, name), "{name}");
        }
        for name in
            ["evil.example", "localhost.evil.example:8000", "10.0.0.1", "[::2]", "127.0.0.1.evil"]
        {
            assert!(!called(&local, name), "{name}");
        }
        assert!(local.check_host(&HeaderMap::new()).is_ok(), "browsers always send it");
        assert!(called(&Access::new(&config, false), "evil.example"));
        let keyed = AccessConfig { api_keys: vec![ApiKey("k".into())], ..config };
        assert!(called(&Access::new(&keyed, true), "evil.example"));
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
