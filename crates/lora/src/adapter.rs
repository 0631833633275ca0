//! An adapter on a decoder: put on, trained or loaded, saved, taken off.

use std::any::Any;
use std::fmt;
use std::path::Path;

use limbeck_model::{Decoder, Embedding, Linear};
use limbeck_train::{Objective, ParameterGroup, SupervisedObjective};
use tch::{Kind, Tensor};

use crate::config::{Init, ModulePlan};
use crate::embedding::LoraEmbedding;
use crate::frozen_head::FrozenHeadObjective;
use crate::layer::{LoraLinear, Origin, initial_a, initial_b, model_error};
use crate::saved::{SavedEmbedding, SavedLinear};
use crate::target::{EMBEDDING, HEAD, resolve_saved};
use crate::weights::{AdapterWeights, ModuleWeights, SavedModule};
use crate::{AdapterConfig, Error, Result, magnitude, pissa};

/// The tensors of an adapter whose layers sit in a decoder.
#[derive(Debug)]
pub struct Adapter {
    /// Shallow clones of what the layers hold.
    weights: AdapterWeights,
    /// What each module of `weights` began as, under PiSSA; else empty.
    origins: Vec<Origin>,
}

impl Adapter {
    /// Name of the tensors' file in an adapter's folder.
    pub const TENSORS: &'static str = AdapterWeights::FILE;

    /// Puts a new adapter on the decoder: A random and B zero, or both the base's principal
    /// part under PiSSA; trainable. Every parameter of the decoder itself is frozen.
    ///
    /// # Errors
    /// Targets or patterns that do not fit the model; [`Error::AlreadyAdapted`];
    /// [`Error::Refused`] for a variant that a module cannot have.
    pub fn attach(decoder: &mut Decoder, mut config: AdapterConfig, seed: u64) -> Result<Self> {
        let linears = decoder.linear_names();
        let plans = config.resolve(&linears)?;
        let saved_names = resolve_saved(&config.modules_to_save, &linears)?;
        if let Some(plan) = plans.iter().find(|plan| saved_names.contains(&plan.name)) {
            return Err(Error::Refused {
                what: plan.name.clone(),
                operation: "both adapted and saved whole",
                reason: "it stands in target_modules and in modules_to_save",
            });
        }
        let mut origins = Vec::new();
        let mut modules = Vec::with_capacity(plans.len());
        for plan in plans {
            let (module, origin) = new_module(decoder, &config, plan, seed)?;
            modules.push(module);
            origins.extend(origin);
        }
        let saved = saved_names
            .iter()
            .map(|name| copy_of_base(decoder, name))
            .collect::<Result<Vec<_>>>()?;
        config.target_modules = config.target_modules.written_out(&linears);
        let path = AdapterWeights::FILE.into();
        let weights = AdapterWeights { config, modules, saved, base_layers: Vec::new(), path };
        let adapter = Self { weights, origins };
        adapter.install(decoder)?;
        adapter.set_trainable(true)?;
        Ok(adapter)
    }

    /// Reads a PEFT folder and puts the adapter on the decoder, frozen.
    ///
    /// # Errors
    /// Those of [`AdapterWeights::read`] and [`Adapter::put`]. The decoder is as it was then.
    pub fn load(decoder: &mut Decoder, folder: &Path) -> Result<Self> {
        Self::put(decoder, AdapterWeights::read(folder, decoder.device())?)
    }

    /// Puts an adapter that was read on the decoder, frozen.
    ///
    /// # Errors
    /// A target that the decoder has and the adapter has no tensors for, or the other way
    /// round; a tensor of another shape than the module's; a base's own tensor in the file
    /// that is not this base's; [`Error::AlreadyAdapted`]. The decoder is as it was then.
    pub fn put(decoder: &mut Decoder, mut weights: AdapterWeights) -> Result<Self> {
        let linears = decoder.linear_names();
        let plans = weights.config.resolve(&linears)?;
        let position = |name: &str| plans.iter().position(|plan| plan.name == name);
        if let Some(module) = weights.modules.iter().find(|m| position(&m.plan.name).is_none()) {
            let tensor = format!("{}.lora_A.weight", module.plan.name);
            let expected = "the name of a module of the model".to_owned();
            return Err(weights.misfit(&tensor, expected, "one that it has not".to_owned()));
        }
        if let Some(plan) = plans.iter().find(|plan| weights.module(&plan.name).is_none()) {
            let missing = format!("{}.lora_A.weight", plan.name);
            return Err(weights.misfit(&missing, "it to be there".into(), "nothing".into()));
        }
        weights.modules.sort_by_key(|module| position(&module.plan.name));
        check_shapes(decoder, &weights)?;
        let mut origins = Vec::new();
        // The file's matrices are those of the update over what is left of the base.
        if weights.config.init == Init::Pissa {
            for ModuleWeights { plan, .. } in &weights.modules {
                origins.push(principal(decoder, plan)?);
            }
        }
        weights.config.target_modules = weights.config.target_modules.written_out(&linears);
        let adapter = Self { weights, origins };
        adapter.install(decoder)?;
        Ok(adapter)
    }

