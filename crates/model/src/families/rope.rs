//! Rotary settings in both spellings: `rope_theta` + `rope_scaling`, and the
//! `rope_parameters` of transformers 5.

use super::keys::Keys;
use crate::config::{RopeConfig, RopeScaling};
use crate::error::{Error, Result};

const SUPPORTED: &[&str] = &["default", "linear", "llama3"];

/// The rotary setting of a family that has one for all layers.
pub(super) fn single(keys: &Keys<'_>) -> Result<RopeConfig> {
    let parameters = match keys.object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None => keys.object("rope_parameters")?,
    };
    let theta = keys.number_or("rope_theta", 10_000.0)?;
    from_parameters(keys, parameters.as_ref(), theta)
}

/// Reads one dictionary of rotary parameters; `default_theta` serves where it names none.
pub(super) fn from_parameters(
    keys: &Keys<'_>,
    parameters: Option<&Keys<'_>>,
    default_theta: f64,
) -> Result<RopeConfig> {
    let Some(parameters) = parameters else {
        return Ok(RopeConfig { theta: default_theta, scaling: RopeScaling::Default });
    };
    let theta = parameters.number_or("rope_theta", default_theta)?;
    let rotated = parameters.number_or("partial_rotary_factor", 1.0)?;
    #[expect(clippy::float_cmp, reason = "only the exact default is implemented")]
    if rotated != 1.0 {
        return Err(Error::config(
            parameters.path("partial_rotary_factor"),
            "1 (partial rotation is not implemented)",
            rotated.to_string(),
        ));
    }
    let rope_type = match parameters.optional_string("rope_type")? {
        Some(rope_type) => Some(rope_type),
        None => parameters.optional_string("type")?,
    };
    let scaling = match rope_type.unwrap_or("default") {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear { factor: factor(parameters, "factor")? },
        "llama3" => {
            let original = match parameters.optional_number("original_max_position_embeddings")? {
                Some(original) => original,
                None => keys.number("max_position_embeddings")?,
            };
            let low_freq_factor = factor(parameters, "low_freq_factor")?;
            let high_freq_factor = factor(parameters, "high_freq_factor")?;
            if high_freq_factor <= low_freq_factor {
                return Err(Error::config(
                    parameters.path("high_freq_factor"),
                    format!("a number above low_freq_factor ({low_freq_factor})"),
                    high_freq_factor.to_string(),
                ));
            }
            RopeScaling::Llama3 {
                factor: factor(parameters, "factor")?,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: original,
            }
        }
        other => {
            return Err(Error::Unsupported {
                what: "rope_type",
                found: other.to_owned(),
                supported: SUPPORTED,
            });
        }
    };
    Ok(RopeConfig { theta, scaling })
}

fn factor(parameters: &Keys<'_>, key: &str) -> Result<f64> {
    let value = parameters.number(key)?;
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(Error::config(parameters.path(key), "a positive number", value.to_string()))
    }
}
