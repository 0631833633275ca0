//! Rotary position embedding (arXiv 2104.09864) in Hugging Face's half-split layout.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use crate::config::{RopeConfig, RopeScaling};
use crate::error::{Error, Result};

/// One rotary setting with its table, which grows to the longest position seen.
#[derive(Debug)]
pub(crate) struct Rope {
    inverse_frequencies: Tensor,
    head_dim: i64,
    table: RefCell<Option<Table>>,
}

/// `cos` and the sign-folded `sin`, each `[length, head_dim]`.
#[derive(Debug)]
struct Table {
    length: i64,
    cos: Tensor,
    sin: Tensor,
}

/// The rows of the table that one forward pass needs, shaped to broadcast over
/// `[batch, seq, heads, head_dim]`.
#[derive(Debug)]
pub(crate) struct Rotation {
    cos: Tensor,
    sin: Tensor,
    half: i64,
}

impl Rope {
    pub(crate) fn new(config: &RopeConfig, head_dim: i64, device: Device) -> Result<Self> {
        let inverse_frequencies = inverse_frequencies(config, head_dim)?.f_to_device(device)?;
        Ok(Self { inverse_frequencies, head_dim, table: RefCell::new(None) })
    }

    /// The rotation of `seq` slots: at `positions` `[batch, seq]`, or counting on from
    /// `start`.
    pub(crate) fn rotation(
        &self,
        positions: Option<&Tensor>,
        start: i64,
        seq: i64,
        kind: Kind,
    ) -> Result<Rotation> {
        let half = self.head_dim / 2;
        let Some(positions) = positions else {
            let (cos, sin) = self.rows(start + seq, kind)?;
            return Ok(Rotation {
                cos: cos.f_narrow(0, start, seq)?.f_unsqueeze(1)?,
                sin: sin.f_narrow(0, start, seq)?.f_unsqueeze(1)?,
                half,
            });
        };
        let (batch, seq) = positions.size2()?;
        let lowest = positions.f_min()?.f_int64_value(&[])?;
        if lowest < 0 {
            return Err(Error::shape("rope", "positions from 0 up", lowest.to_string()));
        }
        let (cos, sin) = self.rows(positions.f_max()?.f_int64_value(&[])? + 1, kind)?;
        let flat = positions.f_reshape([-1])?;
        let gather = |table: &Tensor| -> Result<Tensor> {
            // [batch, seq, 1, head_dim]
            Ok(table.f_index_select(0, &flat)?.f_view([batch, seq, 1, self.head_dim])?)
        };
        Ok(Rotation { cos: gather(&cos)?, sin: gather(&sin)?, half })
    }

    fn rows(&self, length: i64, kind: Kind) -> Result<(Tensor, Tensor)> {
        let mut table = self.table.borrow_mut();
        if let Some(table) = table.as_ref()
            && table.length >= length
            && table.cos.kind() == kind
        {
            return Ok((table.cos.shallow_clone(), table.sin.shallow_clone()));
        }
        let _guard = tch::no_grad_guard();
        let length = (length.max(64) as u64).next_power_of_two() as i64;
        let device = self.inverse_frequencies.device();
        let positions = Tensor::f_arange(length, (Kind::Float, device))?;
        let angles = positions.f_outer(&self.inverse_frequencies)?; // [length, head_dim / 2]
        let (cos, sin) = (angles.f_cos()?, angles.f_sin()?);
        let made = Table {
            length,
            cos: Tensor::f_cat(&[&cos, &cos], -1)?.f_to_kind(kind)?,
            // The first half takes minus the second: folding the sign in here leaves a
            // plain roll at run time.
            sin: Tensor::f_cat(&[&sin.f_neg()?, &sin], -1)?.f_to_kind(kind)?,
        };
        let rows = (made.cos.shallow_clone(), made.sin.shallow_clone());
        *table = Some(made);
        Ok(rows)
    }
}

impl Rotation {
    /// # Shapes
    /// `[batch, seq, heads, head_dim]` → the same.
    pub(crate) fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        let rolled = heads.f_roll([self.half], [-1])?;
        Ok(heads.f_mul(&self.cos)?.f_addcmul(&rolled, &self.sin)?)
    }
}

/// `base^(-2i/head_dim)` with the setting's scaling, fp32 `[head_dim / 2]`.
///
/// Computed by the same fp32 operations as transformers', so that angles at high
/// positions agree to the last bit.
fn inverse_frequencies(config: &RopeConfig, head_dim: i64) -> Result<Tensor> {
    let options = (Kind::Float, Device::Cpu);
    let exponents =
        Tensor::f_arange_start_step(0, head_dim, 2, options)?.f_div_scalar(head_dim as f64)?;
    let plain = Tensor::f_pow_scalar(config.theta, &exponents)?.f_reciprocal()?;
    Ok(match config.scaling {
        RopeScaling::Default => plain,
        RopeScaling::Linear { factor } => plain.f_div_scalar(factor)?,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: original,
        } => {
            let wavelengths = plain.f_reciprocal()?.f_mul_scalar(2.0 * std::f64::consts::PI)?;
            // 0 where a wavelength reaches original / low, 1 where it falls to
            // original / high.
            let smooth = wavelengths
                .f_reciprocal()?
                .f_mul_scalar(original)?
                .f_sub_scalar(low_freq_factor)?
                .f_div_scalar(high_freq_factor - low_freq_factor)?
                .f_clamp(0.0, 1.0)?;
            let divided = plain.f_div_scalar(factor)?;
            divided.f_lerp_tensor(&plain, &smooth)?
        }
    })
}
