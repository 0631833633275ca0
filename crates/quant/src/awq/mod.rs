//! AWQ: a few input features matter most, and scaling them up before rounding keeps them (Lin
//! et al., "AWQ: Activation-aware Weight Quantization", 2023, arXiv 2306.00978, §3.2). The
//! scale is taken back in what gives the features, which costs nothing in use: the norm before,
//! or the rows of the projection before ([`fold()`]).
//!
//! The search (`search.rs`) and the clipping of ranges (`clip.rs`) are `AutoAWQ`'s, but for this:
//! the input of `o_proj` is scaled under grouped-query attention too, where value heads are
//! shared; scaling not at all is a candidate; a group's range always holds 0, which differs
//! only where all its weights have one sign; clipping weighs errors by all calibration tokens
//! through the Hessian; and inputs come from quantised blocks, so that later ones see what
//! they will get.

mod clip;
mod fold;
mod search;

use limbeck_model::Decoder;
use tch::{Kind, Tensor};

use crate::calibration::{Calibration, Sample, Stage};
use crate::error::{Error, Result};
use crate::hessian::Hessian;
use crate::quantize::linear;

pub(crate) use clip::clipped;
pub use fold::{BlockScales, fold};
pub(crate) use search::scale;

/// Tokens that candidates are compared on.
const SEARCH_TOKENS: i64 = 1024;

/// What the projections of a block read, summed up.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// By stage.
    stages: Vec<StageInputs>,
    /// Whole sequences, as they enter the block.
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct StageInputs {
    hessian: Hessian,
    /// Σ |x|, f32 `[in]`; the mean once all is seen.
    magnitude: Tensor,
}

impl Inputs {
    /// Runs the calibration through a block, and leaves both as they are.
    ///
    /// # Errors
    /// Failures of the forward pass; [`Error::ActivationRange`].
    pub(crate) fn observe(
        decoder: &Decoder,
        calibration: &Calibration,
        block: usize,
    ) -> Result<Self> {
        let mut stages = Vec::new();
        for stage in Stage::ALL {
            let width = match stage.names(block).next() {
                Some(name) => linear(decoder, &name)?.in_features(),
                None => 0,
            };
            let magnitude = Tensor::f_zeros([width], (Kind::Float, decoder.device()))?;
            stages.push(StageInputs { hessian: Hessian::new(width, decoder.device())?, magnitude });
        }
        calibration.observe(decoder, block, &mut |stage, rows| {
            let stage = &mut stages[stage as usize];
            let magnitude = rows.f_abs()?.f_sum_dim_intlist(0, false, Kind::Float)?;
            stage.magnitude = stage.magnitude.f_add(&magnitude)?;
            stage.hessian.add(rows)
        })?;
        for (stage, inputs) in Stage::ALL.into_iter().zip(&mut stages) {
            if !inputs.hessian.is_finite()? {
                let layer = stage.names(block).next().unwrap_or_default();
                return Err(Error::ActivationRange { layer });
            }
            let tokens = inputs.hessian.tokens().max(1);
            inputs.magnitude = inputs.magnitude.f_div_scalar(tokens)?;
        }
        Ok(Self { stages, samples: calibration.samples(SEARCH_TOKENS)? })
    }

    /// The Hessian of a stage's inputs.
    pub(crate) fn hessian(&self, stage: Stage) -> &Hessian {
        &self.stages[stage as usize].hessian
    }
}
