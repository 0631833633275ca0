//! The forward pass over spans: the decoder's own blocks, with attention that reads the pool.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use limbeck_core::elements::{elements, filled};
use tch::Tensor;

use crate::attention::{AttentionContext, KeyValues};
use crate::decoder::Decoder;
use crate::error::{Error, Result};

use super::attention::attend;
use super::tiled::{Stored, TiledLayer};
use super::{PagedCache, PagedLayer, PagedPass, PagedRows, PagedSpan};

/// Slots of a pass's tokens, i64 `[tokens]`.
pub(crate) struct Slots {
    host: Vec<i64>,
    device: Tensor,
}

/// What one layer's attention needs of a pass.
pub(crate) struct PagedStep<'a> {
    pub(crate) layer: &'a mut PagedLayer,
    /// Where the new tokens' keys and values go, `[tokens]`.
    pub(crate) slots: &'a Slots,
    pub(crate) pass: &'a PagedPass<'a>,
    pub(crate) window: Option<i64>,
}

impl PagedStep<'_> {
    /// Writes the new keys and values and attends.
    ///
    /// # Shapes
    /// Query `[tokens, 1, heads, head_dim]`, key and value `[tokens, 1, kv_heads, head_dim]` →
    /// `[tokens, 1, heads · head_dim]`.
    pub(crate) fn mixed(
        self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        scale: f64,
    ) -> Result<Tensor> {
        let (tokens, _, heads, head_dim) = query.size4()?;
        let width = [tokens, 1, heads * head_dim];
        let (pass, slots, window) = (self.pass, &self.slots.host, self.window);
        let rows = match self.layer {
            PagedLayer::Rows(rows) => rows,
            PagedLayer::Tiled(layer) => {
                let new = [query, key, value];
                return tiled(layer, new, (slots, pass.spans), (window, scale), &width);
            }
            PagedLayer::TiledInt8(layer) => {
                let new = [query, key, value];
                return tiled(layer, new, (slots, pass.spans), (window, scale), &width);
            }
        };
        rows.write(&self.slots.device, &key.f_squeeze_dim(1)?, &value.f_squeeze_dim(1)?)?;
        let query = query.f_squeeze_dim(1)?; // [tokens, heads, head_dim]
        let mixed = if pass.apart {
            Self::attend_apart(rows, &query, pass, window, scale)?
        } else {
            attend(&query, rows, pass.spans, window, scale)?
        };
        Ok(mixed.f_reshape(width)?)
    }

    /// Each span as if it were the only one.
    fn attend_apart(
        rows: &PagedRows,
        query: &Tensor,
        pass: &PagedPass<'_>,
        window: Option<i64>,
        scale: f64,
    ) -> Result<Tensor> {
        let mut mixed = Vec::with_capacity(pass.spans.len());
        for &span in pass.spans {
            let (start, length) = (span.query_start as i64, span.query_len as i64);
            let alone = [PagedSpan { query_start: 0, ..span }];
            let query = query.f_narrow(0, start, length)?;
            mixed.push(attend(&query, rows, &alone, window, scale)?);
        }
        Ok(Tensor::f_cat(&mixed, 0)?)
    }
}

/// Writes new keys and values and attends, by our own kernel.
fn tiled<S: Stored>(
    layer: &mut TiledLayer<S>,
    [query, key, value]: [&Tensor; 3],
    (slots, spans): (&[i64], &[PagedSpan<'_>]),
    (window, scale): (Option<i64>, f64),
    shape: &[i64],
) -> Result<Tensor> {
    let [query, key, value] = [query.f_contiguous()?, key.f_contiguous()?, value.f_contiguous()?];
    let numbers = |tensor| {
        elements::<f32>(tensor)
            .ok_or_else(|| Error::shape("paged attention", "fp32 on the CPU", "another tensor"))
    };
    layer.write(slots, numbers(&key)?, numbers(&value)?);
    let window = window.map(|window| window as usize);
    filled(shape, |output| {
        layer.attend(numbers(&query)?, spans, window, scale as f32, output);
        Ok(())
    })
}

impl Decoder {
    /// Runs the model up to the final norm on spans of sequences whose earlier keys and values
    /// lie in `cache`, and writes those of the new tokens there. Call it without gradients.
    ///
    /// Tokens are the rows of the batch: layers see `[tokens, 1, ..]`.
    ///
    /// # Shapes
    /// → `[tokens, hidden]` in the compute dtype.
    ///
    /// # Errors
    /// Spans that do not fit the pass or the cache; a token outside of the vocabulary; a cache
    /// of another decoder.
    pub fn forward_paged(&self, pass: &PagedPass<'_>, cache: &mut PagedCache) -> Result<Tensor> {
        pass.check(cache.num_blocks(), self.config.vocab_size)?;
        if cache.layers.len() != self.layers.len() {
            let [expected, found] =
                [self.layers.len(), cache.layers.len()].map(|layers| format!("{layers} layers"));
            return Err(Error::shape("paged cache", expected, found));
        }
        let total = pass.tokens.len() as i64;
        let mut slots = Vec::with_capacity(pass.tokens.len());
        let mut positions = Vec::with_capacity(pass.tokens.len());
        for span in pass.spans {
            slots.extend(span.positions().map(|position| span.slot(position)));
            positions.extend(span.positions().map(|position| position as i64));
        }
        let on_device = |numbers: &[i64]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(numbers)?.f_to_device(self.device)?)
        };
        let slots = Slots { device: on_device(&slots)?, host: slots };
        let length = positions.iter().max().map_or(0, |highest| highest + 1);
        let positions = on_device(&positions)?.f_view([total, 1])?;
        let tokens = on_device(pass.tokens)?.f_view([total, 1])?;

        let mut hidden = self.embed_known(&tokens)?; // [total, 1, hidden]
        let mut rotations = BTreeMap::new();
        for layer in &self.config.layers {
            if let Entry::Vacant(slot) = rotations.entry(layer.rope) {
                let rope = &self.ropes[layer.rope];
                slot.insert(rope.rotation_at(&positions, length, self.compute_dtype)?);
            }
        }
        let layers = self.layers.iter().zip(&self.config.layers).zip(&mut cache.layers);
        for ((block, config), layer) in layers {
            let rotation = rotations
                .get(&config.rope)
                .ok_or_else(|| Error::shape("layer", "a prepared rotation", "none"))?;
            let context = AttentionContext {
                rotation,
                keys: KeyValues::Paged(PagedStep {
                    layer,
                    slots: &slots,
                    pass,
                    window: config.sliding_window,
                }),
                probabilities: None,
                projections: None,
            };
            hidden = block.forward(&hidden, context)?;
        }
        Ok(self.final_norm.forward(&hidden)?.f_squeeze_dim(1)?)
    }
}
