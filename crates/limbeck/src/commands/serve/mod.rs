//! `limbeck serve`: an OpenAI-compatible server.

mod adapter_store;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use limbeck_infer::{Engine, EngineConfig};
use limbeck_lora::tiers::{LiveRouter, Tier, TierLimits, Tiers};
use limbeck_model::{CacheDtype, Decoder};
use limbeck_run::config::{Invalid, Validate, apply_overrides, load_table, parse};
use limbeck_serve::config::ApiKey;
use limbeck_serve::{AdapterStore, Backend, BackendFactory, ModelInfo, ServeConfig, Setup};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Device;

use crate::adapter_source;
use crate::cli::ServeArguments;
use crate::model_folder::ModelFolder;
use crate::request_adapters::AdapterArguments;
use adapter_store::TierStore;

/// The configuration of a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServeTable {
    /// Where it listens, who may ask and how much.
    pub(crate) server: ServeConfig,
    /// What is computed and held at a time.
    pub(crate) engine: EngineConfig,
}

impl Validate for ServeTable {
    fn validate(&self) -> Result<(), Invalid> {
        self.server.validate().map_err(|invalid| invalid.within("server"))?;
        self.engine.validate().map_err(|invalid| invalid.within("engine"))
    }
}

/// Keys that requests must have, separated by commas: an argument could be seen by others.
const KEYS_VARIABLE: &str = "LIMBECK_API_KEYS";

pub(crate) fn run(arguments: &ServeArguments, json: bool) -> Result<()> {
    let mut table = configuration(arguments)?;
    if let Ok(keys) = std::env::var(KEYS_VARIABLE) {
        let keys = keys.split(',').map(str::trim).filter(|key| !key.is_empty());
        table.server.access.api_keys.extend(keys.map(|key| ApiKey(key.to_owned())));
    }
    if arguments.int8_cache {
        table.engine.cache_dtype = CacheDtype::Int8;
    }
    let model = &arguments.model;
    let adapters =
        adapter_source::folders(&model.model, &model.adapter, model.registry.as_deref())?;
    let adapters = AdapterArguments::parse(&adapters)?;
    let opened = ModelFolder::open_asked(model, &adapters.everywhere, arguments.device)?;
    let ModelFolder { mut decoder, tokenizer } = opened;
    if !model.products.int8_activations
        && decoder.device() == Device::Cpu
        && limbeck_quant::quantization(&model.model)?.is_some()
    {
        tracing::info!(
            "packed weights are multiplied in fp32; --int8-activations is faster for many \
             requests and prompts, and not quite the same model"
        );
    }
    // Without adapters and a place to load them from, projections need not look for any.
    let adapted = !adapters.named().is_empty() || !table.server.adapter_roots.is_empty();
    let router = if adapted { Some(install(&mut decoder, &adapters)?) } else { None };
    let name = model_name(&model.model);
    let info = ModelInfo::new(
        name,
        decoder.config().max_position_embeddings as usize,
        decoder.config().vocab_size,
        Arc::new(tokenizer),
    );
    let store = router.clone().map(|router| Box::new(TierStore(router)) as Box<dyn AdapterStore>);
    let setup = Setup { config: table.server, model: info, adapters: store };
    let engine = LiveEngine { decoder, config: table.engine, router };
    limbeck_serve::run(setup, Box::new(engine), |address| {
        if json {
            println!("{}", json!({ "address": format!("http://{address}") }));
        }
        tracing::info!("http://{address} has a page to chat with, http://{address}/v1 the API");
    })?;
    Ok(())
}

/// Puts tiers on the decoder and loads the adapters that were named.
fn install(decoder: &mut Decoder, adapters: &AdapterArguments) -> Result<Arc<LiveRouter>> {
    let limits = TierLimits::default();
    let capacity = limits.domain_capacity.max(adapters.named().len());
    let tiers = Tiers::install(decoder, TierLimits { domain_capacity: capacity, ..limits })?;
    adapters.load_into(&tiers, Tier::Domain)?;
    Ok(Arc::new(LiveRouter::new(tiers)))
}

/// The model, until the engine's thread makes an engine of it.
struct LiveEngine {
    decoder: Decoder,
    config: EngineConfig,
    router: Option<Arc<LiveRouter>>,
}

impl BackendFactory for LiveEngine {
    fn with_backend(
        self: Box<Self>,
        run: &mut dyn FnMut(&mut dyn Backend),
    ) -> limbeck_infer::Result<()> {
        let mut engine = Engine::new(&self.decoder, self.config.clone())?;
        if let Some(router) = self.router.as_deref() {
            engine = engine.with_router(router);
        }
        run(&mut engine.session()?);
        Ok(())
    }
}

/// The last part of the folder's path, as other servers name models.
fn model_name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// File, then `--set`, then the flags that name a key of their own.
fn configuration(arguments: &ServeArguments) -> Result<ServeTable> {
    let mut table = load_table(arguments.config.as_deref())?;
    let mut overrides = arguments.set.clone();
    overrides.extend(arguments.host.map(|host| format!("server.host={host}")));
    overrides.extend(arguments.port.map(|port| format!("server.port={port}")));
    apply_overrides(&mut table, &overrides)?;
    let source =
        arguments.config.as_deref().map_or("the command line".into(), Path::to_string_lossy);
    Ok(parse(&table, &source)?)
}
