//! `limbeck convert`: model formats.

use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_core::chat_templates::{BUILT_IN, BuiltIn, install_text};
use limbeck_core::{DType, DeviceSpec};
use limbeck_model::gguf::{self, TensorType};
use limbeck_quant::Residency;
use limbeck_run::OutputDir;
use serde_json::{Map, Value, json};

use crate::cli::{ConvertArguments, Format, UsageError};
use crate::model_folder::ModelFolder;

pub(crate) fn run(arguments: &ConvertArguments, json: bool) -> Result<()> {
    if arguments.output.exists() {
        return Err(UsageError {
            message: format!("{} exists", arguments.output.display()),
            hint: "choose a new name, or delete that one yourself".to_owned(),
        }
        .into());
    }
    match (arguments.from, arguments.to) {
        (Format::Gguf, Format::Hf) => import(arguments, json),
        (Format::Hf, Format::Gguf) => export(arguments, json),
        (from, to) => Err(UsageError {
            message: format!("conversion from {from:?} to {to:?} is not supported").to_lowercase(),
            hint: "supported: --from gguf --to hf, --from hf --to gguf".to_owned(),
        }
        .into()),
    }
}

/// A folder, plain or quantised, as llama.cpp's file. What is packed keeps its codes.
fn export(arguments: &ConvertArguments, json: bool) -> Result<()> {
    if arguments.chat_template.is_some() {
        return Err(UsageError {
            message: "--chat-template is for folders".to_owned(),
            hint: "give the folder a template before it is converted".to_owned(),
        }
        .into());
    }
    let cpu = DeviceSpec::Cpu;
    let folder = &arguments.input;
    let model = ModelFolder::open_frozen(folder, cpu, DType::Float32, Residency::Packed)?;
    // Half a byte more for the embedding of a packed model is little beside what it loses by less.
    let quantized = limbeck_quant::quantization(folder)?.is_some();
    let default = if quantized { TensorType::Q8_0 } else { TensorType::BF16 };
    let kind = arguments.kind.unwrap_or(default);
    let exported = limbeck_quant::save_gguf(&model.decoder, folder, &arguments.output, kind)?;
    for warning in &exported.warnings {
        tracing::warn!("{warning}");
    }
    let types: Map<String, Value> = exported
        .tensors
        .iter()
        .map(|(kind, count)| (kind.name().to_owned(), (*count).into()))
        .collect();
    if json {
        let output = &arguments.output;
        let (bytes, warnings) = (exported.bytes, exported.warnings);
        println!(
            "{}",
            json!({ "output": output, "bytes": bytes, "tensors": types, "warnings": warnings })
        );
    } else {
        let counts: Vec<String> =
            types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let megabytes = exported.bytes as f64 / 1e6;
        let output = arguments.output.display();
        tracing::info!("{megabytes:.1} MB in {output}, tensors: {}", counts.join(", "));
    }
    Ok(())
}

/// llama.cpp's file as a folder.
fn import(arguments: &ConvertArguments, json: bool) -> Result<()> {
    if let Some(kind) = arguments.kind {
        return Err(UsageError {
            message: format!("--type {kind} is for GGUF files"),
            hint: "set --dtype for the weights of a folder".to_owned(),
        }
        .into());
    }
    if let Some(template) = &arguments.chat_template
        && BuiltIn::named(template).is_none()
        && !Path::new(template).is_file()
    {
        let names: Vec<&str> = BUILT_IN.iter().map(|template| template.name).collect();
        return Err(UsageError {
            message: format!("--chat-template {template}: neither a name nor a file"),
            hint: format!("names: {}", names.join(", ")),
        }
        .into());
    }
    let imported = gguf::import(&arguments.input, arguments.dtype.kind())?;
    let output = OutputDir::create(&arguments.output)?;
    imported.write(output.path())?;
    if let Some(template) = &arguments.chat_template {
        install_template(output.path(), template)?;
    }
    output.commit()?;
    let tensors = imported.tensors.len();
    if json {
        println!("{}", json!({ "output": arguments.output, "tensors": tensors }));
    } else {
        tracing::info!("{tensors} tensors in {}", arguments.output.display());
    }
    Ok(())
}

/// Gives a folder the template of a name or a file.
fn install_template(folder: &Path, template: &str) -> Result<()> {
    if let Some(built_in) = BuiltIn::named(template) {
        built_in.install(folder)?;
    } else {
        let path = Path::new(template);
        let source = std::fs::read_to_string(path).with_context(|| template.to_owned())?;
        install_text(folder, &source, path)?;
    }
    Ok(())
}
