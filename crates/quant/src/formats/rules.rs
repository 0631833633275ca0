//! What a format can hold and what its known loaders take, asked of all layers before any work.
//!
//! What the format cannot hold is an error. What a loader refuses that is not the format's own
//! business is a warning: the folder still loads here and elsewhere. The numbers are those of
//! vLLM's Marlin kernels (`gptq_marlin.py`, `marlin_utils.py`), `GPTQModel` 7.7's kernels
//! (`nn_modules/qlinear/`), `AutoAWQ` 0.2.9, compressed-tensors 0.20 and ggml.

use super::blocks::{BLOCK, BlockKind};
use super::{CheckpointSettings, Format, LayerSettings};
use crate::bits::Bits;
use crate::config::GROUP_SIZES;
use crate::error::{Error, Result};
use crate::layer_shapes::LayerShape;

/// Projections that vLLM computes as one, so that it reads them alike.
const FUSED: [&[&str]; 2] = [&["q_proj", "k_proj", "v_proj"], &["gate_proj", "up_proj"]];

const HEAD: &str = "lm_head";
const EMBEDDING: &str = "model.embed_tokens";

/// Checks that every layer can be packed as `settings` say, and warns of loaders that will not
/// take the folder: a sentence for each rule that is broken, with the first layer that breaks it.
///
/// # Errors
/// [`Error::FormatLimit`] for widths that the format does not have, or has not beside each other;
/// [`Error::LayerShape`] for the first layer whose size does not fit, with what would.
pub fn check(settings: &CheckpointSettings, layers: &[LayerShape]) -> Result<Vec<String>> {
    let packed: Vec<(&LayerShape, LayerSettings)> =
        layers.iter().filter_map(|layer| Some((layer, settings.of(&layer.name)?))).collect();
    for &(layer, of_layer) in &packed {
        check_width(settings.format, of_layer)?;
        if settings.format == Format::Awq && of_layer != settings.layer {
            return Err(Error::FormatLimit {
                format: settings.format.name(),
                expected: "one width and group size for all layers".to_owned(),
                found: format!("{} otherwise", layer.name),
                hint: "format = \"compressed-tensors\" or \"gptq\" hold layers of several widths"
                    .to_owned(),
            });
        }
        check_size(settings.format, layer, of_layer, &packed)?;
    }
    Ok(warnings(settings, &packed))
}

/// Checks that a format has a width.
///
/// # Errors
/// [`Error::FormatLimit`].
pub fn check_width(format: Format, layer: LayerSettings) -> Result<()> {
    let refuse = |expected: &str, hint: &str| {
        let kind = if layer.symmetric { "symmetric" } else { "asymmetric" };
        Err(Error::FormatLimit {
            format: format.name(),
            expected: expected.to_owned(),
            found: format!("{kind} codes of {} bits", layer.bits.width()),
            hint: hint.to_owned(),
        })
    };
    match format {
        Format::Awq if layer.bits != Bits::Four => refuse(
            "codes of 4 bits, since loaders do not read others alike",
            "format = \"gptq\" or \"compressed-tensors\" hold this width, whatever the method",
        ),
        Format::Gguf if BlockKind::of(layer.bits, layer.symmetric).is_none() => {
            refuse("symmetric codes, or such of 4 bits at most", "set symmetric = true")
        }
        _ => Ok(()),
    }
}

