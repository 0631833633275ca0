//! Contiguous key-value cache, preallocated and grown by doubling.

use tch::{Device, Kind, Tensor};

use crate::decoder::Decoder;
use crate::error::{Error, Result};

/// Keys and values of every layer for the slots seen so far.
///
/// All rows have the same number of slots; shorter ones are padded on the left and
/// masked by [`crate::Attention::KeyMask`]. Use it without gradients.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    batch: i64,
    capacity: i64,
    len: i64,
}

/// `[batch, kv_heads, capacity, head_dim]` each.
#[derive(Debug)]
struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl KvCache {
    /// Room for `capacity` slots of `batch` rows, in the model's compute dtype.
    pub fn new(decoder: &Decoder, batch: i64, capacity: i64) -> Result<Self> {
        if batch < 1 || capacity < 1 {
            return Err(Error::shape(
                "key-value cache",
                "a batch and a capacity of at least 1",
                format!("{batch} and {capacity}"),
            ));
        }
        let config = decoder.config();
        let shape = [batch, config.num_key_value_heads, capacity, config.head_dim];
        let options = (decoder.compute_dtype(), decoder.device());
        let layers = (0..config.num_hidden_layers())
            .map(|_| LayerCache::new(shape, options))
            .collect::<Result<_>>()?;
        Ok(Self { layers, batch, capacity, len: 0 })
    }

    /// Slots filled.
    pub fn len(&self) -> i64 {
        self.len
    }

    /// Whether no slot is filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rows.
    pub fn batch(&self) -> i64 {
        self.batch
    }

    /// Slots that fit before the next growth.
    pub fn capacity(&self) -> i64 {
        self.capacity
    }

    /// Forgets every slot and keeps the memory.
    pub fn reset(&mut self) {
        self.len = 0;
    }

    /// Forgets the slots from `len` on.
    ///
    /// # Errors
    /// When fewer are filled.
    pub fn truncate(&mut self, len: i64) -> Result<()> {
        if !(0..=self.len).contains(&len) {
            return Err(Error::shape(
                "key-value cache",
                format!("a length up to {}", self.len),
                len.to_string(),
            ));
        }
        self.len = len;
        Ok(())
    }

    /// Keeps the rows named by `rows` (i64 `[new_batch]`, repeats allowed), in its order.
    pub fn select_rows(&mut self, rows: &Tensor) -> Result<()> {
        let batch = rows.size1()?;
        for layer in &mut self.layers {
            layer.keys = layer.keys.f_index_select(0, rows)?;
            layer.values = layer.values.f_index_select(0, rows)?;
        }
        self.batch = batch;
        Ok(())
    }

    /// Makes room for `seq` more slots.
    pub(crate) fn reserve(&mut self, seq: i64) -> Result<()> {
        let needed = self.len + seq;
        if needed <= self.capacity {
            return Ok(());
        }
        let mut capacity = self.capacity;
        while capacity < needed {
            capacity *= 2;
        }
        for layer in &mut self.layers {
            layer.grow(capacity, self.len)?;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Writes the new slots of one layer and returns its keys and values from slot
    /// `from` to the last new one. [`Self::advance`] follows once every layer has written.
    ///
    /// # Shapes
    /// `[batch, kv_heads, seq, head_dim]` → `[batch, kv_heads, len + seq - from, head_dim]`.
    pub(crate) fn extend(
        &mut self,
        index: usize,
        keys: &Tensor,
        values: &Tensor,
        from: i64,
    ) -> Result<(Tensor, Tensor)> {
        let (_, _, seq, _) = keys.size4()?;
        let layer = &mut self.layers[index];
        layer.keys.f_narrow(2, self.len, seq)?.f_copy_(keys)?;
        layer.values.f_narrow(2, self.len, seq)?.f_copy_(values)?;
        let length = self.len + seq - from;
        Ok((layer.keys.f_narrow(2, from, length)?, layer.values.f_narrow(2, from, length)?))
    }

    pub(crate) fn advance(&mut self, seq: i64) {
        self.len += seq;
    }
}

impl LayerCache {
    fn new(shape: [i64; 4], options: (Kind, Device)) -> Result<Self> {
        Ok(Self {
            keys: Tensor::f_zeros(shape, options)?,
            values: Tensor::f_zeros(shape, options)?,
        })
    }

    fn grow(&mut self, capacity: i64, filled: i64) -> Result<()> {
        let (batch, heads, _, head_dim) = self.keys.size4()?;
        let options = (self.keys.kind(), self.keys.device());
        let larger = Self::new([batch, heads, capacity, head_dim], options)?;
        larger.keys.f_narrow(2, 0, filled)?.f_copy_(&self.keys.f_narrow(2, 0, filled)?)?;
        larger.values.f_narrow(2, 0, filled)?.f_copy_(&self.values.f_narrow(2, 0, filled)?)?;
        *self = larger;
        Ok(())
    }
}
