//! `limbeck convert`: model formats.

use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_core::chat_templates::{BUILT_IN, BuiltIn, install_text};
use limbeck_model::gguf;
use limbeck_run::OutputDir;
use serde_json::json;

use crate::cli::{ConvertArguments, Format, UsageError};

pub(crate) fn run(arguments: &ConvertArguments, json: bool) -> Result<()> {
    if (arguments.from, arguments.to) != (Format::Gguf, Format::Hf) {
        return Err(UsageError {
            message: format!(
                "conversion from {:?} to {:?} is not supported",
                arguments.from, arguments.to
            )
            .to_lowercase(),
            hint: "supported: --from gguf --to hf".to_owned(),
        }
        .into());
    }
    if arguments.output.exists() {
        return Err(UsageError {
            message: format!("{} exists", arguments.output.display()),
            hint: "choose a new folder, or delete that one yourself".to_owned(),
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
