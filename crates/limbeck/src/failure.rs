//! How an error leaves the program: the chain of causes, a hint, the exit code.

use std::process::ExitCode;

use limbeck_cot_data::ErrorKind;
use limbeck_run::{Diagnose, Exit};

/// Prints the error with its causes and its hint to stderr and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // A transparent wrapper repeats what it wraps.
        if text != said {
            eprintln!("  caused by: {text}");
        }
        said = text;
    }
    let diagnosis = error.chain().find_map(diagnose);
    if let Some(hint) = diagnosis.and_then(Diagnose::hint).or_else(|| data_hint(error)) {
        eprintln!("  hint: {hint}");
    }
    exit_of(error, diagnosis).into()
}

fn exit_of(error: &anyhow::Error, diagnosis: Option<&dyn Diagnose>) -> Exit {
    if let Some(diagnosis) = diagnosis {
        return diagnosis.exit();
    }
    match data_error(error).map(limbeck_cot_data::Error::kind) {
        Some(ErrorKind::Usage) => Exit::Usage,
        Some(ErrorKind::BadInput) => Exit::BadInput,
        Some(ErrorKind::Failed) | None => Exit::Failed,
    }
}

/// The libraries' errors, each of which knows its exit code and hint.
fn diagnose<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a dyn Diagnose> {
    fn as_diagnose<'a, E: Diagnose + 'static>(
        cause: &'a (dyn std::error::Error + 'static),
    ) -> Option<&'a dyn Diagnose> {
        cause.downcast_ref::<E>().map(|error| error as &dyn Diagnose)
    }
    [
        as_diagnose::<limbeck_run::Error>,
        as_diagnose::<limbeck_core::Error>,
        as_diagnose::<limbeck_model::Error>,
        as_diagnose::<limbeck_infer::Error>,
        as_diagnose::<limbeck_train::Error>,
        as_diagnose::<limbeck_distill::Error>,
        as_diagnose::<limbeck_lora::Error>,
        as_diagnose::<limbeck_quant::Error>,
        as_diagnose::<limbeck_evaluate::Error>,
        as_diagnose::<crate::commands::GateFailed>,
        as_diagnose::<crate::cli::UsageError>,
    ]
    .into_iter()
    .find_map(|attempt| attempt(cause))
}

/// cot-data stands alone and so has no `Diagnose`.
fn data_error(error: &anyhow::Error) -> Option<&limbeck_cot_data::Error> {
    error.chain().find_map(|cause| cause.downcast_ref::<limbeck_cot_data::Error>())
}

fn data_hint(error: &anyhow::Error) -> Option<String> {
    data_error(error).and_then(limbeck_cot_data::Error::hint)
}
