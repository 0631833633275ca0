//! How each layer of a decoder is to be packed: what the configuration says, as the settings
//! that go into the checkpoint.

use limbeck_model::Decoder;
use regex::Regex;

use crate::bits::Bits;
use crate::config::{GROUP_SIZES, QuantizeConfig};
use crate::error::{Error, Result};
use crate::formats::{CheckpointSettings, LayerSettings, Override};
use crate::layer_shapes::LayerShape;

/// The settings that a configuration asks for. Those of head and embedding come first, since
/// patterns are about projections.
///
/// # Errors
/// A pattern that is none or matches no projection; bits of an embedding that is the head.
pub(crate) fn settings(
    decoder: &Decoder,
    config: &QuantizeConfig,
    projections: &[LayerShape],
) -> Result<CheckpointSettings> {
    let mut settings = CheckpointSettings::of_config(config)?;
    let hidden_size = decoder.config().hidden_size;
    let tied = decoder.head_name().is_none();
    if tied && config.embedding_bits != 0 {
        return Err(Error::Config {
            field: "embedding_bits".to_owned(),
            expected: "0: this model's embedding is its head, which head_bits is for".to_owned(),
            found: config.embedding_bits.to_string(),
        });
    }
    let mut tables = vec![(decoder.embedding_name(), config.embedding_bits)];
    tables.push((decoder.head_name().unwrap_or(decoder.embedding_name()), config.head_bits));
    settings.head = config.head_bits != 0;
    for (name, bits) in tables {
        let Some(bits) = Bits::new(bits) else { continue };
        let group_size = table_group_size(config, hidden_size);
        let layer = LayerSettings { bits, group_size, ..settings.layer };
        settings.overrides.push(Override { layers: exactly(name)?, settings: Some(layer) });
    }
    let wide = LayerSettings { bits: Bits::Eight, ..settings.layer };
    for (field, patterns, layer) in
        [("dense", &config.dense, None), ("keep_bits8", &config.keep_bits8, Some(wide))]
    {
        for pattern in patterns {
            let layers = Regex::new(pattern).map_err(|_| Error::Config {
                field: field.to_owned(),
                expected: "a regular expression without look-around".to_owned(),
                found: pattern.clone(),
            })?;
            let matches = |shape: &LayerShape| {
                layers.find(&shape.name).is_some_and(|found| found.start() == 0)
            };
            if let Some(first) = projections.first()
                && !projections.iter().any(matches)
            {
                let example = first.name.clone();
                return Err(Error::UnmatchedPattern { field, pattern: pattern.clone(), example });
            }
            settings.overrides.push(Override { layers, settings: layer });
        }
    }
    Ok(settings)
}

/// A pattern of this name and no other.
pub(crate) fn exactly(name: &str) -> Result<Regex> {
    let pattern = format!("{}$", regex::escape(name));
    Regex::new(&pattern).map_err(|_| Error::Config {
        field: "layer".to_owned(),
        expected: "a name of a layer".to_owned(),
        found: name.to_owned(),
    })
}

/// Input features of a group of head and embedding; `None` = all.
fn table_group_size(config: &QuantizeConfig, hidden_size: i64) -> Option<usize> {
    let fits = |size: &i64| *size == -1 || hidden_size % size == 0;
    let wanted = match config.head_group_size {
        0 => config.group_size,
        size => size,
    };
    // A size that was asked for is kept, and refused where it does not fit.
    let asked = config.head_group_size != 0;
    let size =
        if asked || fits(&wanted) { Some(wanted) } else { GROUP_SIZES.into_iter().find(fits) };
    size.and_then(|size| usize::try_from(size).ok())
}
