//! How the server is set up: a table of its own, typed and checked before anything starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// Everything that can be set about the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// The address to listen on. Default 127.0.0.1, this machine alone.
    pub host: IpAddr,
    /// The port; 0 lets the system choose. Default 8000.
    pub port: u16,
    /// The name under which requests ask for the base model. Default: the model's own name,
    /// which the program fills in.
    pub served_model_name: Option<String>,
    /// Most tokens of a prompt and its reply together; at most what the model was made for.
    /// Default: what the model was made for, which the program fills in.
    pub max_model_len: Option<usize>,
    /// Folders below which adapters may be loaded while the server runs. Default none: then
    /// none may.
    pub adapter_roots: Vec<PathBuf>,
    /// The SQLite file that keeps feedback. Default none: feedback is then refused.
    pub feedback: Option<PathBuf>,
    /// Whether prompts may appear in logs. Default false.
    pub log_prompts: bool,
    /// Whether `/` shows the page to chat with. Default true.
    pub page: bool,
    /// Who may ask, and how often.
    pub access: AccessConfig,
    /// How much may be asked.
    pub limits: LimitsConfig,
}

/// Who may ask, and how often.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// Keys that are let in, as `Authorization: Bearer KEY`. Default none: everybody is.
    pub api_keys: Vec<ApiKey>,
    /// Names beside `localhost` by which a server that only this machine reaches may be
    /// called where there are no keys, such as a proxy's. Else a page of any site could give
    /// its own name this machine's address, and ask in the user's browser. Default none.
    pub allowed_hosts: Vec<String>,
    /// Requests a minute for one key, or one address where there are no keys; 0 for no
    /// limit. Default 0.
    pub requests_per_minute: u32,
    /// Requests that may come at once before the rate counts. Default 0: as many as a
    /// minute allows.
    pub burst: u32,
}

/// A key that is not shown when the configuration is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ApiKey(pub String);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

/// A written configuration must not give the key away.
impl Serialize for ApiKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("hidden")
    }
}

/// How much may be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Most connections held open. Default 1024; more wait to be accepted.
    pub max_connections: usize,
    /// Most prompts that run or wait; beyond it requests get 429. Default 512.
    pub max_requests: usize,
    /// Most prompts of one request. Default 256.
    pub max_prompts: usize,
    /// Most choices of one prompt (`n`, `best_of`). Default 16.
    pub max_choices: usize,
    /// Most bytes of a request's body; beyond it 413. Default 4 MiB.
    pub max_body_bytes: usize,
    /// Seconds in which a request's head must arrive. Default 30.
    pub header_timeout_seconds: u64,
    /// Seconds in which a request's body must arrive. Default 60.
    pub body_timeout_seconds: u64,
    /// Seconds in which a request must be answered to its end. Default 900.
    pub request_timeout_seconds: u64,
    /// Seconds that running requests get to end when the server stops. Default 30.
    pub shutdown_grace_seconds: u64,
    /// Seconds without a token after which a stream gets a comment, so that nothing between
    /// takes it for dead. Default 15.
    pub keep_alive_seconds: u64,
    /// Replies that are remembered for feedback about them. Default 1024.
    pub remembered_replies: usize,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8000,
            served_model_name: None,
            max_model_len: None,
            adapter_roots: Vec::new(),
            feedback: None,
            log_prompts: false,
            page: true,
            access: AccessConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_requests: 512,
            max_prompts: 256,
            max_choices: 16,
            max_body_bytes: 4 << 20,
            header_timeout_seconds: 30,
            body_timeout_seconds: 60,
            request_timeout_seconds: 900,
            shutdown_grace_seconds: 30,
            keep_alive_seconds: 15,
            remembered_replies: 1024,
        }
    }
}

impl ServeConfig {
    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Whether anybody on the network may ask without a key.
    pub fn is_open_to_strangers(&self) -> bool {
        !self.host.is_loopback() && self.access.api_keys.is_empty()
    }
}

impl LimitsConfig {
    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_timeout_seconds)
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_seconds)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    pub(crate) fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_seconds)
    }

    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_seconds)
    }
}

impl Validate for ServeConfig {
    fn validate(&self) -> Result<(), Invalid> {
        if self.served_model_name.as_deref() == Some("") {
            return Err(Invalid::new("served_model_name", "a name", "an empty one"));
        }
        if let Some(length) = self.max_model_len.filter(|&length| length < 2) {
            return Err(Invalid::new("max_model_len", "at least 2", length));
        }
        self.access.validate().map_err(|invalid| invalid.within("access"))?;
        self.limits.validate().map_err(|invalid| invalid.within("limits"))
    }
}

impl Validate for AccessConfig {
    fn validate(&self) -> Result<(), Invalid> {
        let visible =
            |key: &ApiKey| !key.0.is_empty() && key.0.bytes().all(|b| b.is_ascii_graphic());
        match self.api_keys.iter().position(|key| !visible(key)) {
            // The key itself is not told: errors are logged.
            Some(index) => Err(Invalid::new(
                format!("api_keys[{index}]"),
                "visible ASCII characters without spaces",
                "something else",
            )),
            None => Ok(()),
        }
    }
}

impl Validate for LimitsConfig {
    fn validate(&self) -> Result<(), Invalid> {
        let at_least_one = [
            ("max_connections", self.max_connections as u64),
            ("max_requests", self.max_requests as u64),
            ("max_prompts", self.max_prompts as u64),
            ("max_choices", self.max_choices as u64),
            ("max_body_bytes", self.max_body_bytes as u64),
            ("header_timeout_seconds", self.header_timeout_seconds),
            ("body_timeout_seconds", self.body_timeout_seconds),
            ("request_timeout_seconds", self.request_timeout_seconds),
            ("keep_alive_seconds", self.keep_alive_seconds),
        ];
        if let Some((field, value)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(Invalid::new(field, "at least 1", value));
        }
        // A request of more prompts than may wait could never be taken.
        if self.max_prompts > self.max_requests {
            let expected = format!("at most max_requests, {}", self.max_requests);
            return Err(Invalid::new("max_prompts", expected, self.max_prompts));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_possible_and_local() {
        let config = ServeConfig::default();
        config.validate().unwrap();
        assert_eq!(config.address().to_string(), "127.0.0.1:8000");
        assert!(!config.is_open_to_strangers());
        let open = ServeConfig { host: "0.0.0.0".parse().unwrap(), ..config.clone() };
        assert!(open.is_open_to_strangers());
        let access = AccessConfig { api_keys: vec![ApiKey("k".into())], ..config.access };
        assert!(!ServeConfig { access, ..open }.is_open_to_strangers());
    }

    #[test]
    fn impossible_values_name_their_key() {
        let limits = |limits| ServeConfig { limits, ..ServeConfig::default() };
        let default = LimitsConfig::default;
        let keys = vec![ApiKey("fine".into()), ApiKey("two words".into())];
        let cases = [
            ("limits.max_requests", limits(LimitsConfig { max_requests: 0, ..default() })),
            ("limits.max_prompts", limits(LimitsConfig { max_prompts: 513, ..default() })),
            ("max_model_len", ServeConfig { max_model_len: Some(1), ..ServeConfig::default() }),
            (
                "access.api_keys[1]",
                ServeConfig {
                    access: AccessConfig { api_keys: keys, ..AccessConfig::default() },
                    ..ServeConfig::default()
                },
            ),
        ];
        for (field, config) in cases {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn keys_are_neither_shown_nor_written() {
        let key = ApiKey("secret".into());
        assert!(!format!("{key:?}").contains("secret"));
        assert!(!serde_json::to_string(&key).unwrap().contains("secret"));
    }
}
