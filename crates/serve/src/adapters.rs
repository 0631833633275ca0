//! Adapters that requests choose, and loading them while the server runs.
//!
//! A path that a client names is followed to where it really leads, links and all, and must
//! end below a configured folder; so must every file in it. What lies outside looks the same
//! whether it exists or not.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::openai::error::{ApiError, ApiResult};
use crate::openai::fields::Fields;
use crate::{Error, Result};

/// The names of the tiers, lowest first.
pub const TIERS: [&str; 3] = ["base-task", "domain", "user"];

/// An adapter as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Its name, under which requests ask for it as a model.
    pub name: String,
    /// One of [`TIERS`].
    pub tier: String,
    /// SHA-256 over what it computes.
    pub hash: String,
}

/// What loading an adapter did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedAdapter {
    /// SHA-256 over what it computes.
    pub hash: String,
    /// The adapter that made room for it.
    pub evicted: Option<String>,
}

/// Why an adapter could not be loaded, dropped or used; told to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterError(pub String);

/// Where adapters live. Called from several threads, between and during the engine's steps.
pub trait AdapterStore: Debug + Send + Sync {
    /// The adapters that are loaded.
    fn list(&self) -> Vec<AdapterInfo>;

    /// Loads a PEFT folder.
    ///
    /// # Errors
    /// An adapter that does not fit, a name that is taken, a tier that is full.
    fn load(
        &self,
        name: &str,
        tier: &str,
        folder: &Path,
    ) -> std::result::Result<LoadedAdapter, AdapterError>;

    /// Drops an adapter that no request uses.
    ///
    /// # Errors
    /// No adapter of this name, or one in training.
    fn unload(&self, name: &str) -> std::result::Result<(), AdapterError>;

    /// The key by which the engine's router knows these adapters with these gates.
    ///
    /// # Errors
    /// An adapter that is not loaded.
    fn key(&self, stack: &[(String, f64)]) -> std::result::Result<u64, AdapterError>;
}

/// The adapters of one request, which stay loaded while it holds this.
#[derive(Debug, Default)]
pub struct Selection {
    /// The name that the reply shows as its model.
    pub(crate) model: String,
    /// Names and gates; empty for the base model.
    pub(crate) stack: Vec<(String, f64)>,
    /// The engine's key.
    pub(crate) key: Option<u64>,
    _lease: Option<Lease>,
}

/// Counts a request as a user of its adapters.
#[derive(Debug)]
struct Lease {
    used: Arc<Mutex<HashMap<String, usize>>>,
    names: Vec<String>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut used = lock(&self.used);
        for name in &self.names {
            if let Some(count) = used.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    used.remove(name);
                }
            }
        }
    }
}

/// All that the server does with adapters.
#[derive(Debug)]
pub struct Adapters {
    base: String,
    store: Option<Box<dyn AdapterStore>>,
    roots: Vec<PathBuf>,
    /// Requests by adapter. Locked while one goes, so that none goes between a request's
    /// choice and its count.
    used: Arc<Mutex<HashMap<String, usize>>>,
    /// One change at a time. Loading takes long, and requests do not wait for it.
    changing: Mutex<()>,
}

impl Adapters {
    /// Adapters beside a base model, to be loaded from below `roots`.
    ///
    /// # Errors
    /// [`Error::AdapterRoot`] for a root that is not there.
    pub fn new(
        base: &str,
        store: Option<Box<dyn AdapterStore>>,
        roots: &[PathBuf],
    ) -> Result<Self> {
        let real = |root: &PathBuf| {
            root.canonicalize().map_err(|source| Error::AdapterRoot { path: root.clone(), source })
        };
        let roots = roots.iter().map(real).collect::<Result<_>>()?;
        Ok(Self {
            base: base.to_owned(),
            store,
            roots,
            used: Arc::default(),
            changing: Mutex::default(),
        })
    }

    /// The adapters that are loaded.
    pub fn list(&self) -> Vec<AdapterInfo> {
        self.store.as_ref().map_or_else(Vec::new, |store| store.list())
    }

