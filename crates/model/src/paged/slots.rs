//! Keys or values of one layer for all slots of a pool: numbers as they are, or in 8 bits.

use tch::{Device, Kind, Tensor};

use crate::cache_slots::{CacheDtype, quantised};
use crate::error::Result;

/// Keys or values `[slots, kv_heads, head_dim]`.
#[derive(Debug)]
pub(crate) enum PagedSlots {
    /// In the compute dtype.
    Plain(Tensor),
    /// In 8 bits.
    Int8 {
        /// i8 `[slots, kv_heads, head_dim]`, from -127 to 127
        codes: Tensor,
        /// f32 `[slots, kv_heads, 1]`
        scales: Tensor,
        /// What reading gives.
        kind: Kind,
    },
}

impl PagedSlots {
    /// Slots whose memory is not written to: a pool is large, and most of it may never be
    /// used.
    pub(crate) fn new(
        shape: [i64; 3],
        dtype: CacheDtype,
        (kind, device): (Kind, Device),
    ) -> Result<Self> {
        let [slots, heads, _] = shape;
        Ok(match dtype {
            CacheDtype::Compute => Self::Plain(Tensor::f_empty(shape, (kind, device))?),
            CacheDtype::Int8 => Self::Int8 {
                codes: Tensor::f_empty(shape, (Kind::Int8, device))?,
                scales: Tensor::f_empty([slots, heads, 1], (Kind::Float, device))?,
                kind,
            },
        })
    }

    /// Writes `new` `[tokens, kv_heads, head_dim]` at the slots of `index`, i64 `[tokens]`.
    pub(crate) fn write(&mut self, index: &Tensor, new: &Tensor) -> Result<()> {
        match self {
            Self::Plain(held) => {
                let _ = held.f_index_copy_(0, index, new)?;
            }
            Self::Int8 { codes, scales, .. } => {
                let (new_codes, new_scales) = quantised(new)?;
                let _ = codes.f_index_copy_(0, index, &new_codes)?;
                let _ = scales.f_index_copy_(0, index, &new_scales)?;
            }
        }
        Ok(())
    }

    /// The slots of `index` i64 `[tokens]`, `[tokens, kv_heads, head_dim]`.
    pub(crate) fn gather(&self, index: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(held) => Ok(held.f_index_select(0, index)?),
            Self::Int8 { codes, scales, kind } => {
                let scales = scales.f_index_select(0, index)?.f_to_kind(*kind)?;
                Ok(codes.f_index_select(0, index)?.f_to_kind(*kind)?.f_mul(&scales)?)
            }
        }
    }

    /// `length` slots from `start` on, `[length, kv_heads, head_dim]`; no copy of plain ones.
    pub(crate) fn narrow(&self, start: i64, length: i64) -> Result<Tensor> {
        match self {
            Self::Plain(held) => Ok(held.f_narrow(0, start, length)?),
            Self::Int8 { codes, scales, kind } => {
                let scales = scales.f_narrow(0, start, length)?.f_to_kind(*kind)?;
                Ok(codes.f_narrow(0, start, length)?.f_to_kind(*kind)?.f_mul(&scales)?)
            }
        }
    }

    /// Copies slots as they are held.
    pub(crate) fn copy(&mut self, from: i64, to: i64, length: i64) -> Result<()> {
        let copy = |held: &Tensor| -> Result<()> {
            held.f_narrow(0, to, length)?.f_copy_(&held.f_narrow(0, from, length)?)?;
            Ok(())
        };
        match self {
            Self::Plain(held) => copy(held),
            Self::Int8 { codes, scales, .. } => {
                copy(codes)?;
                copy(scales)
            }
        }
    }
}