    fn install(&self, decoder: &mut Decoder) -> Result<()> {
        for name in self.module_names() {
            if is_adapted(decoder, name) {
                return Err(Error::AlreadyAdapted { name: name.to_owned() });
            }
        }
        decoder.set_requires_grad(false)?;
        let dropout = self.weights.config.dropout;
        for (index, module) in self.weights.modules.iter().enumerate() {
            let ModuleWeights { plan, lora_a, lora_b, magnitude } = module;
            let matrices = || (lora_a.shallow_clone(), lora_b.shallow_clone());
            if plan.is_embedding() {
                decoder.map_embedding(&mut |base| {
                    let (lora_a, lora_b) = matrices();
                    LoraEmbedding::new(base, lora_a, lora_b, plan.scale)
                        .map(|layer| Box::new(layer) as Box<dyn Embedding>)
                        .map_err(model_error)
                })?;
                continue;
            }
            decoder.map_linear(&plan.name, &mut |base| {
                let (lora_a, lora_b) = matrices();
                let origin = self.origins.get(index).map(Origin::shallow_clone);
                let layer = LoraLinear::new(base, lora_a, lora_b, plan.scale, dropout)
                    .map(|layer| layer.with_origin(origin))
                    .and_then(|layer| match magnitude {
                        Some(vector) => layer.with_magnitude(vector.shallow_clone()),
                        None => Ok(layer),
                    });
                layer
                    .map(|layer| Box::new(layer) as Box<dyn Linear>)
                    .map_err(|error| limbeck_model::Error::layer(&plan.name, error))
            })?;
        }
        for SavedModule { name, weight, bias } in &self.weights.saved {
            if name == EMBEDDING {
                decoder.map_embedding(&mut |base| {
                    Ok(Box::new(SavedEmbedding::new(base, weight.shallow_clone())))
                })?;
                continue;
            }
            decoder.map_linear(name, &mut |base| {
                let bias = bias.as_ref().map(Tensor::shallow_clone);
                Ok(Box::new(SavedLinear::new(base, weight.shallow_clone(), bias)?))
            })?;
        }
        Ok(())
    }

    /// Takes the adapter off: the decoder's modules are the very tensors they were.
    ///
    /// # Errors
    /// [`Error::NotAdapted`] if this decoder does not carry it.
    pub fn detach(self, decoder: &mut Decoder) -> Result<()> {
        self.require_on(decoder)?;
        for name in self.module_names() {
            take_off(decoder, name)?;
        }
        Ok(())
    }

