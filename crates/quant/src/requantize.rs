//! Packing again what was changed in a packed model: the layers that an adapter was merged
//! into.

use std::path::Path;

use limbeck_model::Decoder;
use serde_json::Value;

use crate::config::{Method, QuantizeConfig};
use crate::error::{Error, Result};
use crate::formats::CheckpointSettings;
use crate::order::Order;
use crate::quantize::{Work, dense_layers, quantize_layers};
use crate::report::{ProgressFn, QuantizeReport};

/// Replaces the projections that are dense by packed ones; those that are packed stay as they
/// are, bit by bit. With GPTQ, each is calibrated on inputs that have passed all layers before
/// it, packed ones included, so that it makes up for their errors.
///
/// # Errors
/// [`Error::NothingDense`]; those of [`crate::quantize()`].
pub fn requantize(
    decoder: &mut Decoder,
    calibration: &[Vec<i64>],
    config: &QuantizeConfig,
    progress: ProgressFn<'_>,
) -> Result<QuantizeReport> {
    let layers = dense_layers(decoder)?;
    if layers.is_empty() {
        return Err(Error::NothingDense);
    }
    // What was packed otherwise than the rest stays so.
    let settings = match &decoder.hf_config()["quantization_config"] {
        Value::Null => CheckpointSettings::of_config(config)?,
        json => CheckpointSettings::from_json(json, Path::new("config.json"))?,
    };
    if config.method == Method::Awq {
        return Err(Error::Config {
            field: "method".to_owned(),
            expected: "gptq or rtn: scales would change layers that are packed".to_owned(),
            found: config.method.name().to_owned(),
        });
    }
    let work = Work { layers: &layers, config, settings, tables: false, finished: None };
    quantize_layers(decoder, &work, calibration, progress)
}

/// How a folder was quantised, as a configuration that packs the same way: width, group size
/// and format are those of `settings`, what only our own folders say is read from `json`
/// (their `quantization_config`) and else as by default. `method` is how codes are chosen now.
pub fn same_way(settings: &CheckpointSettings, json: &Value, method: Method) -> QuantizeConfig {
    let default = QuantizeConfig::default();
    let meta = &json["meta"];
    let flag = |key: &str, otherwise: bool| meta[key].as_bool().unwrap_or(otherwise);
    QuantizeConfig {
        method,
        bits: u64::from(settings.layer.bits.width()),
        group_size: settings.layer.group_size.map_or(-1, |size| size as i64),
        symmetric: Some(settings.layer.symmetric),
        format: settings.format,
        signed_scale: flag("signed_scale", default.signed_scale),
        mse_search: flag("mse_search", default.mse_search),
        order: meta["order"].as_str().and_then(Order::from_name).unwrap_or(default.order),
        // Few layers are changed, whose errors the caller can see in what they do.
        calibration_tokens_min: 1,
        damping: meta["damp_percent"].as_f64().unwrap_or(default.damping),
        ..default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_packed_again_as_it_was() {
        let config = QuantizeConfig {
            group_size: 64,
            symmetric: Some(false),
            signed_scale: false,
            mse_search: true,
            order: Order::Groups,
            calibration_tokens_min: 1,
            damping: 0.05,
            ..QuantizeConfig::default()
        };
        let settings = CheckpointSettings::of_config(&config).unwrap();
        let json = settings.to_json(&config);
        let read = CheckpointSettings::from_json(&json, Path::new("config.json")).unwrap();
        assert_eq!(same_way(&read, &json, config.method), config);
        let rtn = same_way(&read, &Value::Null, Method::Rtn);
        assert_eq!((rtn.method, rtn.group_size, rtn.mse_search), (Method::Rtn, 64, false));
    }
}
