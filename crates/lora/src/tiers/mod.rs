//! Adapters in tiers: several on one decoder, chosen by each request, with no weight touched.
//!
//! A projection computes `y = Wx + Σ g·s·B·A·x` over the adapters of each row's [`Stack`],
//! where `g` is the request's gate and `s` the adapter's scale. Adapters live in three
//! [`Tier`]s that differ in how long they stay and who may change them. Loading, switching
//! and unloading never write to the base: an adapter is taken off by no longer adding it.
//!
//! Rows with different adapters run in one batch. Where that is cheaper, all adapters of the
//! batch are computed for all rows and masked (`union`, `scaling`), else each set of adapters
//! on its rows (`route`). The idea of batching requests over adapters is Punica's (Chen et al.
//! 2023, arXiv:2310.18547) and S-LoRA's (Sheng et al. 2023, arXiv:2311.03285); theirs take one
//! adapter a request and kernels of their own.
//!
//! What is not a sum cannot be in a tier: `DoRA` rescales the whole weight, and a module that
//! is saved whole takes the base's place. Such an adapter is merged instead.
//!
//! Modules in reading order: [`tier`], [`stack`], `member` (an adapter's matrices), `union`
//! (several as one), `scaling`, `route` (what the rows use now), [`linear`], then the parts of
//! [`Tiers`]: `loading`, `routing`, `training`; [`router`] for an engine's requests and `live_router` for a server's.

mod error;
mod fingerprint;
pub mod linear;
mod live_router;
mod loading;
mod member;
mod route;
pub mod router;
mod routing;
mod scaling;
pub mod stack;
pub mod tier;
mod training;
mod union;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use limbeck_model::{Decoder, Linear};
use tch::{Device, Kind};

use crate::{Error, Result};

pub use error::TierError;
pub use linear::TieredLinear;
pub use live_router::LiveRouter;
pub use loading::Loaded;
pub use router::StackRouter;
pub use stack::Stack;
pub use tier::{Tier, TierLimits};

use fingerprint::Fingerprint;
use member::{Member, Projection};
use route::Route;
use training::Training;
use union::UnionCache;

/// The adapters of a decoder. Clones are handles to the same: one may load adapters while
/// another runs batches.
///
/// One batch runs at a time, with the stacks that were routed last.
#[derive(Debug, Clone)]
pub struct Tiers {
    state: Arc<Mutex<State>>,
    /// Of the projections; locked after `state` where both are.
    route: Arc<Mutex<Route>>,
}

/// All adapters by name, and what comes with them.
#[derive(Debug)]
struct State {
    limits: TierLimits,
    projections: Vec<Projection>,
    device: Device,
    compute_dtype: Kind,
    adapters: BTreeMap<String, Entry>,
    unions: UnionCache,
    /// Counts versions and routes.
    clock: u64,
    training: Option<Training>,
}

/// A loaded adapter.
#[derive(Debug)]
struct Entry {
    tier: Tier,
    released: bool,
    /// When it was last loaded or routed to.
    used: u64,
    version: u64,
    fingerprint: Fingerprint,
    member: Arc<Mutex<Member>>,
}

/// What a listing says of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterStatus {
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: Tier,
    /// Whether it is frozen for good.
    pub released: bool,
    /// Whether the running batch uses it.
    pub in_use: bool,
    /// SHA-256 over its matrices and scales.
    pub hash: String,
}

impl Tiers {
    /// Puts tiers without any adapter on a decoder: on every projection of its blocks, around
    /// whatever is there.
    ///
    /// # Errors
    /// [`Error::AlreadyAdapted`] for a decoder that has tiers.
    pub fn install(decoder: &mut Decoder, limits: TierLimits) -> Result<Self> {
        let names = decoder.linear_names();
        let mut projections = Vec::with_capacity(names.len());
        for name in &names {
            let layer = require_linear(decoder, name)?;
            if (layer as &dyn Any).is::<TieredLinear>() {
                return Err(Error::AlreadyAdapted { name: name.clone() });
            }
            projections.push(Projection {
                name: name.clone(),
                in_features: layer.in_features(),
                out_features: layer.out_features(),
            });
        }
        let route = Arc::new(Mutex::new(Route::default()));
        for (index, name) in names.iter().enumerate() {
            decoder.map_linear(name, &mut |base| {
                let route = Arc::clone(&route);
                Ok(Box::new(TieredLinear::new(base, name.clone(), index, route)))
            })?;
        }
        let state = State {
            limits,
            projections,
            device: decoder.device(),
            compute_dtype: decoder.compute_dtype(),
            adapters: BTreeMap::new(),
            unions: UnionCache::default(),
            clock: 0,
            training: None,
        };
        Ok(Self { state: Arc::new(Mutex::new(state)), route })
    }

    /// Takes the tiers off: the decoder's projections are the very ones they were.
    ///
    /// # Errors
    /// [`Error::NotAdapted`] if this decoder has none.
    pub fn uninstall(self, decoder: &mut Decoder) -> Result<()> {
        let names = decoder.linear_names();
        for name in &names {
            if !(require_linear(decoder, name)? as &dyn Any).is::<TieredLinear>() {
                return Err(Error::NotAdapted { name: name.clone() });
            }
        }
        for name in &names {
            decoder.map_linear(name, &mut |layer| {
                let layer: Box<dyn Any> = layer;
                let layer = layer.downcast::<TieredLinear>();
                layer.map(|layer| layer.into_base()).map_err(|_| {
                    limbeck_model::Error::layer(name, Error::NotAdapted { name: name.clone() })
                })
            })?;
        }
        Ok(())
    }

    /// The adapters by name.
    pub fn adapters(&self) -> Vec<AdapterStatus> {
        let state = lock(&self.state);
        let route = lock(&self.route);
        let status = |(name, entry): (&String, &Entry)| AdapterStatus {
            name: name.clone(),
            tier: entry.tier,
            released: entry.released,
            in_use: route.uses(entry.version),
            hash: entry.fingerprint.digest(),
        };
        state.adapters.iter().map(status).collect()
    }
}

impl State {
    fn entry(&self, adapter: &str) -> Result<&Entry> {
        self.adapters.get(adapter).ok_or_else(|| self.not_loaded(adapter))
    }

    fn not_loaded(&self, adapter: &str) -> Error {
        let loaded = self.adapters.keys().cloned().collect();
        TierError::NotLoaded { adapter: adapter.to_owned(), loaded }.into()
    }

    fn refuse_in_training(&self) -> Result<()> {
        match &self.training {
            Some(training) => {
                Err(TierError::InTraining { adapter: training.adapter.clone() }.into())
            }
            None => Ok(()),
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// What a mutex guards. None is held where a panic could leave it half changed, so one that
/// a panicking thread held is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn require_linear<'a>(decoder: &'a Decoder, name: &str) -> Result<&'a dyn Linear> {
    decoder
        .linear(name)
        .ok_or_else(|| limbeck_model::Error::LinearMissing { name: name.to_owned() }.into())
}