fn check_size(
    format: Format,
    layer: &LayerShape,
    settings: LayerSettings,
    layers: &[(&LayerShape, LayerSettings)],
) -> Result<()> {
    let refuse = |expected: String, found: i64, hint: String| {
        let (layer, found) = (layer.name.clone(), found.to_string());
        Err(Error::LayerShape { layer, expected, found, hint })
    };
    let (inputs, outputs) = format.divisors(settings.bits);
    for (what, size, divisor) in
        [("input", layer.in_features, inputs), ("output", layer.out_features, outputs)]
    {
        if size <= 0 || size % divisor as i64 != 0 {
            let expected =
                format!("{what} features divisible by {divisor} for format {}", format.name());
            return refuse(expected, size, other_formats(format, layer, settings.bits));
        }
    }
    let size = settings.group_size.map_or(-1, |size| size as i64);
    if !layer.has_groups_of(size) {
        let fitting: Vec<String> = GROUP_SIZES
            .into_iter()
            .filter(|&size| layers.iter().all(|(layer, _)| layer.has_groups_of(size)))
            .map(|size| size.to_string())
            .collect();
        return refuse(
            format!("input features divisible by group_size {size}"),
            layer.in_features,
            format!("group sizes that fit every layer of this model: {}", fitting.join(", ")),
        );
    }
    if format == Format::Gguf && size % BLOCK as i64 != 0 && size != -1 {
        let hint = "set group_size = 32".to_owned();
        return refuse(format!("groups of whole blocks of {BLOCK}"), size, hint);
    }
    Ok(())
}

/// Which formats could hold a layer of this size.
fn other_formats(format: Format, layer: &LayerShape, bits: Bits) -> String {
    let fits = |(inputs, outputs): (usize, usize)| {
        layer.in_features > 0
            && layer.out_features > 0
            && layer.in_features % inputs as i64 == 0
            && layer.out_features % outputs as i64 == 0
    };
    let mut ways: Vec<String> = [Format::Gptq, Format::CompressedTensors]
        .into_iter()
        .filter(|&other| other != format && fits(other.divisors(bits)))
        .map(|other| format!("format = \"{}\"", other.name()))
        .collect();
    let wider = Bits::ALL.into_iter().find(|&wider| {
        let known = format != Format::Awq && wider.width() > bits.width();
        known && fits(format.divisors(wider))
    });
    ways.extend(wider.map(|wider| format!("bits = {}", wider.width())));
    if ways.is_empty() {
        return "leave this layer unquantised".to_owned();
    }
    format!("{} would hold this layer", ways.join(" or "))
}

fn warnings(settings: &CheckpointSettings, layers: &[(&LayerShape, LayerSettings)]) -> Vec<String> {
    let format = settings.format;
    let mut warnings = Vec::new();
    let mut warn = |rule: &str, broken: &dyn Fn(&LayerShape, LayerSettings) -> Option<String>| {
        let mut found = layers
            .iter()
            .filter_map(|&(layer, settings)| Some((&layer.name, broken(layer, settings)?)));
        if let Some((name, found_there)) = found.next() {
            let others = match found.count() {
                0 => String::new(),
                others => format!(", and so for {others} more layers"),
            };
            warnings.push(format!("{rule}: {name} has {found_there}{others}"));
        }
    };
    let divides = |size: i64, divisor: i64| (size % divisor != 0).then(|| size.to_string());
    if format == Format::Gguf {
        warn("GGUF files hold no fewer than 4.5 bits a weight", &|_, of| {
            (of.bits.width() < 4).then(|| format!("codes of {} bits", of.bits.width()))
        });
        return warnings;
    }
    let kernels = format!("vLLM's Marlin kernels for {}", kernels_of(format));
    warn(&format!("{kernels} need output features divisible by 64"), &|layer, _| {
        divides(layer.out_features, 64)
    });
    warn(&format!("{kernels} need input features divisible by 128"), &|layer, _| {
        divides(layer.in_features, 128)
    });
    warn(&format!("{kernels} take groups of 32, 64, 128 or all inputs"), &|_, of| {
        let size = of.group_size?;
        (![32, 64, 128].contains(&size)).then(|| format!("groups of {size}"))
    });
    warn(&format!("{kernels} take codes of 4 or 8 bits"), &|_, of| {
        (of.bits.width() < 4).then(|| format!("{}", of.bits.width()))
    });
    match format {
        Format::Gptq | Format::GptqV2 => {
            warn("vLLM's GPTQ kernels take only symmetric = true", &|_, of| {
                (!of.symmetric).then(|| "zeros of its own".to_owned())
            });
            warn("GPTQModel's fast kernels need features divisible by 32", &|layer, _| {
                divides(layer.in_features, 32).or_else(|| divides(layer.out_features, 32))
            });
        }
        Format::Awq => {
            warn("AWQ's Triton kernels need input features divisible by 32", &|layer, _| {
                divides(layer.in_features, 32)
            });
        }
        Format::CompressedTensors => {
            warn(
                "vLLM's kernels for compressed-tensors take asymmetric codes of 4 or 8 bits in groups",
                &|_, of| (!of.symmetric && of.group_size.is_none()).then(|| "one group".to_owned()),
            );
        }
        Format::Gguf => {}
    }
    warnings.extend(differing_fused(layers));
    if layers.iter().any(|(layer, _)| layer.name == EMBEDDING) {
        warnings.push(format!(
            "a packed embedding is an extension of format {}: only limbeck reads this folder",
            format.name()
        ));
    } else if settings.head && format == Format::Awq {
        warnings
            .push("AWQ loaders expect a dense lm_head: only limbeck reads this folder".to_owned());
    } else if settings.head && !layers.iter().any(|(layer, _)| layer.name == HEAD) {
        warnings.push("lm_head is said to be packed, and is no layer of this model".to_owned());
    }
    warnings
}

