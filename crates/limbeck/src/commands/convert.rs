//! `limbeck convert`: model formats.

use anyhow::Result;
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
    let imported = gguf::import(&arguments.input, arguments.dtype.kind())?;
    let output = OutputDir::create(&arguments.output)?;
    imported.write(output.path())?;
    output.commit()?;
    let tensors = imported.tensors.len();
    if json {
        println!("{}", json!({ "output": arguments.output, "tensors": tensors }));
    } else {
        tracing::info!("{tensors} tensors in {}", arguments.output.display());
    }
    Ok(())
}