    /// What a request's `model` and `adapters` mean. `adapters` is an object: by the name of
    /// a tier, an adapter's name (`{"domain": "law"}`); by the name of an adapter, its gate
    /// (`{"law": 0.5}`).
    ///
    /// # Errors
    /// 404 for a model or adapter that is not there, 400 for an object of another form.
    pub fn select(&self, model: Option<String>, adapters: Option<Value>) -> ApiResult<Selection> {
        let model = model.unwrap_or_else(|| self.base.clone());
        let used = lock(&self.used);
        let known = self.list();
        let mut stack: Vec<(String, f64)> = Vec::new();
        if model != self.base {
            if !known.iter().any(|adapter| adapter.name == model) {
                return Err(ApiError::unknown_model(&model));
            }
            stack.push((model.clone(), 1.0));
        }
        match adapters {
            None => {}
            Some(Value::Object(object)) => {
                for (key, value) in object {
                    stack.push(entry(key, &value, &known)?);
                }
            }
            Some(_) => {
                let message = "`adapters` is expected to be an object: a tier's name to an \
                               adapter's, or an adapter's name to its gate";
                return Err(ApiError::parameter("adapters", message));
            }
        }
        let mut names: Vec<String> = stack.iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
            let message = format!("the adapter `{twice}` is asked for twice");
            return Err(ApiError::parameter("adapters", message));
        }
        if stack.is_empty() {
            return Ok(Selection { model, ..Selection::default() });
        }
        let store = self.store.as_ref().ok_or_else(|| ApiError::unknown_model(&model))?;
        let key = store.key(&stack).map_err(|error| ApiError::parameter("adapters", error.0))?;
        let lease = self.lease(used, names);
        Ok(Selection { model, stack, key: Some(key), _lease: Some(lease) })
    }

    fn lease(&self, mut used: MutexGuard<'_, HashMap<String, usize>>, names: Vec<String>) -> Lease {
        for name in &names {
            *used.entry(name.clone()).or_default() += 1;
        }
        Lease { used: Arc::clone(&self.used), names }
    }

    /// `POST /v1/load_lora_adapter`: `lora_name`, `lora_path`, `tier` (default `domain`).
    ///
    /// # Errors
    /// 403 where loading is not set up or the path leads elsewhere, 400 for an adapter that
    /// does not fit, 409 for a name that is taken.
    pub fn load(&self, body: &[u8]) -> ApiResult<Value> {
        let mut fields = Fields::parse(body)?;
        let name = required_string(&mut fields, "lora_name")?;
        let path = required_string(&mut fields, "lora_path")?;
        let tier = fields.string("tier")?.unwrap_or_else(|| "domain".to_owned());
        fields.finish();
        check_name(&name)?;
        if !TIERS.contains(&tier.as_str()) {
            let message = format!("`tier` is expected to be one of {}", TIERS.join(", "));
            return Err(ApiError::parameter("tier", message));
        }
        let store = self.updatable()?;
        let folder = self.confine(&path)?;
        let _changing = lock(&self.changing);
        if name == self.base || store.list().iter().any(|adapter| adapter.name == name) {
            return Err(ApiError::conflict(format!("the name `{name}` is taken")));
        }
        let loaded = store
            .load(&name, &tier, &folder)
            .map_err(|error| ApiError::parameter("lora_path", error.0))?;
        tracing::info!(%name, %tier, hash = %loaded.hash, "an adapter was loaded");
        Ok(json!({ "name": name, "tier": tier, "hash": loaded.hash, "evicted": loaded.evicted }))
    }

    /// `POST /v1/unload_lora_adapter`: `lora_name`.
    ///
    /// # Errors
    /// 403 where loading is not set up, 404 without such an adapter, 409 while requests use
    /// it.
    pub fn unload(&self, body: &[u8]) -> ApiResult<Value> {
        let mut fields = Fields::parse(body)?;
        let name = required_string(&mut fields, "lora_name")?;
        fields.finish();
        let store = self.updatable()?;
        let _changing = lock(&self.changing);
        let used = lock(&self.used);
        if !store.list().iter().any(|adapter| adapter.name == name) {
            return Err(ApiError::unknown_model(&name));
        }
        if used.contains_key(&name) {
            return Err(ApiError::conflict(format!("requests are using the adapter `{name}`")));
        }
        store.unload(&name).map_err(|error| ApiError::conflict(error.0))?;
        tracing::info!(%name, "an adapter was dropped");
        Ok(json!({ "name": name }))
    }

    fn updatable(&self) -> ApiResult<&dyn AdapterStore> {
        match &self.store {
            Some(store) if !self.roots.is_empty() => Ok(store.as_ref()),
            _ => Err(ApiError::forbidden(
                "this server changes no adapters: it was started without adapter_roots",
            )),
        }
    }

    /// The real folder of a path that is below one of the roots with all that is in it.
    fn confine(&self, path: &str) -> ApiResult<PathBuf> {
        let outside = || ApiError::forbidden("`lora_path` leads to no folder below adapter_roots");
        // A relative path is sought below each root; joining an absolute one gives itself.
        let real = self
            .roots
            .iter()
            .filter_map(|root| root.join(path).canonicalize().ok())
            .find(|real| self.is_below_root(real) && real.is_dir())
            .ok_or_else(outside)?;
        // A link in the folder could name any file of the machine.
        let entries = std::fs::read_dir(&real).map_err(|_| outside())?;
        for entry in entries {
            let target =
                entry.and_then(|entry| entry.path().canonicalize()).map_err(|_| outside())?;
            if !self.is_below_root(&target) {
                return Err(outside());
            }
        }
        Ok(real)
    }

    /// Whether a real path is below a root. The root itself is no adapter.
    fn is_below_root(&self, real: &Path) -> bool {
        self.roots.iter().any(|root| real.starts_with(root) && real != root)
    }
}

fn entry(key: String, value: &Value, known: &[AdapterInfo]) -> ApiResult<(String, f64)> {
    let find = |name: &str| known.iter().find(|adapter| adapter.name == name);
    match value {
        Value::String(name) => {
            if !TIERS.contains(&key.as_str()) {
                let message = format!("`adapters.{key}`: there are the tiers {}", TIERS.join(", "));
                return Err(ApiError::parameter("adapters", message));
            }
            let adapter = find(name).ok_or_else(|| ApiError::unknown_model(name))?;
            if adapter.tier != key {
                let message = format!("the adapter `{name}` is in the tier {}", adapter.tier);
                return Err(ApiError::parameter("adapters", message));
            }
            Ok((name.clone(), 1.0))
        }
        Value::Number(gate) => {
            find(&key).ok_or_else(|| ApiError::unknown_model(&key))?;
            let gate = gate.as_f64().filter(|gate| gate.is_finite()).unwrap_or(1.0);
            Ok((key, gate))
        }
        _ => {
            let message = format!("`adapters.{key}` is expected to be a name or a gate");
            Err(ApiError::parameter("adapters", message))
        }
    }
}

fn required_string(fields: &mut Fields, field: &str) -> ApiResult<String> {
    fields.string(field)?.ok_or_else(|| ApiError::parameter(field, format!("`{field}` is missing")))
}

/// Names are shown in lists, labels and logs.
fn check_name(name: &str) -> ApiResult<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(fine) {
        let message = "`lora_name` is expected to have 1 to 128 letters, digits or -_.:/@";
        return Err(ApiError::parameter("lora_name", message));
    }
    Ok(())
}

/// What is guarded is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
