//! The norms of the blocks, a few thousand numbers that are dense in every format, as a part
//! that repair tunes (Li et al., "Norm Tweaking", arXiv:2309.02784; here by the model's
//! distributions, not layer by layer).

use limbeck_model::{Decoder, Result};
use tch::{Kind, Tensor};

use super::TunedPart;

/// The norms of the blocks. They are float32 afterwards, with the precision of what they will
/// be stored in.
#[derive(Debug)]
pub struct Norms {
    stored: Kind,
    originals: Vec<(String, Tensor)>,
}

impl Norms {
    /// Norms that will be written in this dtype.
    pub fn stored_in(stored: Kind) -> Self {
        Self { stored, originals: Vec::new() }
    }
}

impl TunedPart for Norms {
    fn open(&mut self, model: &mut Decoder) -> Result<Vec<(String, Tensor)>> {
        self.originals.clear();
        let mut weights = Vec::new();
        for name in norm_names(model) {
            model.map_norm(&name, &mut |weight| {
                self.originals.push((name.clone(), weight.f_detach()?.f_mul_scalar(1.0)?));
                let weight = weight.f_detach()?.f_to_kind(Kind::Float)?.f_mul_scalar(1.0)?;
                let weight = weight.f_set_requires_grad(true)?;
                weights.push((name.clone(), weight.shallow_clone()));
                Ok(weight)
            })?;
        }
        Ok(weights)
    }

    fn settle(&mut self, model: &mut Decoder) -> Result<()> {
        self.originals.iter().try_for_each(|(name, _)| {
            model.map_norm(name, &mut |weight| {
                Ok(weight.f_detach()?.f_to_kind(self.stored)?.f_to_kind(Kind::Float)?)
            })
        })
    }

    fn restore(&mut self, model: &mut Decoder) -> Result<()> {
        self.originals.iter().try_for_each(|(name, weight)| {
            model.map_norm(name, &mut |_| Ok(weight.shallow_clone()))
        })
    }
}

/// Names of the blocks' norms, as [`Decoder::map_norm`] takes them.
fn norm_names(model: &Decoder) -> Vec<String> {
    model
        .named_parameters()
        .into_iter()
        .filter_map(|(name, _)| {
            let layer = name.strip_suffix(".weight")?;
            let is_norm = layer.starts_with("model.layers.") && layer.ends_with("norm");
            is_norm.then(|| layer.to_owned())
        })
        .collect()
}