    /// An error where the decoder does not carry this adapter's layers.
    pub(crate) fn require_on(&self, decoder: &Decoder) -> Result<()> {
        match self.module_names().find(|name| !is_adapted(decoder, name)) {
            Some(name) => Err(Error::NotAdapted { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// Adapted and saved modules.
    pub(crate) fn module_names(&self) -> impl Iterator<Item = &str> {
        let adapted = self.weights.modules.iter().map(|module| module.plan.name.as_str());
        adapted.chain(self.weights.saved.iter().map(|module| module.name.as_str()))
    }

    /// The configuration of what is trained, targets spelled out.
    pub fn config(&self) -> &AdapterConfig {
        &self.weights.config
    }

    /// The tensors as the layers hold them, shallow clones of these.
    pub fn weights(&self) -> &AdapterWeights {
        &self.weights
    }

    /// Number of adapted and saved modules.
    pub fn num_modules(&self) -> usize {
        self.module_names().count()
    }

    /// Whether the head is adapted or saved, so that its gradients are needed.
    pub fn touches_head(&self) -> bool {
        self.module_names().any(|name| name == HEAD)
    }

    /// Cross-entropy in the form that this adapter allows: without a graph for the head where
    /// that is frozen.
    pub fn objective(&self, chunk_rows: i64) -> Box<dyn Objective> {
        if self.touches_head() {
            Box::new(SupervisedObjective { chunk_rows })
        } else {
            Box::new(FrozenHeadObjective { chunk_rows })
        }
    }

    /// Lets gradients flow into the adapter, or freezes it.
    ///
    /// # Errors
    /// libtorch's.
    pub fn set_trainable(&self, trainable: bool) -> Result<()> {
        for (_, tensor) in self.trainable_parameters() {
            let _ = tensor.f_set_requires_grad(trainable)?;
        }
        Ok(())
    }

    /// Shallow clones of the adapter's tensors under the names of PEFT's file, in the
    /// order of the decoder's modules.
    pub fn trainable_parameters(&self) -> Vec<(String, Tensor)> {
        self.weights.named_tensors()
    }

    /// What is trained, B's learning rate being `ratio` times the others' (LoRA+; Hayou et
    /// al. 2024, arXiv:2402.12354, section 4).
    pub fn parameter_groups(&self, ratio: f64) -> Vec<ParameterGroup> {
        let parameters = self.trainable_parameters();
        if (ratio - 1.0).abs() < f64::EPSILON {
            return vec![ParameterGroup::all(parameters)];
        }
        let is_b = |(name, _): &(String, Tensor)| {
            name.ends_with(".lora_B.weight") || name.ends_with(".lora_embedding_B")
        };
        let (of_b, others) = parameters.into_iter().partition(is_b);
        let group = |name: &str, parameters, learning_rate_ratio| ParameterGroup {
            name: name.to_owned(),
            parameters,
            learning_rate_ratio,
        };
        vec![group("lora_A", others, 1.0), group("lora_B", of_b, ratio)]
    }

    /// How many of all weights the adapter trains.
    pub fn trainable_share(&self, decoder: &Decoder) -> TrainableShare {
        let parameters = self.trainable_parameters();
        let trainable = parameters.iter().map(|(_, tensor)| tensor.numel() as i64).sum();
        TrainableShare { trainable, total: decoder.num_parameters() + trainable }
    }

    /// The adapter as any reader understands it: under PiSSA with what it began as in it.
    ///
    /// # Errors
    /// libtorch's.
    pub fn to_weights(&self) -> Result<AdapterWeights> {
        let weights = &self.weights;
        let config = match weights.config.init {
            Init::Default => weights.config.clone(),
            Init::Pissa => pissa::with_origin(&weights.config)?,
        };
        let modules = weights.modules.iter().enumerate().map(|(index, module)| {
            let ModuleWeights { plan, lora_a, lora_b, magnitude } = module;
            let magnitude = magnitude.as_ref().map(Tensor::f_detach).transpose()?;
            let (lora_a, lora_b) = (lora_a.f_detach()?, lora_b.f_detach()?);
            let Some(origin) = self.origins.get(index) else {
                return Ok(ModuleWeights { plan: plan.clone(), lora_a, lora_b, magnitude });
            };
            let rank = crate::Rank::new(2 * plan.rank.get())?;
            Ok(ModuleWeights {
                plan: ModulePlan { rank, ..plan.clone() },
                lora_a: Tensor::f_cat(&[&lora_a, &origin.lora_a], 0)?,
                lora_b: Tensor::f_cat(&[&lora_b, &origin.lora_b.f_neg()?], 1)?,
                magnitude,
            })
        });
        let saved = weights.saved.iter().map(|SavedModule { name, weight, bias }| {
            let bias = bias.as_ref().map(Tensor::f_detach).transpose()?;
            Ok(SavedModule { name: name.clone(), weight: weight.f_detach()?, bias })
        });
        Ok(AdapterWeights {
            config,
            modules: modules.collect::<Result<_>>()?,
            saved: saved.collect::<Result<_>>()?,
            base_layers: Vec::new(),
            path: weights.path.clone(),
        })
    }

    /// Writes the adapter as a PEFT folder, as [`AdapterWeights::write`].
    ///
    /// # Errors
    /// Write errors.
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.to_weights()?.write(folder)
    }
}

impl Origin {
    fn shallow_clone(&self) -> Self {
        Self { lora_a: self.lora_a.shallow_clone(), lora_b: self.lora_b.shallow_clone() }
    }
}

/// Trained and all weights of an adapted model; the adapter counts among both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainableShare {
    /// Weights of the adapter.
    pub trainable: i64,
    /// Weights of the model and the adapter.
    pub total: i64,
}

impl fmt::Display for TrainableShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.trainable as f64 / self.total.max(1) as f64;
        write!(
            formatter,
            "{} of {} parameters are trained ({percent:.2}%)",
            self.trainable, self.total
        )
    }
}

