//! An adapter's folder in memory, apart from any model: what is read, written, combined and
//! exported.
//!
//! Names in PEFT's file are `base_model.model.`, the module's name and a suffix:
//!
//! | kind | suffixes | shapes |
//! |---|---|---|
//! | projection | `.lora_A.weight`, `.lora_B.weight` | `[rank, in]`, `[out, rank]` |
//! | … with DoRA | `.lora_magnitude_vector` | `[out]` |
//! | embedding | `.lora_embedding_A`, `.lora_embedding_B` | `[rank, vocab]`, `[hidden, rank]` |
//! | saved whole | `.weight`, `.bias` | the module's own |
//! | base of a targeted embedding or head | `.base_layer.weight` | the module's own |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use limbeck_core::{TensorFile, write_tensors};
use tch::{Device, Kind, Tensor};

use crate::config::ModulePlan;
use crate::target::{EMBEDDING, HEAD, resolve_saved};
use crate::{AdapterConfig, Error, Result};

/// What stands before a module's name in PEFT's files.
const PREFIX: &str = "base_model.model.";
const MAGNITUDE: &str = ".lora_magnitude_vector";
const BASE_LAYER: &str = ".base_layer.weight";

/// An adapter: its configuration and its tensors, in float32.
#[derive(Debug)]
pub struct AdapterWeights {
    /// What the adapter is; every target has its tensors in `modules`.
    pub config: AdapterConfig,
    /// The adapted modules, in the order of the configuration's resolution where a model
    /// gave it, else by name.
    pub modules: Vec<ModuleWeights>,
    /// The modules that are kept whole.
    pub saved: Vec<SavedModule>,
    /// What the file holds of the base's own tensors, to be compared with them.
    pub base_layers: Vec<SavedModule>,
    /// The file, for messages; the place where it would be if there is none.
    pub path: PathBuf,
}

/// The update of one module.
#[derive(Debug)]
pub struct ModuleWeights {
    /// Name, rank and scale.
    pub plan: ModulePlan,
    /// A projection's `[rank, in_features]`, the embedding's `[rank, vocab]`.
    pub lora_a: Tensor,
    /// A projection's `[out_features, rank]`, the embedding's `[hidden, rank]`.
    pub lora_b: Tensor,
    /// DoRA's lengths of the rows, `[out_features]`.
    pub magnitude: Option<Tensor>,
}

/// A module that is kept whole.
#[derive(Debug)]
pub struct SavedModule {
    /// Its name.
    pub name: String,
    /// `[out_features, in_features]`, or the embedding's `[vocab, hidden]`.
    pub weight: Tensor,
    /// `[out_features]`.
    pub bias: Option<Tensor>,
}

impl AdapterWeights {
    /// Name of the tensors' file in an adapter's folder.
    pub const FILE: &'static str = "adapter_model.safetensors";

    /// Reads a PEFT folder.
    ///
    /// # Errors
    /// Those of [`AdapterConfig::read`]; a file that is damaged; a tensor that is missing,
    /// of another rank than the configuration gives the module, of no floating-point dtype,
    /// or that belongs to no module.
    pub fn read(folder: &Path, device: Device) -> Result<Self> {
        let config = AdapterConfig::read(folder)?;
        let path = folder.join(Self::FILE);
        Reader::open(&path, device)?.weights(config)
    }

