//! A block run part by part, so that what each projection reads can be seen and kept: for
//! methods that calibrate a projection on its inputs and then replace it.

use tch::Tensor;

use crate::attention::{AttentionContext, KeyValues};
use crate::block::Block;
use crate::decoder::{Decoder, split_name};
use crate::error::{Error, Result};
use crate::input::Input;

/// One block of a decoder. Its parts in a row compute what [`Decoder::layer_forward`] does,
/// bit by bit:
///
/// ```text
/// normed = attention_input(hidden)        q_proj, k_proj and v_proj read it
/// mixed  = attention_mixed(normed)        o_proj reads it
/// hidden = add_attention(hidden, mixed)
/// normed = mlp_input(hidden)              gate_proj and up_proj read it
/// inner  = mlp_inner(normed)              down_proj reads it
/// hidden = add_mlp(hidden, inner)
/// ```
///
/// # Shapes
/// `hidden` and `normed` `[batch, seq, hidden]`, `mixed` `[batch, seq, heads · head_dim]`,
/// `inner` `[batch, seq, intermediate]`.
#[derive(Debug, Clone, Copy)]
pub struct BlockParts<'a> {
    decoder: &'a Decoder,
    index: usize,
    block: &'a Block,
}

impl BlockParts<'_> {
    /// What `q_proj`, `k_proj` and `v_proj` read.
    ///
    /// # Errors
    /// libtorch's.
    pub fn attention_input(&self, hidden: &Tensor) -> Result<Tensor> {
        self.block.input_norm.forward(hidden)
    }

    /// What `o_proj` reads; `input` gives positions and attention.
    ///
    /// # Errors
    /// Those of the projections.
    pub fn attention_mixed(&self, normed: &Tensor, input: &Input<'_>) -> Result<Tensor> {
        let shared = self.decoder.shared(input, 0, self.index..self.index + 1)?;
        let context = AttentionContext {
            rotation: self.decoder.rotation(&shared, self.index)?,
            keys: KeyValues::Pass { mask: self.decoder.mask(&shared, self.index)? },
            probabilities: None,
            projections: None,
        };
        self.block.attention.mixed(normed, context)
    }

    /// The residual stream after attention.
    ///
    /// # Errors
    /// Those of the projection.
    pub fn add_attention(&self, hidden: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        self.block.add_attention(hidden, mixed)
    }

    /// What `gate_proj` and `up_proj` read.
    ///
    /// # Errors
    /// libtorch's.
    pub fn mlp_input(&self, hidden: &Tensor) -> Result<Tensor> {
        self.block.mlp_norm.forward(hidden)
    }

    /// What `down_proj` reads.
    ///
    /// # Errors
    /// Those of the projections.
    pub fn mlp_inner(&self, normed: &Tensor) -> Result<Tensor> {
        self.block.mlp.inner(normed)
    }

    /// The residual stream after the block.
    ///
    /// # Errors
    /// Those of the projection.
    pub fn add_mlp(&self, hidden: &Tensor, inner: &Tensor) -> Result<Tensor> {
        self.block.add_mlp(hidden, inner)
    }

    /// Name of the norm whose output `q_proj`, `k_proj` and `v_proj` read.
    pub fn attention_norm_name(&self) -> String {
        format!("model.layers.{}.input_layernorm", self.index)
    }

    /// Name of the norm whose output `gate_proj` and `up_proj` read.
    pub fn mlp_norm_name(&self) -> String {
        format!("model.layers.{}.{}", self.index, self.block.mlp_norm_name())
    }
}

impl Decoder {
    /// The block `index`, to be run part by part.
    ///
    /// # Errors
    /// A block that there is not.
    pub fn block_parts(&self, index: usize) -> Result<BlockParts<'_>> {
        let block = self.layers.get(index).ok_or_else(|| {
            Error::shape(
                "block",
                format!("an index below {}", self.layers.len()),
                index.to_string(),
            )
        })?;
        Ok(BlockParts { decoder: self, index, block })
    }

    /// Replaces the stored weight of a block's norm (`model.layers.0.input_layernorm`, …) by
    /// what `replace` makes of it. What is stored is the factor itself, or that less one:
    /// [`crate::DecoderConfig::norm_style`] says which.
    ///
    /// # Errors
    /// An unknown name; a weight of another shape; the error of `replace`. The weight is as it
    /// was then.
    pub fn map_norm(
        &mut self,
        name: &str,
        replace: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let norm = split_name(name)
            .and_then(|(index, name)| self.layers.get_mut(index)?.norm_mut(name))
            .ok_or_else(|| Error::UnknownNorm { name: name.to_owned() })?;
        let weight = replace(norm.weight())?;
        norm.set_weight(weight)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tch::{Device, Kind};

    use super::*;
    use crate::load::LoadOptions;

    fn fixture(name: &str) -> Decoder {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(name);
        Decoder::load(&folder, &LoadOptions::dense(Device::Cpu, Kind::Float)).unwrap()
    }

    #[test]
    fn the_parts_are_the_block() {
        for name in ["gemma3", "qwen3", "llama3"] {
            let decoder = fixture(name);
            let tokens = Tensor::from_slice(&[3_i64, 1, 4, 1, 5, 9]).view([2, 3]);
            let input = Input::causal(&tokens);
            let hidden = decoder.embed(&input).unwrap();
            let parts = decoder.block_parts(1).unwrap();
            let normed = parts.attention_input(&hidden).unwrap();
            let mixed = parts.attention_mixed(&normed, &input).unwrap();
            let after = parts.add_attention(&hidden, &mixed).unwrap();
            let inner = parts.mlp_inner(&parts.mlp_input(&after).unwrap()).unwrap();
            let whole = decoder.layer_forward(1, &hidden, &input).unwrap();
            assert_eq!(parts.add_mlp(&after, &inner).unwrap(), whole, "{name}");
            assert!(decoder.block_parts(decoder.num_layers()).is_err());
        }
    }

    #[test]
    fn every_norm_goes_by_its_name() {
        for name in ["gemma3", "qwen3", "llama3"] {
            let mut decoder = fixture(name);
            let keys = decoder.named_parameters().into_iter().map(|(key, _)| key);
            let norms: Vec<String> = keys
                .filter(|key| key.starts_with("model.layers.") && key.contains("norm"))
                .collect();
            let mlp_norm = decoder.block_parts(0).unwrap().mlp_norm_name();
            assert!(norms.contains(&format!("{mlp_norm}.weight")), "{norms:?}");
            for (number, key) in norms.iter().enumerate() {
                let norm = key.strip_suffix(".weight").unwrap();
                let fill = &mut |weight: &Tensor| Ok(weight.full_like(number as f64));
                decoder.map_norm(norm, fill).unwrap();
            }
            let parameters = decoder.named_parameters();
            for (number, key) in norms.iter().enumerate() {
                let (_, weight) = parameters.iter().find(|(name, _)| name == key).unwrap();
                assert_eq!(weight, &weight.full_like(number as f64), "{key}");
            }
            let wide = &mut |_: &Tensor| Ok(Tensor::zeros([3], (Kind::Float, Device::Cpu)));
            assert!(decoder.map_norm(&mlp_norm, wide).is_err());
            assert!(decoder.map_norm("model.layers.0.other_norm", wide).is_err());
        }
    }
}