/// A module's matrices before training, and what they began as under PiSSA.
fn new_module(
    decoder: &Decoder,
    config: &AdapterConfig,
    plan: ModulePlan,
    seed: u64,
) -> Result<(ModuleWeights, Option<Origin>)> {
    if config.init == Init::Pissa {
        if config.use_dora {
            return Err(Error::Refused {
                what: plan.name,
                operation: "adapted by PiSSA with use_dora",
                reason: "the lengths would be those of the base, and the update not zero",
            });
        }
        let origin = principal(decoder, &plan)?;
        let (lora_a, lora_b) = (copy(&origin.lora_a)?, copy(&origin.lora_b)?);
        return Ok((ModuleWeights { plan, lora_a, lora_b, magnitude: None }, Some(origin)));
    }
    let (in_features, out_features) = features(decoder, &plan.name)?;
    let lora_a = initial_a(&plan.name, plan.rank, in_features, seed, decoder.device())?;
    let lora_b = initial_b(plan.rank, out_features, decoder.device())?;
    let lengths = || with_linear(decoder, &plan.name, magnitude::initial);
    let magnitude = config.use_dora.then(lengths).transpose()?;
    Ok((ModuleWeights { plan, lora_a, lora_b, magnitude }, None))
}

fn principal(decoder: &Decoder, plan: &ModulePlan) -> Result<Origin> {
    if plan.is_embedding() {
        return Err(Error::Refused {
            what: plan.name.clone(),
            operation: "adapted by PiSSA",
            reason: "only projections can",
        });
    }
    with_linear(decoder, &plan.name, |linear| {
        pissa::principal(&linear.dense_weight()?.f_detach()?, plan.rank, plan.scale)
    })
}

/// A module to be trained whole, as it is in the base.
fn copy_of_base(decoder: &Decoder, name: &str) -> Result<SavedModule> {
    let own = |tensor: Tensor| copy(&tensor.f_detach()?.f_to_kind(Kind::Float)?);
    let (weight, bias) = match name {
        EMBEDDING => (own(decoder.embedding().dense_weight()?)?, None),
        _ => with_linear(decoder, name, |linear| {
            Ok((own(linear.dense_weight()?)?, linear.bias().map(own).transpose()?))
        })?,
    };
    Ok(SavedModule { name: name.to_owned(), weight, bias })
}

