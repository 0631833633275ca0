//! An adapter on a decoder: put on, trained or loaded, saved, taken off.

use std::any::Any;
use std::fmt;
use std::path::Path;

use limbeck_core::{Checkpoint, write_tensors};
use limbeck_model::{Decoder, Linear};
use tch::{Kind, Tensor};

use crate::config::ModulePlan;
use crate::layer::{LoraLinear, initial_a, initial_b};
use crate::{AdapterConfig, Error, Result};

/// What stands before a module's name in PEFT's files.
const PREFIX: &str = "base_model.model.";

/// The tensors of an adapter whose layers sit in a decoder.
#[derive(Debug)]
pub struct Adapter {
    config: AdapterConfig,
    modules: Vec<Module>,
}

/// An adapted projection: shallow clones of the layer's tensors.
#[derive(Debug)]
struct Module {
    plan: ModulePlan,
    /// `[rank, in_features]`, f32.
    lora_a: Tensor,
    /// `[out_features, rank]`, f32.
    lora_b: Tensor,
}

impl Adapter {
    /// Name of the tensors' file in an adapter's folder.
    pub const TENSORS: &'static str = "adapter_model.safetensors";

    /// Puts a new adapter on the decoder: A random, B zero, trainable. Every parameter of
    /// the decoder itself is frozen.
    ///
    /// # Errors
    /// Targets or patterns that do not fit the model; [`Error::AlreadyAdapted`].
    pub fn attach(decoder: &mut Decoder, config: AdapterConfig, seed: u64) -> Result<Self> {
        let device = decoder.device();
        let adapter = Self::plan(decoder, config, &mut |plan, in_features, out_features| {
            Ok((
                initial_a(&plan.name, plan.rank, in_features, seed, device)?,
                initial_b(plan.rank, out_features, device)?,
            ))
        })?;
        adapter.install(decoder)?;
        adapter.set_trainable(true)?;
        Ok(adapter)
    }

