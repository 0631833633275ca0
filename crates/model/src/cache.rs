//! Contiguous key-value cache, preallocated and grown by doubling.

use tch::Tensor;

use crate::cache_slots::{CacheDtype, Slots};
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
    keys: Slots,
    values: Slots,
}

impl KvCache {
    /// Room for `capacity` slots of `batch` rows, in the model's compute dtype.
    pub fn new(decoder: &Decoder, batch: i64, capacity: i64) -> Result<Self> {
        Self::with_dtype(decoder, batch, capacity, CacheDtype::Compute)
    }

    /// As [`Self::new`], in a dtype.
    ///
    /// # Errors
    /// No rows or no room; when the device has no room.
    pub fn with_dtype(
        decoder: &Decoder,
        batch: i64,
        capacity: i64,
        dtype: CacheDtype,
    ) -> Result<Self> {
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
            .map(|_| {
                Ok(LayerCache {
                    keys: Slots::new(shape, dtype, options)?,
                    values: Slots::new(shape, dtype, options)?,
                })
            })
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
            layer.keys.select_rows(rows)?;
            layer.values.select_rows(rows)?;
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
            layer.keys.grow(capacity, self.len)?;
            layer.values.grow(capacity, self.len)?;
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
        layer.keys.write(self.len, keys)?;
        layer.values.write(self.len, values)?;
        let length = self.len + seq - from;
        Ok((layer.keys.read(from, length)?, layer.values.read(from, length)?))
    }

    pub(crate) fn advance(&mut self, seq: i64) {
        self.len += seq;
    }
}
