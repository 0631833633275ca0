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
    /// Features scaled by how active they are and ranges clipped, so that rounding to
    /// nearest harms the outputs least.
    Awq,
}

impl Method {
    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gptq => "gptq",
            Self::Rtn => "rtn",
            Self::Awq => "awq",
        }
    }
}

/// Settings of [`crate::quantize()`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeConfig {
    /// `gptq`, `awq` or `rtn`. Default `gptq`.
    pub method: Method,
    /// Bits of a code: 2, 3, 4 or 8. Default 4.
    pub bits: u64,
    /// Input features that share a scale: 32, 64, 128, or -1 for all of a layer. Must
    /// divide every layer's input features. Default 128.
    pub group_size: i64,
    /// Whether the levels lie symmetrically around 0, so that zeros need not be stored.
    /// Several inference kernels take nothing else. Default true, but for AWQ below 8 bits,
    /// whose published models are asymmetric.
    pub symmetric: Option<bool>,
    /// Whether a symmetric scale may be negative: the weight of largest magnitude gets
    /// the outermost level, which lowers the error of a 4-bit group by about a tenth.
    /// Default true.
    pub signed_scale: bool,
    /// Whether each group also tries narrower ranges and takes that of least error; slow.
    /// Default false.
    pub mse_search: bool,
    /// GPTQ: the order that features are solved in: `none`, `activation` (the strongest
    /// first, with scales fixed beforehand) or `groups` (groups by their strongest feature).
    /// The file stays in plain order. Default `groups`.
    pub order: Order,
    /// GPTQ: added to the Hessian's diagonal, as a share of its mean; doubled for a layer
    /// whose Hessian does not factor. 0 to 1. Default 0.05.
    pub damping: f64,
    /// GPTQ: whether the outputs aimed at are those of the unquantised model on its own
    /// inputs, instead of on inputs that quantised layers have changed (GPTAQ). The
    /// calibration then runs through both models. Default false.
    pub gptaq: bool,
    /// GPTAQ: share of the difference that is made up for, 0 to 1. Default 0.25.
    pub gptaq_alpha: f64,
    /// AWQ: whether ranges are clipped where that lowers a group's error. Default true.
    pub clip: bool,
    /// Bits of the head's codes: 2, 3, 4 or 8; 0 leaves it dense. A tied head is the
    /// embedding, which is then packed for both. Default 0.
    pub head_bits: u64,
    /// `group_size` of head and embedding; 0 = as the projections, or the largest of 128, 64
    /// and 32 that divides their width. Default 0.
    pub head_group_size: i64,
    /// Bits of the codes of an embedding that is not the head, rounded to nearest; 0 leaves
    /// it dense. Default 0.
    pub embedding_bits: u64,
    /// Average bits of the projections' codes, above `bits` and up to 8: the layers whose
    /// outputs suffer most from `bits` get 8. 0 = `bits` for all. Default 0.
    pub bits_budget: f64,
    /// Patterns of projections that get 8 bits, matched from the first letter of their names
    /// on (`model\.layers\.0\.`). Default none.
    pub keep_bits8: Vec<String>,
    /// Patterns of projections that are left dense. Default none.
    pub dense: Vec<String>,
    /// `gptq` or `gptq_v2`. Default `gptq`.
    pub format: Format,
    /// Calibration sequences used, at most. Default 128.
    pub calibration_records: usize,
    /// Calibration tokens used, at most; the last sequence is cut. Default 65536.
    pub calibration_tokens_max: usize,
    /// The fewest calibration tokens that GPTQ and AWQ go by: of fewer, Hessians and
    /// activations say little about use. Default 2048.
    pub calibration_tokens_min: usize,
    /// Calibration sequences run at once. Default 8.
    pub batch_size: usize,
}

impl Default for QuantizeConfig {
    fn default() -> Self {
        Self {
            method: Method::Gptq,
            bits: 4,
            group_size: 128,
            symmetric: None,
            signed_scale: true,
            mse_search: false,
            order: Order::default(),
            damping: 0.05,
            gptaq: false,
            gptaq_alpha: 0.25,
            clip: true,
            head_bits: 0,
            head_group_size: 0,
            embedding_bits: 0,
            bits_budget: 0.0,
            keep_bits8: Vec::new(),
            dense: Vec::new(),
            format: Format::Gptq,
            calibration_records: 128,
            calibration_tokens_max: 65536,
            calibration_tokens_min: 2048,
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

    /// Whether zeros are the middle code: as configured, or the method's custom.
    pub fn is_symmetric(&self) -> bool {
        self.symmetric.unwrap_or(self.method != Method::Awq || self.bits == 8)
    }

    /// How grids of codes of this width are chosen.
    pub fn grid_rule(&self, bits: Bits) -> GridRule {
        GridRule {
            bits,
            symmetric: self.is_symmetric(),
            signed_scale: self.signed_scale,
            mse_search: self.mse_search,
            min_zero: self.format.min_zero(),
            scale_dtype: self.format.scale_dtype(),
        }
    }
}

impl Validate for QuantizeConfig {
    fn validate(&self) -> Result<(), Invalid> {
        self.bits()?;
        if !GROUP_SIZES.contains(&self.group_size) {
            return Err(Invalid::new("group_size", "32, 64, 128 or -1", self.group_size));
        }
        for (field, share) in [("damping", self.damping), ("gptaq_alpha", self.gptaq_alpha)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Invalid::new(field, "a share from 0 to 1", share));
            }
        }
        if self.gptaq && self.method != Method::Gptq {
            return Err(Invalid::new("gptaq", "false: it is a part of gptq", self.gptaq));
        }
        for (field, bits) in
            [("head_bits", self.head_bits), ("embedding_bits", self.embedding_bits)]
        {
            if bits != 0 && Bits::new(bits).is_none() {
                return Err(Invalid::new(field, format!("0, {}", Bits::SUPPORTED), bits));
            }
        }
        if self.head_group_size != 0 && !GROUP_SIZES.contains(&self.head_group_size) {
            let found = self.head_group_size;
            return Err(Invalid::new("head_group_size", "0, 32, 64, 128 or -1", found));
        }
        let budget = self.bits_budget;
        if budget != 0.0 && !(self.bits as f64..=8.0).contains(&budget) {
            let expected = format!("0, or a number from bits = {} to 8", self.bits);
            return Err(Invalid::new("bits_budget", expected, budget));
        }
        if self.calibration_tokens_min > self.calibration_tokens_max {
            return Err(Invalid::new(
                "calibration_tokens_min",
                format!("at most calibration_tokens_max = {}", self.calibration_tokens_max),
                self.calibration_tokens_min,
            ));
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
        let rule = config.grid_rule(Bits::Eight);
        assert_eq!((rule.bits, rule.symmetric, rule.min_zero), (Bits::Eight, false, 0));
        for (bits, symmetric) in [("bits=4", false), ("bits=8", true)] {
            assert_eq!(read(&["method=awq", bits]).unwrap().is_symmetric(), symmetric);
        }
    }

    #[test]
    fn impossible_values_name_their_key() {
        let cases = [
            ("bits=5", "bits"),
            ("group_size=96", "group_size"),
            ("damping=-0.1", "damping"),
            ("damping=nan", "damping"),
            ("batch_size=0", "batch_size"),
            ("method=aqw", "method"),
            ("head_bits=5", "head_bits"),
            ("head_group_size=48", "head_group_size"),
            ("bits_budget=3.5", "bits_budget"),
            ("gptaq_alpha=2", "gptaq_alpha"),
            ("calibration_tokens_min=100000", "calibration_tokens_min"),
            ("format=exl3", "format"),
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