fn kernels_of(format: Format) -> &'static str {
    match format {
        Format::Gptq | Format::GptqV2 => "GPTQ",
        Format::Awq => "AWQ",
        Format::CompressedTensors => "compressed-tensors",
        Format::Gguf => "GGUF",
    }
}

/// Layers that vLLM computes as one and that are packed otherwise than each other.
fn differing_fused(layers: &[(&LayerShape, LayerSettings)]) -> Option<String> {
    let of_name = |name: &str| layers.iter().find(|(layer, _)| layer.name == name);
    layers.iter().find_map(|(layer, settings)| {
        let (prefix, last) = layer.name.rsplit_once('.')?;
        let others = FUSED.iter().find(|names| names.contains(&last))?;
        let differing = others.iter().find_map(|other| {
            of_name(&format!("{prefix}.{other}")).filter(|(_, other)| other != settings)
        })?;
        Some(format!(
            "vLLM computes {} and {} as one layer, and takes them only if they are packed alike",
            layer.name, differing.0.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use limbeck_run::Diagnose;
    use regex::Regex;

    use super::super::Override;
    use super::*;

    fn layers(shapes: &[(i64, i64)]) -> Vec<LayerShape> {
        let shape = |(index, &(in_features, out_features))| LayerShape {
            name: format!("layer.{index}"),
            in_features,
            out_features,
        };
        shapes.iter().enumerate().map(shape).collect()
    }

    fn settings(format: Format, bits: Bits, group_size: i64) -> CheckpointSettings {
        let group_size = usize::try_from(group_size).ok();
        let layer = LayerSettings { bits, group_size, symmetric: true };
        CheckpointSettings { format, layer, overrides: Vec::new(), head: false }
    }

    #[test]
    fn the_error_names_the_layer_and_group_sizes_that_fit_all() {
        for format in [Format::Gptq, Format::Awq, Format::CompressedTensors, Format::Gguf] {
            let layers = layers(&[(128, 192), (192, 128)]);
            let of = |size| check(&settings(format, Bits::Four, size), &layers);
            let error = of(128).unwrap_err();
            assert_eq!(
                error.to_string(),
                "layer layer.1: expected input features divisible by group_size 128, found 192"
            );
            assert!(error.hint().unwrap().ends_with("64, 32, -1"));
            for fitting in [64, 32, -1] {
                of(fitting).unwrap();
            }
        }
    }

    #[test]
    fn sizes_that_a_format_cannot_hold_are_refused_with_what_can() {
        let refuse = |format, bits, shape, hints: &[&str]| {
            let error = check(&settings(format, bits, -1), &layers(&[shape])).unwrap_err();
            let hint = error.hint().unwrap();
            assert!(matches!(error, Error::LayerShape { .. }), "{error}");
            assert!(hints.iter().all(|part| hint.contains(part)), "{format:?} {shape:?}: {hint}");
        };
        refuse(Format::Gptq, Bits::Four, (32, 20), &["compressed-tensors", "bits = 8"]);
        refuse(Format::Gptq, Bits::Three, (48, 32), &["compressed-tensors", "bits = 4"]);
        refuse(Format::Gptq, Bits::Eight, (0, 32), &["unquantised"]);
        refuse(Format::Awq, Bits::Four, (32, 20), &["compressed-tensors"]);
        refuse(Format::Gguf, Bits::Four, (40, 32), &["\"gptq\"", "compressed-tensors"]);
        for (format, bits, shape) in [
            (Format::Gptq, Bits::Eight, (32, 20)),
            (Format::Awq, Bits::Four, (30, 32)),
            (Format::CompressedTensors, Bits::Four, (30, 7)),
            (Format::Gguf, Bits::Eight, (32, 7)),
        ] {
            check(&settings(format, bits, -1), &layers(&[shape])).unwrap();
        }
    }

    #[test]
    fn widths_that_a_format_does_not_have_are_refused() {
        let one = layers(&[(128, 64)]);
        let refuse = |settings: &CheckpointSettings, hint: &str| {
            let error = check(settings, &one).unwrap_err();
            assert!(matches!(error, Error::FormatLimit { .. }), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
        };
        refuse(&settings(Format::Awq, Bits::Eight, 64), "compressed-tensors");
        let mut asymmetric = settings(Format::Gguf, Bits::Eight, 64);
        asymmetric.layer.symmetric = false;
        refuse(&asymmetric, "symmetric = true");
        let mut mixed = settings(Format::Awq, Bits::Four, 64);
        let other = LayerSettings { group_size: None, ..mixed.layer };
        let layers = Regex::new("layer").unwrap();
        mixed.overrides.push(Override { layers, settings: Some(other) });
        refuse(&mixed, "several widths");
        // A dense layer is none of the format's.
        mixed.overrides[0].settings = None;
        check(&mixed, &one).unwrap();
    }

    #[test]
    fn kernels_of_others_have_narrower_rules_that_only_warn() {
        let good = layers(&[(128, 64), (256, 128)]);
        for format in [Format::Gptq, Format::Awq, Format::CompressedTensors, Format::Gguf] {
            assert_eq!(check(&settings(format, Bits::Four, 64), &good).unwrap(), [""; 0]);
        }
        let mut asymmetric = settings(Format::Gptq, Bits::Four, 64);
        asymmetric.layer.symmetric = false;
        let warnings = check(&asymmetric, &layers(&[(192, 64), (64, 32), (320, 64)])).unwrap();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("layer.1 has 32"), "{warnings:?}");
        assert!(warnings[1].contains("layer.0 has 192, and so for 2 more"), "{warnings:?}");
        assert!(warnings[2].contains("symmetric = true"), "{warnings:?}");
        let narrow = check(&settings(Format::Gptq, Bits::Two, 16), &good).unwrap();
        assert_eq!(narrow.len(), 2, "{narrow:?}");
    }

    #[test]
    fn layers_that_vllm_fuses_and_what_only_we_read_are_warned_of() {
        let named =
            |name: &str| LayerShape { name: name.to_owned(), in_features: 128, out_features: 64 };
        let layers = ["m.0.mlp.gate_proj", "m.0.mlp.up_proj", EMBEDDING].map(named);
        let mut mixed = settings(Format::Gptq, Bits::Four, 64);
        let wide = LayerSettings { bits: Bits::Eight, ..mixed.layer };
        let pattern = Regex::new(".*up_proj").unwrap();
        mixed.overrides.push(Override { layers: pattern, settings: Some(wide) });
        mixed.head = true;
        let warnings = check(&mixed, &layers).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("gate_proj and m.0.mlp.up_proj"), "{warnings:?}");
        assert!(warnings[1].contains("only limbeck"), "{warnings:?}");
    }
}