    /// Reads a PEFT folder and puts the adapter on the decoder, frozen.
    ///
    /// # Errors
    /// Those of [`AdapterConfig::read`]; a file that is damaged; a tensor that is missing,
    /// has another shape than the decoder's projection asks for, or belongs to none. The
    /// decoder is as it was then.
    pub fn load(decoder: &mut Decoder, folder: &Path) -> Result<Self> {
        let config = AdapterConfig::read(folder)?;
        let path = folder.join(Self::TENSORS);
        let mut file = Checkpoint::open_file(&path)?;
        let device = decoder.device();
        let adapter = Self::plan(decoder, config, &mut |plan, in_features, out_features| {
            let [key_a, key_b] = tensor_names(&plan.name);
            let mut read = |key: &str, shape: [i64; 2]| -> Result<Tensor> {
                let tensor = file.expect_shape(key, &shape)?;
                let kind = tensor.f_kind()?;
                if !matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
                    let (path, tensor) = (path.clone(), key.to_owned());
                    return Err(Error::Dtype { path, tensor, found: format!("{kind:?}") });
                }
                Ok(tensor.f_to_kind(Kind::Float)?.f_to_device(device)?)
            };
            let rank = plan.rank.get();
            Ok((read(&key_a, [rank, in_features])?, read(&key_b, [out_features, rank])?))
        })?;
        file.finish(&[])?;
        adapter.install(decoder)?;
        Ok(adapter)
    }

    /// Resolves the configuration and makes the tensors, without touching the decoder.
    #[expect(clippy::type_complexity, reason = "one closure type, used twice")]
    fn plan(
        decoder: &Decoder,
        mut config: AdapterConfig,
        matrices: &mut dyn FnMut(&ModulePlan, i64, i64) -> Result<(Tensor, Tensor)>,
    ) -> Result<Self> {
        let linears = decoder.linear_names();
        let modules = config
            .resolve(&linears)?
            .into_iter()
            .map(|plan| {
                let layer = require_linear(decoder, &plan.name)?;
                if (layer as &dyn Any).is::<LoraLinear>() {
                    return Err(Error::AlreadyAdapted { name: plan.name });
                }
                let (lora_a, lora_b) = matrices(&plan, layer.in_features(), layer.out_features())?;
                Ok(Module { plan, lora_a, lora_b })
            })
            .collect::<Result<Vec<_>>>()?;
        config.target_modules = config.target_modules.written_out(&linears);
        Ok(Self { config, modules })
    }

    fn install(&self, decoder: &mut Decoder) -> Result<()> {
        decoder.set_requires_grad(false)?;
        let dropout = self.config.dropout;
        for Module { plan, lora_a, lora_b } in &self.modules {
            decoder.map_linear(&plan.name, &mut |base| {
                let (lora_a, lora_b) = (lora_a.shallow_clone(), lora_b.shallow_clone());
                LoraLinear::new(base, lora_a, lora_b, plan.scale, dropout)
                    .map(|layer| Box::new(layer) as Box<dyn Linear>)
                    .map_err(|error| limbeck_model::Error::layer(&plan.name, error))
            })?;
        }
        Ok(())
    }

    /// Takes the adapter off: the decoder's projections are the very tensors they were.
    ///
    /// # Errors
    /// [`Error::NotAdapted`] if this decoder does not carry it.
    pub fn detach(self, decoder: &mut Decoder) -> Result<()> {
        self.replace(decoder, &mut |layer| Ok(layer.into_base()))
    }

    /// Replaces each adapted layer by what `replace` makes of it.
    pub(crate) fn replace(
        &self,
        decoder: &mut Decoder,
        replace: &mut dyn FnMut(LoraLinear) -> Result<Box<dyn Linear>>,
    ) -> Result<()> {
        for Module { plan, .. } in &self.modules {
            if !(require_linear(decoder, &plan.name)? as &dyn Any).is::<LoraLinear>() {
                return Err(Error::NotAdapted { name: plan.name.clone() });
            }
        }
        for Module { plan, .. } in &self.modules {
            let name = &plan.name;
            decoder.map_linear(name, &mut |layer| {
                let layer: Box<dyn Any> = layer;
                layer
                    .downcast::<LoraLinear>()
                    .map_err(|_| Error::NotAdapted { name: name.clone() })
                    .and_then(|layer| replace(*layer))
                    .map_err(|error| limbeck_model::Error::layer(name, error))
            })?;
        }
        Ok(())
    }

    /// The configuration as it is written, targets spelled out.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Number of adapted projections.
    pub fn num_modules(&self) -> usize {
        self.modules.len()
    }

    /// Lets gradients flow into the adapter, or freezes it.
    ///
    /// # Errors
    /// libtorch's.
    pub fn set_trainable(&self, trainable: bool) -> Result<()> {
        for module in &self.modules {
            let _ = module.lora_a.f_set_requires_grad(trainable)?;
            let _ = module.lora_b.f_set_requires_grad(trainable)?;
        }
        Ok(())
    }

    /// Shallow clones of the adapter's tensors under the names of PEFT's file, in the
    /// order of the decoder's projections.
    pub fn trainable_parameters(&self) -> Vec<(String, Tensor)> {
        self.modules
            .iter()
            .flat_map(|Module { plan, lora_a, lora_b }| {
                let [key_a, key_b] = tensor_names(&plan.name);
                [(key_a, lora_a.shallow_clone()), (key_b, lora_b.shallow_clone())]
            })
            .collect()
    }

    /// How many of all weights the adapter trains.
    pub fn trainable_share(&self, decoder: &Decoder) -> TrainableShare {
        let trainable = self
            .modules
            .iter()
            .map(|module| (module.lora_a.numel() + module.lora_b.numel()) as i64)
            .sum();
        TrainableShare { trainable, total: decoder.num_parameters() + trainable }
    }

    /// Writes the adapter as a PEFT folder, tensors in float32. The configuration comes
    /// last: a folder that has one is whole.
    ///
    /// # Errors
    /// Write errors.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .map_err(|source| limbeck_run::Error::write(folder, source))?;
        let path = folder.join(Self::TENSORS);
        write_tensors(&path, &self.trainable_parameters(), &[("format", "pt")])?;
        self.config.write(folder)
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

/// Keys of A and B in PEFT's file.
fn tensor_names(module: &str) -> [String; 2] {
    ["lora_A", "lora_B"].map(|matrix| format!("{PREFIX}{module}.{matrix}.weight"))
}

fn require_linear<'a>(decoder: &'a Decoder, name: &str) -> Result<&'a dyn Linear> {
    decoder
        .linear(name)
        .ok_or_else(|| limbeck_model::Error::LinearMissing { name: name.to_owned() }.into())
}
