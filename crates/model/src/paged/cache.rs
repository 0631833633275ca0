//! The memory of a pool of blocks.

use tch::{Device, Kind, Tensor};

use crate::cache_slots::CacheDtype;
use crate::decoder::Decoder;
use crate::error::{Error, Result};

use super::BLOCK_SIZE;
use super::slots::PagedSlots;
use super::tiled::TiledLayer;

/// Keys and values of every layer, for a fixed number of blocks of [`BLOCK_SIZE`] slots. Slot
/// `block · 16 + offset` is the same in all layers. Use it without gradients.
#[derive(Debug)]
pub struct PagedCache {
    pub(crate) layers: Vec<PagedLayer>,
    num_blocks: usize,
}

/// One layer's keys and values.
#[derive(Debug)]
pub(crate) enum PagedLayer {
    /// What libtorch's operations read.
    Rows(PagedRows),
    /// What our kernel reads: on the CPU, in fp32.
    Tiled(TiledLayer<f32>),
    /// In 8 bits.
    TiledInt8(TiledLayer<i8>),
}

/// `[slots, kv_heads, head_dim]` each.
#[derive(Debug)]
pub(crate) struct PagedRows {
    pub(crate) keys: PagedSlots,
    pub(crate) values: PagedSlots,
}

impl PagedCache {
    /// Room for `num_blocks` blocks, on the decoder's device.
    ///
    /// # Errors
    /// No block, or more than the device has room for.
    pub fn new(decoder: &Decoder, num_blocks: usize, dtype: CacheDtype) -> Result<Self> {
        if num_blocks == 0 || u32::try_from(num_blocks).is_err() {
            return Err(Error::shape(
                "paged cache",
                format!("from 1 to {} blocks", u32::MAX),
                num_blocks.to_string(),
            ));
        }
        let config = decoder.config();
        let slots = (num_blocks * BLOCK_SIZE) as i64;
        let shape = [slots, config.num_key_value_heads, config.head_dim];
        let options = (decoder.compute_dtype(), decoder.device());
        let layers = (0..config.num_hidden_layers())
            .map(|_| {
                if options == (Kind::Float, Device::Cpu) {
                    let [heads, width] = [shape[1], shape[2]].map(|size| size as usize);
                    return Ok(match dtype {
                        CacheDtype::Compute => {
                            PagedLayer::Tiled(TiledLayer::new(num_blocks, heads, width))
                        }
                        CacheDtype::Int8 => {
                            PagedLayer::TiledInt8(TiledLayer::new(num_blocks, heads, width))
                        }
                    });
                }
                Ok(PagedLayer::Rows(PagedRows {
                    keys: PagedSlots::new(shape, dtype, options)?,
                    values: PagedSlots::new(shape, dtype, options)?,
                }))
            })
            .collect::<Result<_>>()?;
        Ok(Self { layers, num_blocks })
    }

    /// Blocks.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Copies the first `filled` slots of a block to another, in all layers.
    ///
    /// # Errors
    /// A block that there is not, or more slots than a block has.
    pub fn copy_block(&mut self, from: u32, to: u32, filled: usize) -> Result<()> {
        let known = (from.max(to) as usize) < self.num_blocks;
        if !known || filled > BLOCK_SIZE {
            return Err(Error::shape(
                "paged cache",
                format!("blocks below {} and up to {BLOCK_SIZE} slots", self.num_blocks),
                format!("{from}, {to} and {filled}"),
            ));
        }
        let start = |block: u32| i64::from(block) * BLOCK_SIZE as i64;
        for layer in &mut self.layers {
            match layer {
                PagedLayer::Rows(rows) => {
                    rows.keys.copy(start(from), start(to), filled as i64)?;
                    rows.values.copy(start(from), start(to), filled as i64)?;
                }
                PagedLayer::Tiled(layer) => layer.copy_block(from as usize, to as usize),
                PagedLayer::TiledInt8(layer) => layer.copy_block(from as usize, to as usize),
            }
        }
        Ok(())
    }
}

impl PagedRows {
    /// Writes new keys and values `[tokens, kv_heads, head_dim]` at `slots`, i64 `[tokens]`.
    pub(crate) fn write(&mut self, slots: &Tensor, keys: &Tensor, values: &Tensor) -> Result<()> {
        self.keys.write(slots, keys)?;
        self.values.write(slots, values)
    }
}