    /// Writes a PEFT folder, tensors in float32. The configuration comes last: a folder that
    /// has one is whole.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .map_err(|source| limbeck_run::Error::write(folder, source))?;
        write_tensors(&folder.join(Self::FILE), &self.named_tensors(), &[("format", "pt")])?;
        self.config.write(folder)
    }

    /// Shallow clones of all tensors under the names of PEFT's file.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let updates = self.modules.iter().flat_map(ModuleWeights::named_tensors);
        let saved = self.saved.iter().flat_map(|SavedModule { name, weight, bias }| {
            let bias = bias.as_ref().map(|bias| (format!("{PREFIX}{name}.bias"), bias));
            std::iter::once((format!("{PREFIX}{name}.weight"), weight))
                .chain(bias)
                .map(|(name, tensor)| (name, tensor.shallow_clone()))
        });
        updates.chain(saved).collect()
    }

    /// The module's update, if it has one.
    pub fn module(&self, name: &str) -> Option<&ModuleWeights> {
        self.modules.iter().find(|module| module.plan.name == name)
    }

    /// A tensor of this adapter that does not fit.
    pub(crate) fn misfit(&self, tensor: &str, expected: String, found: String) -> Error {
        let (path, tensor) = (self.path.clone(), format!("{PREFIX}{tensor}"));
        Error::Tensor { path, tensor, expected, found }
    }
}

impl ModuleWeights {
    /// Shallow clones under the names of PEFT's file.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let [key_a, key_b] = matrix_names(&self.plan.name, self.plan.is_embedding());
        let mut tensors =
            vec![(key_a, self.lora_a.shallow_clone()), (key_b, self.lora_b.shallow_clone())];
        if let Some(magnitude) = &self.magnitude {
            let name = format!("{PREFIX}{}{MAGNITUDE}", self.plan.name);
            tensors.push((name, magnitude.shallow_clone()));
        }
        tensors
    }

    /// The update `s·B·A` of the module as PEFT stores it, `[out_features, in_features]`;
    /// the embedding's is `[hidden, vocab]`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn delta(&self) -> Result<Tensor> {
        let (lora_a, lora_b) = (self.lora_a.f_detach()?, self.lora_b.f_detach()?);
        Ok(lora_b.f_matmul(&lora_a)?.f_mul_scalar(self.plan.scale)?)
    }
}

/// Keys of A and B in PEFT's file.
fn matrix_names(module: &str, embedding: bool) -> [String; 2] {
    let suffixes = if embedding {
        ["lora_embedding_A", "lora_embedding_B"]
    } else {
        ["lora_A.weight", "lora_B.weight"]
    };
    suffixes.map(|suffix| format!("{PREFIX}{module}.{suffix}"))
}

/// A file being read, and what of it is still to be taken.
struct Reader {
    path: PathBuf,
    device: Device,
    tensors: BTreeMap<String, Tensor>,
}