fn copy(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

/// Looks at a projection; a tied head that is not wrapped is seen as the embedding.
fn with_linear<T>(
    decoder: &Decoder,
    name: &str,
    look: impl FnOnce(&dyn Linear) -> Result<T>,
) -> Result<T> {
    match decoder.linear(name) {
        Some(linear) => look(linear),
        None if name == HEAD => {
            look(&limbeck_model::DenseLinear::new(decoder.head_weight()?, None)?)
        }
        None => Err(limbeck_model::Error::LinearMissing { name: name.to_owned() }.into()),
    }
}

/// Widths of the input and the output as PEFT's matrices have them: the embedding's input is
/// the vocabulary.
fn features(decoder: &Decoder, name: &str) -> Result<(i64, i64)> {
    let config = decoder.config();
    match name {
        EMBEDDING => Ok((config.vocab_size, config.hidden_size)),
        HEAD => Ok((config.hidden_size, config.vocab_size)),
        _ => with_linear(decoder, name, |layer| Ok((layer.in_features(), layer.out_features()))),
    }
}

fn check_shapes(decoder: &Decoder, weights: &AdapterWeights) -> Result<()> {
    for module in &weights.modules {
        let (in_features, out_features) = features(decoder, &module.plan.name)?;
        let rank = module.plan.rank.get();
        let expected = [vec![rank, in_features], vec![out_features, rank], vec![out_features]];
        for ((key, tensor), expected) in module.named_tensors().into_iter().zip(expected) {
            if tensor.size() != expected {
                let (expected, found) = (format!("{expected:?}"), format!("{:?}", tensor.size()));
                let (path, tensor) = (weights.path.clone(), key);
                return Err(Error::Tensor { path, tensor, expected, found });
            }
        }
    }
    for SavedModule { name, weight, bias } in &weights.saved {
        let SavedModule { weight: own, bias: own_bias, .. } = copy_of_base(decoder, name)?;
        let shape = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::size);
        let pairs = [
            ("weight", Some(own.size()), Some(weight.size())),
            ("bias", shape(&own_bias), shape(bias)),
        ];
        for (suffix, expected, found) in pairs {
            if expected != found {
                let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
                return Err(weights.misfit(&format!("{name}.{suffix}"), expected, found));
            }
        }
    }
    for SavedModule { name, weight, .. } in &weights.base_layers {
        check_base_layer(decoder, weights, name, weight)?;
    }
    Ok(())
}

/// PEFT keeps a copy of a targeted embedding or head beside the update, and puts it in the
/// place of the base's: it must be this base's, in the dtype that either was stored in.
fn check_base_layer(
    decoder: &Decoder,
    weights: &AdapterWeights,
    name: &str,
    weight: &Tensor,
) -> Result<()> {
    let base = match name {
        EMBEDDING => decoder.embedding().dense_weight()?,
        _ => with_linear(decoder, name, |layer| Ok(layer.dense_weight()?))?,
    };
    let base = base.f_detach()?.f_to_kind(Kind::Float)?;
    let tensor = format!("{name}.base_layer.weight");
    if base.size() != weight.size() {
        let (expected, found) = (format!("{:?}", base.size()), format!("{:?}", weight.size()));
        return Err(weights.misfit(&tensor, expected, found));
    }
    let difference = base.f_sub(weight)?.f_abs()?.f_max()?.f_double_value(&[])?;
    let largest = base.f_abs()?.f_max()?.f_double_value(&[])?;
    // A bfloat16 keeps eight bits.
    if difference.is_nan() || difference > largest / 256.0 {
        let found = format!("one that differs by up to {difference:.3e}");
        return Err(weights.misfit(&tensor, "the base's own weight".to_owned(), found));
    }
    Ok(())
}

fn is_adapted(decoder: &Decoder, name: &str) -> bool {
    if name == EMBEDDING {
        let embedding = decoder.embedding() as &dyn Any;
        return embedding.is::<LoraEmbedding>() || embedding.is::<SavedEmbedding>();
    }
    decoder.linear(name).is_some_and(|linear| {
        let linear = linear as &dyn Any;
        linear.is::<LoraLinear>() || linear.is::<SavedLinear>()
    })
}

/// Takes the adapter off one module.
pub(crate) fn take_off(decoder: &mut Decoder, name: &str) -> Result<()> {
    if name == EMBEDDING {
        let embedding = decoder.embedding() as &dyn Any;
        let base = match embedding.downcast_ref::<LoraEmbedding>() {
            Some(layer) => Some(layer.base()),
            None => embedding.downcast_ref::<SavedEmbedding>().map(SavedEmbedding::base),
        };
        let base = base.map(Embedding::share);
        let Some(base) = base else { return Err(Error::NotAdapted { name: name.to_owned() }) };
        return Ok(decoder.map_embedding(&mut |_| Ok(base.share()))?);
    }
    Ok(decoder.map_linear(name, &mut |layer| {
        let layer: Box<dyn Any> = layer;
        let layer = match layer.downcast::<LoraLinear>() {
            Ok(layer) => return Ok(layer.into_base()),
            Err(layer) => layer,
        };
        if let Ok(layer) = layer.downcast::<SavedLinear>() {
            return Ok(layer.into_base());
        }
        let error = Error::NotAdapted { name: name.to_owned() };
        Err(limbeck_model::Error::layer(name, error))
    })?)
}
