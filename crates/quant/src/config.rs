//! How a model is quantised: the `[quantize]` table.

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::bits::Bits;
use crate::formats::Format;
use crate::grid::GridRule;
use crate::order::Order;

/// How codes are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Error feedback along the Hessian of calibration inputs.
    #[default]
    Gptq,
    /// Each weight to its nearest level; needs no calibration.
    Rtn,
}

/// Settings of [`crate::quantize()`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeConfig {
    /// `gptq` or `rtn`. Default `gptq`.
    pub method: Method,
    /// Bits of a code: 2, 3, 4 or 8. Default 4.
    pub bits: u64,
    /// Input features that share a scale: 32, 64, 128, or -1 for all of a layer. Must
    /// divide every layer's input features. Default 128.
    pub group_size: i64,
    /// Whether the levels lie symmetrically around 0, so that zeros need not be stored.
    /// Several inference kernels take nothing else. Default true.
    pub symmetric: bool,
    /// Whether a symmetric scale may be negative: the weight of largest magnitude gets
    /// the outermost level, which lowers the error of a 4-bit group by about a tenth.
    /// Default true.
    pub signed_scale: bool,
    /// Whether each group also tries narrower ranges and takes that of least error; slow.
    /// Default false.
    pub mse_search: bool,
    /// GPTQ: the order that features are solved in: `none`, `activation` (the strongest
    /// first, with scales fixed beforehand) or `groups` (groups by their strongest feature).
    /// The file stays in plain order. Default `none`.
    pub order: Order,
    /// GPTQ: added to the Hessian's diagonal, as a share of its mean; doubled for a layer
    /// whose Hessian does not factor. 0 to 1. Default 0.01.
    pub damping: f64,
    /// `gptq` or `gptq_v2`. Default `gptq`.
    pub format: Format,
    /// Calibration sequences used, at most. Default 128.
    pub calibration_records: usize,
    /// Calibration tokens used, at most; the last sequence is cut. Default 65536.
    pub calibration_tokens_max: usize,
    /// Calibration sequences run at once. Default 8.
    pub batch_size: usize,
}

impl Default for QuantizeConfig {
    fn default() -> Self {
        Self {
            method: Method::Gptq,
            bits: 4,
            group_size: 128,
            symmetric: true,
            signed_scale: true,
            mse_search: false,
            order: Order::None,
            damping: 0.01,
            format: Format::Gptq,
            calibration_records: 128,
            calibration_tokens_max: 65536,
            batch_size: 8,
        }
    }
}

/// Values of `group_size`.
pub(crate) const GROUP_SIZES: [i64; 4] = [128, 64, 32, -1];

impl QuantizeConfig {
    /// The width of the codes.
    ///
    /// # Errors
    /// One that is not supported.
    pub fn bits(&self) -> Result<Bits, Invalid> {
        Bits::new(self.bits).ok_or_else(|| Invalid::new("bits", Bits::SUPPORTED, self.bits))
    }

    /// How grids are chosen.
    ///
    /// # Errors
    /// As [`Self::bits`].
    pub fn grid_rule(&self) -> Result<GridRule, Invalid> {
        Ok(GridRule {
            bits: self.bits()?,
            symmetric: self.symmetric,
            signed_scale: self.signed_scale,
            mse_search: self.mse_search,
            min_zero: self.format.min_zero(),
            scale_dtype: self.format.scale_dtype(),
        })
    }
}

impl Validate for QuantizeConfig {
    fn validate(&self) -> Result<(), Invalid> {
        self.bits()?;
        if !GROUP_SIZES.contains(&self.group_size) {
            return Err(Invalid::new("group_size", "32, 64, 128 or -1", self.group_size));
        }
        if !(0.0..=1.0).contains(&self.damping) {
            return Err(Invalid::new("damping", "a share from 0 to 1", self.damping));
        }
        let positive = [
            ("calibration_records", self.calibration_records),
            ("calibration_tokens_max", self.calibration_tokens_max),
            ("batch_size", self.batch_size),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(Invalid::new(field, "a number above 0", value));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use limbeck_run::Diagnose;
    use limbeck_run::config::{apply_overrides, parse};

    use super::*;

    fn read(overrides: &[&str]) -> limbeck_run::Result<QuantizeConfig> {
        let mut table = limbeck_run::config::load_table(None)?;
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        apply_overrides(&mut table, &overrides)?;
        parse(&table, "quantize.toml")
    }

    #[test]
    fn keys_are_read_and_the_rest_has_defaults() {
        assert_eq!(read(&[]).unwrap(), QuantizeConfig::default());
        let config =
            read(&["method=rtn", "bits=8", "group_size=-1", "format=gptq_v2", "symmetric=false"])
                .unwrap();
        assert_eq!((config.method, config.format), (Method::Rtn, Format::GptqV2));
        let rule = config.grid_rule().unwrap();
        assert_eq!((rule.bits, rule.symmetric, rule.min_zero), (Bits::Eight, false, 0));
    }

    #[test]
    fn impossible_values_name_their_key() {
        let cases = [
            ("bits=5", "bits"),
            ("group_size=96", "group_size"),
            ("damping=-0.1", "damping"),
            ("damping=nan", "damping"),
            ("batch_size=0", "batch_size"),
            ("method=awq", "method"),
            ("format=gguf", "format"),
            ("act_order=true", "act_order"),
            ("order=desc", "order"),
        ];
        for (text, key) in cases {
            let error = read(&[text]).unwrap_err();
            assert!(error.to_string().contains(key), "{text}: {error}");
            assert_eq!(error.exit(), limbeck_run::Exit::Usage, "{text}");
        }
    }
}