impl Reader {
    fn open(path: &Path, device: Device) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let mut tensors = BTreeMap::new();
        for name in file.names() {
            let tensor = file.tensor(&name)?;
            let kind = tensor.f_kind()?;
            if !matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
                let (path, found) = (path.to_owned(), format!("{kind:?}"));
                return Err(Error::Dtype { path, tensor: name, found });
            }
            tensors.insert(name, tensor.f_to_kind(Kind::Float)?.f_to_device(device)?);
        }
        Ok(Self { path: path.to_owned(), device, tensors })
    }

    fn weights(mut self, config: AdapterConfig) -> Result<AdapterWeights> {
        if let Some(name) = self.tensors.keys().find(|name| !name.starts_with(PREFIX)) {
            let expected = format!("a name that begins with {PREFIX}");
            return Err(self.misfit(name, expected, "another prefix".to_owned()));
        }
        let names = self.module_names();
        let modules = config
            .resolve(&names)?
            .into_iter()
            .map(|plan| self.module(plan, config.use_dora))
            .collect::<Result<Vec<_>>>()?;
        let base_layers = self.whole_modules(BASE_LAYER, |name| {
            modules.iter().any(|module| module.plan.name == name)
        })?;
        let whole = self.whole_names(".weight").into_iter();
        let whole: Vec<String> =
            whole.filter(|name| ![EMBEDDING, HEAD].contains(&&**name)).collect();
        let saved_names = resolve_saved(&config.modules_to_save, &whole)?;
        let saved =
            self.whole_modules(".weight", |name| saved_names.iter().any(|saved| saved == name))?;
        if let Some(first) = self.tensors.keys().next().cloned() {
            let tensors = self.tensors.into_keys().collect();
            let path = self.path;
            return Err(limbeck_core::Error::LeftoverTensors { path, first, tensors }.into());
        }
        for name in &saved_names {
            if !saved.iter().any(|module| module.name == *name) {
                return Err(missing(&self.path, format!("{PREFIX}{name}.weight")));
            }
        }
        let path = self.path;
        Ok(AdapterWeights { config, modules, saved, base_layers, path })
    }

    /// The modules that have an A, without the embedding and the head, which the
    /// configuration's resolution adds itself where they are targeted.
    fn module_names(&self) -> Vec<String> {
        let names = self.tensors.keys().filter_map(|key| {
            let name = key.strip_prefix(PREFIX)?.strip_suffix(".lora_A.weight")?;
            (name != HEAD).then(|| name.to_owned())
        });
        names.collect()
    }

    fn module(&mut self, plan: ModulePlan, use_dora: bool) -> Result<ModuleWeights> {
        let [key_a, key_b] = matrix_names(&plan.name, plan.is_embedding());
        let (lora_a, lora_b) = (self.take(&key_a)?, self.take(&key_b)?);
        let rank = plan.rank.get();
        for (key, tensor, axis) in [(&key_a, &lora_a, 0), (&key_b, &lora_b, 1)] {
            let size = tensor.size();
            if size.len() != 2 || size[axis] != rank {
                let expected = match axis {
                    0 => format!("[{rank}, ..], as adapter_config.json gives it rank {rank}"),
                    _ => format!("[.., {rank}], as adapter_config.json gives it rank {rank}"),
                };
                return Err(self.misfit(key, expected, format!("{size:?}")));
            }
        }
        let out_features = lora_b.size()[0];
        let magnitude = use_dora.then(|| self.magnitude(&plan.name, out_features)).transpose()?;
        Ok(ModuleWeights { plan, lora_a, lora_b, magnitude })
    }

    fn magnitude(&mut self, module: &str, out_features: i64) -> Result<Tensor> {
        let key = format!("{PREFIX}{module}{MAGNITUDE}");
        let vector = self.take(&key)?;
        if vector.size() != [out_features] {
            let found = format!("{:?}", vector.size());
            return Err(self.misfit(&key, format!("[{out_features}]"), found));
        }
        Ok(vector)
    }

    /// Names of modules with a tensor of this suffix.
    fn whole_names(&self, suffix: &str) -> BTreeSet<String> {
        let names = self.tensors.keys();
        let names = names.filter_map(|key| key.strip_prefix(PREFIX)?.strip_suffix(suffix));
        names.filter(|name| !name.contains(".lora_")).map(str::to_owned).collect()
    }

    fn whole_modules(
        &mut self,
        suffix: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<SavedModule>> {
        let names = self.whole_names(suffix);
        let mut modules = Vec::new();
        for name in names.into_iter().filter(|name| wanted(name)) {
            let weight = self.take(&format!("{PREFIX}{name}{suffix}"))?;
            let bias = suffix.replace("weight", "bias");
            let bias = self.tensors.remove(&format!("{PREFIX}{name}{bias}"));
            modules.push(SavedModule { name, weight, bias });
        }
        Ok(modules)
    }

    fn take(&mut self, key: &str) -> Result<Tensor> {
        debug_assert!(self.tensors.values().all(|tensor| tensor.device() == self.device));
        self.tensors.remove(key).ok_or_else(|| missing(&self.path, key.to_owned()))
    }

    fn misfit(&self, tensor: &str, expected: String, found: String) -> Error {
        Error::Tensor { path: self.path.clone(), tensor: tensor.to_owned(), expected, found }
    }
}

fn missing(path: &Path, tensor: String) -> Error {
    limbeck_core::Error::MissingTensor { path: path.to_owned(), tensor }.into()
}
