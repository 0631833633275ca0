//! Whether layers divide into groups and words, asked of all layers before any work.

use crate::bits::Bits;
use crate::config::GROUP_SIZES;
use crate::error::{Error, Result};
use crate::formats::{Format, LayerSettings};

/// Name and size of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerShape {
    /// The projection.
    pub name: String,
    /// Width of its input.
    pub in_features: i64,
    /// Width of its output.
    pub out_features: i64,
}

impl LayerShape {
    /// Whether the input features make whole groups.
    fn has_groups_of(&self, group_size: i64) -> bool {
        group_size == -1 || self.in_features % group_size == 0
    }
}

/// A layer and how it is to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLayer {
    /// The layer.
    pub shape: LayerShape,
    /// How.
    pub settings: LayerSettings,
}

impl PlannedLayer {
    fn group_size(&self) -> i64 {
        self.settings.group_size.map_or(-1, |size| size as i64)
    }
}

/// Checks that every layer can be packed as planned.
///
/// # Errors
/// [`Error::LayerShape`] for the first that cannot, with the group sizes that fit all.
pub fn check(layers: &[PlannedLayer], format: Format) -> Result<()> {
    for planned in layers {
        let (layer, group_size) = (&planned.shape, planned.group_size());
        let bits = planned.settings.bits;
        let (inputs, outputs) = format.divisors(bits);
        let fail = |expected: String, found: i64, hint: String| {
            Err(Error::LayerShape {
                layer: layer.name.clone(),
                expected,
                found: found.to_string(),
                hint,
            })
        };
        for (what, size, divisor) in
            [("input", layer.in_features, inputs), ("output", layer.out_features, outputs)]
        {
            let divisor = divisor as i64;
            if size == 0 || size % divisor != 0 {
                return fail(
                    format!("{what} features divisible by {divisor}, the codes of a word"),
                    size,
                    if bits == Bits::Four && size % 4 == 0 && size > 0 {
                        "bits = 8 packs 4 codes in a word".to_owned()
                    } else {
                        "the format cannot hold this layer".to_owned()
                    },
                );
            }
        }
        if !layer.has_groups_of(group_size) {
            let alike = || layers.iter().filter(|other| other.group_size() == group_size);
            let fitting: Vec<String> = GROUP_SIZES
                .into_iter()
                .filter(|&size| alike().all(|other| other.shape.has_groups_of(size)))
                .map(|size| size.to_string())
                .collect();
            return fail(
                format!("input features divisible by group_size {group_size}"),
                layer.in_features,
                format!("group sizes that fit every layer of this model: {}", fitting.join(", ")),
            );
        }
    }
    Ok(())
}

/// What keeps vLLM's Marlin kernels from running these layers: a sentence for each rule
/// that is broken, with the layers; such a model still loads here and in transformers.
pub fn vllm_rules(layers: &[LayerShape], symmetric: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !symmetric {
        warnings.push("vLLM's GPTQ kernels take only symmetric = true".to_owned());
    }
    for (what, divisor) in [("output", 64), ("input", 128)] {
        let size = |layer: &LayerShape| match what {
            "output" => layer.out_features,
            _ => layer.in_features,
        };
        let mut broken = layers.iter().filter(|layer| size(layer) % divisor != 0);
        if let Some(first) = broken.next() {
            warnings.push(format!(
                "vLLM's GPTQ kernels need {what} features divisible by {divisor}: {} has {}{}",
                first.name,
                size(first),
                match broken.count() {
                    0 => String::new(),
                    others => format!(", and so for {others} more layers"),
                }
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use limbeck_run::Diagnose;

    use super::*;

    fn layers(shapes: &[(i64, i64)]) -> Vec<LayerShape> {
        shapes
            .iter()
            .enumerate()
            .map(|(index, &(in_features, out_features))| LayerShape {
                name: format!("layer.{index}"),
                in_features,
                out_features,
            })
            .collect()
    }

    fn check(layers: &[LayerShape], bits: Bits, group_size: i64) -> Result<()> {
        let group_size = usize::try_from(group_size).ok();
        let settings = LayerSettings { bits, group_size, symmetric: true };
        let planned = layers.iter().map(|shape| PlannedLayer { shape: shape.clone(), settings });
        super::check(&planned.collect::<Vec<_>>(), Format::Gptq)
    }

    #[test]
    fn the_error_names_the_layer_and_group_sizes_that_fit_all() {
        let error = check(&layers(&[(128, 192), (192, 128)]), Bits::Four, 128).unwrap_err();
        assert_eq!(
            error.to_string(),
            "layer layer.1: expected input features divisible by group_size 128, found 192"
        );
        let hint = error.hint().unwrap();
        assert!(hint.ends_with("64, 32, -1"), "{hint}");
        for fitting in [64, 32, -1] {
            check(&layers(&[(128, 192), (192, 128)]), Bits::Four, fitting).unwrap();
        }
    }

    #[test]
    fn sizes_must_fill_words() {
        let error = check(&layers(&[(32, 20)]), Bits::Four, 32).unwrap_err();
        assert!(error.to_string().contains("output features divisible by 8"), "{error}");
        assert!(error.hint().unwrap().contains("bits = 8"));
        check(&layers(&[(32, 20)]), Bits::Eight, 32).unwrap();
        assert!(check(&layers(&[(30, 32)]), Bits::Eight, -1).is_err());
        assert!(check(&layers(&[(0, 32)]), Bits::Eight, -1).is_err());
    }

    #[test]
    fn kernels_of_others_have_narrower_rules_that_only_warn() {
        assert_eq!(vllm_rules(&layers(&[(128, 64), (256, 128)]), true), [""; 0]);
        let warnings = vllm_rules(&layers(&[(192, 64), (64, 32), (320, 64)]), false);
        assert_eq!(warnings.len(), 3);
        assert!(warnings[1].contains("layer.1 has 32"), "{warnings:?}");
        assert!(warnings[2].contains("layer.0 has 192, and so for 2 more"), "{warnings:?}");
    }
}
